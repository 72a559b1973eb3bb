"""Single Quantum WebSQ / Eos: driver electronics of superconducting nanowire detectors, JSON over TCP.

Control port: we send JSON objects; what comes back ends with byte 0x17, several objects may stand in one frame. The
request `labelProps` is answered by one object per label whose value is itself an object {"value": ..., ...}; a change
by anybody is broadcast as a plain value. Setters are not acknowledged, so each is confirmed by asking for all labels
again. Labels with `Error` in their name are errors. Counts port: `unixtime,c1,c2,...` lines once per measurement
period, counts per period. Currents in uA, levels in mV. There is no identity query: the substitute is the set of
labels.
Source: the maker's WebSQControl (MIT), in QCoDeS contrib_drivers SingleQuantum.py.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from drivers.byte_link import QUIET_S, ByteLink
from drivers.errors import CommandRejected, GarbledReply, InstrumentError, InstrumentTimeout, SettingOutOfRange
from drivers.instrument import LinkedInstrument, in_range
from drivers.links import open_link
from drivers.roles import Identity, Snapshot

BIAS_LIMITS_A = (0.0, 100e-6)
TRIGGER_LIMITS_V = (-2.0, 2.0)
SUBSTITUTE = "no identity query; the labels of a WebSQ answer labelProps"
_END = b"\x17"
_MAX_FRAME_BYTES = 1 << 20
_MAX_LABELS = 1000
_APPLY_LIMIT_S = 2.0
_POLL_S = 0.02
_BIAS_TOLERANCE_A = 0.05e-6
_TRIGGER_TOLERANCE_V = 0.5e-3
_NEEDED = ("NumberOfDetectors", "InptMeasurementPeriod", "BiasCurrent", "TriggerLevel", "DetectorEnable")

Json = Any
"""What json.loads gives; narrowed before use."""


def parse_frame(frame: bytes) -> list[dict[str, Json]]:
    """The JSON objects of one frame, which may stand back to back. ValueError if it holds anything else."""
    text = frame.rstrip(_END).decode("utf-8").strip()
    decoder = json.JSONDecoder()
    objects: list[dict[str, Json]] = []
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except RecursionError as error:
            raise ValueError("JSON nested too deeply") from error
        if not isinstance(value, dict):
            raise ValueError(f"a JSON object was expected, not {text[:40]!r}")
        objects.append(value)
        text = text[end:].lstrip()
    return objects


def parse_counts(line: str, detectors: int) -> tuple[float, ...]:
    """Counts of one period from `unixtime,c1,...,cn`. ValueError if there are not n finite counts >= 0."""
    fields = [float(field) for field in line.split(",")]
    if len(fields) != detectors + 1 or not all(math.isfinite(f) and f >= 0 for f in fields):
        raise ValueError(f"a time and {detectors} counts were expected")
    return tuple(fields[1:])


def numbers(value: Json, count: int) -> tuple[float, ...]:
    """`count` finite numbers. ValueError otherwise."""
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"a list of {count} numbers was expected, not {value!r:.60}")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value):
        raise ValueError(f"a list of {count} finite numbers was expected, not {value!r:.60}")
    return tuple(float(v) for v in value)


class WebSq(LinkedInstrument):
    """Superconducting nanowire single-photon detectors (Single Quantum WebSQ)."""

    role: ClassVar[str] = "DetectorBank"
    transport: ClassVar[str] = "tcp:HOST:12000"
    options: ClassVar[dict[str, str]] = {
        "counts_resource": "where the counts come from, tcp:HOST:12345 (needed)",
        "detectors": "refuse another number of detectors (0: any)",
    }
    timeout_s: ClassVar[float] = 2.0

    def __init__(self, name: str, link: ByteLink, counts: ByteLink, *, detectors: int = 0) -> None:
        self._counts = counts
        self._pending = b""
        self._counts_tail = b""
        self._labels: frozenset[str] = frozenset()
        self._errors: list[tuple[int, str]] = []
        super().__init__(name, link)
        self._detectors = self._read_whole("NumberOfDetectors", 1, 256)
        if detectors and self._detectors != detectors:
            raise self._wrong(f"a WebSQ with {self._detectors} detectors", f"one with {detectors}")

    @classmethod
    def open(cls, name: str, resource: str, *, workspace: Path = Path("."), **options: Any) -> Self:
        """`resource`: control port; option `counts_resource`: counts port. Closes both if the identification fails."""
        counts_resource = options.pop("counts_resource", None)
        if not isinstance(counts_resource, str):
            raise InstrumentError(
                "the option counts_resource is missing",
                instrument=name,
                remedy='counts_resource = "tcp:127.0.0.1:12345"',
            )
        with contextlib.ExitStack() as opened:
            link = open_link(resource, instrument=name, workspace=workspace)
            opened.callback(link.close)
            counts = open_link(counts_resource, instrument=name, workspace=workspace)
            opened.callback(counts.close)
            found = cls(name, link, counts, **options)
            opened.pop_all()
        return found

    @property
    def channels(self) -> int:
        return self._detectors

    def set_enabled(self, is_enabled: bool) -> None:
        """Bias currents on or off."""
        self._set("DetectorEnable", "DetectorEnable", is_enabled)

    def is_enabled(self) -> bool:
        """Whether the bias currents are on. Raises GarbledReply."""
        """True while the bias is on. Raises GarbledReply if the answer is neither yes nor no."""
        value = self._values()["DetectorEnable"]
        if not isinstance(value, bool):
            raise self._garbled("DetectorEnable", value)
        return value

    def set_bias_currents_a(self, currents_a: Sequence[float]) -> None:
        """One current per detector, 0 to 100 uA."""
        self._check_vector(currents_a, BIAS_LIMITS_A, "currents_a")
        self._set("SetAllBiasCurrents", "BiasCurrent", [round(i * 1e6, 6) for i in currents_a], _BIAS_TOLERANCE_A * 1e6)

    def bias_currents_a(self) -> tuple[float, ...]:
        return tuple(i * 1e-6 for i in self._read_vector("BiasCurrent"))

    def set_trigger_levels_v(self, levels_v: Sequence[float]) -> None:
        """One discriminator level per detector, -2 to 2 V."""
        self._check_vector(levels_v, TRIGGER_LIMITS_V, "levels_v")
        self._set(
            "SetAllTriggerLevels", "TriggerLevel", [round(v * 1e3, 6) for v in levels_v], _TRIGGER_TOLERANCE_V * 1e3
        )

    def trigger_levels_v(self) -> tuple[float, ...]:
        return tuple(v * 1e-3 for v in self._read_vector("TriggerLevel"))

    def count_rates_hz(self) -> tuple[float, ...]:
        """Counts per second of the next measurement period to end (waits for it, so the numbers are never old)."""
        period_s = self._period_s()
        with self._lock:
            line = self._fresh_line(2.0 * period_s + self.timeout_s)
        try:
            return tuple(c / period_s for c in parse_counts(line, self._detectors))
        except ValueError as error:
            raise GarbledReply(
                f"counts line {line[:80]!r}: {error}", instrument=self.name, remedy="check counts_resource"
            ) from error

    def snapshot(self) -> Snapshot:
        raw = {label: json.dumps(value) for label, value in sorted(self._values().items())}
        return Snapshot(self._identity, dict(raw), raw)

    def make_safe(self) -> None:
        """Bias off. Currents and levels keep their values, which act only while the detectors are enabled."""
        self.set_enabled(False)

    def close(self) -> None:
        self._counts.close()
        super().close()

    def _identify(self) -> Identity:
        values = self._values()
        if missing := [label for label in _NEEDED if label not in values]:
            raise self._wrong(f"something without the label {missing[0]!r}", "a Single Quantum WebSQ")
        return Identity("Single Quantum", "WebSQ", "", "", substitute=SUBSTITUTE)

    def _set(self, command: str, label: str, value: Json, tolerance: float = 0.0) -> None:
        """Send a setter, then ask until the new value stands there. Raises CommandRejected, ReadBackMismatch."""
        text = json.dumps({"command": command, "label": label, "value": value})
        with self._lock:
            self._get_in_step()
            self._errors.clear()
            self._link.write(text.encode("ascii"))
            limit = time.monotonic() + _APPLY_LIMIT_S
            while not _is_close(found := self._values()[label], value, tolerance):
                self._raise_errors()
                if time.monotonic() > limit:
                    self._confirm(label, json.dumps(found), json.dumps(value))
                time.sleep(_POLL_S)
            self._raise_errors()

    def _raise_errors(self) -> None:
        if self._errors:
            entries = tuple(self._errors)
            self._errors.clear()
            raise CommandRejected(entries, instrument=self.name, remedy="a value within the instrument's own bounds")

    def _values(self) -> Mapping[str, Json]:
        """All labels with their values, asked for now."""
        return self.query("labelProps", lambda text: json.loads(text))

    def _exchange(self, command: bytes, timeout_s: float) -> str:
        """One `labelProps` question: the values of all labels as JSON text."""
        request = json.dumps({"request": command.decode("ascii"), "value": "None"})
        self._link.write(request.encode("ascii"))
        deadline = time.monotonic() + timeout_s
        values: dict[str, Json] = {}
        if self._labels:
            while not self._labels <= values.keys():
                self._collect(values, max(0.0, deadline - time.monotonic()))
        else:  # the first time nobody knows how many labels there are: silence ends the answer
            self._collect(values, timeout_s)
            with contextlib.suppress(InstrumentTimeout):
                while time.monotonic() < deadline:
                    self._collect(values, QUIET_S)
            self._labels = frozenset(values)
        return json.dumps(values)

    def _collect(self, values: dict[str, Json], timeout_s: float) -> None:
        for item in self._next_frame(timeout_s):
            self._sort_in(item, values)

    def _sort_in(self, item: dict[str, Json], values: dict[str, Json]) -> None:
        label, value = item.get("label"), item.get("value")
        if not isinstance(label, str):
            return
        if "Error" in label:
            self._errors.append((-1, f"{label}: {value!r:.200}"))
        elif isinstance(value, dict) and "value" in value and len(values) < _MAX_LABELS:
            values[label] = value["value"]

    def _next_frame(self, timeout_s: float) -> list[dict[str, Json]]:
        frame = self._pending + self._link.read_until(_END, timeout_s, _MAX_FRAME_BYTES)
        self._pending = b""
        try:
            return parse_frame(frame)
        except ValueError as error:
            raise GarbledReply(
                f"frame {frame[:60]!r} is no JSON: {error}", instrument=self.name, remedy="check resource and model"
            ) from error

    def _get_in_step(self) -> None:
        """Broadcasts may come at any time and are dropped here, except errors; after a failure wait for silence."""
        if self._is_out_of_step:
            self._wait_for_silence()
            self._pending = b""
            self._is_out_of_step = False
            return
        whole, end, rest = (self._pending + self._link.drain()).rpartition(_END)
        self._pending = rest[-_MAX_FRAME_BYTES:]
        for frame in whole.split(_END) if end else ():
            with contextlib.suppress(ValueError):  # nobody asked for it, so nothing is believed of it either
                for item in parse_frame(frame):
                    self._sort_in(item, {})

    def _fresh_line(self, timeout_s: float) -> str:
        _, _, tail = (self._counts_tail + self._counts.drain()).rpartition(b"\n")
        self._counts_tail = b""
        try:
            return self._decoded(tail + self._counts.read_until(b"\n", timeout_s, 4096))
        except InstrumentTimeout:
            self._counts_tail = tail[-4096:]
            raise

    def _period_s(self) -> float:
        value = self._values()["InptMeasurementPeriod"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1.0 <= value <= 600_000.0:
            raise self._garbled("InptMeasurementPeriod", value)
        return float(value) * 1e-3

    def _read_vector(self, label: str) -> tuple[float, ...]:
        value = self._values()[label]
        try:
            return numbers(value, self._detectors)
        except ValueError as error:
            raise self._garbled(label, value) from error

    def _read_whole(self, label: str, least: int, most: int) -> int:
        value = self._values()[label]
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise self._garbled(label, value)
        if not least <= value <= most:
            raise self._garbled(label, value)
        return int(value)

    def _garbled(self, label: str, value: Json) -> GarbledReply:
        return GarbledReply(f"label {label} has the value {value!r:.60}", instrument=self.name, remedy="check firmware")

    def _check_vector(self, values: Sequence[float], limits: tuple[float, float], what: str) -> None:
        if len(values) != self._detectors:
            raise SettingOutOfRange(
                f"{len(values)} values in {what} for {self._detectors} detectors; nothing was sent",
                instrument=self.name,
            )
        for i, value in enumerate(values, 1):
            in_range(value, limits, what=f"{what}[{i}]", instrument=self.name)


def _is_close(found: Json, wanted: Json, tolerance: float) -> bool:
    if isinstance(wanted, list):
        is_vector = isinstance(found, list) and len(found) == len(wanted)
        return is_vector and all(_is_close(f, w, tolerance) for f, w in zip(found, wanted, strict=True))
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    return isinstance(found, int | float) and abs(found - wanted) <= tolerance
