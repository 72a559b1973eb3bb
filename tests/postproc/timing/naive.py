"""The gating rules once more, slowly: one slot at a time over the whole stream, nothing carried, nothing compiled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from postproc.records import Gate
from postproc.timing.clock import ClockSegment

Outcome = tuple[int, int]


def outcome_of(
    time_ps: int, channel: int, clock: ClockSegment, gates: Sequence[Gate], delays_ps: dict[int, int]
) -> tuple[int, Outcome | None]:
    """(slot, (basis, bit)) of a gated click, (slot, None) of an ungated one. All in exact units of 2^-40 ps."""
    period = exact(clock.period_ps)
    since = time_ps - clock.anchor_ps - exact(clock.anchor_fraction_ps)
    for gate in gates:
        if gate.channel == channel:
            begin = exact(gate.start_ps)
            slot = math.floor((since - begin) / period)
            if since - begin - slot * period < exact(gate.start_ps + gate.width_ps) - begin:
                return clock.anchor_slot + slot, (int(gate.basis), gate.bit)
    first = min(gate.start_ps - delays_ps.get(gate.channel, 0) for gate in gates)
    last = max(gate.start_ps - delays_ps.get(gate.channel, 0) + gate.width_ps for gate in gates)
    middle = exact(first - (clock.period_ps - (last - first)) / 2)
    return clock.anchor_slot + math.floor((since - delays_ps.get(channel, 0) - middle) / period), None


def exact(value_ps: float) -> Fraction:
    """What the kernels take a value for: a multiple of 2^-40 ps."""
    return Fraction(round(Fraction(value_ps) * 2**40), 2**40)


def detections(
    time_ps: Sequence[int],
    channel: Sequence[int],
    clock: ClockSegment,
    gates: Sequence[Gate],
    dead_ps: int,
    entropy: Sequence[int],
    delays_ps: dict[int, int],
) -> list[tuple[int, int, int]]:
    """(slot, basis, bit) of every detection; rules as in postproc.timing.gating."""
    slots: dict[int, set[Outcome]] = {}
    for time, number in zip(time_ps, channel, strict=True):
        slot, outcome = outcome_of(time, number, clock, gates, delays_ps)
        slots.setdefault(slot, set()).update([] if outcome is None else [outcome])
    dead = 0
    while dead * clock.period_ps < dead_ps - 1e-3 * clock.period_ps:
        dead += 1
    random = iter(entropy)
    found = []
    for slot, outcomes in sorted(slots.items()):
        if not outcomes or any(before in slots for before in range(slot - dead, slot)):
            continue
        byte = next(random) if len(outcomes) > 1 else 0
        bases = sorted({basis for basis, _ in outcomes})
        basis = bases[byte & 1] if len(bases) == 2 else bases[0]
        bits = sorted(bit for b, bit in outcomes if b == basis)
        found.append((slot, basis, bits[(byte >> 1) & 1] if len(bits) == 2 else bits[0]))
    return found
