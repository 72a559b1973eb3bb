"""pyserial URL handler: `serial.serial_for_url("twin://NAME")` opens an in-process fake. pyserial rules the name."""

from __future__ import annotations

from typing import Any

from serial import SerialException
from serial.serialutil import PortNotOpenError, SerialBase

from sim_instruments.transports.in_process import InProcessLine, names
from sim_instruments.transports.link import Unreachable


class Serial(SerialBase):
    """A serial port without a wire: any baud rate, modem lines on, reads with pyserial's timeouts."""

    BAUDRATES = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)

    _line: InProcessLine | None = None

    def open(self) -> None:
        """Raises SerialException if nothing, or an unplugged device, is there."""
        name = str(self.portstr).split("://", 1)[1]
        try:
            self._line = InProcessLine(name)
        except KeyError:
            known = ", ".join(names()) or "nothing"
            raise SerialException(f"twin://{name}: nothing is plugged in under that name (there is: {known})") from None
        except Unreachable as error:
            raise SerialException(f"could not open port twin://{name}: {error}") from error
        self.is_open = True

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None
        self.is_open = False

    @property
    def _open_line(self) -> InProcessLine:
        if self._line is None:
            raise PortNotOpenError()
        if self._line.is_broken and not self._line.waiting:
            raise SerialException("device disconnected")
        return self._line

    def write(self, data: Any, /) -> int:
        self._open_line.write(bytes(data))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        return self._open_line.read(size, self.timeout, is_exact=True)

    @property
    def in_waiting(self) -> int:
        return self._open_line.waiting

    @property
    def out_waiting(self) -> int:
        return 0

    def reset_input_buffer(self) -> None:
        self._open_line.clear()

    def reset_output_buffer(self) -> None:
        """Nothing is ever waiting to go out."""

    def flush(self) -> None:
        """Writes are done when they return."""

    def _reconfigure_port(self, force_update: bool = False) -> None:
        """Baud rate and parity change nothing here."""

    def _update_rts_state(self) -> None:
        """No modem lines."""

    def _update_dtr_state(self) -> None:
        """No modem lines."""

    def _update_break_state(self) -> None:
        """No modem lines."""

    @property
    def cts(self) -> bool:
        return True

    @property
    def dsr(self) -> bool:
        return True

    @property
    def ri(self) -> bool:
        return False

    @property
    def cd(self) -> bool:
        return True
