"""The control socket of a bench: one JSON object per line in, one out, on a Unix socket that only its owner can open.

It is for tests, demonstrations and whoever teaches with the bench; nodes never use it. Verbs (`do`):

    state                                               simulated time, light, and the fault of every instrument
    fault            name, value                        something happens to the light (see World.set_fault)
    attack           name | null, fraction              an eavesdropper comes or goes
    register_gates   gates, common_dead_time_ps         from now on the truth is averaged for these gates
    expectation      gates, common_dead_time_ps         truth for the present settings
    expectation_average                                 truth averaged since register_gates
    instrument_fault instrument, fault, [value]         see faults.FaultKind; "none" ends it
    stop                                                end the bench

Answers: {"ok": true, ...} or {"ok": false, "error": TEXT}.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim_instruments.bench import Bench
from sim_instruments.faults import FaultKind

MAX_LINE_BYTES = 1 << 20
MAX_GATES = 256
Gate = tuple[int, float, float, int, int]


class ControlError(ValueError):
    """A request that cannot be done; it has changed nothing."""


class BenchControl:
    """Does the verbs. Separate from the socket, so that tests in process can use it directly."""

    def __init__(self, bench: Bench, stop: Callable[[], None]) -> None:
        self._bench = bench
        self._stop = stop
        self._verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "state": self._state,
            "fault": self._fault,
            "attack": self._attack,
            "register_gates": self._register_gates,
            "expectation": self._expectation,
            "expectation_average": lambda _: {"expectation": self._bench.world.expectation_average()},
            "instrument_fault": self._instrument_fault,
            "stop": self._end,
        }

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one request line; never raises for what stands in it."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ControlError("a request is a JSON object")
            verb = request.get("do")
            if verb not in self._verbs:
                raise ControlError(f'"do" is {verb!r}; there are {", ".join(self._verbs)}')
            return {"ok": True, **self._verbs[verb](request)}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _state(self, _: dict[str, Any]) -> dict[str, Any]:
        faults = {name: str(device.faults.kind) for name, device in self._bench.devices.items()}
        world = self._bench.world
        light = {"laser_power_w": world.laser_power_w(), "is_transmitter_on": world.is_transmitter_on()}
        return {"now_ps": world.now_ps, "slot_now": world.slot_now(), "light": light, "instruments": faults}

    def _fault(self, request: dict[str, Any]) -> dict[str, Any]:
        value = request.get("value", True)
        if not isinstance(value, (bool, int, float)):
            raise ControlError(f'"value" is {value!r}; it must be a number or true or false')
        self._bench.world.set_fault(_text(request, "name"), value)
        return {}

    def _attack(self, request: dict[str, Any]) -> dict[str, Any]:
        name = None if request.get("name") is None else _text(request, "name")
        self._bench.world.set_attack(name, _number(request, "fraction", 1.0))
        return {}

    def _register_gates(self, request: dict[str, Any]) -> dict[str, Any]:
        self._bench.world.register_gates(_gates(request), int(_number(request, "common_dead_time_ps", 0.0)))
        return {}

    def _expectation(self, request: dict[str, Any]) -> dict[str, Any]:
        dead_time_ps = int(_number(request, "common_dead_time_ps", 0.0))
        return {"expectation": self._bench.world.expectation(_gates(request), dead_time_ps)}

    def _instrument_fault(self, request: dict[str, Any]) -> dict[str, Any]:
        name = _text(request, "instrument")
        if name not in self._bench.devices:
            raise ControlError(f"no instrument {name!r}; there are {', '.join(self._bench.devices)}")
        kind, device = FaultKind(_text(request, "fault")), self._bench.devices[name]
        if kind in SPECIAL_FAULTS and kind not in device.special_faults:
            raise ControlError(f"{name} has no part that can show {kind!s}")
        device.faults.set(kind, _number(request, "value", None))
        return {}

    def _end(self, _: dict[str, Any]) -> dict[str, Any]:
        self._stop()
        return {}


SPECIAL_FAULTS = frozenset({FaultKind.INTERLOCK, FaultKind.NO_SENSOR, FaultKind.OVERFLOW})


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise ControlError(f'"{key}" is {value!r}; it must be a string')
    return value


def _number(request: dict[str, Any], key: str, default: float | None) -> Any:
    value = request.get(key, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ControlError(f'"{key}" is {value!r}; it must be a number')
    return value


def _gates(request: dict[str, Any]) -> list[Gate]:
    """[[channel, start_ps, width_ps, basis, bit], ...]."""
    gates = request.get("gates")
    if not isinstance(gates, list) or len(gates) > MAX_GATES:
        raise ControlError(f'"gates" must be a list of at most {MAX_GATES}')
    checked: list[Gate] = []
    for gate in gates:
        if not isinstance(gate, list) or len(gate) != 5:
            raise ControlError("a gate is [channel, start_ps, width_ps, basis, bit]")
        checked.append((int(gate[0]), float(gate[1]), float(gate[2]), int(gate[3]), int(gate[4])))
    return checked


class ControlSocket:
    """Listens on `path` (mode 0600) and gives each line to `control`. One thread per client."""

    def __init__(self, control: BenchControl, path: Path) -> None:
        self._control = control
        self._path = path
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                self._listener.bind(str(path))
            finally:
                os.umask(before)
        except OSError as error:
            self._listener.close()
            raise OSError(f"{path}: cannot listen there (a path has at most 107 bytes): {error}") from None
        self._listener.listen()
        threading.Thread(target=self._accept, name="bench:control", daemon=True).start()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="bench:control:client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream:
            try:
                while line := stream.readline(MAX_LINE_BYTES):
                    stream.write(json.dumps(self._control.answer(line)).encode("utf-8") + b"\n")
                    stream.flush()
            except OSError:
                return  # the client went away
