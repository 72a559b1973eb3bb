"""The transports beneath `drivers.links`: pyserial, a TCP socket, VISA. Opened by `open_link`, used as `ByteLink`."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from drivers.byte_link import CHUNK_BYTES, DEFAULT_BAUD, OPEN_TIMEOUT_S, SLICE_S, WRITE_TIMEOUT_S, BufferedLink
from drivers.errors import ConnectionLost, InstrumentError, InstrumentTimeout

if TYPE_CHECKING:
    import serial
    from pyvisa.resources import MessageBasedResource


class SerialLink(BufferedLink):
    """A serial port through pyserial (8N1, no flow control): a device file or any URL that pyserial knows."""

    def __init__(self, address: str, *, baud: int = DEFAULT_BAUD, instrument: str, workspace: Path = Path(".")) -> None:
        super().__init__(instrument, f"serial port {address}")
        self._port = self._open(address, baud, workspace)

    def _open(self, address: str, baud: int, workspace: Path) -> serial.Serial:
        import serial

        is_url = "://" in address
        target = address if is_url or os.name == "nt" else str(workspace / address)
        try:
            port: Any = serial.serial_for_url(
                target, baudrate=baud, timeout=0, write_timeout=WRITE_TIMEOUT_S, exclusive=None if is_url else True
            )
        except (OSError, ValueError) as error:
            raise ConnectionLost(
                f"cannot open {self.where}: {error}",
                instrument=self.instrument,
                remedy="check the cable, the path, and that no other program has it open",
            ) from error
        return cast(serial.Serial, port)

    def _send(self, data: bytes) -> None:
        import serial

        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            self._is_out_of_step = True
            raise InstrumentTimeout(f"{self.where} takes no data: {error}", instrument=self.instrument) from error
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, max_bytes: int, timeout_s: float, last_byte: int | None) -> bytes:
        try:
            if not (waiting := self._port.in_waiting) and timeout_s > 0:
                self._port.timeout = min(timeout_s, SLICE_S)
                first = bytes(self._port.read(1))
                return first + bytes(self._port.read(min(self._port.in_waiting, max_bytes - 1))) if first else b""
            return bytes(self._port.read(min(waiting, max_bytes)))
        except OSError as error:
            raise self._lost(error) from error

    def _shut(self) -> None:
        self._port.close()


class TcpLink(BufferedLink):
    """A plain TCP socket. TCP_NODELAY is on: small questions and big blocks are mixed."""

    def __init__(self, host: str, port: int, *, instrument: str) -> None:
        super().__init__(instrument, f"tcp {host}:{port}")
        try:
            self._socket = socket.create_connection((host, port), timeout=OPEN_TIMEOUT_S)
        except OSError as error:
            raise ConnectionLost(
                f"cannot open {self.where}: {error}",
                instrument=instrument,
                remedy="check that it is switched on, its address, and the network",
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(WRITE_TIMEOUT_S)
            self._socket.sendall(data)
        except TimeoutError as error:
            raise self._lost(f"it took no data for {WRITE_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, max_bytes: int, timeout_s: float, last_byte: int | None) -> bytes:
        try:
            self._socket.settimeout(timeout_s)
            piece = self._socket.recv(min(max_bytes, CHUNK_BYTES))
        except (TimeoutError, BlockingIOError):
            return b""
        except OSError as error:
            raise self._lost(error) from error
        if not piece:
            raise self._lost("closed by the instrument")
        return piece

    def _shut(self) -> None:
        self._socket.close()


class VisaLink(BufferedLink):
    """A message-based VISA resource (USBTMC, GPIB, SOCKET, VXI-11), raw bytes, nothing appended or stripped.

    The termination character is on only while a text reply is read: inside binary data it would end the read.
    """

    def __init__(self, resource_name: str, *, library: str = "@py", instrument: str) -> None:
        super().__init__(instrument, f"VISA resource {resource_name}")
        if resource_name.upper().startswith("ASRL"):
            raise InstrumentError(
                f"{self.where}: serial ports are not opened through VISA, which reads them byte by byte",
                instrument=instrument,
                remedy="serial:PATH?baud=N",
            )
        import pyvisa

        self._visa_errors = (pyvisa.errors.Error, OSError)
        codes = pyvisa.constants.StatusCode
        self._timeout_codes = (codes.error_timeout,)
        self._part_codes = (codes.success_max_count_read, codes.success_device_not_present)
        try:
            self._manager = pyvisa.ResourceManager(library)  # kept: it closes its resources when it is collected
            resource: Any = self._manager.open_resource(resource_name, open_timeout=int(OPEN_TIMEOUT_S * 1000))
        except Exception as error:  # pyvisa-py raises bare Exception when it cannot connect
            raise self._cannot_open(error) from error
        self._resource: MessageBasedResource = resource
        self._is_socket = resource_name.upper().endswith("::SOCKET")
        if self._is_socket:
            self._check_connected()
            # otherwise pyvisa-py throws away the first half of a reply whose second half is late
            resource.set_visa_attribute(pyvisa.constants.ResourceAttribute.suppress_end_enabled, False)

    def _cannot_open(self, error: object) -> ConnectionLost:
        return ConnectionLost(
            f"cannot open {self.where}: {error}",
            instrument=self.instrument,
            remedy="check that it is switched on, its address, and the VISA library",
        )

    def _native_socket(self) -> socket.socket | None:
        """pyvisa-py's socket. It reports neither a refused connection nor a hang-up by itself: we look."""
        sessions = getattr(self._resource.visalib, "sessions", {})
        native = getattr(sessions.get(self._resource.session), "interface", None)
        return native if isinstance(native, socket.socket) else None

    def _check_connected(self) -> None:
        native = self._native_socket()
        if native is None:
            return
        try:
            native.getpeername()
        except OSError as error:
            refusal = os.strerror(native.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) or error
            self._resource.close()
            raise self._cannot_open(refusal) from error
        native.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _check_hang_up(self) -> None:
        native = self._native_socket()
        if native is None:
            return
        try:
            is_ended = native.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(error) from error
        if is_ended:
            raise self._lost("closed by the instrument")

    def _send(self, data: bytes) -> None:
        try:
            self._resource.write_raw(data)
        except self._visa_errors as error:
            raise self._lost(error) from error

    def _receive(self, max_bytes: int, timeout_s: float, last_byte: int | None) -> bytes:
        if timeout_s <= 0 and not self._is_socket:
            return b""  # USBTMC and GPIB hold their replies until asked; asking for nothing is an error there
        if self._is_socket:
            self._check_hang_up()
            timeout_s = min(timeout_s, SLICE_S)
        self._set_end(last_byte)
        try:
            self._resource.timeout = max(1.0, timeout_s * 1000)
            with self._resource.ignore_warning(*self._part_codes):
                piece, _ = self._resource.visalib.read(self._resource.session, max_bytes)
        except self._visa_errors as error:
            if getattr(error, "error_code", None) in self._timeout_codes:
                return b""
            raise self._lost(error) from error
        return bytes(piece)

    def _set_end(self, last_byte: int | None) -> None:
        from pyvisa.constants import ResourceAttribute

        self._resource.set_visa_attribute(ResourceAttribute.termchar_enabled, last_byte is not None)
        if last_byte is not None:
            self._resource.set_visa_attribute(ResourceAttribute.termchar, last_byte)

    def settle(self) -> None:
        """On USBTMC and GPIB a device clear empties both ends; elsewhere wait for silence."""
        if self._is_socket:
            super().settle()
            return
        self._buffer.clear()
        with contextlib.suppress(*self._visa_errors):  # a device that cannot be cleared is found out by the next reply
            self._resource.clear()
        self._is_out_of_step = False

    def _shut(self) -> None:
        self._resource.close()
