"""Resource strings: how the configuration says where an instrument is, and nothing else does.

serial:PATH_OR_URL[?baud=N]     pyserial; a relative path is relative to the workspace directory
visa:RESOURCE[@library]         pyvisa; the library is pyvisa-py unless another one is named after the last '@'
tcp:HOST:PORT                   a plain socket with TCP_NODELAY
zmq:ENDPOINT                    messages, not bytes: the driver that speaks ZeroMQ opens it (see `parse_resource`)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.byte_link import DEFAULT_BAUD, ByteLink
from drivers.errors import InstrumentError


@dataclass(frozen=True, slots=True)
class Resource:
    """A parsed resource string. `kind`: serial, visa, tcp or zmq. `library` only for visa, `baud` only for serial."""

    kind: str
    address: str
    library: str = ""
    baud: int = DEFAULT_BAUD


def parse_resource(resource: str, *, instrument: str = "") -> Resource:
    """Split a resource string. Raises InstrumentError that names the part which is wrong."""
    kind, colon, address = resource.partition(":")
    if not colon or not address or kind not in ("serial", "visa", "tcp", "zmq"):
        raise _bad_resource(resource, "it must begin with serial:, visa:, tcp: or zmq:", instrument)
    if kind == "serial":
        return _parse_serial(resource, address, instrument)
    if kind == "visa":
        name, at, library = address.rpartition("@")
        return Resource("visa", name if at else address, f"@{library}" if at else "@py")
    if kind == "tcp":
        split_host_port(address, instrument=instrument)
    return Resource(kind, address)


def split_host_port(address: str, *, instrument: str = "") -> tuple[str, int]:
    """`host:port` or `[v6]:port`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise _bad_resource(f"tcp:{address}", "it must be tcp:HOST:PORT with a port of 1 to 65535", instrument)
    return host.strip("[]"), int(port)


def _parse_serial(resource: str, address: str, instrument: str) -> Resource:
    path, _, query = address.partition("?")
    if not query:
        return Resource("serial", path)
    key, _, value = query.partition("=")
    if key != "baud" or not value.isascii() or not value.isdigit() or not 0 < int(value) <= 4_000_000:
        raise _bad_resource(resource, "after '?' only baud=N (N up to 4000000) is known", instrument)
    return Resource("serial", path, baud=int(value))


def _bad_resource(resource: str, why: str, instrument: str) -> InstrumentError:
    return InstrumentError(
        f"resource {resource!r} cannot be used: {why}",
        instrument=instrument,
        remedy="correct `resource` in the station configuration",
    )


def open_link(resource: str, *, instrument: str, workspace: Path = Path(".")) -> ByteLink:
    """Open the link a resource string names. `instrument` is the name used in errors.

    Raises ConnectionLost if it cannot be opened, InstrumentError if the string is no byte link.
    """
    from drivers.transports import SerialLink, TcpLink, VisaLink

    parsed = parse_resource(resource, instrument=instrument)
    if parsed.kind == "serial":
        return SerialLink(parsed.address, baud=parsed.baud, instrument=instrument, workspace=workspace)
    if parsed.kind == "visa":
        return VisaLink(parsed.address, library=parsed.library, instrument=instrument)
    if parsed.kind == "tcp":
        host, port = split_host_port(parsed.address, instrument=instrument)
        return TcpLink(host, port, instrument=instrument)
    raise _bad_resource(resource, "zmq: carries messages, not bytes; this driver needs a byte link", instrument)
