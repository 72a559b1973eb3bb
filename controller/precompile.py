"""Compile every kernel into numba's cache, with progress: `python -m controller.precompile`, called by ./run.

Each entry is a public function called once on tiny input with the types of real input; what numba compiles then is what
a run uses. The twin's kernels are compiled in a process of their own: the controller never imports the simulation.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np


def main() -> int:
    """Compile all; returns the exit code: 0, or 1 when the twin's kernels do not compile."""
    for number, (name, compile_it) in enumerate(KERNELS, start=1):
        start_s = time.monotonic()
        print(f"  kernels {number}/{len(KERNELS) + 1}: {name} ...", end="", file=sys.stderr, flush=True)
        compile_it()
        print(f" {time.monotonic() - start_s:.1f} s", file=sys.stderr)
    print(f"  kernels {len(KERNELS) + 1}/{len(KERNELS) + 1}: simulated light ...", end="", file=sys.stderr, flush=True)
    start_s = time.monotonic()
    done = subprocess.run([sys.executable, "-P", "-m", "sim_instruments.warm_up"], check=False)
    print(f" {time.monotonic() - start_s:.1f} s", file=sys.stderr)
    return 1 if done.returncode else 0


def _tag_streams() -> None:
    from drivers.time_taggers.tag_merge import TagMerger

    merger = TagMerger((1, 2), patience_ps=1)
    for channel in (1, 2):
        merger.add(channel, np.arange(4, dtype=np.int64))
        merger.end(channel)
    merger.take()


def _tag_files() -> None:
    from drivers.files.pulse_period import BINS, count_differences

    count_differences(np.arange(8, dtype=np.int64), 0, np.zeros(BINS, np.int64))


def _look_ups() -> None:
    from drivers.modulators.crc32c import crc32c

    crc32c(b"123456789")


def _slot_numbers() -> None:
    from postproc.slot_coding import decode_deltas, encode_deltas

    decode_deltas(encode_deltas(np.array([3, 9], dtype=np.int64), -1), 2, -1, 100)


def _gating() -> None:
    from postproc import sifting
    from postproc.records import Basis, Gate
    from postproc.timing.blocks import BlockCollector
    from postproc.timing.clock import ClockSegment

    gates = (Gate(1, 0.0, 100.0, Basis.Z, 0), Gate(1, 800.0, 100.0, Basis.Z, 1))
    collector = BlockCollector(0, 10, gates=gates, common_dead_time_ps=0, channel_delays_ps={2: 1600.0})
    time_ps, channel = np.array([50, 2450, 2451], dtype=np.int64), np.array([1, 1, 2], np.uint8)
    collector.feed(time_ps, channel, ClockSegment(0, 0, 0.0, 1600.0, 0, 3, 3200), np.zeros(4, np.uint8))
    sifting.sift_alice(np.zeros(2, np.uint8), np.zeros(2, np.uint8))


def _reconciliation() -> None:
    from postproc.reconciliation.frames import decode, frame, syndrome
    from postproc.reconciliation.rate_adaptation import choose_code

    plan = choose_code(20_000, 0.02)
    bits = frame(plan, np.zeros(20_000, np.uint8), 0)
    noisy = bits.copy()
    noisy[:: plan.frame_bits // 8] ^= 1
    decode(plan, noisy, syndrome(plan, bits), 0.02)


def _verification() -> None:
    from postproc.verification import self_test

    self_test()


def _amplification() -> None:
    from postproc.amplification import self_test

    self_test()


KERNELS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("tag streams", _tag_streams),
    ("tag files", _tag_files),
    ("look-ups", _look_ups),
    ("slot numbers", _slot_numbers),
    ("gating", _gating),
    ("reconciliation", _reconciliation),
    ("verification", _verification),
    ("privacy amplification", _amplification),
)


if __name__ == "__main__":
    sys.exit(main())
