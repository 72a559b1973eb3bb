"""Frames of a key, their syndromes as bytes, and decoding.

A syndrome is disclosed row by row; each row's parities are packed (postproc.bits) into ceil(circulant / 8) bytes with
the spare bits zero, so that what a stronger plan discloses later is simply appended. Spare bits carry nothing and are
not leakage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.reconciliation.codes import parities
from postproc.reconciliation.decoder import decode_layers
from postproc.reconciliation.profiles import profile
from postproc.reconciliation.rate_adaptation import CodePlan
from postproc.records import BitArray

_QBER_FOR_DECODING = (0.0005, 0.25)


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """Outcome for one frame. bits: uint8 [frame_bits]; they have exactly the given syndrome if, and only if,
    is_success.

    Success is not correctness: the verification hash decides about that.
    """

    is_success: bool
    bits: BitArray
    iterations: int


def frame(plan: CodePlan, key_bits: BitArray, index: int) -> BitArray:
    """Frame `index` of the key, uint8 [frame_bits], zero-padded at the end of the last frame (public knowledge)."""
    if not 0 <= index < plan.frames:
        raise InputOutOfRange(f"frame {index} is outside 0..{plan.frames - 1} of code {plan.name}")
    if key_bits.size > plan.frames * plan.frame_bits:
        raise InputOutOfRange(f"a key of {key_bits.size} bits is longer than the frames of code {plan.name}")
    part = key_bits[index * plan.frame_bits : (index + 1) * plan.frame_bits]
    out = np.zeros(plan.frame_bits, dtype=np.uint8)
    out[: part.size] = part
    return out


def syndrome(plan: CodePlan, frame_bits: BitArray) -> bytes:
    """Everything that `plan` discloses about a frame: plan.syndrome_bits bits."""
    return _pack_rows(parities(plan.code(), frame_bits, 0, plan.parity_rows))


def extra_syndrome(old: CodePlan, new: CodePlan, frame_bits: BitArray) -> bytes:
    """What `new` discloses beyond `old`, to be appended: new.syndrome_bits - old.syndrome_bits bits."""
    require_nested(old, new)
    return _pack_rows(parities(new.code(), frame_bits, old.parity_rows, new.parity_rows))


def require_nested(old: CodePlan, new: CodePlan) -> None:
    """Raise ProtocolViolation unless `new` is `old` with more rows split."""
    if replace(old, splits=new.splits) != new or new.splits <= old.splits:
        raise ProtocolViolation(f"code {new.name} does not follow from {old.name} by splitting rows")


def decode(
    plan: CodePlan,
    noisy_frame: BitArray,
    syndrome: bytes,
    qber: float,
    max_iterations: int | None = None,
) -> DecodeResult:
    """Find the frame that has `syndrome` (all that was disclosed so far) near `noisy_frame` (uint8 [frame_bits]).

    qber: the prior, clipped to 0.0005..0.25 (only the decoder's weights depend on it); max_iterations:
    instead of the profile's. Raises ProtocolViolation when
    the syndrome has the wrong length or spare bits set, InputOutOfRange when an argument is outside its limits. Safe to
    call from any number of threads.
    """
    if noisy_frame.shape != (plan.frame_bits,) or noisy_frame.dtype != np.uint8 or noisy_frame.max() > 1:
        raise InputOutOfRange(f"code {plan.name} decodes frames of {plan.frame_bits} bits as uint8 0 and 1")
    limit = profile(plan.profile).max_iterations if max_iterations is None else max_iterations
    if not (0 <= qber <= 0.5 and 1 <= limit <= 10_000):
        raise InputOutOfRange(f"QBER {qber} must lie in 0..0.5 and max_iterations {limit} in 1..10000")
    code = plan.code()
    disclosed = _unpack_rows(syndrome, plan)
    layers = disclosed.copy()
    layers[code.split_order[: plan.splits]] ^= disclosed[code.rows :]
    prior = min(max(qber, _QBER_FOR_DECODING[0]), _QBER_FOR_DECODING[1])
    bits, iterations = decode_layers(code, plan.splits, layers, noisy_frame, prior, limit)
    is_success = np.array_equal(parities(code, bits, 0, plan.parity_rows), disclosed)
    return DecodeResult(is_success, bits, iterations)


def _pack_rows(rows: BitArray) -> bytes:
    return np.packbits(rows, axis=1, bitorder="little").tobytes()


def _unpack_rows(data: bytes, plan: CodePlan) -> BitArray:
    """uint8 [parity_rows, circulant]."""
    row_bytes = (plan.circulant + 7) // 8
    if len(data) != plan.parity_rows * row_bytes:
        raise ProtocolViolation(
            f"a syndrome of code {plan.name} has {plan.parity_rows * row_bytes} bytes, not {len(data)}"
        )
    packed = np.frombuffer(data, dtype=np.uint8).reshape(plan.parity_rows, row_bytes)
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    if bits[:, plan.circulant :].any():
        raise ProtocolViolation(f"spare bits of a syndrome of code {plan.name} are set; they must be zero")
    return bits[:, : plan.circulant]
