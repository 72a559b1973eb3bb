"""Single Quantum WebSQ: driver of superconducting nanowire detectors, JSON over TCP, counts as text on a second port.

Clients send JSON objects; what the server sends ends with byte 0x17. `{"request": "labelProps", ...}` is answered by
one object per label with its value, unit and bounds; setters are not acknowledged, the new value is broadcast to
every client later. Labels with `Error` in their name are errors. The counts port sends `unixtime,c1,c2,...\\n` once
per measurement period without being asked; counts are per period. Source: the vendor's own open client (WebSQControl,
MIT).

What the client leaves open and this fake decides: a refused value is broadcast as label `ErrorMessage`; currents in uA,
levels in mV; the shortest period is 10 ms; every seventh counts line arrives in two pieces. There is no identity
query; a wrong device is shown as one that drives a heater and no detectors.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sim_instruments.instruments.base import Conversation, Device, Send
from sim_instruments.knobs import KnobError
from sim_instruments.model import CHANNELS
from sim_instruments.world import World

FRAME_END = b"\x17"
MAX_PENDING_BYTES = 1 << 16
LEAST_PERIOD_MS, MOST_PERIOD_MS = 10.0, 60_000.0
AUTO_BIAS_TIME_S = 1.0
LOAD_MV_PER_UA = 0.05


class SingleQuantumWebSq(Device):
    """Drives the world's detectors; counts are Poisson around the world's expected rates, per wall time."""

    def __init__(self, name: str, world: World, *, period_ms: float = 100.0, detectors: int = CHANNELS) -> None:
        super().__init__(name)
        self._world = world
        if not 1 <= detectors <= CHANNELS:
            raise ValueError(f"{name}: {detectors} detectors; 1 to {CHANNELS} are possible")
        self._start_period_ms = period_ms
        self._detectors = detectors
        self._rng = np.random.default_rng([world.bench.seed, 0x5351])
        self._lock = threading.Lock()
        self._control_clients: set[Send] = set()
        self._counts_clients: set[Send] = set()
        self._closing = threading.Event()
        self._lines_sent = 0
        self.power_on()
        self._counter = threading.Thread(target=self._count, name=f"{name}:counts", daemon=True)
        self._counter.start()

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {
            "control": lambda send: _JsonConversation(send, self._handle, self._control_clients, self._lock),
            "counts": lambda send: _Listener(send, self._counts_clients, self._lock),
        }

    def power_on(self) -> None:
        self._period_ms = self._start_period_ms
        self._is_enabled = False
        self._bias_ua = [0.0] * self._detectors
        self._trigger_mv = [100.0] * self._detectors
        self._auto_bias_until_s = 0.0
        self._dark_target = [100.0] * self._detectors
        with self._world.lock:
            self._world.set_detector_enabled(False)
            self._world.set_detector_bias_a([0.0] * CHANNELS)
            self._world.set_trigger_levels_v([0.1] * CHANNELS)

    def close(self) -> None:
        self._closing.set()
        self._counter.join(timeout=2.0)

    # --- control port ------------------------------------------------------------------------------------------------
    def _handle(self, request: dict[str, Any], send: Send) -> None:
        if "request" in request:
            self._answer(str(request["request"]), send)
        elif "command" in request:
            self._obey(str(request["command"]), request.get("value"))
        else:
            self._broadcast("ErrorMessage", "neither a request nor a command")

    def _answer(self, name: str, send: Send) -> None:
        labels = self._labels()
        if name == "labelProps":
            send(b"".join(_frame(label, properties) for label, properties in labels.items()))
        elif name in labels:
            send(_frame(name, labels[name]["value"]))
        else:
            self._broadcast("ErrorMessage", f"unknown label {name[:40]}")

    def _labels(self) -> dict[str, dict[str, Any]]:
        if self.faults.is_wrong_identity:
            return {"NumberOfDetectors": {"value": 0, "unit": ""}, "HeaterPower": {"value": 0.5, "unit": "W"}}
        n = self._detectors
        return {
            "NumberOfDetectors": {"value": n, "unit": ""},
            "InptMeasurementPeriod": {
                "value": self._period_ms,
                "unit": "ms",
                "minValue": LEAST_PERIOD_MS,
                "maxValue": MOST_PERIOD_MS,
            },
            "BiasCurrent": {"value": self._bias_ua[:n], "unit": "uA"},
            "TriggerLevel": {"value": self._trigger_mv[:n], "unit": "mV"},
            "BiasVoltage": {"value": [round(i * LOAD_MV_PER_UA, 4) for i in self._bias_ua[:n]], "unit": "mV"},
            "DetectorEnable": {"value": self._is_enabled, "unit": ""},
            "DarkCountsAutoIV": {"value": self._dark_target[:n], "unit": "Hz"},
            "StartAutoIV": {"value": time.monotonic() < self._auto_bias_until_s, "unit": ""},
            "BiasCurrentAutoIV": {"value": self._bias_ua[:n], "unit": "uA"},
        }

    def _obey(self, command: str, value: Any) -> None:
        setters: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "SetAllBiasCurrents": ("BiasCurrent", self._set_bias),
            "SetAllTriggerLevels": ("TriggerLevel", self._set_trigger),
            "DetectorEnable": ("DetectorEnable", self._set_enabled),
            "SetMeasurementPeriod": ("InptMeasurementPeriod", self._set_period),
            "DarkCountsAutoIV": ("DarkCountsAutoIV", self._set_dark_target),
            "AutoCaliBiasCurrents": ("StartAutoIV", self._start_auto_bias),
        }
        if command not in setters:
            self._broadcast("ErrorMessage", f"unknown command {command[:40]}")
            return
        label, setter = setters[command]
        try:
            with self._world.lock:
                applied = setter(value)
        except (KnobError, ValueError) as error:
            self._broadcast("ErrorMessage", f"{label}: {error}")
            return
        self._broadcast(label, applied)

    def _set_bias(self, value: Any) -> list[float]:
        currents_ua = _vector(value, self._detectors, -100.0, 100.0)
        self._world.set_detector_bias_a([i * 1e-6 for i in currents_ua] + [0.0] * (CHANNELS - self._detectors))
        self._bias_ua = currents_ua
        return currents_ua

    def _set_trigger(self, value: Any) -> list[float]:
        levels_mv = _vector(value, self._detectors, -2000.0, 2000.0)
        self._world.set_trigger_levels_v([v * 1e-3 for v in levels_mv] + [0.1] * (CHANNELS - self._detectors))
        self._trigger_mv = levels_mv
        return levels_mv

    def _set_enabled(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("value must be true or false")
        self._world.set_detector_enabled(value)
        self._is_enabled = value
        return value

    def _set_period(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("value must be a number of ms")
        if not LEAST_PERIOD_MS <= value <= MOST_PERIOD_MS:
            raise ValueError(f"{value:g} ms is outside {LEAST_PERIOD_MS:g} to {MOST_PERIOD_MS:g} ms")
        self._period_ms = float(value)
        return self._period_ms

    def _set_dark_target(self, value: Any) -> list[float]:
        self._dark_target = _vector(value, self._detectors, 0.0, 1e7)
        return self._dark_target

    def _start_auto_bias(self, value: Any) -> bool:
        if value is not True:
            raise ValueError("value must be true")
        self._auto_bias_until_s = time.monotonic() + AUTO_BIAS_TIME_S
        self._set_bias([self._world.bench.detectors.nominal_bias_a * 1e6] * self._detectors)
        return True

    def _broadcast(self, label: str, value: Any) -> None:
        with self._lock:
            clients = tuple(self._control_clients)
        frame = _frame(label, value)
        for send in clients:
            send(frame)

    # --- counts port -------------------------------------------------------------------------------------------------
    def _count(self) -> None:
        due_s = time.monotonic()
        while not self._closing.is_set():
            period_s = self._period_ms * 1e-3
            due_s = max(due_s + period_s, time.monotonic())
            if self._closing.wait(max(0.0, due_s - time.monotonic())):
                return
            with self._lock:
                clients = tuple(self._counts_clients)
            if clients:
                self._send_counts(clients, period_s)

    def _send_counts(self, clients: tuple[Send, ...], period_s: float) -> None:
        rates_hz = np.asarray(self._world.count_rates_hz(), dtype=np.float64)[: self._detectors]
        counts = self._rng.poisson(rates_hz * period_s)
        line = f"{time.time():.3f},{','.join(str(int(c)) for c in counts)}\n".encode("ascii")
        self._lines_sent += 1
        pieces = (line[:5], line[5:]) if self._lines_sent % 7 == 0 else (line,)
        for send in clients:
            for piece in pieces:
                send(piece)


class _JsonConversation:
    """JSON objects one after the other, with or without anything between them."""

    def __init__(
        self,
        send: Send,
        handle: Callable[[dict[str, Any], Send], None],
        clients: set[Send],
        lock: threading.Lock,
    ) -> None:
        self._send = send
        self._handle = handle
        self._clients = clients
        self._lock = lock
        self._buffer = ""
        self._decoder = json.JSONDecoder()
        with lock:
            clients.add(send)

    def feed(self, data: bytes) -> None:
        self._buffer = (self._buffer + data.decode("utf-8", errors="replace")).lstrip("\x17 \r\n\t")
        while self._buffer:
            try:
                value, end = self._decoder.raw_decode(self._buffer)
            except (ValueError, RecursionError):
                if len(self._buffer) > MAX_PENDING_BYTES or not self._buffer.startswith("{"):
                    self._buffer = ""
                    self._send(_frame("ErrorMessage", "not JSON"))
                return
            self._buffer = self._buffer[end:].lstrip("\x17 \r\n\t")
            if isinstance(value, dict):
                self._handle(value, self._send)
            else:
                self._send(_frame("ErrorMessage", "not a JSON object"))

    def close(self) -> None:
        with self._lock:
            self._clients.discard(self._send)


class _Listener:
    """A client of the counts port; what it says is ignored."""

    def __init__(self, send: Send, clients: set[Send], lock: threading.Lock) -> None:
        self._send = send
        self._clients = clients
        self._lock = lock
        with lock:
            clients.add(send)

    def feed(self, data: bytes) -> None:
        """Nothing is expected here."""

    def close(self) -> None:
        with self._lock:
            self._clients.discard(self._send)


def _frame(label: str, value: Any) -> bytes:
    return json.dumps({"label": label, "value": value}).encode("utf-8") + FRAME_END


def _vector(value: Any, count: int, least: float, most: float) -> list[float]:
    """`count` numbers, each within [least, most]. Raises ValueError."""
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"value must be a list of {count} numbers")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, (int, float)) or not least <= item <= most:
            raise ValueError(f"{item!r} is not a number from {least:g} to {most:g}")
    return [float(item) for item in value]
