"""Growth of the post-processing with the block: both rounds in one process, no instruments, one thread.

    python -m benchmarks.block_growth [--json]

For blocks of 10^5 to 10^7 sifted key bits at QBER 0.02: seconds per stage (each stage runs once per side where both
need it), in total, per sifted bit, and the peak memory of the process. Linear growth means a constant last column but
one. The acceptance thresholds are low and the security parameter large, so that the smallest block makes key too;
nothing of it is a claim of security.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from postproc.messages import RoundOpen
from tests.postproc.back_to_back import OPEN, Link

SIFTED_BITS = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
SIFTING_RATIO = 0.25  # of detections with both in the key basis: both sides choose it with probability 1/2
SECRET_RATIO = 0.2
SLOTS_PER_DETECTION = 60
QBER = 0.02
SEED = 2026


def opened(detections: int) -> RoundOpen:
    """A round for a block of this many detections."""
    fields = {name: getattr(OPEN, name) for name in OPEN.__struct_fields__}
    sifted = int(detections * SIFTING_RATIO)
    fields |= {
        "slots": detections * SLOTS_PER_DETECTION,
        "secret_length_bits": int(sifted * SECRET_RATIO),
        "leakage_budget_bits": sifted,
        "min_single_photon_key": 0,
        "max_phase_error": 0.5,
    }
    return RoundOpen(**fields)


def measure(sifted_bits: int) -> dict[str, object]:
    """One block of about this many sifted bits."""
    detections = int(sifted_bits / SIFTING_RATIO)
    link = Link(SEED, QBER, opened=opened(detections), detections=detections)
    began = time.process_time()
    link.run()
    total_s = time.process_time() - began
    if not all(finish.has_key for finish in link.finish.values()):
        raise SystemExit(f"no key from {sifted_bits} bits: {link.alice.reason or link.bob.reason}")
    n = link.alice.sifted_bits
    stages = {name.removesuffix("Job"): round(seconds, 3) for name, seconds in sorted(link.seconds.items())}
    return {
        "sifted_bits": n,
        "total_s": round(total_s, 2),
        "stages_s": stages,
        "ns_per_bit": round(total_s / n * 1e9, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Print a table, and with --json one line with `rows`."""
    measure(SIFTED_BITS[0])  # compile and build codes
    rows = []
    for sifted_bits in SIFTED_BITS:
        row = measure(sifted_bits)
        rows.append(row)
        print(
            f"{row['sifted_bits']:>10} bits  {row['total_s']:>6} s  {row['ns_per_bit']:>6} ns/bit  {row['peak_mb']:>5} MB  {row['stages_s']}"
        )
    if "--json" in sys.argv:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
