"""OZ Optics EPC: four-channel electric polarization controller, serial 9600, lines end `\\r\\n`.

A good command is answered by its content line, if it has one, and then `Done`; a bad one by `Error!`. There is no
identity query. Source: command set as used by QMI's and pyLabLib's drivers. In AC mode the device sweeps its channels
by itself; the fake only remembers the mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sim_instruments.instruments.base import Conversation, Device, LineConversation, Send
from sim_instruments.world import World

CHANNELS = 4
MOST_MV = 5000
MOST_HZ = 100
SETTER = re.compile(r"(V|F|VH|VL|VZ|VF)([1-9])(?:,([+-]?\d{1,6}))?")


class OzOpticsEpc(Device):
    """Drives the world's polarization controller."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name)
        self._world = world
        self.power_on()

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {"control": lambda send: LineConversation(send, self._answer_line, terminator=b"\r\n", max_line=256)}

    def power_on(self) -> None:
        self._voltages_mv = [0] * CHANNELS
        self._frequencies_hz = [10] * CHANNELS
        self._is_ac = False
        self._wave_form = 1
        self._drive()

    def _answer_line(self, line: bytes) -> bytes | None:
        text = line.decode("ascii", errors="replace").strip().upper()
        if not text:
            return None
        content = None if self.faults.is_wrong_identity else self._execute(text)
        if content is None:
            return b"Error!\r\n"
        return (f"{content}\r\nDone\r\n" if content else "Done\r\n").encode("ascii")

    def _execute(self, text: str) -> str | None:
        """The content line, empty if there is none, None if the command is refused (nothing changes then)."""
        queries = {
            "V?": lambda: "Voltage(mV): " + " ".join(f"CH{i} {v:+05d}" for i, v in enumerate(self._voltages_mv, 1)),
            "F?": lambda: "Frequency(Hz): " + " ".join(f"CH{i} {f:03d}" for i, f in enumerate(self._frequencies_hz, 1)),
            "M?": lambda: f"Working Mode: {'AC' if self._is_ac else 'DC'}",
            "WF?": lambda: f"Waveform: {'Sine' if self._wave_form == 1 else 'Triangle'}",
        }
        if text in queries:
            return queries[text]()
        if text in ("MDC", "MAC"):
            self._is_ac = text == "MAC"
            return ""
        if text in ("WF1", "WF2"):
            self._wave_form = int(text[-1])
            return ""
        if text in ("SAVE", "ENVF0", "ENVF1"):
            return ""
        return self._set_channel(text)

    def _set_channel(self, text: str) -> str | None:
        found = SETTER.fullmatch(text)
        if found is None or int(found[2]) > CHANNELS:
            return None
        kind, channel = found[1], int(found[2]) - 1
        fixed = {"VH": MOST_MV, "VL": -MOST_MV, "VZ": 0}
        if (kind in fixed) == (found[3] is not None):
            return None  # a value where none belongs, or none where one belongs
        value = fixed[kind] if kind in fixed else int(found[3])
        if kind == "F":
            if not 0 <= value <= MOST_HZ:
                return None
            self._frequencies_hz[channel] = value
        elif kind != "VF":
            if not -MOST_MV <= value <= MOST_MV:
                return None
            self._voltages_mv[channel] = value
            self._drive()
        return ""

    def _drive(self) -> None:
        self._world.set_polarization_voltages_v([v / 1000 for v in self._voltages_mv])
