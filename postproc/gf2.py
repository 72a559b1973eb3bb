"""Polynomials over GF(2) in 64-bit words: bit i of word j is the coefficient of x^(64 j + i).

The 64 x 64 bit carry-less product is PCLMULQDQ where the processor has it, and integer multiplication with holes
elsewhere. Kernels take the choice as their last argument, by type, so that both are compiled from the same source:
`HARDWARE` or None (portable). Everything here runs in a time that depends on lengths only, not on the bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types, uint64
from numba.core import config
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Words = NDArray[np.uint64]

HARDWARE = 1
"""Token for kernels: use PCLMULQDQ. The value is ignored; its type selects the code."""


@lru_cache(maxsize=1)
def best_product() -> int | None:
    """HARDWARE if the processor that kernels are compiled for has PCLMULQDQ, None otherwise."""
    configured = getattr(config, "CPU_FEATURES", None)  # NUMBA_CPU_FEATURES
    if configured is not None:
        return HARDWARE if "+pclmul" in configured.split(",") else None
    return HARDWARE if llvmlite.binding.get_host_cpu_features().get("pclmul", False) else None


def to_words(packed: bytes, words: int) -> Words:
    """Packed bits (postproc.bits) as uint64[words], zero-extended."""
    return np.frombuffer(packed.ljust(8 * words, b"\0"), dtype="<u8").astype(np.uint64)


def to_bytes(words: Words) -> bytes:
    """The inverse of `to_words`."""
    return words.astype("<u8").tobytes()


@intrinsic
def _pclmulqdq(typing_context, a, b):  # type: ignore[no-untyped-def]
    """(low, high) of the carry-less product of two uint64."""
    signature = types.UniTuple(types.uint64, 2)(types.uint64, types.uint64)  # type: ignore[no-untyped-call]

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pair, lane = ir.VectorType(ir.IntType(64), 2), ir.IntType(32)
        function_type = ir.FunctionType(pair, [pair, pair, ir.IntType(8)])
        function = builder.module.declare_intrinsic("llvm.x86.pclmulqdq", (), function_type)
        zero = ir.Constant(pair, [0, 0])
        operands = [builder.insert_element(zero, argument, lane(0)) for argument in arguments]
        result = builder.call(function, [*operands, ir.IntType(8)(0)])
        halves = [builder.extract_element(result, lane(i)) for i in (0, 1)]
        return context.make_tuple(builder, signature.return_type, halves)

    return signature, generate


@njit(nogil=True, cache=True)
def _low_product(a, b):  # type: ignore[no-untyped-def]
    """Low 64 bits of the carry-less product, by four-bit-spaced integers: a column sums at most 16 ones, and only the
    topmost column can reach 16, so that no carry spoils the lowest bit of another column."""
    m = uint64(0x1111111111111111)
    a0, a1, a2, a3 = a & m, a & (m << uint64(1)), a & (m << uint64(2)), a & (m << uint64(3))
    b0, b1, b2, b3 = b & m, b & (m << uint64(1)), b & (m << uint64(2)), b & (m << uint64(3))
    c0 = (a0 * b0) ^ (a1 * b3) ^ (a2 * b2) ^ (a3 * b1)
    c1 = (a0 * b1) ^ (a1 * b0) ^ (a2 * b3) ^ (a3 * b2)
    c2 = (a0 * b2) ^ (a1 * b1) ^ (a2 * b0) ^ (a3 * b3)
    c3 = (a0 * b3) ^ (a1 * b2) ^ (a2 * b1) ^ (a3 * b0)
    return (c0 & m) | (c1 & (m << uint64(1))) | (c2 & (m << uint64(2))) | (c3 & (m << uint64(3)))


@njit(nogil=True, cache=True)
def _reverse(x):  # type: ignore[no-untyped-def]
    """The 64 bits in reverse order."""
    x = ((x >> uint64(1)) & uint64(0x5555555555555555)) | ((x & uint64(0x5555555555555555)) << uint64(1))
    x = ((x >> uint64(2)) & uint64(0x3333333333333333)) | ((x & uint64(0x3333333333333333)) << uint64(2))
    x = ((x >> uint64(4)) & uint64(0x0F0F0F0F0F0F0F0F)) | ((x & uint64(0x0F0F0F0F0F0F0F0F)) << uint64(4))
    x = ((x >> uint64(8)) & uint64(0x00FF00FF00FF00FF)) | ((x & uint64(0x00FF00FF00FF00FF)) << uint64(8))
    x = ((x >> uint64(16)) & uint64(0x0000FFFF0000FFFF)) | ((x & uint64(0x0000FFFF0000FFFF)) << uint64(16))
    return (x >> uint64(32)) | (x << uint64(32))


@njit(nogil=True, cache=True)
def _portable(a, b):  # type: ignore[no-untyped-def]
    """(low, high) of the carry-less product; the high half is the low half of the reversed operands, reversed."""
    return _low_product(a, b), _reverse(_low_product(_reverse(a), _reverse(b))) >> uint64(1)


def carryless_product(a: Any, b: Any, hardware: int | None) -> tuple[Any, Any]:
    """(low, high) 64-bit halves of the carry-less product; outside compiled kernels portable whatever is asked for."""
    return _portable(a, b)


@overload(carryless_product)
def _choose_product(a, b, hardware):  # type: ignore[no-untyped-def]
    if isinstance(hardware, types.NoneType):
        return lambda a, b, hardware: _portable(a, b)
    return lambda a, b, hardware: _pclmulqdq(a, b)  # type: ignore[call-arg]
