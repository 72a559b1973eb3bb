"""Compile or load every kernel of the twin before anybody waits for it. `python -m sim_instruments.warm_up`."""

from __future__ import annotations

import numpy as np

from sim_instruments.model import BenchModel
from sim_instruments.world import World


def warm_up() -> None:
    """Send and detect a microsecond of light in a throw-away world."""
    world = World(BenchModel())
    world.set_laser(0.060, True)
    world.set_intensity_level(0, 52_000)
    world.set_detector_enabled(True)
    world.set_detector_bias_a([world.bench.detectors.nominal_bias_a] * 4)
    world.start_session("0" * 16)
    world.set_transmitter_on(True)
    world.generate(300_000_000)
    world.symbols(np.arange(2, dtype=np.uint64))


if __name__ == "__main__":
    warm_up()
