"""The gating rules once more, slowly: one click at a time over the whole stream, nothing carried, nothing compiled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from postproc.records import Gate
from postproc.timing.clock import ClockSegment


def outcome_of(time_ps: int, channel: int, clock: ClockSegment, gates: Sequence[Gate]) -> tuple[int, int, int] | None:
    """(slot, basis, bit) of a gated click, None for an ungated one."""
    for gate in gates:
        if gate.channel == channel:
            since = time_ps - clock.anchor_ps - clock.anchor_fraction_ps - gate.start_ps
            slot = math.floor(since / clock.period_ps)
            if since - slot * clock.period_ps < gate.width_ps:
                return clock.anchor_slot + slot, int(gate.basis), gate.bit
    return None


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
    clicks = []
    for time, number in zip(time_ps, channel, strict=True):
        clicks.append((time - delays_ps.get(number, 0), outcome_of(time, number, clock, gates)))
    clicks.sort(key=lambda click: click[0])
    groups: list[tuple[int, set[tuple[int, int]]]] = []
    last_click = -math.inf
    is_open = False
    for time, outcome in clicks:
        if outcome is None:
            is_open = False
        else:
            slot, basis, bit = outcome
            if is_open and groups[-1][0] == slot:
                groups[-1][1].add((basis, bit))
            elif time - last_click >= dead_ps and (not groups or slot > groups[-1][0]):
                groups.append((slot, {(basis, bit)}))
                is_open = True
        last_click = time
    random = iter(entropy)
    found = []
    for slot, outcomes in groups:
        byte = next(random) if len(outcomes) > 1 else 0
        bases = sorted({basis for basis, _ in outcomes})
        basis = bases[byte & 1] if len(bases) == 2 else bases[0]
        bits = sorted(bit for b, bit in outcomes if b == basis)
        found.append((slot, basis, bits[(byte >> 1) & 1] if len(bits) == 2 else bits[0]))
    return found
