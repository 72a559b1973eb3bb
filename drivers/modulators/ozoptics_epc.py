"""OZ Optics EPC electric polarization controller, four fibre squeezers: serial, 9600, lines end with CR LF.

A command is answered by its content lines, if it has any, and then `Done`; a bad one by `Error!`. There is no identity
query: the substitute is the shape of the answer to `V?`, `Voltage(mV): CH1 +2200 ... CH4 -4000`.
Source: QMI qmi/instruments/ozoptics/epc_driver.py; pyLabLib pylablib/devices/OZOptics/base.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from drivers.errors import CommandRejected, GarbledReply, SettingOutOfRange
from drivers.instrument import LinkedInstrument, Setting, in_range
from drivers.roles import Identity, Snapshot

CHANNELS = 4
VOLTAGE_LIMITS_V = (-5.0, 5.0)
VOLTAGE_TOLERANCE_V = 0.005  # rounding to 1 mV and the step of a 12-bit converter over 10 V
SUBSTITUTE = "no identity query; the answer to V? has the shape of an EPC's"
_MAX_LINES = 8
_SYNCHRONISER = b"WF?"
_CHANNEL_VALUE = re.compile(r"CH(\d)\s*([+-]?\d{1,5})(?!\d)")


def parse_voltages_v(text: str) -> tuple[float, ...]:
    """The answer to `V?`, in volts. ValueError if it is not one value for each of the channels 1 to 4."""
    found = _CHANNEL_VALUE.findall(text)
    if not text.startswith("Voltage") or [int(channel) for channel, _ in found] != list(range(1, CHANNELS + 1)):
        raise ValueError(f"voltages of CH1 to CH{CHANNELS} were expected")
    volts = tuple(int(value) / 1000 for _, value in found)
    if not all(VOLTAGE_LIMITS_V[0] <= v <= VOLTAGE_LIMITS_V[1] for v in volts):
        raise ValueError("a voltage is beyond what the instrument can give")
    return volts


def parse_mode(text: str) -> str:
    """`DC` (fixed voltages) or `AC` (scrambling). ValueError otherwise."""
    mode = text.split()[-1][:2].upper() if text.split() else ""
    if mode not in ("DC", "AC"):
        raise ValueError("a mode that ends in DC or AC was expected")
    return mode


class Epc(LinkedInstrument):
    """Electric polarization controller of the receiver (OZ Optics EPC)."""

    role: ClassVar[str] = "PolarizationController"
    transport: ClassVar[str] = "serial:/dev/ttyUSB0?baud=9600"
    options: ClassVar[dict[str, str]] = {}
    terminator: ClassVar[bytes] = b"\r\n"
    settings: ClassVar[tuple[Setting, ...]] = (Setting("mode", "M?", parse_mode, "DC fixed voltages, AC scrambling"),)

    @property
    def channels(self) -> int:
        return CHANNELS

    @property
    def voltage_limits_v(self) -> tuple[float, float]:
        return VOLTAGE_LIMITS_V

    def set_voltages_v(self, voltages_v: Sequence[float]) -> None:
        """One voltage per channel, in steps of 1 mV; fixed-voltage mode; read back."""
        if len(voltages_v) != CHANNELS:
            raise SettingOutOfRange(
                f"{len(voltages_v)} voltages for {CHANNELS} channels; nothing was sent", instrument=self.name
            )
        for channel, voltage_v in enumerate(voltages_v, 1):
            in_range(voltage_v, VOLTAGE_LIMITS_V, what=f"voltages_v[{channel}]", instrument=self.name)
        self.command("MDC", str)
        for channel, voltage_v in enumerate(voltages_v, 1):
            self.command(f"V{channel},{round(voltage_v * 1000)}", str)
        for channel, (is_v, set_v) in enumerate(zip(self.voltages_v(), voltages_v, strict=True), 1):
            self._confirm(f"voltage of channel {channel}", is_v, float(set_v), VOLTAGE_TOLERANCE_V)

    def voltages_v(self) -> tuple[float, ...]:
        """Present output voltages."""
        return self.query("V?", parse_voltages_v)

    def snapshot(self) -> Snapshot:
        raw, voltages_v = self.query("V?", lambda text: (text, parse_voltages_v(text)))
        base = super().snapshot()
        values = dict(base.values) | {f"voltage_{i}_v": v for i, v in enumerate(voltages_v, 1)}
        return Snapshot(base.identity, values, dict(base.raw) | {"voltages_v": raw})

    def make_safe(self) -> None:
        """Fixed-voltage mode and 0 V everywhere: no force on the fibre, as after power-off."""
        self.set_voltages_v((0.0,) * CHANNELS)
        self._confirm("mode", self.read_setting("mode"), "DC")

    def _identify(self) -> Identity:
        try:
            self.query("V?", parse_voltages_v)
        except CommandRejected as error:
            raise self._wrong(f"{error.entries[0][1]!r} to V?", "an OZ Optics EPC") from error
        return Identity("OZ Optics", "EPC", "", "", substitute=SUBSTITUTE)

    def _synchronise(self) -> None:
        """Ask for the wave form, which nothing else asks for; lines before its answer belong to older questions."""
        self._link.write(_SYNCHRONISER + self.terminator)
        for _ in range(2 * _MAX_LINES):
            if "waveform" in self._decoded(self._link.read_until(self.terminator, self.timeout_s, 1024)).lower():
                self._link.read_until(b"Done" + self.terminator, self.timeout_s, 1024)
                return
        raise GarbledReply(
            f"it does not find back into step: {_SYNCHRONISER.decode('ascii')} is not answered",
            instrument=self.name,
            remedy="restart it, then open it again",
        )

    def _exchange(self, command: bytes, timeout_s: float) -> str:
        """Content lines up to `Done`, joined by blanks."""
        self._link.write(command + self.terminator)
        lines: list[str] = []
        while len(lines) < _MAX_LINES:
            line = self._decoded(self._link.read_until(self.terminator, timeout_s, 1024))
            if line == "Done":
                return " ".join(lines)
            if line.startswith("Error"):
                raise CommandRejected(
                    ((-1, line),), instrument=self.name, remedy=f"check {command.decode('ascii')!r} against the manual"
                )
            lines.append(line)
        raise GarbledReply(
            f"{command.decode('ascii')!r} was answered by {_MAX_LINES} lines without 'Done'",
            instrument=self.name,
            remedy="check model and cable",
        )
