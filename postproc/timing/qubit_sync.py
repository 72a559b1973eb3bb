"""Frequency and offset from the qubits alone: no clock channel, no onset, any offset within the record.

1. Period: the pulse comb in the first stretch of the record (postproc.timing.frequency).
2. The comb is followed through the record (postproc.timing.tracking), so that slots are counted without a slip
   although the clock wanders; their number is arbitrary, and half a slot is open.
3. Outcomes of the key basis are compared with the first two thirds of the public string at every lag and both half
   slots (postproc.timing.string_search).
4. The last third of the string, which took no part, confirms the one best lag or refuses it: a search that returns its
   best candidate always returns something.

How long the string must be: `string_slots_needed`. It grows as the loss does, because the clicks that fall under it are
what counts (Calderaro et al., PR Applied 13, 054041 (2020)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.records import Basis, Gate
from postproc.symbols import split_symbols
from postproc.timing.clock import ClockSegment, pulse_phase
from postproc.timing.frequency import PeriodEstimate, recover_period
from postproc.timing.gate_table import gate_table
from postproc.timing.gating import KEY_BITS, assign_slots
from postproc.timing.string_search import StringMatch, find_string
from postproc.timing.tracking import ClockTracker

PERIOD_TAGS = 100_000
PERIOD_SPAN_PS = 200_000_000_000  # 0.2 s: a quartz wanders by less than a quarter of the pulse spacing
MIN_PERIOD_TAGS = 1_000  # a longer span is used to have so many
BATCH_TAGS = 300  # per straight line, at least
MIN_BATCH_PS, MAX_BATCH_PS = 10**8, 10**10
SEARCH_SHARE = 2 / 3
MIN_SEARCH_Z = 7.0  # noise reaches it once in 10^12 lags
MIN_CONFIRM_Z = 6.0
MAX_CONFIRM_QBER = 0.15
MAX_LAGS = 1 << 32
MIN_STRING_SLOTS = 1 << 14
SAY_NOTHING = 2  # symbol of the test basis, for the search
DESIGN_SEARCH_Z, DESIGN_CONFIRM_Z = 10.0, 9.0  # expected values that leave three sigmas to the limits


@dataclass(frozen=True, slots=True)
class QubitSync:
    """slot_zero_time_ps: receiver time at which the string's first slot begins; period: of the slots, at the record's
    begin; period_ps: the same at the string; search_z, runner_up_z: of the best lag and the best other one; confirm_z,
    qber: of the last third of the string; clicks: under the part that was searched."""

    slot_zero_time_ps: float
    period: PeriodEstimate
    period_ps: float
    search_z: float
    runner_up_z: float
    confirm_z: float
    qber: float
    clicks: int


def string_slots_needed(
    key_clicks_per_slot: float, *, noise_share: float = 0.0, key_basis_probability: float = 0.75, qber: float = 0.03
) -> int:
    """Slots of sync string for which search and confirmation succeed with three sigmas to spare.

    key_clicks_per_slot: gated clicks of the key detectors, > 0; noise_share: of them, dark counts, 0..0.9;
    key_basis_probability: of the transmitter. Raises InputOutOfRange.
    """
    if not 0 < key_clicks_per_slot <= 1 or not 0 <= noise_share <= 0.9 or not 0 <= qber < 0.25:
        raise InputOutOfRange(
            f"{key_clicks_per_slot} key clicks per slot (0..1], noise share {noise_share} (0..0.9), "
            f"qber {qber} (0..0.25)"
        )
    if not 0.05 <= key_basis_probability <= 1:
        raise InputOutOfRange(f"key basis probability {key_basis_probability}, allowed 0.05..1")
    signal = (1 - noise_share) * (1 - 2 * qber)
    chance = key_basis_probability / 2
    search_clicks = (DESIGN_SEARCH_Z / signal) ** 2 * (1 - chance) / chance
    confirm_clicks = (DESIGN_CONFIRM_Z / signal) ** 2 / key_basis_probability
    return math.ceil(max(search_clicks / SEARCH_SHARE, confirm_clicks / (1 - SEARCH_SHARE)) / key_clicks_per_slot)


def synchronise(
    time_ps: NDArray[np.int64],
    channel: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
    *,
    nominal_period_ps: float,
    search_ppm: float,
    gates: tuple[Gate, ...],
    channel_delays_ps: Mapping[int, float],
    wander: float = 1e-9,
) -> QubitSync:
    """Find the string `symbols` (uint8 [L]) anywhere in the record; light must be on all through it.

    time_ps int64 [n] ascending, channel uint8 [n]; nominal_period_ps: as the transmitter is set, true to search_ppm;
    gates, channel_delays_ps: of the delay scan; wander: of the clocks, see ClockTracker. Raises InputOutOfRange for
    arguments; SynchronisationLost when there is no comb, no lag stands out, or the best one is not confirmed.
    """
    if symbols.size < MIN_STRING_SLOTS:
        raise InputOutOfRange(f"sync string of {symbols.size} slots, at least {MIN_STRING_SLOTS}")
    if time_ps.size == 0 or not any(gate.basis == Basis.Z for gate in gates):
        raise InputOutOfRange(f"{time_ps.size} tags (> 0) and gates {gates}: at least one of the key basis needed")
    delays = np.zeros(256, np.int64)
    for number, delay in channel_delays_ps.items():
        delays[number] = round(delay)
    period = recover_period(_first_stretch(time_ps - delays[channel]), nominal_period_ps, search_ppm)
    lines = _followed(time_ps, channel, gates, period, wander)
    target = _targets(symbols)
    searched = target[: int(SEARCH_SHARE * target.size)]
    candidates = []
    for half in (0.0, 0.5):
        shifted = [_shifted(line, half) for line in lines]
        slot, outcome = _key_outcomes(time_ps, channel, shifted, gates, channel_delays_ps)
        candidates.append((_search(slot, outcome, searched, target.size), slot, outcome, shifted))
    match, slot, outcome, shifted = max(candidates, key=lambda candidate: candidate[0].z_score)
    if match.z_score < MIN_SEARCH_Z:
        raise SynchronisationLost(
            f"sync string of {symbols.size} slots not found in {time_ps[-1] - time_ps[0]} ps: best z "
            f"{match.z_score:.1f} over all lags and both half slots, at least {MIN_SEARCH_Z} needed, {match.clicks} "
            "key clicks under it "
            "(longer string, more light, right gates?)"
        )
    confirm_z, qber = _confirmed(slot - match.lag, outcome, target, searched.size)
    line = min(shifted, key=lambda line: abs(line.anchor_slot - match.lag))
    return QubitSync(
        slot_zero_time_ps=line.anchor_ps + (line.anchor_fraction_ps + (match.lag - line.anchor_slot) * line.period_ps),
        period=period,
        period_ps=line.period_ps,
        search_z=match.z_score,
        runner_up_z=min(match.runner_up_z, match.z_score),
        confirm_z=confirm_z,
        qber=qber,
        clicks=match.clicks,
    )


def _first_stretch(corrected: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tags for the period: those of 0.2 s, but not fewer than a thousand nor more than 10^5."""
    ordered = np.sort(corrected)
    count = int(np.searchsorted(ordered, ordered[0] + PERIOD_SPAN_PS))
    return ordered[: min(max(count, MIN_PERIOD_TAGS), PERIOD_TAGS)]


def _followed(
    time_ps: NDArray[np.int64],
    channel: NDArray[np.uint8],
    gates: tuple[Gate, ...],
    period: PeriodEstimate,
    wander: float,
) -> tuple[ClockSegment, ...]:
    """Straight lines through the record; slot 0 begins near its first tag, half a slot is open."""
    first = min(time_ps.size, BATCH_TAGS)
    start = ClockSegment(0, int(time_ps[0]), 0.0, period.period_ps)
    phase = pulse_phase(time_ps[:first], channel[:first], gates, start)
    span = float(time_ps[-1] - time_ps[0])
    batch_ps = int(min(max(span * BATCH_TAGS / time_ps.size, MIN_BATCH_PS), MAX_BATCH_PS))
    tracker = ClockTracker(
        float(phase.residual_ps), period.period_ps, gates,
        period_sigma_ps=max(3 * period.sigma, 1e-7), batch_ps=batch_ps, wander=wander,
        max_step_ps=period.period_ps / 16,
    )  # fmt: skip
    tracker.state.anchor_ps += int(time_ps[0])
    return tracker.feed(time_ps, channel, int(time_ps[-1]) + 1)


def _shifted(line: ClockSegment, half: float) -> ClockSegment:
    return replace(line, anchor_fraction_ps=line.anchor_fraction_ps + half * line.period_ps)


def _key_outcomes(
    time_ps: NDArray[np.int64],
    channel: NDArray[np.uint8],
    lines: Sequence[ClockSegment],
    gates: tuple[Gate, ...],
    channel_delays_ps: Mapping[int, float],
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(slot int64 [n] ascending, outcome uint8 [n]) of the clicks in gates of the key basis."""
    pieces = []
    table = gate_table(gates, lines[0].period_ps, dict(channel_delays_ps))
    for line in lines:
        if not table.fits(line.period_ps):
            table = gate_table(gates, line.period_ps, dict(channel_delays_ps))
        part = slice(line.start, line.stop)
        pieces.append(assign_slots(time_ps[part], channel[part], line, table))
    clicks = np.sort(np.concatenate(pieces))
    key = clicks[(clicks & 3) != 0]
    return key >> KEY_BITS, ((key & 3) - 1).astype(np.uint8)


def _targets(symbols: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bit of the key basis, SAY_NOTHING for the test basis."""
    basis, bit, _ = split_symbols(symbols)
    return np.where(basis == Basis.Z, bit, np.uint8(SAY_NOTHING)).astype(np.uint8)


def _search(
    slot: NDArray[np.int64], outcome: NDArray[np.uint8], searched: NDArray[np.uint8], string_slots: int
) -> StringMatch:
    """All lags at which the whole string lies in the record."""
    if slot.size == 0:
        raise SynchronisationLost("no click lies in a gate of the key basis (gates, delays, light?)")
    first, lags = int(slot[0]) - 64, int(slot[-1] - slot[0]) - string_slots + 128
    if not 1 <= lags <= MAX_LAGS:
        raise SynchronisationLost(
            f"the record spans {slot[-1] - slot[0]} slots, the string {string_slots}: {lags} lags, "
            f"allowed 1..{MAX_LAGS}"
        )
    return find_string(slot, outcome, searched, first, lags)


def _confirmed(
    slot: NDArray[np.int64], outcome: NDArray[np.uint8], target: NDArray[np.uint8], searched: int
) -> tuple[float, float]:
    """(z of the agreement, error ratio) on the part that was not searched. SynchronisationLost below the limits."""
    is_fresh = (slot >= searched) & (slot < target.size)
    said = target[slot[is_fresh]]
    is_compared = said != SAY_NOTHING
    compared = int(np.count_nonzero(is_compared))
    wrong = int(np.count_nonzero(said[is_compared] != outcome[is_fresh][is_compared]))
    confirm_z = (compared - 2 * wrong) / math.sqrt(compared) if compared else 0.0
    qber = wrong / compared if compared else 0.5
    if confirm_z < MIN_CONFIRM_Z or qber > MAX_CONFIRM_QBER:
        raise SynchronisationLost(
            f"offset not confirmed on the last third of the sync string: z = {confirm_z:.1f} (at least "
            f"{MIN_CONFIRM_Z}), error ratio {qber:.3f} (at most {MAX_CONFIRM_QBER}) over {compared} clicks"
        )
    return confirm_z, qber
