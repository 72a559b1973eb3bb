"""pyvisa backend `@twin`: pyvisa-sim with the fakes of this package behind it, chunked reads and real timeouts.

`pyvisa.ResourceManager("@twin").open_resource("TCPIP::transmitter::5025::SOCKET")` opens whatever
`sim_instruments.transports.in_process.plugged` has put under that resource name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyvisa
from pyvisa import constants, rname
from pyvisa.constants import ResourceAttribute, StatusCode
from pyvisa_sim.highlevel import SimVisaLibrary
from pyvisa_sim.sessions.session import Session

from sim_instruments.transports import in_process
from sim_instruments.transports.link import Unreachable


class TwinVisaLibrary(SimVisaLibrary):  # type: ignore[misc]  # pyvisa-sim is untyped
    """Dispatches to in-process lines instead of pyvisa-sim's own YAML devices."""

    def _init(self) -> None:
        self.sessions: dict[int, Any] = {}
        self._lines: dict[int, in_process.InProcessLine] = {}

    def list_resources(self, session: int, query: str = "?*::INSTR") -> tuple[str, ...]:
        return tuple(rname.filter([name for name in in_process.names() if "::" in name], query))

    def open(
        self,
        session: int,
        resource_name: str,
        access_mode: constants.AccessModes = constants.AccessModes.no_lock,
        open_timeout: int = 0,
    ) -> tuple[int, StatusCode]:
        try:
            parsed = rname.parse_resource_name(resource_name)
        except rname.InvalidResourceName:
            raise pyvisa.errors.VisaIOError(StatusCode.error_invalid_resource_name) from None
        line = self._open_line(resource_name, str(parsed))
        if line is None:
            raise pyvisa.errors.VisaIOError(StatusCode.error_resource_not_found)
        session_class = Session.get_session_class(parsed.interface_type_const, parsed.resource_class)
        handle = self._register(session_class(session, resource_name, parsed))
        self._lines[handle] = line
        return handle, StatusCode.success

    def _open_line(self, *candidates: str) -> in_process.InProcessLine | None:
        for name in candidates:
            try:
                return in_process.InProcessLine(name)
            except (KeyError, Unreachable):
                continue
        return None

    def close(self, session: int) -> StatusCode:
        if session in self._lines:
            self._lines.pop(session).close()
        return super().close(session)

    def read(self, session: int, count: int) -> tuple[bytes, StatusCode]:
        """viRead: ends at the termination character (if enabled), at `count`, or with VI_ERROR_TMO."""
        line, attribute = self._line(session), self._attribute_reader(session)
        timeout_ms = attribute(ResourceAttribute.timeout_value)
        timeout_s = None if timeout_ms == constants.VI_TMO_INFINITE else timeout_ms / 1000
        is_terminated = bool(attribute(ResourceAttribute.termchar_enabled))
        terminator = bytes([attribute(ResourceAttribute.termchar)]) if is_terminated else b""
        data = line.read(count, timeout_s, terminator, is_exact=is_terminated)
        if not data:
            raise pyvisa.errors.VisaIOError(
                StatusCode.error_connection_lost if line.is_broken else StatusCode.error_timeout
            )
        if terminator and data.endswith(terminator):
            return data, StatusCode.success_termination_character_read
        if len(data) == count:
            return data, StatusCode.success_max_count_read
        if is_terminated:
            raise pyvisa.errors.VisaIOError(StatusCode.error_timeout)  # half an answer, and no more of it in time
        return data, StatusCode.success

    def write(self, session: int, data: bytes) -> tuple[int, StatusCode]:
        line = self._line(session)
        if line.is_broken:
            raise pyvisa.errors.VisaIOError(StatusCode.error_connection_lost)
        line.write(bytes(data))
        return len(data), StatusCode.success

    def clear(self, session: int) -> StatusCode:
        self._line(session).clear()
        return StatusCode.success

    def flush(self, session: int, mask: constants.BufferOperation) -> StatusCode:
        if mask in (
            constants.BufferOperation.discard_read_buffer,
            constants.BufferOperation.discard_receive_buffer,
            constants.BufferOperation.discard_receive_buffer2,
        ):
            self._line(session).clear()
        return StatusCode.success

    def _line(self, session: int) -> in_process.InProcessLine:
        if session not in self._lines:
            raise pyvisa.errors.VisaIOError(StatusCode.error_invalid_object)
        return self._lines[session]

    def _attribute_reader(self, session: int) -> Callable[[ResourceAttribute], int]:
        attributes = self.sessions[session]
        return lambda name: int(attributes.get_attribute(name)[0])


WRAPPER_CLASS = TwinVisaLibrary  # the name pyvisa looks for
