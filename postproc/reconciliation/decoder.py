"""Syndrome decoding by layered belief propagation, vectorised over the circulant index.

Row-layered sum-product (Mansour and Shanbhag 2003; Hocevar 2004) with the exact check rule in its tanh form,
    tanh(|r_e| / 2) = product over the other edges of tanh(|t_i| / 2),
signs apart, including the syndrome bit. Log-likelihood ratios are int16 in units of 1/64; the product is float32 with
exp2 and log2 as polynomials on the bits of the float, so that LLVM vectorises them. Min-sum does not work on these
codes.

All scratch is allocated per call and the kernel releases the GIL: any number of frames decode at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import float32, int16, int32, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from postproc.reconciliation.codes import QcCode
from postproc.records import BitArray

LLR_SCALE = 64
_CLIP = int16(16 * LLR_SCALE)  # magnitude of a message
_POSTERIOR_CLIP = int16(16000)  # leaves room for one message in int16
_SMALLEST = float32(1e-3)  # keeps tanh above zero: a zero would erase the product
_LLR_TO_LOG2 = float32(math.log2(math.e) / LLR_SCALE)
_LOG2_TO_LLR = float32(LLR_SCALE * math.log(2))


def _polynomial(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, degree: int
) -> list[np.float32]:
    """Coefficients, constant first, of a Chebyshev least-squares fit on [low, low + 1]."""
    x = low + 0.5 + np.cos((2 * np.arange(200) + 1) / 400 * np.pi) / 2
    fit = np.polynomial.chebyshev.Chebyshev.fit(x, function(x), degree, domain=[low, low + 1])
    return [np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef]


_E0, _E1, _E2, _E3, _E4 = _polynomial(lambda x: 2.0**-x, 0, 4)
_L0, _L1, _L2, _L3, _L4, _L5 = _polynomial(np.log2, 1, 5)


def decode_layers(
    code: QcCode, splits: int, layer_syndrome: BitArray, noisy: BitArray, qber: float, max_iterations: int
) -> tuple[BitArray, int]:
    """Decode one frame; returns (bits uint8[n], iterations used). Whether the bits fit is for the caller to check.

    layer_syndrome: uint8 [layers, circulant], parities of `code.layers(splits)`; noisy: uint8 [n].
    """
    begin, end = code.layers(splits)
    channel = round(LLR_SCALE * math.log((1 - qber) / qber))
    posterior = np.where(noisy, -channel, channel).astype(np.int16).reshape(code.columns, code.circulant)
    messages = np.zeros((code.column.size, code.circulant), np.int16)
    signs = -layer_syndrome.astype(np.int16)
    iterations = _decode(posterior, messages, begin, end, code.column, code.shift, signs, max_iterations)
    return (posterior < 0).astype(np.uint8).ravel(), int(iterations)


@intrinsic
def _float_bits(typing_context, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _bits_float(typing_context, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(nogil=True, cache=True)
def _subtract(posterior, message, extrinsic, sign):  # type: ignore[no-untyped-def]
    """extrinsic = posterior - message; the top bit of `sign` collects the parity of the signs."""
    for z in range(posterior.size):
        t = int16(posterior[z] - message[z])
        extrinsic[z] = t
        sign[z] ^= t


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _multiply_tanh(extrinsic, tanh, product):  # type: ignore[no-untyped-def]
    """tanh = tanh(|extrinsic| / 2) = (1 - e^-x) / (1 + e^-x); product *= tanh."""
    for z in range(extrinsic.size):
        x = float32(min(int32(_CLIP), abs(int32(extrinsic[z])))) * _LLR_TO_LOG2 + _SMALLEST
        whole = int32(x)
        f = x - float32(whole)
        power = _E0 + f * (_E1 + f * (_E2 + f * (_E3 + f * _E4)))
        e = _bits_float(int32(_float_bits(power) - int32(whole << int32(23))))  # type: ignore
        value = (float32(1) - e) / (float32(1) + e)
        tanh[z] = value
        product[z] *= value


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _divide_out(tanh, product, magnitude):  # type: ignore[no-untyped-def]
    """magnitude = 2 artanh(product / tanh) = ln((tanh + product) / (tanh - product)) in LLR units."""
    for z in range(tanh.size):
        t = tanh[z]
        p = product[z]
        bits = _float_bits((t + p) / max(t - p, float32(2e-7)))  # type: ignore
        exponent = float32(int32(int32(bits >> int32(23)) - int32(127)))
        m = _bits_float(int32(int32(bits & int32(0x7FFFFF)) | int32(0x3F800000)))
        log2 = exponent + (_L0 + m * (_L1 + m * (_L2 + m * (_L3 + m * (_L4 + m * _L5)))))
        magnitude[z] = int16(int32(log2 * _LOG2_TO_LLR + float32(0.5)))


@njit(nogil=True, cache=True)
def _update(posterior, message, extrinsic, magnitude, sign):  # type: ignore[no-untyped-def]
    """message = magnitude with the sign of all other edges; posterior = extrinsic + message, clipped."""
    for z in range(posterior.size):
        t = extrinsic[z]
        flip = int16((sign[z] ^ t) >> 15)
        limited = max(int16(0), min(_CLIP, magnitude[z]))
        q = int16(int16(limited ^ flip) - flip)
        message[z] = q
        posterior[z] = max(int16(-_POSTERIOR_CLIP), min(_POSTERIOR_CLIP, int16(t + q)))


@njit(nogil=True, cache=True)
def _xor_signs(target, source):  # type: ignore[no-untyped-def]
    for z in range(target.size):
        target[z] ^= source[z]


@njit(nogil=True, cache=True)
def _has_wrong_parity(posterior, begin, end, column, shift, signs, work):  # type: ignore[no-untyped-def]
    """Whether any parity of the hard decisions differs from the syndrome; stops at the first bad layer."""
    circulant = posterior.shape[1]
    for r in range(begin.size):
        work[:] = signs[r]
        for e in range(begin[r], end[r]):
            s = shift[e]
            _xor_signs(work[: circulant - s], posterior[column[e], s:])
            _xor_signs(work[circulant - s :], posterior[column[e], :s])
        if work.min() < 0:
            return True
    return False


@njit(nogil=True, cache=True)
def _decode(posterior, messages, begin, end, column, shift, signs, max_iterations):  # type: ignore[no-untyped-def]
    """Iterate in place until all parities hold. Returns the iterations used.

    posterior: int16 [columns, circulant]; messages: int16 [edges, circulant]; begin, end: int64 [layers];
    signs: int16 [layers, circulant], 0 or -1 (syndrome bit 1).
    """
    circulant = posterior.shape[1]
    longest = (end - begin).max()
    extrinsic = np.empty((longest, circulant), np.int16)
    tanh = np.empty((longest, circulant), np.float32)
    product = np.empty(circulant, np.float32)
    sign = np.empty(circulant, np.int16)
    magnitude = np.empty(circulant, np.int16)
    for iteration in range(max_iterations):
        for r in range(begin.size):
            sign[:] = signs[r]
            product[:] = float32(1)
            for e in range(begin[r], end[r]):
                k = circulant - shift[e]
                bits, old, new = posterior[column[e]], messages[e], extrinsic[e - begin[r]]
                _subtract(bits[shift[e] :], old[:k], new[:k], sign[:k])
                _subtract(bits[: shift[e]], old[k:], new[k:], sign[k:])
                _multiply_tanh(new, tanh[e - begin[r]], product)
            for e in range(begin[r], end[r]):
                k = circulant - shift[e]
                bits, message, own = posterior[column[e]], messages[e], extrinsic[e - begin[r]]
                _divide_out(tanh[e - begin[r]], product, magnitude)
                _update(bits[shift[e] :], message[:k], own[:k], magnitude[:k], sign[:k])
                _update(bits[: shift[e]], message[k:], own[k:], magnitude[k:], sign[k:])
        if not _has_wrong_parity(posterior, begin, end, column, shift, signs, sign):
            return iteration + 1
    return max_iterations
