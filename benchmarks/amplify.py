"""Throughput of privacy amplification (and of the verification hash), and of peers in the same run.

    ./run python -m benchmarks.amplify [--bits 1000 1000000 100000000] [--ratio 0.5] [--lanes 1] [--peers] [--json]

Process CPU time on one core in input bits, the best of several calls; every row is measured in a fresh process, whose
peak resident memory (Python and libraries included) is given. mbit_s is packed bits to packed bits, bits_mbit_s the
same with an array element for every bit. exact: two fingerprints of the whole output agree with those computed from the
definition of the hash modulo random polynomials (benchmarks.toeplitz_fingerprint). With --peers, scipy's float64 FFT
and, where it is installed (it is no requirement of this software), cryptomite are measured up to the sizes that they
can take, and `exact` says whether they give the same bits. With --json the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
PEER_LIMIT = {"scipy float64 FFT": 10_000_000, "cryptomite": 1_000_000}
COLUMNS = {  # widths
    **{"n": 9, "m": 9, "method": 19},
    **{"mbit_s": 8, "bits_mbit_s": 11, "verification_mbit_s": 19, "peak_mb": 8, "exact": 5},
}


def best_cpu_s(function, longest_s: float = 2.0) -> float:
    """Shortest CPU time of a call, after one to compile and warm up: at most 30 calls, none begun after longest_s."""
    function()
    begin, times = time.process_time(), []
    while not times or (len(times) < 30 and time.process_time() - begin < longest_s):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return max(min(times), 1e-9)


def random_input(n: int, m: int) -> tuple[bytes, bytes]:
    """Packed key of n bits and packed seed, the same in every process."""
    rng = np.random.default_rng(n + m)
    packed = []
    for bits in (n, n + m - 1):
        data = bytearray(rng.bytes((bits + 7) // 8))
        data[-1] &= (1 << ((bits - 1) % 8 + 1)) - 1
        packed.append(bytes(data))
    return packed[0], packed[1]


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def mbit_s(n: int, seconds: float) -> float:
    return round(n / seconds / 1e6, 2)


def measure_own(n: int, m: int, lanes_wanted: int | None) -> tuple[dict, str]:
    """A table row, and the SHA-256 of the secret bits."""
    from benchmarks.toeplitz_fingerprint import fingerprint, fingerprint_of_hash
    from postproc import amplification, verification
    from postproc.bits import unpack
    from postproc.gf2_vectors import available_lanes

    lanes = available_lanes()[0] if lanes_wanted is None else ((0,) * lanes_wanted or None)
    if lanes not in available_lanes():
        raise SystemExit(f"this processor cannot multiply in {lanes_wanted} lanes")
    key, seed = random_input(n, m)
    packed_s = best_cpu_s(lambda: amplification.hash_with(key, n, seed, m, lanes))
    memory = peak_mb()
    secret = amplification.hash_with(key, n, seed, m, lanes)
    moduli = [int(x) | 1 for x in np.random.default_rng().integers(0, 1 << 64, 2, dtype=np.uint64)]
    row = {
        "n": n,
        "m": m,
        "method": "portable" if lanes is None else f"PCLMULQDQ, {128 * len(lanes)} bits",
        "mbit_s": mbit_s(n, packed_s),
        "peak_mb": memory,
        "exact": all(fingerprint(secret, m, f) == fingerprint_of_hash(key, n, seed, m, f) for f in moduli),
        "verification_mbit_s": mbit_s(n, best_cpu_s(lambda: verification.polynomial_hash(key, n, bytes(range(16))))),
    }
    if lanes == available_lanes()[0]:
        bits = unpack(key, n)
        row["bits_mbit_s"] = mbit_s(n, best_cpu_s(lambda: amplification.toeplitz_hash(bits, seed, m)))
    return row, hashlib.sha256(secret).hexdigest()


def measure_scipy(n: int, m: int) -> tuple[dict, str]:
    """The product as a real convolution of zeros and ones, rounded: exact while the rounding error is below 1/2."""
    from scipy.fft import irfft, next_fast_len, rfft

    from postproc.bits import pack, unpack

    packed_key, packed_seed = random_input(n, m)
    key, seed = unpack(packed_key, n), unpack(packed_seed, n + m - 1)
    size = next_fast_len(2 * n + m - 2, real=True)

    def hashed() -> np.ndarray:
        product = irfft(rfft(key.astype(np.float64), size) * rfft(seed.astype(np.float64), size), size)
        return (np.rint(product[n - 1 : n - 1 + m]).astype(np.int64) & 1).astype(np.uint8)

    row = {"n": n, "m": m, "method": "scipy float64 FFT", "bits_mbit_s": mbit_s(n, best_cpu_s(hashed))}
    return row | {"peak_mb": peak_mb()}, hashlib.sha256(pack(hashed())).hexdigest()


def measure_cryptomite(n: int, m: int) -> tuple[dict, str]:
    """Its seed is ours, turned: its matrix has seed bit (i - j) mod (n + m - 1) where ours has bit i - j + n - 1."""
    from cryptomite.toeplitz import Toeplitz

    from postproc.bits import pack, unpack

    packed_key, packed_seed = random_input(n, m)
    key, seed = unpack(packed_key, n).tolist(), np.roll(unpack(packed_seed, n + m - 1), 1 - n).tolist()
    extractor = Toeplitz(n, m)
    seconds = best_cpu_s(lambda: extractor.extract(key, seed))
    row = {"n": n, "m": m, "method": "cryptomite", "bits_mbit_s": mbit_s(n, seconds), "peak_mb": peak_mb()}
    return row, hashlib.sha256(pack(np.array(extractor.extract(key, seed), np.uint8))).hexdigest()


def alone(function, *arguments):
    """The result of a call in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def show(row: dict) -> None:
    print("  ".join(str(row.get(column, "-")).rjust(width) for column, width in COLUMNS.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--ratio", type=float, default=0.5, help="output bits per input bit")
    parser.add_argument("--lanes", type=int, choices=(0, 1, 2, 4), help="of 128 bits in an instruction; 0: portable")
    parser.add_argument("--peers", action="store_true", help="scipy and, where installed, cryptomite, too")
    parser.add_argument("--json", action="store_true", help="last line: {bench, rows, peers}")
    options = parser.parse_args()
    peers = [("scipy float64 FFT", measure_scipy)] if options.peers else []
    if options.peers and importlib.util.find_spec("cryptomite"):
        peers.append(("cryptomite", measure_cryptomite))
    show({column: column for column in COLUMNS})
    own_rows, peer_rows = [], []
    for n in options.bits:
        m = max(1, round(n * options.ratio))
        row, digest = alone(measure_own, n, m, options.lanes)
        own_rows.append(row)
        show(row)
        for name, measure in peers:
            if n <= PEER_LIMIT[name]:
                row, peer_digest = alone(measure, n, m)
                peer_rows.append(row | {"exact": peer_digest == digest})
                show(peer_rows[-1])
    if options.json:
        print(json.dumps({"bench": "amplify", "rows": own_rows, "peers": peer_rows}))


if __name__ == "__main__":
    main()
