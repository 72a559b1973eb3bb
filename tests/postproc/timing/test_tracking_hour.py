"""An hour of tracking with the clocks of real oscillators: the slot number is never wrong.

The hour is simulated batch by batch: of each batch (20 ms for quartz, 100 ms for better clocks) the filter gets the
phase of the comb, drawn as the circular mean of its clicks would be. That is equivalent to drawing the clicks: nothing
else of them reaches the filter (ClockTracker._track), and the mean of hundreds of independent clicks is Gaussian.
`test_phases_are_those_of_tags` compares the two on a stretch drawn tag by tag.
"""

from __future__ import annotations

import numpy as np
import pytest

from postproc.errors import SynchronisationLost
from postproc.timing.clock import PulsePhase
from postproc.timing.clock_filter import OVEN_QUARTZ, QUARTZ, RUBIDIUM, ClockFilter, ClockNoise
from postproc.timing.tracking import ClockTracker, require_no_slip
from tests.postproc.timing.clocks import OCXO, RUBIDIUM_CLOCK, TCXO, Oscillator, allan_deviation, frequencies
from tests.postproc.timing.light import gates
from tests.postproc.timing.sparse_light import SparseLight, sparse_tags

SPACING_PS = 800.0
JITTER_PS = 50.0


def worst_error_ps(
    oscillator: Oscillator, noise: ClockNoise, seconds: float, clicks_per_batch: float, seed: int,
    dark_s: tuple[float, float] = (0.0, 0.0), jump_ps: float = 0.0,
    batch_s: float = 0.01,
) -> float:  # fmt: skip
    """Largest true phase error of the prediction, ps, over all batches; dark_s: (from, to) without light; jump_ps: of
    the clock after 5 s. The true phase is never wrapped: a slip would show as 800 ps."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    steps = round(seconds / batch_s)
    y = frequencies(rng, oscillator, steps, batch_s)
    true_ps = np.concatenate([[0.0], np.cumsum(y) * batch_s * 1e12])
    true_ps[round(5 / batch_s) + 1 :] += jump_ps
    clicks = rng.poisson(clicks_per_batch, steps)
    error_ps = rng.normal(0, JITTER_PS, steps) / np.sqrt(np.maximum(clicks, 1))
    slots = round(batch_s * 1e12 / 1600)
    period_ps = 1600 * (1 + oscillator.offset + rng.normal(0, 1e-9))
    follow = ClockFilter(0.0, period_ps, period_sigma_ps=1600 * 2e-9, noise=noise, max_step_ps=100.0)
    worst, state = 0.0, follow.state
    for k in range(1, steps + 1):
        sent_ps = k * slots * 1600
        follow.advance(sent_ps + round(true_ps[k]) + 800)
        behind = sent_ps - state.anchor_slot * 1600  # at most a slot off: the same line
        off = true_ps[k] - (state.anchor_ps - (sent_ps - behind)) - state.fraction_ps
        worst = max(worst, abs(off))
        if not dark_s[0] <= k * batch_s < dark_s[1]:
            seen = (off + error_ps[k - 1] + SPACING_PS / 2) % SPACING_PS - SPACING_PS / 2
            follow.correct(PulsePhase(seen, 0.9, int(clicks[k - 1]), JITTER_PS / np.sqrt(max(clicks[k - 1], 1))))
        follow.require_certainty()
    return worst


@pytest.mark.parametrize(
    ("oscillator", "noise", "clicks", "batch_s"),
    [(TCXO, QUARTZ, 1200, 0.02), (OCXO, OVEN_QUARTZ, 600, 0.1), (RUBIDIUM_CLOCK, RUBIDIUM, 600, 0.1)],
)
def test_an_hour_without_a_slip(oscillator: Oscillator, noise: ClockNoise, clicks: float, batch_s: float) -> None:
    assert worst_error_ps(oscillator, noise, 3600.0, clicks, seed=1, batch_s=batch_s) < 100


@pytest.mark.parametrize(("oscillator", "adev"), [(TCXO, 5e-10), (OCXO, 7e-12), (RUBIDIUM_CLOCK, 3e-11)])
def test_the_oscillators_are_of_their_class(oscillator: Oscillator, adev: float) -> None:
    y = frequencies(np.random.default_rng(2), oscillator, 100_000, 0.01)
    assert allan_deviation(y, 100) == pytest.approx(adev, rel=0.5)


@pytest.mark.parametrize(("oscillator", "noise", "gap_s"), [(TCXO, QUARTZ, 0.05), (OCXO, OVEN_QUARTZ, 1.0)])
def test_a_gap_is_bridged_as_long_as_the_clock_allows(oscillator: Oscillator, noise: ClockNoise, gap_s: float) -> None:
    assert worst_error_ps(oscillator, noise, 20.0, 600, seed=3, dark_s=(10.0, 10.0 + gap_s)) < 250


@pytest.mark.parametrize(("oscillator", "noise"), [(TCXO, QUARTZ), (OCXO, OVEN_QUARTZ), (RUBIDIUM_CLOCK, RUBIDIUM)])
def test_lost_light_is_named_before_the_phase_is_uncertain(oscillator: Oscillator, noise: ClockNoise) -> None:
    with pytest.raises(SynchronisationLost, match="loss of signal: holdover exhausted"):
        worst_error_ps(oscillator, noise, 300.0, 600, seed=4, dark_s=(10.0, 300.0))


@pytest.mark.parametrize("jump_ps", [200.0, -350.0, 1000.0])
def test_a_step_is_named(jump_ps: float) -> None:
    with pytest.raises(SynchronisationLost, match="clock step"):
        worst_error_ps(OCXO, OVEN_QUARTZ, 10.0, 600, seed=5, jump_ps=jump_ps)


def test_a_slip_is_invisible_in_the_phase_and_named_by_the_errors() -> None:
    assert worst_error_ps(OCXO, OVEN_QUARTZ, 10.0, 600, seed=6, jump_ps=800.0) == pytest.approx(800, abs=20)
    require_no_slip(20, 1000)
    with pytest.raises(SynchronisationLost, match="slip: 490 errors in 1000"):
        require_no_slip(490, 1000)


def test_phases_are_those_of_tags() -> None:
    """A second of a 30 dB link tag by tag: residuals scatter as the simulated phases do."""
    light = SparseLight(1e-4, relative_offset=4e-6, key_share=0.5, dark_hz=300.0)
    tags, channel = sparse_tags(np.random.default_rng(7), light, 7, 0, 625_000_000, 1000.0)
    tracker = ClockTracker(1000.0, 1600 * (1 + 4e-6), gates(), batch_ps=10**10, wander=2e-11)
    residuals = [line.residual_ps for line in tracker.feed(tags, channel, int(tags[-1]) + 1)][10:]
    per_batch = tags.size / 100
    assert np.std(residuals) == pytest.approx(light.sigma_ps / np.sqrt(per_batch), rel=0.35)
