"""Growth of the post-processing with the block: both rounds in one process, no instruments, one thread.

    python -m benchmarks.block_growth [--json]

For blocks of 10^5 to 10^7 sifted key bits at QBER 0.02: seconds per stage (each stage runs once per side where both
need it), in total, per sifted bit, and the peak memory of the process. Linear growth means a constant last column but
one. The plan is that of the expected counts; the security parameter is large, so that the smallest block makes key too.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from postproc.finite_key.planning import plan_block
from postproc.messages import RoundOpen
from postproc.records import BlockCounts
from tests.postproc.back_to_back import OPEN, PARAMETERS, Link

SIFTED_BITS = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
SIFTING_RATIO = 0.25  # of detections with both in the key basis: both sides choose it with probability 1/2
INTENSITY_SHARES = (0.89, 0.11)  # of the detections: signal, decoy
LEAKAGE_RATIO = 0.17  # of the sifted bits, disclosed at this QBER
FEW_BITS = 60  # success bits of frames, error counts
SLOTS_PER_DETECTION = 60
QBER = 0.02
SEED = 2026


def opened(detections: int) -> RoundOpen:
    """A round for a block of this many detections."""
    fields = {name: getattr(OPEN, name) for name in OPEN.__struct_fields__}
    n = tuple(round(detections * SIFTING_RATIO * share) for share in INTENSITY_SHARES)
    m = tuple(round(QBER * count) for count in n)
    plan = plan_block(BlockCounts(n, n, m, m), PARAMETERS, round(LEAKAGE_RATIO * sum(n)) + FEW_BITS)
    fields |= {
        "slots": detections * SLOTS_PER_DETECTION,
        "secret_length_bits": plan.secret_length_bits,
        "leakage_budget_bits": plan.leakage_budget_bits,
        "min_single_photon_key": plan.min_single_photon_key,
        "max_phase_error": plan.max_phase_error,
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
            "  ".join(f"{name} {row[name]}" for name in ("sifted_bits", "total_s", "ns_per_bit", "peak_mb", "stages_s"))
        )
    if "--json" in sys.argv:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
