"""Efficiency, frame error rate, iterations and throughput of the reconciliation, the code chosen before the block.

    ./run python -m benchmarks.reconcile [--points efficient:0.02:1000000 ...] [--frames 30] [--jobs 1] [--json]

The true QBER is unknown to both sides: the code and the decoder's prior come from the errors counted in
`--prior-blocks` earlier blocks of the same length (drawn anew for each block). f counts all that was disclosed, retries
and frames disclosed in full included, over n h(errors of the block / n). first_failures: frames that needed more than
the first syndrome; fer: share of the frames that were given up (disclosed in full) or decoded to other bits. mbit_s:
key bits over the process CPU time of all decoding of these bits on one core, failed attempts included. Frames run in
`--jobs` processes. f_bound: the normal approximation of finite-length coding at a frame error rate of 1e-2, with the
QBER known. --cascade adds rows of Cascade (both parties on one core), --peers the open decoders that are installed, on
a matrix of ours. With --json the last line is one JSON object with `rows`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.reconcile_peers import cascade_row, peer_rows
from postproc.reconciliation import (
    EFFICIENT,
    FAST,
    binary_entropy,
    choose_code,
    decode,
    extra_syndrome,
    frame,
    strengthen,
    syndrome,
)

PROFILES = {profile.name: profile for profile in (FAST, EFFICIENT)}
DEFAULT_POINTS = [
    f"{profile}:{qber}:{n}"
    for profile, n in (("efficient", 1_000_000), ("fast", 1_000_000), ("fast", 100_000))
    for qber in (0.01, 0.02, 0.03, 0.05, 0.08)
]


@dataclass(frozen=True)
class Outcome:
    """What became of one block, all its frames together."""

    first_failures: int
    lost: int  # frames disclosed in full
    undetected: int
    disclosed_bits: int
    entropy_bits: float
    iterations: int
    cpu_s: float
    frames: int


def one_block(profile: str, qber: float, bits: int, prior_blocks: int, seed: int) -> Outcome:
    """Reconcile one random block."""
    rng = np.random.default_rng([seed, bits, round(1e6 * qber)])
    key = rng.integers(0, 2, bits, dtype=np.uint8)
    noisy = key ^ (rng.random(bits) < qber).astype(np.uint8)
    expected = rng.binomial(prior_blocks * bits, qber) / (prior_blocks * bits)
    plan = choose_code(bits, expected, mode=PROFILES[profile], prior_bits=prior_blocks * bits)
    first_failures = lost = undetected = disclosed_bits = iterations = 0
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
            first_failures += now is plan
            disclosed, now = disclosed + extra_syndrome(now, stronger, sent), stronger
        lost += not result.is_success
        undetected += result.is_success and not np.array_equal(result.bits, sent)
        disclosed_bits += now.syndrome_bits if result.is_success else plan.frame_bits
    entropy = bits * binary_entropy(float(np.mean(key != noisy)))
    return Outcome(first_failures, lost, undetected, disclosed_bits, entropy, iterations, cpu_s, plan.frames)


def ldpc_row(point: str, options: argparse.Namespace, pool: ProcessPoolExecutor) -> dict[str, float | str | int]:
    """One point `profile:qber:n` of the table."""
    profile, qber, bits = point.split(":")
    run = partial(one_block, profile, float(qber), int(bits), options.prior_blocks)
    seeds = range(options.seed, options.seed + options.frames)
    outcomes = list(pool.map(run, seeds))
    frames = sum(o.frames for o in outcomes)
    entropy = sum(o.entropy_bits for o in outcomes)
    return {
        "profile": profile,
        "qber": float(qber),
        "n": int(bits),
        "f": round(sum(o.disclosed_bits for o in outcomes) / entropy, 4),
        "fer": sum(o.lost + o.undetected for o in outcomes) / frames,
        "frames": frames,
        "mbit_s": round(int(bits) * len(outcomes) / sum(o.cpu_s for o in outcomes) / 1e6, 2),
        "first_failures": sum(o.first_failures for o in outcomes),
        "undetected": sum(o.undetected for o in outcomes),
        "iterations": round(sum(o.iterations for o in outcomes) / frames, 1),
        "f_bound": round(finite_length_bound(int(bits), float(qber), 1e-2), 4),
        "prior_blocks": options.prior_blocks,
    }


def finite_length_bound(n: int, qber: float, frame_error_rate: float) -> float:
    """Least f of any code of length n on the binary symmetric channel (Polyanskiy, Poor, Verdu 2010, theorem 52):
    n h(q) + sqrt(n V) Q^-1(eps) - log2(n) / 2 bits, V = q (1 - q) log2((1 - q) / q)^2."""
    from scipy.special import ndtri

    dispersion = qber * (1 - qber) * math.log2((1 - qber) / qber) ** 2
    bits = n * binary_entropy(qber) - math.sqrt(n * dispersion) * ndtri(frame_error_rate) - math.log2(n) / 2
    return bits / (n * binary_entropy(qber))


def warm_up() -> None:
    """Compile before anything is timed."""
    one_block("fast", 0.02, 4096, 1, 0)


def show(row: dict[str, float | str | int]) -> dict[str, float | str | int]:
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="*", default=DEFAULT_POINTS, help="profile:qber:n")
    parser.add_argument("--frames", type=int, default=30, help="blocks per point")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--prior-blocks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cascade", nargs="*", default=[], metavar="QBER:N", help="rows of Cascade")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs, initializer=warm_up) as pool:
        rows = [show(ldpc_row(point, options, pool)) for point in options.points]
        for point in options.cascade:
            qber, n = point.split(":")
            rows.append(show(cascade_row(float(qber), int(n), options.frames, options.seed, pool)))
    if options.peers:
        rows += [show(row) for row in peer_rows()]
    if options.json:
        print(json.dumps({"benchmark": "reconcile", "rows": rows}))


if __name__ == "__main__":
    main()
