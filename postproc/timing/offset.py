"""Which slot is slot 0: the public sync string is found in the tags.

The first L slots of a session carry symbols that Alice discloses. `find_onset` gives the rise from dark counts to
light, to some 10^5 slots; `find_offset` then
1. removes the phase of the pulse comb (modulo half a slot) by the circular mean of the tags about their gate centres,
2. for both positions of the half-slot ambiguity, gates the tags and correlates outcomes with the first half of the
   string for every lag, by FFT (Calderaro et al., PR Applied 13, 054041 (2020), without its compression), and
3. confirms the one best lag on the second half, which took no part in choosing it: an explicit significance and error
   ratio, because a search that returns its best candidate always returns something.

Only the key basis is used: it needs no interferometer in phase. The period must hold over the string: an error of a
quarter pulse spacing over L slots, 3*10^-7 for L = 2^18... 10^-6 for 2^17, is the outer limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.records import Basis, Gate
from postproc.symbols import split_symbols
from postproc.timing.clock import ClockSegment, pulse_phase

MIN_STRING_SLOTS = 1 << 10
MAX_STRING_SLOTS = 1 << 22
MAX_SEARCH_SLOTS = 1 << 22
MIN_SEARCH_Z = 7.0  # one in 10^12 lags of pure noise
MIN_CONFIRM_Z = 6.0
MAX_CONFIRM_QBER = 0.4  # above it the lag is no lag; what error ratio a link may have is not decided here
MIN_COMB_SIGNIFICANCE = 25.0
MIN_RATE_RISE = 3.0
MIN_ONSET_LOG_LIKELIHOOD = 25.0


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """slot_zero_time_ps: receiver time at which slot 0 begins; z_score: of the correlation peak over all lags;
    confirm_z: of the agreement on the second half of the string; qber: error ratio of the key basis there."""

    slot_zero_time_ps: float
    z_score: float
    confirm_z: float
    qber: float


def find_onset(time_ps: NDArray[np.int64], start_ps: int = 0) -> int:
    """Receiver time (ps) of the first tag after the rise from dark counts to light.

    time_ps: int64 [n] ascending, all tags from `start_ps` (when the tagger began) on. Maximum likelihood of one change
    between two Poisson rates. Raises SynchronisationLost when the tags show no such rise.
    """
    if time_ps.size < 2 or time_ps[0] < start_ps:
        raise SynchronisationLost(f"no onset of light: {time_ps.size} tags since {start_ps} ps")
    before = np.arange(time_ps.size, dtype=np.float64)
    after = time_ps.size - before
    lapse_before = np.maximum((time_ps - start_ps).astype(np.float64), 1.0)
    lapse_after = np.maximum((time_ps[-1] - time_ps).astype(np.float64), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(before > 0, before * np.log(before / lapse_before), 0.0) + after * np.log(after / lapse_after)
    gain[-min(50, time_ps.size // 2) :] = -np.inf  # a rate needs some tags
    best = int(np.argmax(gain))
    flat = time_ps.size * np.log(time_ps.size / max(1.0, float(time_ps[-1] - start_ps)))
    rise = (after[best] / lapse_after[best]) / (max(before[best], 1.0) / lapse_before[best])
    if gain[best] - flat < MIN_ONSET_LOG_LIKELIHOOD or rise < MIN_RATE_RISE:
        raise SynchronisationLost(
            f"no onset of light in {time_ps.size} tags: the best rise is {rise:.2f}-fold (at least {MIN_RATE_RISE} "
            "needed); the tagger must run before the transmitter starts its session"
        )
    return int(time_ps[best])


def find_offset(
    time_ps: NDArray[np.int64],
    channel: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
    *,
    onset_ps: int,
    period_ps: float,
    gates: tuple[Gate, ...],
    search_slots: int = 100_000,
) -> OffsetEstimate:
    """Receiver time of slot 0, from tags that cover the sync string on both sides of `onset_ps` +- search_slots.

    time_ps int64 [n] ascending, channel uint8 [n]; symbols uint8 [L]: the sync string; gates: those of the delay scan.
    Raises InputOutOfRange for arguments; SynchronisationLost when no lag is found or the found one is not confirmed.
    """
    _check(symbols, search_slots, period_ps, gates)
    length = symbols.size
    margin = int((search_slots + 2) * period_ps)
    window = slice(*np.searchsorted(time_ps, [onset_ps - margin, onset_ps + margin + int(length * period_ps)]))
    time, chan = time_ps[window], channel[window]
    clock = _aligned_to_comb(time, chan, gates, ClockSegment(0, onset_ps, 0.0, period_ps))
    target = _key_targets(symbols)
    candidates = []
    for half in (0, 1):
        shifted = ClockSegment(0, clock.anchor_ps, clock.anchor_fraction_ps + half * period_ps / 2, period_ps)
        slot, value = _key_outcomes(time, chan, gates, shifted)
        lag, z_score = _best_lag(slot, value, target[: length // 2], search_slots)
        candidates.append((z_score, lag, slot, value, shifted))
    z_score, lag, slot, value, shifted = max(candidates, key=lambda candidate: candidate[0])
    if z_score < MIN_SEARCH_Z:
        raise SynchronisationLost(
            f"sync string not found: best correlation z = {z_score:.1f} over {2 * search_slots + 1} lags and both half "
            f"slots, {slot.size} gated key clicks; at least {MIN_SEARCH_Z} needed (gates, slot rate, lost start?)"
        )
    confirm_z, qber = _confirm(slot - lag, value, target)
    return OffsetEstimate(
        slot_zero_time_ps=shifted.anchor_ps + shifted.anchor_fraction_ps + lag * period_ps,
        z_score=z_score,
        confirm_z=confirm_z,
        qber=qber,
    )


def _check(symbols: NDArray[np.uint8], search_slots: int, period_ps: float, gates: tuple[Gate, ...]) -> None:
    if not MIN_STRING_SLOTS <= symbols.size <= MAX_STRING_SLOTS:
        raise InputOutOfRange(f"sync string of {symbols.size} slots, allowed {MIN_STRING_SLOTS}..{MAX_STRING_SLOTS}")
    if not 0 < search_slots <= MAX_SEARCH_SLOTS:
        raise InputOutOfRange(f"search_slots {search_slots}, allowed 1..{MAX_SEARCH_SLOTS}")
    if not period_ps > 0 or not any(gate.basis == Basis.Z for gate in gates):
        raise InputOutOfRange(f"period {period_ps} ps must be positive and at least one gate of the key basis given")


def _aligned_to_comb(
    time: NDArray[np.int64], channel: NDArray[np.uint8], gates: tuple[Gate, ...], clock: ClockSegment
) -> ClockSegment:
    phase = pulse_phase(time, channel, gates, clock)
    if phase.significance < MIN_COMB_SIGNIFICANCE:
        raise SynchronisationLost(
            f"no pulse comb at {clock.period_ps:.4f} ps in {phase.count} gated-channel tags around the onset: "
            f"significance {phase.significance:.1f}, at least {MIN_COMB_SIGNIFICANCE} needed"
        )
    return ClockSegment(0, clock.anchor_ps, phase.residual_ps, clock.period_ps)


def _key_targets(symbols: NDArray[np.uint8]) -> NDArray[np.float32]:
    """+1 for Z0, -1 for Z1, 0 for the test basis."""
    basis, bit, _ = split_symbols(symbols)
    return np.where(basis == Basis.Z, 1.0 - 2.0 * bit, 0.0).astype(np.float32)


def _key_outcomes(
    time: NDArray[np.int64], channel: NDArray[np.uint8], gates: tuple[Gate, ...], clock: ClockSegment
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(slot, +1 for bit 0 or -1 for bit 1) of the clicks in gates of the key basis, ordered by gate."""
    slots, values = [], []
    for gate in gates:
        if gate.basis != Basis.Z:
            continue
        moved = ClockSegment(
            clock.anchor_slot, clock.anchor_ps, clock.anchor_fraction_ps + gate.start_ps, clock.period_ps
        )
        slot, phase = moved.slots(time[channel == gate.channel])
        kept = slot[phase < gate.width_ps]
        slots.append(kept)
        values.append(np.full(kept.size, 1.0 - 2.0 * gate.bit, dtype=np.float32))
    return np.concatenate(slots), np.concatenate(values)


def _best_lag(
    slot: NDArray[np.int64], value: NDArray[np.float32], target: NDArray[np.float32], search_slots: int
) -> tuple[int, float]:
    """The lag with sum_i value[i + lag] target[i] greatest, |lag| <= search_slots, and its z score among all lags."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(target.size + 2 * search_slots + 1, real=True)
    index = slot + search_slots
    is_inside = (index >= 0) & (index < target.size + 2 * search_slots)
    received = np.zeros(size, np.float32)
    np.add.at(received, index[is_inside], value[is_inside])
    correlation = irfft(rfft(received) * np.conj(rfft(target, size)), size)[: 2 * search_slots + 1]
    correlation -= correlation.mean()
    best = int(correlation.argmax())
    spread = float(np.delete(correlation, best).std())
    return best - search_slots, float(correlation[best]) / max(spread, 1e-9)


def _confirm(slot: NDArray[np.int64], value: NDArray[np.float32], target: NDArray[np.float32]) -> tuple[float, float]:
    """(z of the agreement, error ratio) on the second half of the string. SynchronisationLost below the limits."""
    is_fresh = (slot >= target.size // 2) & (slot < target.size)
    product = target[slot[is_fresh]] * value[is_fresh]
    compared = int(np.count_nonzero(product))
    agreement = float(product.sum())
    confirm_z = agreement / np.sqrt(compared) if compared else 0.0
    qber = (compared - agreement) / (2 * compared) if compared else 0.5
    if confirm_z < MIN_CONFIRM_Z or qber > MAX_CONFIRM_QBER:
        raise SynchronisationLost(
            f"offset not confirmed on the second half of the sync string: z = {confirm_z:.1f} (at least "
            f"{MIN_CONFIRM_Z}), error ratio {qber:.3f} (at most {MAX_CONFIRM_QBER}) over {compared} clicks"
        )
    return float(confirm_z), float(qber)
