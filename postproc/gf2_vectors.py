"""Instructions that multiply in GF(2^128), generated for compiled kernels: 1, 2 or 4 field elements in one vector.

For a c = L + M X + H X^2 with X = x^64 and x^128 = r, r = x^7 + x^2 + x + 1: the upper half of H moves down into M as
M + H_high r, then the upper half of M joins the lower half of H, and (H_low + M_high) r + L + M_low X is the product:
six 64-bit carry-less products (folding with r as in Gueron and Kounavis, "Intel carry-less multiplication instruction
and its usage for computing the GCM mode", 2010, section "reduction"). Sums of products are reduced once.
postproc.gf2_field says what the operations mean and has their portable twins; use them from there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

Lanes = tuple[int, ...]

ROW = 8  # words in a row of four elements
FOLD = 0x87  # r

_I64, _I32, _I8 = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_INSTRUCTION = {1: "llvm.x86.pclmulqdq", 2: "llvm.x86.pclmulqdq.256", 4: "llvm.x86.pclmulqdq.512"}
_NEEDS = {1: {"pclmul"}, 2: {"pclmul", "vpclmulqdq", "avx2"}, 4: {"pclmul", "vpclmulqdq", "avx512f"}}


@lru_cache(maxsize=1)
def available_lanes() -> tuple[Lanes | None, ...]:
    """The instruction sets of the processor that kernels are compiled for, best first; None (portable) comes last."""
    configured = getattr(config, "CPU_FEATURES", None)  # NUMBA_CPU_FEATURES
    if configured is not None:
        features = {name[1:] for name in configured.split(",") if name.startswith("+")}
    else:
        features = {name for name, present in llvmlite.binding.get_host_cpu_features().items() if present}
    return (*((0,) * lanes for lanes in (4, 2, 1) if _NEEDS[lanes] <= features), None)


class _Vectors:
    """Instructions on vectors of `lanes` field elements."""

    def __init__(self, context: Any, builder: Any, lanes: int) -> None:
        self._context, self._builder, self._lanes = context, builder, lanes
        self.type = ir.VectorType(_I64, 2 * lanes)
        signature = ir.FunctionType(self.type, [self.type, self.type, _I8])
        self._clmul = builder.module.declare_intrinsic(_INSTRUCTION[lanes], (), signature)

    def address(self, array_type: Any, array: Any, word: Any) -> Any:
        data = self._context.make_array(array_type)(self._context, self._builder, array).data
        return self._builder.gep(data, [word])

    def load(self, address: Any) -> Any:
        return self._builder.load(self._builder.bitcast(address, self.type.as_pointer()), align=8)

    def store(self, vector: Any, address: Any) -> None:
        self._builder.store(vector, self._builder.bitcast(address, self.type.as_pointer()), align=8)

    def load_everywhere(self, address: Any) -> Any:
        """One element in every lane."""
        pair = ir.VectorType(_I64, 2)
        element = self._builder.load(self._builder.bitcast(address, pair.as_pointer()), align=8)
        return self._builder.shuffle_vector(element, element, self._pattern(0, 1, repeat=True))

    def products(self, a: Any, c: Any) -> tuple[Any, Any, Any]:
        """L, M, H of the module's docstring."""
        cross = self._builder.xor(self._multiply(a, c, 0x01), self._multiply(a, c, 0x10))
        return self._multiply(a, c, 0x00), cross, self._multiply(a, c, 0x11)

    def reduced(self, low: Any, middle: Any, high: Any) -> Any:
        b = self._builder
        fold = ir.Constant(self.type, [FOLD, 0] * self._lanes)
        lower_only = ir.Constant(self.type, [0, (1 << 64) - 1] * self._lanes)
        middle = b.xor(middle, self._multiply(high, fold, 0x01))
        swapped = b.shuffle_vector(middle, middle, self._pattern(1, 0))
        folded = self._multiply(b.xor(high, swapped), fold, 0x00)
        return b.xor(low, b.xor(b.and_(swapped, lower_only), folded))

    def _multiply(self, a: Any, b: Any, halves: int) -> Any:
        return self._builder.call(self._clmul, [a, b, _I8(halves)])

    def _pattern(self, first: int, second: int, repeat: bool = False) -> ir.Constant:
        steps = [0 if repeat else 2 * lane for lane in range(self._lanes)]
        return ir.Constant(ir.VectorType(_I32, 2 * self._lanes), [s + i for s in steps for i in (first, second)])


def _butterfly_code(inverse: bool) -> Any:
    """Code generator of one butterfly on rows of four elements, in 4 / lanes steps."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows_type, _, _, constants_type, _, lanes_type = signature.args
        rows, upper, lower, constants, at, _ = arguments
        vectors = _Vectors(context, builder, len(lanes_type))
        twice = builder.shl(at, at.type(1))
        constant = vectors.load_everywhere(vectors.address(constants_type, constants, twice))
        for word in range(0, ROW, 2 * len(lanes_type)):
            places = [
                vectors.address(rows_type, rows, builder.add(builder.mul(index, index.type(ROW)), index.type(word)))
                for index in (upper, lower)
            ]
            u, v = (vectors.load(place) for place in places)
            if inverse:
                v = builder.xor(u, v)
            u = builder.xor(u, vectors.reduced(*vectors.products(v, constant)))
            if not inverse:
                v = builder.xor(u, v)
            vectors.store(u, places[0])
            vectors.store(v, places[1])
        return context.get_dummy_value()

    return generate


@intrinsic
def butterfly_vectors(typing_context, rows, upper, lower, constants, at, lanes):  # type: ignore[no-untyped-def]
    """gf2_field.butterfly."""
    return types.void(rows, types.intp, types.intp, constants, types.intp, lanes), _butterfly_code(inverse=False)


@intrinsic
def inverse_butterfly_vectors(typing_context, rows, upper, lower, constants, at, lanes):  # type: ignore[no-untyped-def]
    """gf2_field.inverse_butterfly."""
    return types.void(rows, types.intp, types.intp, constants, types.intp, lanes), _butterfly_code(inverse=True)


@intrinsic
def correlate_vectors(typing_context, out, row, key, k, seed, s, count, lanes):  # type: ignore[no-untyped-def]
    """gf2_field.correlate."""
    signature = types.void(out, types.intp, key, types.intp, seed, types.intp, types.intp, lanes)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        out_type, _, key_type, _, seed_type, _, _, lanes_type = signature.args
        out, row, key, k, seed, s, count, _ = arguments
        vectors = _Vectors(context, builder, len(lanes_type))
        for word in range(0, ROW, 2 * len(lanes_type)):
            sums = [cgutils.alloca_once(builder, vectors.type) for _ in range(3)]  # type: ignore[no-untyped-call]
            for total in sums:
                builder.store(ir.Constant(vectors.type, None), total)
            with cgutils.for_range(builder, count) as loop:
                key_word = builder.mul(builder.add(k, loop.index), k.type(2))
                seed_word = builder.add(builder.mul(builder.add(s, loop.index), s.type(2)), s.type(word))
                element = vectors.load_everywhere(vectors.address(key_type, key, key_word))
                window = vectors.load(vectors.address(seed_type, seed, seed_word))
                for total, term in zip(sums, vectors.products(window, element), strict=True):
                    builder.store(builder.xor(builder.load(total), term), total)
            place = builder.add(builder.mul(row, row.type(ROW)), row.type(word))
            result = vectors.reduced(*(builder.load(total) for total in sums))
            vectors.store(result, vectors.address(out_type, out, place))
        return context.get_dummy_value()

    return signature, generate
