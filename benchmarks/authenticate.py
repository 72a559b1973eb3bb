"""One-time tags: throughput beside the hashes a computational suite would use, and what a round costs.

    python -m benchmarks.authenticate [--json]

CPU time of one core, best of five, messages of 1 KiB to 16 MiB. Poly1305 is evaluated by OpenSSL. The limit of any of
these is one pass over the message in memory, some tens of GB/s.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
from collections.abc import Callable

from controller.trust import wegman_carter

SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 24)
REPEATS = 5
ENOUGH_BYTES = 1 << 26


def gigabytes_per_s(work: Callable[[bytes], object], size: int) -> float:
    """Best of REPEATS, each long enough to be measured."""
    message = bytes(size)
    calls = max(1, ENOUGH_BYTES // size // 4)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(calls):
            work(message)
        best = min(best, time.process_time() - began)
    return calls * size / best / 1e9


def main() -> None:
    """Print a table, and with --json one line with `rows`."""
    pad = bytes(range(wegman_carter.PAD_BYTES))
    suites: dict[str, Callable[[bytes], object]] = {
        "poly1305 one-time": lambda message: wegman_carter.tag(pad, [message]),
        "hmac-sha-512": lambda message: hmac.digest(pad, message, "sha512"),
        "blake2b": lambda message: hashlib.blake2b(message).digest(),
    }
    rows = [
        {"suite": name, "bytes": size, "gb_s": round(gigabytes_per_s(work, size), 3)}
        for name, work in suites.items()
        for size in SIZES
    ]
    for row in rows:
        print(f"{row['suite']:>18}  {row['bytes']:>9} bytes  {row['gb_s']:>7} GB/s")
    if "--json" in sys.argv:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
