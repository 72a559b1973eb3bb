"""Alarms: each id has a meaning, likely causes and an action; the board remembers which are raised and acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

from controller.monitoring.status import AlarmState


@dataclass(frozen=True, slots=True)
class AlarmKind:
    """One entry of the catalogue. `blocks_key`: no key is made while it lasts."""

    id: str
    meaning: str
    causes: tuple[str, ...]
    action: str
    blocks_key: bool = True


_KINDS = (
    AlarmKind(
        "no-light",
        "count rates are near those of darkness",
        ("fibre cut or unplugged", "laser off or faded", "attenuator closed", "polarization far off"),
        "check the laser's power at the monitor tap, then the fibre; the link resumes by itself",
    ),
    AlarmKind(
        "laser-faded",
        "the power at the monitor tap is not what it was at the calibration",
        ("the laser faded or went off", "the attenuator moved", "the modulator lost its operating point"),
        "check laser current and interlock; the link resumes by itself when the power is back",
    ),
    AlarmKind(
        "polarization",
        "count rates fell while the transmitter's power is as calibrated",
        ("polarization of the fibre jumped", "loss of the channel rose"),
        "the node aligns the polarization again by itself; if it stays, look at the fibre",
    ),
    AlarmKind(
        "low-counts",
        "count rates are clearly below what the plan of a block expects",
        ("laser faded", "loss rose", "a detector is going normal"),
        "compare with the monitor tap; recalibrate the mean photon number",
    ),
    AlarmKind(
        "detector-dead",
        "one detector counts less than its dark rate while others count",
        ("detector latched", "bias current off", "tagger input threshold wrong"),
        "reset the detector's bias; check the threshold of the tagger input",
    ),
    AlarmKind(
        "detector-saturated",
        "count rates are above the limit of the detectors",
        ("attenuator too low", "stray light", "bright-light attack"),
        "no key is made; find the source of the light before acknowledging",
    ),
    AlarmKind(
        "qber-z",
        "errors in the key basis are above the limit",
        ("gates off the pulses", "pulse extinction", "an eavesdropper"),
        "recalibrate the detector delay; if it stays, suspect the channel",
    ),
    AlarmKind(
        "qber-x",
        "errors in the test basis are above the limit",
        ("interferometer phase drifted", "polarization jump", "an eavesdropper"),
        "recalibrate the interferometer phase; if it stays, suspect the channel",
    ),
    AlarmKind(
        "round-aborted",
        "a block was given up before it became a key",
        ("counts below the plan's thresholds", "verification failed", "the peer aborted"),
        "read the reason; a single one costs only its block",
        blocks_key=False,
    ),
    AlarmKind(
        "authentication-failed",
        "a tag of the peer did not verify",
        ("somebody alters messages", "the pools differ after a restored backup"),
        "stop using the link until the cause is known; compare the pools' positions",
    ),
    AlarmKind(
        "authentication-low",
        "few rounds of authentication key are left",
        ("blocks abort", "the refill per block is too small"),
        "find out why blocks abort before the pool is empty",
        blocks_key=False,
    ),
    AlarmKind(
        "starved",
        "the authentication pool is empty",
        ("too many aborted rounds", "a drained pool"),
        "bring a new pre-shared key to both nodes",
    ),
    AlarmKind(
        "sync-lost",
        "slots of transmitter and receiver cannot be related",
        ("clock step", "no light", "wrong slot rate"),
        "the node searches again by itself; check the 10 MHz reference",
    ),
    AlarmKind(
        "peer-lost",
        "the other node does not answer",
        ("network down", "peer stopped"),
        "check the network and the other node's status",
    ),
    AlarmKind(
        "instrument-failed",
        "an instrument does not do what it is told",
        ("unplugged", "switched off", "another program uses it"),
        "look at the instrument, then acknowledge with qkd doctor --acknowledge",
    ),
    AlarmKind(
        "tags-lost",
        "the time tagger lost clicks; the block is dropped",
        ("the computer is too slow", "count rate too high"),
        "lower the count rate or use a faster computer",
    ),
    AlarmKind(
        "calibration-expired",
        "a calibration is older than its validity",
        ("it has not been repeated",),
        "qkd calibrate, or wait: the node repeats it before the next block",
    ),
    AlarmKind(
        "calibration-failed",
        "a calibration did not reach its limit",
        ("no light", "the setting is out of range", "drift during the scan"),
        "read its result; check the light and repeat with qkd calibrate",
    ),
    AlarmKind(
        "disk-full",
        "less disk space is left than the limit",
        ("old run files", "another program"),
        "free space; the node stops cleanly and starts again",
    ),
    AlarmKind(
        "store-full",
        "the key store holds its capacity",
        ("keys are not fetched",),
        "let consumers fetch keys, or raise limits.store_capacity_bits",
        blocks_key=False,
    ),
)
CATALOGUE: dict[str, AlarmKind] = {kind.id: kind for kind in _KINDS}


class AlarmBoard:
    """The alarms of one node. Repeating a raised one changes its detail only; a cleared one stays until seen."""

    def __init__(self) -> None:
        self._states: dict[str, AlarmState] = {}

    def raise_alarm(self, alarm_id: str, detail: str, now_utc: str) -> bool:
        """Raise; returns whether it is new (not raised already). KeyError for an id outside the catalogue."""
        kind = CATALOGUE[alarm_id]
        old = self._states.get(kind.id)
        is_new = old is None or bool(old.cleared_utc)
        self._states[kind.id] = AlarmState(
            id=kind.id,
            detail=detail,
            raised_utc=now_utc if old is None or is_new else old.raised_utc,
            is_acknowledged=False if old is None or is_new else old.is_acknowledged,
        )
        return is_new

    def clear(self, alarm_id: str, now_utc: str) -> bool:
        """The cause is gone; returns whether it was raised. An acknowledged alarm disappears."""
        old = self._states.get(alarm_id)
        if old is None or old.cleared_utc:
            return False
        if old.is_acknowledged:
            del self._states[alarm_id]
        else:
            self._states[alarm_id] = AlarmState(
                id=old.id, detail=old.detail, raised_utc=old.raised_utc, cleared_utc=now_utc
            )
        return True

    def acknowledge(self, alarm_id: str) -> bool:
        """Somebody has looked; returns whether there was such an alarm. A cleared alarm disappears."""
        old = self._states.get(alarm_id)
        if old is None:
            return False
        if old.cleared_utc:
            del self._states[alarm_id]
        else:
            self._states[alarm_id] = AlarmState(
                id=old.id, detail=old.detail, raised_utc=old.raised_utc, is_acknowledged=True
            )
        return True

    @property
    def states(self) -> tuple[AlarmState, ...]:
        """All alarms that last or wait for acknowledgement, oldest first."""
        return tuple(sorted(self._states.values(), key=lambda state: (state.raised_utc, state.id)))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Ids of alarms that last and forbid making keys."""
        return tuple(s.id for s in self.states if not s.cleared_utc and CATALOGUE[s.id].blocks_key)
