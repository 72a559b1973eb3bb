"""Detector delays and acceptance windows, from tags under a known repeating pattern.

The transmitter repeats a short pattern of states; the clicks of each channel, folded modulo the pattern's length, show
one peak per pulse position. The positions a channel should see are known: a detector behind the straight arm (key
basis) sees Z0 at the early and Z1 at the late position; a detector behind the interferometer sees each pulse twice, at
its own position and one pulse distance later. The circular correlation of histogram and expectation peaks at the
channel's delay. Patterns hold Z states only: X states interfere, with a phase that may not be set yet.

With a uniform pattern (all Z0) the interferometer's two peaks are equally high and half a slot stays ambiguous, and
delays are known modulo a slot only. `DELAY_PATTERN` is a maximal-length sequence of Z0 and Z1: it resolves delays up to
half its length, 12 ns at 1600 ps per slot. All delays are relative to the key channel; where the pattern begins in
receiver time is not needed, the offset search finds slot 0 in every session.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.records import Basis, Gate

DELAY_PATTERN = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1], dtype=np.uint8)
BINS_PER_PULSE = 80
MIN_TAGS_PER_CHANNEL = 500
MIN_PEAK_TO_BACKGROUND = 3.0
MIN_SIGNIFICANCE = 10.0
MIN_MARGIN_SIGMAS = 4.0
CAPTURE_RATIO = 0.995


@dataclass(frozen=True, slots=True)
class ChannelDelay:
    """One detector. delay_ps: relative to the key channel, in (-pattern/2, pattern/2]; fwhm_ps: full width at half
    maximum of its peak, background removed; significance: of the peak above the background,
    in sigmas; peak_to_background: counts per bin; captured: share of the pulse's counts inside the recommended gate."""

    channel: int
    delay_ps: float
    fwhm_ps: float
    significance: float
    peak_to_background: float
    captured: float


@dataclass(frozen=True, slots=True)
class DelayScan:
    """Delays per channel, the common gate width (ps), the gates they recommend, and the fold (ps per bin; counts per
    channel over one pulse distance) for the report. phase_ps: of the key channel's early pulses modulo the slot."""

    channels: tuple[ChannelDelay, ...]
    gate_width_ps: float
    gates: tuple[Gate, ...]
    bin_ps: float
    profiles: dict[int, NDArray[np.int64]]
    phase_ps: float

    @property
    def delays_ps(self) -> dict[int, float]:
        """Delay per channel, as `BlockCollector` takes it."""
        return {channel.channel: channel.delay_ps for channel in self.channels}


def scan_delays(
    time_ps: NDArray[np.int64],
    channel: NDArray[np.uint8],
    period_ps: float,
    *,
    key_channel: int,
    test_channels: tuple[int, int],
    pattern: NDArray[np.uint8] = DELAY_PATTERN,
) -> DelayScan:
    """Delay, width and gates of the key detector and of the two test detectors (bit 0, bit 1).

    time_ps int64 [n], channel uint8 [n]: tags while the transmitter repeats `pattern` (uint8 [p], 0 for Z0 and 1
    for Z1); period_ps: slot period as `recover_period` found it, good to a tenth of the jitter over the whole batch.
    Raises InputOutOfRange for arguments; SynchronisationLost, naming channel and reason, when a channel has too few
    tags, no peak above its background, or two delays that fit equally well.
    """
    if pattern.size == 0 or pattern.max() > 1 or not period_ps > 0:
        raise InputOutOfRange(f"pattern of {pattern.size} symbols (only 0 and 1 allowed), period {period_ps} ps (> 0)")
    peaks = {}
    for number in (key_channel, *test_channels):
        times = time_ps[channel == number]
        if times.size < MIN_TAGS_PER_CHANNEL:
            raise SynchronisationLost(
                f"delay scan: channel {number} has {times.size} tags, at least {MIN_TAGS_PER_CHANNEL} needed "
                "(is the detector on, its threshold set, light on it?)"
            )
        response = _response(pattern, is_interferometer=number != key_channel)
        peaks[number] = _find_peak(number, times - time_ps[0], period_ps, pattern.size, response)
    origin = peaks[key_channel].position_ps
    width = _common_width(peaks, period_ps)
    channels = tuple(
        _channel_delay(number, peak, origin, pattern.size * period_ps, width) for number, peak in peaks.items()
    )
    return DelayScan(
        channels=channels,
        gate_width_ps=width,
        gates=_gates(channels, width, period_ps, key_channel, test_channels),
        bin_ps=period_ps / (2 * BINS_PER_PULSE),
        profiles={number: peak.profile for number, peak in peaks.items()},
        phase_ps=float(origin % period_ps),
    )


@dataclass(frozen=True, slots=True)
class _Peak:
    """position_ps of slot 0 of the pattern in the fold; profile: counts over a pulse distance, centred on the pulse."""

    position_ps: float
    profile: NDArray[np.int64]
    bin_ps: float
    background: float
    significance: float


def _response(pattern: NDArray[np.uint8], *, is_interferometer: bool) -> NDArray[np.float64]:
    """Relative light at each of the 2p pulse positions of the repeating pattern."""
    light = np.zeros(2 * pattern.size)
    light[0::2] = pattern == 0
    light[1::2] = pattern == 1
    return (light + np.roll(light, 1)) / 2 if is_interferometer else light


def _find_peak(
    number: int, since: NDArray[np.int64], period_ps: float, slots: int, response: NDArray[np.float64]
) -> _Peak:
    bins = 2 * slots * BINS_PER_PULSE
    bin_ps = slots * period_ps / bins
    cycles = since / (slots * period_ps)
    fold = np.bincount(((cycles - np.floor(cycles)) * bins).astype(np.int64) % bins, minlength=bins)
    comb = fold.reshape(2 * slots, BINS_PER_PULSE).sum(0)
    centre = _circular_centre(comb)
    pulse_counts = np.roll(fold, BINS_PER_PULSE // 2 - round(centre)).reshape(2 * slots, BINS_PER_PULSE)
    profile = pulse_counts.sum(0)
    background = float(np.sort(profile)[: BINS_PER_PULSE // 4].mean())
    ratio = (profile.max() + 1) / (background + 1)
    significance = (profile.max() - background) / np.sqrt(background + 1)
    if ratio < MIN_PEAK_TO_BACKGROUND or significance < MIN_SIGNIFICANCE:
        raise SynchronisationLost(
            f"delay scan: channel {number} shows no peak: peak to background {ratio:.2f} (at least "
            f"{MIN_PEAK_TO_BACKGROUND}), {significance:.1f} sigmas (at least {MIN_SIGNIFICANCE}) in {since.size} tags "
            "(no light on this detector, wrong pattern, or the period drifted?)"
        )
    shift = _best_shift(number, pulse_counts.sum(1).astype(np.float64), response)
    position = (shift * BINS_PER_PULSE + round(centre) + _centroid(profile, background) + 0.5) * bin_ps
    return _Peak(position, profile, bin_ps, background, float(significance))


def _circular_centre(comb: NDArray[np.int64]) -> float:
    """Circular mean of the counts over one pulse distance, in bins 0..BINS_PER_PULSE."""
    angle = np.angle(np.sum(comb * np.exp(2j * np.pi * np.arange(comb.size) / comb.size)))
    return float(angle / (2 * np.pi) * comb.size) % comb.size


def _centroid(profile: NDArray[np.int64], background: float) -> float:
    """Mean position of the counts above background, in bins from the middle bin."""
    excess = np.clip(profile - background, 0, None)
    excess[excess < 0.1 * excess.max()] = 0
    return float((excess * (np.arange(profile.size) - profile.size // 2)).sum() / excess.sum())


def _best_shift(number: int, counts: NDArray[np.float64], response: NDArray[np.float64]) -> int:
    """Pulse position at which the pattern begins: greatest circular correlation; refuses a tie."""
    centred = response - response.mean()
    score = np.array([np.dot(np.roll(centred, shift), counts) for shift in range(counts.size)])
    best = int(score.argmax())
    noise = np.sqrt(np.dot(centred**2, np.full(counts.size, counts.mean()))) + 1e-9
    margin = (score[best] - np.delete(score, best).max()) / (np.sqrt(2) * noise)
    if margin < MIN_MARGIN_SIGMAS:
        raise SynchronisationLost(
            f"delay scan: channel {number} fits the pattern at two delays ({margin:.1f} sigmas apart, at least "
            f"{MIN_MARGIN_SIGMAS} needed): use a pattern without symmetry (DELAY_PATTERN), or more light"
        )
    return best


def _common_width(peaks: dict[int, _Peak], period_ps: float) -> float:
    """One width for all gates (equal acceptance in both bases): the widest that any channel needs for CAPTURE_RATIO."""
    widest = 0.0
    for peak in peaks.values():
        for bins in range(2, BINS_PER_PULSE + 1, 2):
            if _captured(peak, bins * peak.bin_ps) >= CAPTURE_RATIO:
                break
        widest = max(widest, bins * peak.bin_ps)
    return min(widest, 0.48 * period_ps)


def _captured(peak: _Peak, width_ps: float) -> float:
    """Share of the background-free counts within a window of this width about the centroid."""
    distance = np.abs(np.arange(BINS_PER_PULSE) - BINS_PER_PULSE // 2 - _centroid(peak.profile, peak.background))
    excess = peak.profile - peak.background
    return float(excess[distance * peak.bin_ps <= width_ps / 2].sum() / max(1.0, excess.sum()))


def _channel_delay(number: int, peak: _Peak, origin_ps: float, pattern_ps: float, width_ps: float) -> ChannelDelay:
    delay = (peak.position_ps - origin_ps + pattern_ps / 2) % pattern_ps - pattern_ps / 2
    above = np.flatnonzero(peak.profile - peak.background >= (peak.profile.max() - peak.background) / 2)
    return ChannelDelay(
        channel=number,
        delay_ps=float(delay),
        fwhm_ps=float((above[-1] - above[0] + 1) * peak.bin_ps),
        significance=peak.significance,
        peak_to_background=float((peak.profile.max() + 1) / (peak.background + 1)),
        captured=_captured(peak, width_ps),
    )


def _gates(
    channels: tuple[ChannelDelay, ...], width_ps: float, period_ps: float, key: int, test: tuple[int, int]
) -> tuple[Gate, ...]:
    """Early and late window of the key detector, the central (late) window of the test detectors."""
    delay = {channel.channel: channel.delay_ps for channel in channels}
    early, late = -width_ps / 2, period_ps / 2 - width_ps / 2
    return (
        Gate(key, early + delay[key], width_ps, Basis.Z, 0),
        Gate(key, late + delay[key], width_ps, Basis.Z, 1),
        Gate(test[0], late + delay[test[0]], width_ps, Basis.X, 0),
        Gate(test[1], late + delay[test[1]], width_ps, Basis.X, 1),
    )
