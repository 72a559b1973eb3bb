"""One link for most tests: bench and nodes go on between tests, and whatever a test has stopped is started again."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.link import NODES, Link

BENCH_SEED = 20261122
CALM: dict[str, float | bool] = {
    "fibre_cut": False,
    "polarization_jump": 0.0,
    "phase_jump": 0.0,
    "laser_fade": 1.0,
}


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Randomness of one test; its seed is printed, and can be given with QKD_E2E_SEED."""
    seed = int(os.environ.get("QKD_E2E_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"{request.node.name}: QKD_E2E_SEED={seed}, bench seed {BENCH_SEED}")
    return random.Random(seed)


@pytest.fixture
def workspace() -> Iterator[Path]:
    """A directory with a short path, as Unix sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="qkd"))
    yield folder / "w"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _shared_link() -> Iterator[Link]:
    folder = Path(tempfile.mkdtemp(prefix="qkd"))
    link = Link.make(folder / "w", seed=BENCH_SEED)
    try:
        link.start_bench()
        yield link
    finally:
        link.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def link(_shared_link: Link) -> Link:
    """The shared link: no fault anywhere, both nodes running, keys being made."""
    shared = _shared_link
    for name, value in CALM.items():
        shared.fault(name, value)
    shared.bench({"do": "attack", "name": None})
    for instrument in shared.bench({"do": "state"})["instruments"]:
        shared.instrument_fault(instrument, "none")
    shared.ensure_running(*NODES)
    shared.wait("a healthy link", shared.is_healthy)
    return shared
