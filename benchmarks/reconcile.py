"""Efficiency, frame error rate, iterations and throughput of the reconciliation, code chosen blind from an expected
QBER.

    ./run python -m benchmarks.reconcile [--bits 1000000] [--frames 30] [--qber 0.01 0.02 0.03 0.05] [--sigmas 0]

Each block has independent errors at a true QBER that lies `sigmas` standard deviations of an estimate from one block of
the same size above the expected one. f counts what was disclosed, retries and full disclosures included, over n
h(observed QBER). Throughput is process CPU time of `decode` on one core, in key bits.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from postproc.reconciliation import binary_entropy, choose_code, decode, extra_syndrome, frame, strengthen, syndrome


def run(bits: int, blocks: int, expected: float, sigmas: float, seed: int) -> dict[str, float | str | int]:
    """Reconcile `blocks` blocks; returns the figures of one table row."""
    rng = np.random.default_rng(seed)
    true_qber = expected + sigmas * math.sqrt(expected * (1 - expected) / bits)
    plan = choose_code(bits, expected)
    decode_frames(plan, bits, expected, expected, rng)  # compile and build outside the measurement
    totals = np.zeros(6)
    for _ in range(blocks):
        totals += decode_frames(plan, bits, expected, true_qber, rng)
    first_failures, undetected, leak, entropy, iterations, cpu_s = totals
    frames = blocks * plan.frames
    return {
        "expected_qber": expected,
        "true_qber": round(true_qber, 5),
        "code": plan.name,
        "f_first": round(plan.frames * plan.syndrome_bits * blocks / entropy, 4),
        "f_total": round(leak / entropy, 4),
        "first_failures": int(first_failures),
        "undetected": int(undetected),
        "frames": frames,
        "iterations": round(iterations / frames, 1),
        "mbit_per_s": round(bits * blocks / cpu_s / 1e6, 2),
    }


def decode_frames(plan, bits, expected, true_qber, rng):
    """One block: (first failures, undetected errors, disclosed bits, n h(observed), iterations, cpu seconds)."""
    key = rng.integers(0, 2, bits, dtype=np.uint8)
    noisy = key ^ (rng.random(bits) < true_qber).astype(np.uint8)
    failures = undetected = leak = iterations = 0
    cpu_s = 0.0
    for i in range(plan.frames):
        sent, received = frame(plan, key, i), frame(plan, noisy, i)
        disclosed, now = syndrome(plan, sent), plan
        while True:
            start = time.process_time()
            result = decode(now, received, disclosed, expected)
            cpu_s += time.process_time() - start
            iterations += result.iterations
            stronger = None if result.is_success else strengthen(now)
            if stronger is None:
                break
            failures += now is plan
            disclosed, now = disclosed + extra_syndrome(now, stronger, sent), stronger
        leak += now.syndrome_bits if result.is_success else plan.frame_bits
        undetected += bool(result.is_success and not np.array_equal(result.bits, sent))
    return np.array(
        [failures, undetected, leak, bits * binary_entropy(float(np.mean(key != noisy))), iterations, cpu_s]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=30, help="blocks per QBER")
    parser.add_argument("--qber", type=float, nargs="+", default=[0.01, 0.02, 0.03, 0.05])
    parser.add_argument("--sigmas", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for expected in options.qber:
        row = run(options.bits, options.frames, expected, options.sigmas, options.seed)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
