"""What the parts of a node share: its progress, its clock, and what rounds and resynchronisation may ask of it."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from controller.calibration.result import CalibrationResult
from controller.config import NodeConfig
from controller.keys.store import NodeStore
from controller.recorder import RunRecorder
from postproc.records import LinkParameters


def utc_now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Alarms that are over when a receiver has found the slots in the light.
REFUTED_BY_LIGHT = (
    "sync-lost",
    "no-light",
    "low-counts",
    "tags-lost",
    "laser-faded",
    "polarization",
    "detector-dead",
    "detector-saturated",
)


class LinkStopped(Exception):
    """The light or a calibration does not allow keys now; the node tries again. `code` is an alarm id."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


@dataclass(slots=True)
class Progress:
    """What the status shows and the run has made so far. Changed only on the event loop."""

    state: str = "Starting"
    stage: str = ""
    waiting_for: str = ""
    blocks_made: int = 0
    blocks_aborted: int = 0
    last_abort_reason: str = ""
    detections_in_block: int = 0
    sifted_bits: int = 0
    secret_bits: int = 0
    link_time_s: float = 0.0
    qber_z: float | None = None
    qber_x: float | None = None
    detector_rates_hz: tuple[float, ...] = ()
    mean_photon_numbers: tuple[float, ...] = ()
    sync_phase_ps: float | None = None
    clock_drift_ppm: float | None = None
    first_block_s: float | None = None
    is_peer_connected: bool = False
    calibrations: dict[str, CalibrationResult] = field(default_factory=dict)


class NodeParts(Protocol):
    """What a round and the resynchronisation need of their node."""

    config: NodeConfig
    parameters: LinkParameters
    progress: Progress
    store: NodeStore
    recorder: RunRecorder
    pool: Executor
    log: Any
    round_due: int  # number of the next round, as agreed at the last authenticated greeting

    def raise_alarm(self, code: str, text: str) -> None: ...
    def clear_alarms(self, *codes: str) -> None: ...
