"""The `[instruments]` tables of a bench file: which fakes there are, and what each of their ports is plugged into.

    [instruments.laser]
    kind = "koheron_ctl200"
    ports = { control = "pty:dev/ctl200" }

Addresses: `pty:PATH` (relative to the workspace), `tcp:HOST:PORT`, `zmq:tcp://HOST:PORT`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sim_instruments.model import BenchModel, bench_model

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TCP = re.compile(r"tcp:(?P<host>[^:/]+):(?P<port>\d{1,5})")
_ZMQ = re.compile(r"zmq:tcp://(?P<host>[^:/]+):(?P<port>\d{1,5})")
_PTY = re.compile(r"pty:(?P<path>\S+)")

Kind = Literal[
    "koheron_ctl200",
    "thorlabs_mbx",
    "thorlabs_pm100d",
    "txp_transmitter",
    "ozoptics_epc",
    "single_quantum_websq",
    "id900",
]


class BenchFileError(ValueError):
    """The bench file cannot be used. The message lists file, key, value and limit of everything wrong in it."""


class Address(BaseModel):
    """Where one port of a fake can be reached: `transport` "pty" with a path, "tcp" or "zmq" with host and port."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    transport: Literal["pty", "tcp", "zmq"]
    host: str = ""
    port: int = Field(0, ge=0, le=65_535)
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError for anything but the three forms, and for an address outside this host."""
        for transport, pattern in (("tcp", _TCP), ("zmq", _ZMQ)):
            if found := pattern.fullmatch(text):
                port = int(found["port"])
                if found["host"] not in LOOPBACK:
                    raise ValueError(f"{text!r}: a fake listens on loopback only ({', '.join(LOOPBACK)})")
                if not 1 <= port <= 65_535:
                    raise ValueError(f"{text!r}: port {port} is outside 1 to 65535")
                return cls(transport=transport, host=found["host"], port=port)  # type: ignore[arg-type]
        if found := _PTY.fullmatch(text):
            if ".." in Path(found["path"]).parts or Path(found["path"]).is_absolute():
                raise ValueError(f"{text!r}: the path must lie inside the workspace")
            return cls(transport="pty", port=0, path=found["path"])
        raise ValueError(f"{text!r} is none of pty:PATH, tcp:HOST:PORT, zmq:tcp://HOST:PORT")

    def shifted(self, port_offset: int) -> Address:
        """The same address with `port_offset` added to its port. Raises ValueError if that leaves 1 to 65535."""
        if self.transport == "pty":
            return self
        port = self.port + port_offset
        if not 1 <= port <= 65_535:
            raise ValueError(f"port {self.port} + offset {port_offset} is outside 1 to 65535")
        return self.model_copy(update={"port": port})


class InstrumentEntry(BaseModel):
    """One `[instruments.NAME]` table. `options`: those of the fake's class (serial number, detectors...)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Kind
    ports: dict[str, Address]
    options: dict[str, str | int | float] = {}

    @field_validator("ports", mode="before")
    @classmethod
    def _parse_ports(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError('must be a table of port names and addresses, e.g. { control = "pty:dev/laser" }')
        return {name: Address.parse(text) if isinstance(text, str) else text for name, text in value.items()}


class BenchFile(BaseModel):
    """A whole bench file, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    world: BenchModel
    instruments: dict[str, InstrumentEntry]


def read_bench_file(path: Path) -> BenchFile:
    """Read and check. Raises BenchFileError, or model.BenchModelError for the `[world]` table."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BenchFileError(f"{path}: cannot be read as TOML: {error}") from error
    world, instruments = document.pop("world", None), document.pop("instruments", {})
    if document:
        raise BenchFileError(f"{path}: unknown tables: {', '.join(sorted(document))}; known: world, instruments")
    if not isinstance(world, dict) or not isinstance(instruments, dict):
        raise BenchFileError(f"{path}: [world] is missing, or [instruments] is not a table")
    model = bench_model(world, f"{path}: [world]")
    try:
        entries = {name: InstrumentEntry.model_validate(entry) for name, entry in instruments.items()}
    except ValidationError as error:
        raise BenchFileError(f"{path}: {_explain(error)}") from error
    _check_ports(path, entries)
    return BenchFile(world=model, instruments=entries)


def _check_ports(path: Path, entries: dict[str, InstrumentEntry]) -> None:
    seen: dict[tuple[int, str], str] = {}
    for name, entry in entries.items():
        for port_name, address in entry.ports.items():
            key = (address.port, address.path)
            if key in seen:
                raise BenchFileError(f"{path}: {name}.{port_name} and {seen[key]} share one address")
            seen[key] = f"{name}.{port_name}"


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"instruments {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']} (value: {fault['input']!r})"
        for fault in error.errors()
    )
