"""Syndrome decoding by layered belief propagation, vectorised over the circulant index.

Row-layered sum-product (Mansour and Shanbhag 2003; Hocevar 2004) with the exact check rule in its tanh form,
    tanh(|r_e| / 2) = product over the other edges of tanh(|t_i| / 2),
signs apart, including the syndrome bit. Log-likelihood ratios are int16 in units of 1/64; the product is float32 with
exp2 and log2 as polynomials on the bits of the float, so that LLVM vectorises them. Min-sum does not work on these
codes.

A column's ratios are kept in the rotation in which they were last used (`turn`): a check reads them with one rotating
copy, and everything after that runs over whole rows, padded to full vectors, without remainders. What the padding holds
is never read as a bit.

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
_VECTOR = 32  # rows are padded to a multiple of this many ratios: 64 bytes
_CLIP = int16(16 * LLR_SCALE)  # magnitude of a message
_POSTERIOR_CLIP = int16(16000)  # leaves room for one message in int16
_STALL_ITERATIONS = 25
_STALL_SHARE = 0.03
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
    posterior = padded(np.where(noisy, np.int16(-channel), np.int16(channel)).reshape(code.columns, code.circulant))
    messages = np.zeros((code.column.size, posterior.shape[1]), np.int16)
    turn = np.zeros(code.columns, np.int32)
    signs = padded(-layer_syndrome.astype(np.int16))
    iterations = _decode(
        posterior, messages, turn, begin, end, code.column, code.shift, signs, code.circulant, max_iterations
    )
    return (turned_back(posterior, turn, code.circulant) < 0).astype(np.uint8).ravel(), int(iterations)


def padded(rows: NDArray[np.int16]) -> NDArray[np.int16]:
    """Rows of int16, each filled up with zeros to whole vectors."""
    width = -(-rows.shape[1] // _VECTOR) * _VECTOR
    out = np.zeros((rows.shape[0], width), np.int16)
    out[:, : rows.shape[1]] = rows
    return out


def turned_back(posterior: NDArray[np.int16], turn: NDArray[np.int32], circulant: int) -> NDArray[np.int16]:
    """Columns in their natural rotation, without padding: entry z of column c is entry (z - turn[c]) mod Z of the
    stored one."""
    out = np.empty((posterior.shape[0], circulant), np.int16)
    _turn_back(posterior, turn, out)
    return out


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
def _copy(target, source):  # type: ignore[no-untyped-def]
    for z in range(target.size):
        target[z] = source[z]


@njit(nogil=True, cache=True)
def _turn_back(posterior, turn, out):  # type: ignore[no-untyped-def]
    circulant = out.shape[1]
    for c in range(out.shape[0]):
        _copy(out[c, turn[c] :], posterior[c, : circulant - turn[c]])
        _copy(out[c, : turn[c]], posterior[c, circulant - turn[c] : circulant])


@njit(nogil=True, cache=True)
def _subtract(extrinsic, message, sign):  # type: ignore[no-untyped-def]
    """extrinsic -= message; the top bit of `sign` collects the parity of the signs."""
    for z in range(extrinsic.size):
        t = int16(extrinsic[z] - message[z])
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
def _count_negative(values):  # type: ignore[no-untyped-def]
    count = 0
    for z in range(values.size):
        count += values[z] < 0
    return count


@njit(nogil=True, cache=True)
def _has_stalled(odd, iteration):  # type: ignore[no-untyped-def]
    """Whether the number of odd checks fell by less than _STALL_SHARE in the last _STALL_ITERATIONS iterations: belief
    propagation has come to a fixed point that is no codeword, and further iterations change nothing."""
    before = iteration - _STALL_ITERATIONS
    return before >= 0 and odd[iteration] > odd[before] * (1 - _STALL_SHARE)


@njit(nogil=True, cache=True)
def _has_wrong_parity(posterior, turn, begin, end, column, shift, signs, circulant, work):  # type: ignore[no-untyped-def]
    """Whether any parity of the hard decisions differs from the syndrome; stops at the first bad layer."""
    for r in range(begin.size):
        work[:] = signs[r]
        for e in range(begin[r], end[r]):
            c = column[e]
            s = (shift[e] - turn[c]) % circulant
            _xor_signs(work[: circulant - s], posterior[c, s:circulant])
            _xor_signs(work[circulant - s : circulant], posterior[c, :s])
        if work[:circulant].min() < 0:
            return True
    return False


@njit(nogil=True, cache=True)
def _decode(posterior, messages, turn, begin, end, column, shift, signs, circulant, max_iterations):  # type: ignore[no-untyped-def]
    """Iterate in place until all parities hold. Returns the iterations used.

    Rows are `width` >= circulant entries long. posterior: int16 [columns, width], column c rotated by turn[c] (int32,
    in place); messages: int16 [edges, width]; begin, end: int64 [layers]; signs: int16 [layers, width], 0 or -1
    (syndrome bit 1).
    """
    width = posterior.shape[1]
    longest = (end - begin).max()
    extrinsic = np.zeros((longest, width), np.int16)
    tanh = np.ones((longest, width), np.float32)
    product = np.empty(width, np.float32)
    sign = np.empty(width, np.int16)
    magnitude = np.empty(width, np.int16)
    odd = np.zeros(max_iterations, np.int64)
    for iteration in range(max_iterations):
        for r in range(begin.size):
            sign[:] = signs[r]
            product[:] = float32(1)
            for e in range(begin[r], end[r]):
                c = column[e]
                s = (shift[e] - turn[c]) % circulant
                turn[c] = shift[e]
                own = extrinsic[e - begin[r]]
                _copy(own[: circulant - s], posterior[c, s:circulant])
                _copy(own[circulant - s : circulant], posterior[c, :s])
                _subtract(own, messages[e], sign)
                _multiply_tanh(own, tanh[e - begin[r]], product)
            odd[iteration] += _count_negative(sign[:circulant])
            for e in range(begin[r], end[r]):
                _divide_out(tanh[e - begin[r]], product, magnitude)
                _update(posterior[column[e]], messages[e], extrinsic[e - begin[r]], magnitude, sign)
        if not _has_wrong_parity(posterior, turn, begin, end, column, shift, signs, circulant, sign):
            return iteration + 1
        if _has_stalled(odd, iteration):
            return iteration + 1
    return max_iterations
