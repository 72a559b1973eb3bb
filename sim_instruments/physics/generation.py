"""Photo-events of one stretch of time, exactly as attenuated laser light makes them.

The light of a slot is Poissonian and splitting keeps it so: on the axis of slots, photo-events form a Poisson
process whose density is at most `envelope` per slot. Candidates are drawn with exponential gaps; the slot's symbol, a
counter hash, thins them. Several photons in a slot, and their coincidences, come out by themselves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_instruments.attacks.intercept_resend import resent_state
from sim_instruments.model import INTENSITIES
from sim_instruments.physics.symbols import SymbolLaw, symbol_of_slot

JITTER_LIMIT_SIGMA = 8.0


class Light(NamedTuple):
    """What the kernel needs to know of the light.

    cumulative: float64 [ROWS, OUTCOMES], running sums over outcomes of the mean number of photo-events in a slot.
    envelope: the largest row total. delay_ps, sigma_ps: float64 [OUTCOMES], from the slot's start to the click.
    channel: uint8 [OUTCOMES]. eve_key, eve_fraction: of the intercept-resend attack.
    """

    cumulative: NDArray[np.float64]
    envelope: float
    delay_ps: NDArray[np.float64]
    sigma_ps: NDArray[np.float64]
    channel: NDArray[np.uint8]
    eve_key: np.uint64
    eve_fraction: float


class Stretch(NamedTuple):
    """A stretch of light: from slot coordinate `first_slot + begin` to `first_slot + end`, where slot `first_slot`
    starts at `origin_ps` of the block's own time."""

    first_slot: int
    begin: float
    end: float
    origin_ps: float
    slot_ps: float


@njit(nogil=True, cache=True)
def photo_events(
    rng: np.random.Generator,
    stretch: Stretch,
    law: SymbolLaw,
    light: Light,
    time_ps: NDArray[np.float64],
    channel: NDArray[np.uint8],
    n: int,
) -> int:
    """Append photo-events to the buffers from index `n` on; returns the new count, or -1 if the buffers are too short.

    time_ps: float64 [capacity], block time, ordered but for jitter and delays of a few slots; channel: uint8
    [capacity].
    """
    if light.envelope <= 0.0:
        return n
    last = light.cumulative.shape[1] - 1
    x = stretch.begin
    while True:
        x += rng.standard_exponential() / light.envelope
        if x >= stretch.end:
            return n
        within = math.floor(x)
        slot = stretch.first_slot + np.int64(within)
        symbol = symbol_of_slot(slot, law)
        state = resent_state(slot, symbol & 15, light.eve_key, light.eve_fraction)
        row = (state & 3) * INTENSITIES + ((symbol >> 4) & 3)
        v = rng.random() * light.envelope
        if v >= light.cumulative[row, last]:
            continue
        k = 0
        while v >= light.cumulative[row, k]:
            k += 1
        if n >= time_ps.size:
            return -1
        spread = min(max(rng.standard_normal(), -JITTER_LIMIT_SIGMA), JITTER_LIMIT_SIGMA)
        time_ps[n] = stretch.origin_ps + within * stretch.slot_ps + light.delay_ps[k] + light.sigma_ps[k] * spread
        channel[n] = light.channel[k]
        n += 1


@njit(nogil=True, cache=True)
def sort_nearly_sorted(time_ps: NDArray[np.float64], channel: NDArray[np.uint8], n: int) -> None:
    """Insertion sort of the first `n` events in place: few are out of order, and by little."""
    for i in range(1, n):
        t, c = time_ps[i], channel[i]
        j = i - 1
        while j >= 0 and time_ps[j] > t:
            time_ps[j + 1], channel[j + 1] = time_ps[j], channel[j]
            j -= 1
        time_ps[j + 1], channel[j + 1] = t, c
