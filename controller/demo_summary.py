"""What the demonstration came to, in numbers: from the nodes' own records, the consumers, and the bench's truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from controller.block_record import BlockRecord
from controller.demo import DemoResult
from controller.recorder import RunData, read_run

STANDARD_ERRORS = 4.0  # allowed between a measured error ratio and the truth


def summarise(result: DemoResult) -> dict[str, Any]:
    """The JSON line of `qkd demo --json`. Ratios are over all blocks that became keys; None where there were none."""
    alice, bob = (read_run(result.run_files[name]) for name in ("alice", "bob"))
    blocks = bob.keys
    sifted = sum(block.sifted_bits for block in blocks)
    leakage = sum(block.leakage_bits for block in blocks)
    entropy = sum(block.sifted_bits * _binary_entropy(block.qber_z) for block in blocks)
    statuses = result.statuses
    summary: dict[str, Any] = {
        "secret_bits": min((s.key_bits_in_store for s in statuses.values()), default=0),
        "amplified_bits": sum(block.secret_bits for block in blocks),
        "refill_bits": sum(block.refill_bits for block in blocks),
        "sifted_bits": sifted,
        "blocks": len(blocks),
        "aborted_blocks": len(bob.blocks) - len(blocks),
        "abort_reasons": sorted({block.reason for run in (alice, bob) for block in run.blocks if block.reason}),
        "alarms": sorted({f"{alarm.id}: {alarm.detail}" for status in statuses.values() for alarm in status.alarms}),
        "qber_z": _ratio(blocks, "key"),
        "qber_x": _ratio(blocks, "test"),
        "phase_error_bound": max((block.phase_error_bound for block in blocks), default=None),
        "leakage_bits": leakage,
        "efficiency_f": leakage / entropy if entropy else None,
        "keys_match": _keys_match(result, alice, bob),
        "keys_compared": result.delivery.keys_compared if result.delivery else 0,
        "message_read": bool(result.delivery and result.delivery.is_message_read),
        "wall_s": round(result.wall_s, 2),
        "simulated_s": sum(block.slots for block in bob.blocks) / _slot_rate_hz(bob),
        "auth_bits_consumed": max((s.auth_bits_consumed for s in statuses.values()), default=0),
        "auth_bits_pool": min((s.auth_bits_left or 0 for s in statuses.values()), default=0),
        "true_qber_z": result.truth.get("qber_z"),
        "true_qber_x": result.truth.get("qber_x"),
        "truth_deviation_z": _deviation(blocks, "key", result.truth.get("qber_z")),
        "truth_deviation_x": _deviation(blocks, "test", result.truth.get("qber_x")),
        "attack": result.attack,
        "peak_memory_bytes": result.peak_memory_bytes,
        "stage_wall_s": {name: round(seconds, 2) for name, seconds in result.stage_wall_s.items()},
        "run_files": {name: str(path) for name, path in result.run_files.items()},
    }
    return summary


def _keys_match(result: DemoResult, alice: RunData, bob: RunData) -> bool:
    """Consumers hold equal keys, and both nodes recorded the same blocks with the same key_IDs."""
    public = [
        [(block.round, block.secret_bits, block.key_ids, block.transcript_sha256) for block in run.keys]
        for run in (alice, bob)
    ]
    return bool(
        result.delivery and result.delivery.is_match and result.delivery.is_message_read and public[0] == public[1]
    )


def _counts(blocks: Sequence[BlockRecord], basis: str) -> tuple[int, int]:
    """(errors, detections) of a basis, "key" or "test", summed over blocks and intensity classes."""
    errors = sum(sum(getattr(block, f"m_{basis}")) for block in blocks)
    return errors, sum(sum(getattr(block, f"n_{basis}")) for block in blocks)


def _ratio(blocks: Sequence[BlockRecord], basis: str) -> float | None:
    errors, detections = _counts(blocks, basis)
    return errors / detections if detections else None


def _deviation(blocks: Sequence[BlockRecord], basis: str, truth: float | None) -> float | None:
    """(measured - true) error ratio in standard errors of the measured one."""
    errors, detections = _counts(blocks, basis)
    if truth is None or not detections or not 0 < truth < 1:
        return None
    return (errors / detections - truth) / math.sqrt(truth * (1 - truth) / detections)


def _slot_rate_hz(run: RunData) -> float:
    import tomllib

    return float(tomllib.loads(run.config_text)["link"]["slot_rate_hz"])


def _binary_entropy(ratio: float) -> float:
    return -ratio * math.log2(ratio) - (1 - ratio) * math.log2(1 - ratio) if 0 < ratio < 1 else 0.0
