"""What an operator looks at, in one frozen record: made by the node, sent over its control socket, shown by the CLI."""

from __future__ import annotations

import msgspec


class AlarmState(msgspec.Struct, frozen=True, kw_only=True):
    """One raised alarm (`controller.monitoring.alarms`). Times are UTC ISO 8601; `cleared_utc` is "" while it lasts."""

    id: str
    detail: str
    raised_utc: str
    cleared_utc: str = ""
    is_acknowledged: bool = False


class CalibrationState(msgspec.Struct, frozen=True, kw_only=True):
    """The last result of one calibration routine."""

    routine: str
    id: str
    verdict: str  # PASS, MARGINAL or FAIL
    summary: str  # in words with numbers, e.g. "mu = 0.501 +- 0.012, 0.149 +- 0.004"
    age_s: float
    validity_s: float


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node at one moment. None means: not known yet. Ratios are ratios, never percent."""

    node: str
    role: str
    time_utc: str
    state: str  # in words: "Distilling", "Calibrating", "Stopped: QBER 0.061 > 0.050"
    stage: str = ""  # what the node does now: "acquire", "reconcile", ...
    stage_progress: float | None = None  # 0..1
    waiting_for: str = ""  # "peer", "tags", "" ...
    is_peer_connected: bool = False
    epoch: int = 0
    round: int = 0
    blocks_made: int = 0
    blocks_aborted: int = 0
    last_abort_reason: str = ""
    detections_in_block: int = 0
    block_detections_expected: int = 0
    sifted_bits: int = 0  # of the whole run
    secret_bits: int = 0  # of the whole run, credited to the store
    target_secret_bits: int = 0  # 0: runs until stopped
    secret_key_rate_bps: float | None = None  # per wall second, since the first block
    secret_key_rate_link_bps: float | None = None  # per second of the link's own (simulated) time
    qber_z: float | None = None  # of the last block
    qber_x: float | None = None
    qber_z_limit: float = 0.0
    qber_x_limit: float = 0.0
    keys_in_store: int = 0
    key_bits_in_store: int = 0
    keys_delivered: int = 0
    detector_rates_hz: tuple[float, ...] = ()
    mean_photon_numbers: tuple[float, ...] = ()  # as calibrated
    sync_offset_slots: int | None = None
    sync_phase_ps: float | None = None
    clock_drift_ppm: float | None = None
    auth_rounds_left: int | None = None
    auth_bits_left: int | None = None
    auth_bits_consumed: int = 0
    link_time_s: float = 0.0  # seconds of slots sent
    station_broken: str = ""
    alarms: tuple[AlarmState, ...] = ()
    calibrations: tuple[CalibrationState, ...] = ()

    @property
    def has_unacknowledged_alarm(self) -> bool:
        """Whether somebody still has to look."""
        return any(not alarm.is_acknowledged for alarm in self.alarms)


_decoder = msgspec.json.Decoder(NodeStatus)


def status_to_json(status: NodeStatus) -> bytes:
    """One line of JSON without the line end."""
    return msgspec.json.encode(status)


def status_from_json(data: bytes) -> NodeStatus:
    """Raises msgspec.ValidationError or msgspec.DecodeError on anything that is not a status."""
    return _decoder.decode(data)
