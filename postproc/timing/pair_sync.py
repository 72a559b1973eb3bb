"""Frequency and offset between two stations that share photon pairs, from their tag streams alone.

After Ho, Lamas-Linares and Kurtsiefer, New J. Phys. 11, 045011 (2009):
1. Coarse: both streams become histograms of N bins folded over N bins, whose circular correlation (FFT) peaks at the
   offset, S = sqrt(N) c / sqrt(s_a s_b) sigmas above the rest (pair rate over singles): N grows until it stands out.
   A relative frequency y smears the peak by y N bins, so y is scanned in steps of 1/N.
2. Fine: offsets in an early and in a late window, from the histogram of time differences about the expected one; their
   change over the time between gives y. Each pass knows y better, so it can set the windows farther apart and take
   narrower bins, until these are as narrow as the detectors' jitter.
3. The last quarter of the record, which took no part, confirms: the coincidences must stand where they are predicted,
   as many sigmas above the accidentals as required. A search returns its best candidate whatever the record holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.timing.coincidences import ClockRelation
from postproc.timing.cross_correlation import cross_correlation

MIN_TAGS = 1_000
MIN_OFFSETS = 5  # the record must be so many times longer than the largest offset
SEARCH_SHARE = 0.75
FIRST_BITS, LAST_BITS = 18, 22  # coarse search: 2^18 bins, then 4 times as many, up to 2^22
MAX_FREQUENCY = 1e-4
MIN_COARSE_SIGMAS = 7.0  # of 2^22 bins times some hundred trial frequencies
MIN_FINE_SIGMAS = 4.5  # of 64 bins
MIN_CONFIRM_SIGMAS = 6.0
FINE_BINS = 64
SHRINK = 4  # of the bins from pass to pass
REACH_BINS = 20  # uncertainty of the late window's offset, bins
CONFIRM_REACH_BINS = 4  # how far from its prediction the peak may stand: the clocks wander on


@dataclass(frozen=True, slots=True)
class PairSync:
    """relation: of B's clock to A's; coarse_sigmas: of the peak over all lags and trial frequencies; confirm_sigmas,
    coincidences: in the last quarter of the record, above accidentals, and counted."""

    relation: ClockRelation
    coarse_sigmas: float
    confirm_sigmas: float
    coincidences: int


def synchronise_pairs(
    a_ps: NDArray[np.int64],
    b_ps: NDArray[np.int64],
    *,
    max_offset_ps: int,
    max_frequency: float,
    jitter_ps: int,
    max_bins: int = 1 << LAST_BITS,
) -> PairSync:
    """Relation of B's clock to A's.

    a_ps, b_ps: int64 ascending, at least 5 max_offset_ps long; max_offset_ps: between the stations' times of a pair,
    > 0; max_frequency: largest relative difference, 0..1e-4; jitter_ps: fwhm of the time differences, >= 1; max_bins:
    of the coarse search, 2^18..2^22, which bounds its time (some 10 s) and the weakest link.
    Raises InputOutOfRange for arguments, SynchronisationLost when no peak stands out, or the one found is not confirmed
    (also when the clocks wander off by more than 4 jitter_ps meanwhile: such need a shorter record).
    """
    _check(a_ps, b_ps, max_offset_ps, max_frequency, jitter_ps)
    if not 1 << FIRST_BITS <= max_bins <= 1 << LAST_BITS:
        raise InputOutOfRange(f"max_bins {max_bins}, allowed 2^{FIRST_BITS}..2^{LAST_BITS}")
    begin = int(a_ps[0])
    end = begin + int(SEARCH_SHARE * int(a_ps[-1] - begin))
    relation, sigmas, bins, width = _coarse(a_ps, b_ps, (begin, end), max_offset_ps, max_frequency, max_bins)
    first_b, last_b = relation.to_a(b_ps[[0, -1]]).tolist()
    begin, end = max(begin, first_b), min(int(a_ps[-1]), last_b)  # both stations recorded
    end = begin + int(SEARCH_SHARE * (end - begin))
    uncertainty = 1.0 / bins
    while width > jitter_ps:
        width = max(jitter_ps, width // SHRINK)
        relation, uncertainty = _refine(relation, a_ps, b_ps, begin, end, width, uncertainty)
    relation, _ = _refine(relation, a_ps, b_ps, begin, end, jitter_ps, uncertainty)
    confirm_sigmas, coincidences = _confirm(relation, a_ps, b_ps, end, jitter_ps)
    return PairSync(relation, sigmas, confirm_sigmas, coincidences)


def _check(
    a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], max_offset_ps: int, max_frequency: float, jitter_ps: int
) -> None:
    if min(a_ps.size, b_ps.size) < MIN_TAGS:
        raise SynchronisationLost(f"{a_ps.size} and {b_ps.size} tags, at least {MIN_TAGS} of each station needed")
    if not max_offset_ps > 0 or not 0 <= max_frequency <= MAX_FREQUENCY or jitter_ps < 1:
        raise InputOutOfRange(
            f"offset up to {max_offset_ps} ps (> 0), frequency up to {max_frequency} (0..{MAX_FREQUENCY}), "
            f"jitter {jitter_ps} ps (>= 1)"
        )
    span = min(int(a_ps[-1] - a_ps[0]), int(b_ps[-1] - b_ps[0]))
    if span < MIN_OFFSETS * max_offset_ps:
        raise InputOutOfRange(
            f"the record spans {span} ps, at least {MIN_OFFSETS} times the largest offset {max_offset_ps} ps needed"
        )


def _coarse(
    a_ps: NDArray[np.int64],
    b_ps: NDArray[np.int64],
    span: tuple[int, int],
    max_offset_ps: int,
    max_frequency: float,
    max_bins: int,
) -> tuple[ClockRelation, float, int, int]:
    """(relation, sigmas, number and width of bins) of the first N for which a peak stands out; span: of A's time."""
    begin, end = span
    sigmas, bins = 0.0, 1 << FIRST_BITS
    while bins <= max_bins:
        width = -(-5 * max_offset_ps // (2 * bins))  # 2.5 times the offset: both signs, and a margin
        stop = min(end, begin + bins * width)
        a = a_ps[: np.searchsorted(a_ps, stop)] - begin
        b = b_ps[slice(*np.searchsorted(b_ps, [begin - max_offset_ps, stop + max_offset_ps]))] - begin
        relation, sigmas = _scan(a, b, bins, width, max_frequency, max_offset_ps)
        if sigmas >= MIN_COARSE_SIGMAS:
            return replace(relation, origin_ps=begin), sigmas, bins, width
        bins *= 4
    raise SynchronisationLost(
        f"no peak in the correlation of {a_ps.size} and {b_ps.size} tags: {sigmas:.1f} sigmas with {bins // 4} bins, "
        f"at least {MIN_COARSE_SIGMAS} needed (pairs, largest offset and frequency difference?)"
    )


def _scan(
    a: NDArray[np.int64], b: NDArray[np.int64], bins: int, width: int, max_frequency: float, max_offset_ps: int
) -> tuple[ClockRelation, float]:
    """The best lag over all trial frequencies, and its sigmas above the other lags."""
    from scipy.fft import irfft, rfft

    spectrum = np.conj(rfft(_folded(a, bins, width)))
    steps = math.ceil(max_frequency * bins)
    allowed = np.zeros(bins, bool)
    reach = max_offset_ps // width + 1
    allowed[: reach + 1] = allowed[bins - reach :] = True
    best, relation = 0.0, ClockRelation(0.0)
    for step in range(-steps, steps + 1):
        y = step / bins
        moved = b - np.rint(b * y).astype(np.int64)
        correlation = irfft(rfft(_folded(moved, bins, width)) * spectrum, bins)
        correlation -= correlation.mean()
        top = int(np.where(allowed, correlation, -np.inf).argmax())
        sigmas = float(correlation[top] / max(correlation.std(), 1e-9))
        if sigmas > best:
            lag = top if top < bins // 2 else top - bins
            best, relation = sigmas, ClockRelation(float(lag * width), y)
    return relation, best


def _folded(time: NDArray[np.int64], bins: int, width: int) -> NDArray[np.float32]:
    return np.bincount((time // width) % bins, minlength=bins).astype(np.float32)


def _refine(
    relation: ClockRelation,
    a_ps: NDArray[np.int64],
    b_ps: NDArray[np.int64],
    begin: int,
    end: int,
    width: int,
    uncertainty: float,
) -> tuple[ClockRelation, float]:
    """A pass with bins of `width`: (better relation, what is left open of the relative frequency)."""
    span = end - begin
    window = min(span // 3, int(width / uncertainty))
    apart = min(span - window, int(REACH_BINS * width / uncertainty))
    early = _offset_in(relation, a_ps, b_ps, begin, begin + window, width)
    late = _offset_in(relation, a_ps, b_ps, begin + apart, begin + apart + window, width)
    slope = (late - early) / apart
    return (
        replace(
            relation,
            offset_ps=relation.offset_ps + early - slope * (window / 2),
            relative_frequency=relation.relative_frequency + slope,
        ),
        width / apart,
    )


def _offset_in(
    relation: ClockRelation, a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], begin: int, end: int, width: int
) -> float:
    """Mean difference of coincident clicks from what `relation` predicts, in [begin, end) of A's time, ps."""
    counts = _differences(relation, a_ps, b_ps, begin, end, width)
    pairs = counts[1:] + counts[:-1]  # a peak on the border of two bins counts fully
    top = int(pairs.argmax())
    background = float(np.median(counts))
    sigmas = (float(pairs[top]) - 2 * background) / math.sqrt(2 * background + 1)
    if sigmas < MIN_FINE_SIGMAS:
        raise SynchronisationLost(
            f"coincidences lost on the way to bins of {width} ps: {sigmas:.1f} sigmas between {begin} and {end} ps, at "
            f"least {MIN_FINE_SIGMAS} needed (record too short, few pairs, or a clock that jumps?)"
        )
    near = np.arange(max(0, top - 1), min(FINE_BINS, top + 3))
    excess = np.clip(counts[near] - background, 0, None)
    return float((excess * (near + 0.5)).sum() / excess.sum() - FINE_BINS / 2) * width


def _differences(
    relation: ClockRelation, a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], begin: int, end: int, width: int
) -> NDArray[np.int64]:
    """Histogram, FINE_BINS bins about zero, of B's time on A's clock minus A's time."""
    a = a_ps[slice(*np.searchsorted(a_ps, [begin, end]))]
    first = begin + round(relation.offset_ps + relation.relative_frequency * (begin - relation.origin_ps))
    margin = FINE_BINS * width
    b = b_ps[slice(*np.searchsorted(b_ps, [first - margin, first + (end - begin) + margin + (end - begin) // 1000]))]
    return cross_correlation(a, relation.to_a(b), start_ps=-FINE_BINS // 2 * width, bin_ps=width, bins=FINE_BINS)


def _confirm(
    relation: ClockRelation, a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], begin: int, jitter_ps: int
) -> tuple[float, int]:
    """(least sigmas, coincidences) of both halves of the fresh part: a clock that jumps in it is not confirmed.
    SynchronisationLost below the limit or off the prediction."""
    end = min(int(a_ps[-1]), int(relation.to_a(b_ps[-1:])[0]))
    middle = (begin + end) // 2
    least, total = math.inf, 0
    for half in ((begin, middle), (middle, end)):
        counts = _differences(relation, a_ps, b_ps, *half, jitter_ps)
        pairs = counts[1:] + counts[:-1]
        near = slice(FINE_BINS // 2 - 1 - CONFIRM_REACH_BINS, FINE_BINS // 2 + CONFIRM_REACH_BINS)
        background = float(np.delete(counts, np.arange(near.start - 4, near.stop + 5)).mean())
        coincidences = int(pairs[near].max())
        sigmas = (coincidences - 2 * background) / math.sqrt(2 * background + 1)
        if sigmas < MIN_CONFIRM_SIGMAS:
            raise SynchronisationLost(
                f"clock relation not confirmed on the last quarter of the record: {coincidences} coincidences within "
                f"{2 * jitter_ps} ps between {half[0]} and {half[1]} ps, {2 * background:.1f} expected by accident: "
                f"{sigmas:.1f} sigmas, at least {MIN_CONFIRM_SIGMAS} needed"
            )
        least, total = min(least, sigmas), total + coincidences
    return least, total
