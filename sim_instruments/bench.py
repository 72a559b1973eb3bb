"""One bench: a world, the fakes around it, and what their ports are plugged into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sim_instruments.bench_file import Address, BenchFile, BenchFileError, InstrumentEntry
from sim_instruments.instruments.base import Device
from sim_instruments.instruments.id900 import Id900
from sim_instruments.instruments.id900_stream import StreamPacing
from sim_instruments.instruments.koheron_ctl200 import KoheronCtl200
from sim_instruments.instruments.ozoptics_epc import OzOpticsEpc
from sim_instruments.instruments.single_quantum_websq import SingleQuantumWebSq
from sim_instruments.instruments.thorlabs_mbx import ThorlabsMbx
from sim_instruments.instruments.thorlabs_pm100d import ThorlabsPm100d
from sim_instruments.instruments.txp_transmitter import TxpTransmitter
from sim_instruments.transports.tcp import TcpServer
from sim_instruments.transports.terminal import TerminalServer
from sim_instruments.transports.zeromq import PairStream, ZmqReplyServer
from sim_instruments.world import World


class Server(Protocol):
    """A transport that serves one port."""

    def close(self) -> None: ...


def _make_id900(name: str, world: World, **options: str | int | float) -> Id900:
    """Options are those of `Id900` and of `StreamPacing` (how fast simulated time may run)."""
    names = StreamPacing.__dataclass_fields__
    pacing: dict[str, Any] = {key: value for key, value in options.items() if key in names}
    rest: dict[str, Any] = {key: value for key, value in options.items() if key not in names}
    return Id900(name, world, open_sink=_open_pair, pacing=StreamPacing(**pacing), **rest)


def _open_pair(port: int) -> PairStream:
    return PairStream(f"tcp://127.0.0.1:{port}")


_KINDS: dict[str, Callable[..., Device]] = {
    "koheron_ctl200": KoheronCtl200,
    "thorlabs_mbx": ThorlabsMbx,
    "thorlabs_pm100d": ThorlabsPm100d,
    "txp_transmitter": TxpTransmitter,
    "ozoptics_epc": OzOpticsEpc,
    "single_quantum_websq": SingleQuantumWebSq,
    "id900": _make_id900,
}


def make_device(kind: str, name: str, world: World, **options: str | int | float) -> Device:
    """A fake of `kind`, powered on, plugged into nothing. Raises BenchFileError for unknown kinds and options."""
    if kind not in _KINDS:
        raise BenchFileError(f"instruments.{name}.kind: {kind!r} is none of {', '.join(sorted(_KINDS))}")
    try:
        return _KINDS[kind](name, world, **options)
    except (TypeError, ValueError) as error:
        raise BenchFileError(f"instruments.{name}.options: {error}") from error


class Bench:
    """Everything of one bench file, running. `devices` by name; `close` takes all of it down."""

    def __init__(self, file: BenchFile, workspace: Path, port_offset: int = 0) -> None:
        self.world = World(file.world)
        self.devices: dict[str, Device] = {}
        self._servers: list[Server] = []
        try:
            for name, entry in file.instruments.items():
                self._add(name, entry, workspace, port_offset)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unplug everything. Idempotent."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        for device in self.devices.values():
            device.close()

    def _add(self, name: str, entry: InstrumentEntry, workspace: Path, port_offset: int) -> None:
        device = make_device(entry.kind, name, self.world, **entry.options)
        self.devices[name] = device
        if set(entry.ports) != set(device.ports):
            raise BenchFileError(
                f"instruments.{name}.ports: {sorted(entry.ports)} given; {entry.kind} has {sorted(device.ports)}"
            )
        for port_name, address in entry.ports.items():
            self._servers.append(_serve(device, port_name, address.shifted(port_offset), workspace))


def _serve(device: Device, port_name: str, address: Address, workspace: Path) -> Server:
    """Plug one port in. Raises OSError (port in use...) and TimeoutError."""
    if address.transport == "pty":
        return TerminalServer(device, port_name, workspace / address.path)
    if address.transport == "tcp":
        try:
            return TcpServer(device, port_name, address.host, address.port)
        except OSError as error:
            raise OSError(
                f"{device.name}.{port_name}: cannot listen on {address.host}:{address.port}: {error}"
            ) from None
    return ZmqReplyServer(device, port_name, f"tcp://{address.host}:{address.port}")
