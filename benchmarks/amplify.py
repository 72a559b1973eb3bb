"""Throughput of verification and privacy amplification, process CPU time on one core, in key bits.

./run python -m benchmarks.amplify [--bits 100000 1000000 10000000] [--ratio 0.25]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from postproc import amplification, verification
from postproc.bits import pack
from postproc.gf2 import HARDWARE, best_product


def best_cpu_s(function, repetitions: int = 3) -> float:
    """Shortest CPU time of a call, after one to compile."""
    function()
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return max(min(times), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--ratio", type=float, default=0.25, help="output bits per input bit")
    parser.add_argument("--portable", action="store_true", help="without the carry-less multiplication instruction")
    options = parser.parse_args()
    hardware = None if options.portable else best_product()
    rng = np.random.default_rng(1)
    for n in options.bits:
        m = round(n * options.ratio)
        key = rng.integers(0, 2, n, dtype=np.uint8)
        packed, seed = pack(key), pack(rng.integers(0, 2, n + m - 1, dtype=np.uint8))
        amplify_s = best_cpu_s(lambda k=key, s=seed, m=m: amplification.toeplitz_hash(k, s, m))
        verify_s = best_cpu_s(lambda p=packed, n=n: verification.hash_with(p, n, bytes(range(16)), hardware))
        print(
            f"n {n}  m {m}  product {'PCLMULQDQ' if hardware == HARDWARE else 'portable'}  "
            f"amplification {n / amplify_s / 1e6:.1f} Mbit/s  verification {n / verify_s / 1e6:.0f} Mbit/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
