"""Cascade and the open LDPC decoders that are installed, measured like our own (see benchmarks.reconcile).

`ldpc` (Roffe) is no requirement of this software: install it anywhere on the import path. It decodes our own matrix of
about 10^5 bits; one frame, for it takes minutes.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial

import numpy as np

from postproc.reconciliation import binary_entropy, choose_code, decode, frame
from postproc.reconciliation.cascade import CascadeReceiver, CascadeSender, choose_blocks
from postproc.reconciliation.codes import QcCode, parities

PEER_BITS = 100_000
PEER_QBER = 0.03


def one_cascade(qber: float, bits: int, seed: int) -> tuple[int, int, int, float, float]:
    """(undetected errors, bits disclosed by Alice, messages both ways, n h(observed), CPU seconds of both parties)."""
    rng = np.random.default_rng([seed, bits, round(1e6 * qber)])
    key = rng.integers(0, 2, bits, dtype=np.uint8)
    noisy = key ^ (rng.random(bits) < qber).astype(np.uint8)
    start = time.process_time()
    plan = choose_blocks(bits, qber, seed)
    sender, receiver = CascadeSender(key, plan), CascadeReceiver(noisy, plan)
    while (request := receiver.next_request()) is not None:
        receiver.take(sender.answer(request))
    cpu_s = time.process_time() - start
    wrong = int(not np.array_equal(receiver.bits, key))
    entropy = bits * binary_entropy(float(np.mean(key != noisy)))
    return wrong, sender.disclosed_bits, 2 * receiver.requests, entropy, cpu_s


def cascade_row(qber: float, bits: int, blocks: int, seed: int, pool: Executor) -> dict[str, float | str | int]:
    """f as literature counts it (one direction) and f_both with Bob's parities charged as well."""
    one_cascade(qber, bits, 0)  # compiles, where the pool is this process
    results = np.array(list(pool.map(partial(one_cascade, qber, bits), range(seed, seed + blocks))))
    wrong, disclosed, messages, entropy, cpu_s = results.sum(axis=0)
    return {
        "profile": "cascade",
        "qber": qber,
        "n": bits,
        "f": round(disclosed / entropy, 4),
        "fer": wrong / blocks,
        "frames": blocks,
        "mbit_s": round(bits * blocks / cpu_s / 1e6, 2),
        "f_both": round(2 * disclosed / entropy, 4),
        "messages": round(messages / blocks, 1),
    }


def dense_rows(code: QcCode) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of every one in the expanded matrix."""
    z = np.arange(code.circulant)
    base_row = np.repeat(np.arange(code.rows), np.diff(code.start))
    row = base_row[:, None] * code.circulant + z
    column = code.column[:, None] * code.circulant + (z + code.shift[:, None]) % code.circulant
    return row.ravel(), column.ravel()


def peer_rows() -> Iterator[dict[str, float | str | int]]:
    """Rows of the peers that can be imported, and ours on the same frame of the same matrix."""
    if importlib.util.find_spec("ldpc") is None:
        print("peer ldpc: not installed")
        return
    from ldpc import BpDecoder
    from scipy.sparse import csr_matrix

    plan = choose_code(PEER_BITS, PEER_QBER)
    code = plan.code()
    rng = np.random.default_rng(1)
    key = frame(plan, rng.integers(0, 2, PEER_BITS, dtype=np.uint8), 0)
    noisy = key ^ (rng.random(key.size) < PEER_QBER).astype(np.uint8)
    disclosed = parities(code, key, 0, plan.parity_rows)
    f = round(plan.syndrome_bits / (key.size * binary_entropy(float(np.mean(key != noisy)))), 4)
    common = {"qber": PEER_QBER, "n": key.size, "f": f, "frames": 1}

    packed = np.packbits(disclosed, axis=1, bitorder="little").tobytes()
    decode(plan, noisy, packed, PEER_QBER, max_iterations=1)  # compiles
    start = time.process_time()
    ours = decode(plan, noisy, packed, PEER_QBER)
    cpu_s = time.process_time() - start
    yield (
        {"profile": "fast, peer's frame", "fer": float(not np.array_equal(ours.bits, key))} | common | speed(key, cpu_s)
    )

    matrix = csr_matrix((np.ones(code.column.size * code.circulant, np.uint8), dense_rows(code)))
    peer = BpDecoder(matrix, error_rate=PEER_QBER, max_iter=100, bp_method="product_sum", schedule="parallel")
    difference = disclosed.ravel() ^ parities(code, noisy, 0, plan.parity_rows).ravel()
    start = time.process_time()
    error = peer.decode(difference)
    cpu_s = time.process_time() - start
    yield (
        {"profile": "ldpc product-sum", "fer": float(not np.array_equal(error, key ^ noisy))}
        | common
        | speed(key, cpu_s)
    )


def speed(key: np.ndarray, cpu_s: float) -> dict[str, float]:
    return {"mbit_s": round(key.size / cpu_s / 1e6, 3)}
