"""ID Quantique ID900 time controller and its data link service: SCPI over ZeroMQ, JSON over ZeroMQ, raw tag streams.

SCPI port: every message is answered, commands without an answer by an empty message. Data link ("DLT") port: command
lines like `start-stream --address A --channel 1 --stream-port 4242`, answered by JSON; failures by
`{"error": {"description": ...}}`. Streams: one ZeroMQ PAIR per channel, bound by the service at the port that the
client names; messages are raw little-endian u64 timestamps in units of `DEVI:RES:BWID?` ps, restarting at 0 with
every sub-acquisition; with `--with-ref-index` pairs of timestamp and index. An empty message ends a stream. Source:
the vendor's published examples (common.py, acquisitions/timestamps.py, streams.py, two stream scripts).

What those leave open and this fake decides: `SYST:ERR?` is the error query; a sub-acquisition without any tag sends no
message and still counts in `acquisitions_count`; a single acquisition set by `REC:DURation` is sent as it comes, in
pieces of some 100 000 tags over all channels (the real one sends when some 100 million are there, or at its end);
while nobody streams, recording stands still; `REC:NUM` is 1 to 1e9 or INF; the highest rate is what the host can
take.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from sim_instruments.faults import FaultKind
from sim_instruments.instruments.base import Conversation, Device, MessageConversation, Send
from sim_instruments.instruments.id900_datalink import DataLink
from sim_instruments.instruments.id900_stream import CHANNELS, ChannelStream, Recorder, Recording, Sink, StreamPacing
from sim_instruments.scpi import CommandTable, ErrorQueue, ScpiError, boolean, number
from sim_instruments.world import World

UNITS_PS = {"HIRES": 1, "LOWRES": 100}
LEAST_DEAD_TIME_PS = 40_000
MOST_PS = 10**18
THRESHOLD = re.compile(r"([+-]?\d+(?:\.\d+)?)(MV|V)?", re.IGNORECASE)


class Id900(Device):
    """Reads the world's tags. `open_sink(port)` opens the server end of a stream at a TCP port of this host."""

    special_faults = frozenset({FaultKind.OVERFLOW})

    def __init__(
        self,
        name: str,
        world: World,
        *,
        open_sink: Callable[[int], Sink],
        serial: str = "2108001N010",
        pacing: StreamPacing | None = None,
    ) -> None:
        super().__init__(name)
        self._world = world
        self._serial = serial
        self._pacing = pacing or StreamPacing()
        self._lock = threading.RLock()
        self._datalink = DataLink(open_sink, lambda channel: self._inputs[channel].is_sending)
        self._recorder: Recorder | None = None
        self._commands = self._build_commands()
        self._reset_settings()

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {
            "scpi": lambda send: MessageConversation(send, self._answer_scpi),
            "datalink": lambda send: MessageConversation(send, self._datalink.answer),
        }

    def power_on(self) -> None:
        self._unplug()
        self._reset_settings()

    def special_fault(self, kind: FaultKind) -> None:
        if kind is FaultKind.OVERFLOW:
            with self._lock:
                for stream in self._datalink.streams:
                    self._raw_errors[stream.channel] += 1
                    stream.lose_next_message()

    def close(self) -> None:
        self._unplug()

    def _fault_changed(self, kind: FaultKind) -> None:
        super()._fault_changed(kind)
        if kind is FaultKind.DISCONNECT:
            self._unplug()

    def _unplug(self) -> None:
        with self._lock:
            self._stop_recording()
            self._datalink.close_all()

    def _reset_settings(self) -> None:
        self._errors = ErrorQueue()
        self._resolution = "HIRES"
        self._inputs = {i: _Input() for i in range(1, CHANNELS + 1)}
        self._raw_errors = dict.fromkeys(range(1, CHANNELS + 1), 0)
        self._is_record_enabled = False
        self._trigger_mode = "MANUal"
        self._record_number: int | None = 1
        self._record_width_ps = 10**12
        self._record_period_ps = 10**12 + LEAST_DEAD_TIME_PS
        self._is_duration_set = True

    # --- SCPI --------------------------------------------------------------------------------------------------------
    def _answer_scpi(self, message: bytes) -> bytes:
        with self._lock:
            answers = self._commands.execute(message.decode("utf-8", errors="replace").strip(), self._errors)
        return ";".join(answers).encode("utf-8")

    def _build_commands(self) -> CommandTable:
        table = CommandTable()
        table.add("*IDN?", lambda _: self._identity())
        table.add("*RST", lambda _: self.power_on())
        table.add("*CLS", lambda _: self._errors.clear())
        table.add("*OPC?", lambda _: "1")
        table.add("SYSTem:ERRor?", lambda _: '{},"{}"'.format(*self._errors.pop()))
        table.add("DEVIce:RESolution", self._set_resolution)
        table.add("DEVIce:RESolution?", lambda _: self._resolution)
        table.add("DEVIce:RESolution:BWIDth?", lambda _: str(UNITS_PS[self._resolution]))
        table.add("DEVIce:SAMPling:RECAlibrate", lambda _: None)
        for channel in range(1, CHANNELS + 1):
            self._add_input_commands(table, channel)
        table.add("RECord:TRIGger:ARM:MODE", self._set_trigger_mode)
        table.add("RECord:TRIGger:ARM:MODE?", lambda _: self._trigger_mode)
        table.add("RECord:ENABle", self._set_record_enabled)
        table.add("RECord:ENABle?", lambda _: _on_off(self._is_record_enabled))
        table.add("RECord:NUMber", self._set_record_number)
        table.add("RECord:NUMber?", lambda _: "INF" if self._record_number is None else str(self._record_number))
        table.add("RECord:DURation", self._set_duration)
        table.add("RECord:DURation?", lambda _: str(self._record_width_ps))
        table.add("RECord:PWIDth", self._set_width)
        table.add("RECord:PWIDth?", lambda _: str(self._record_width_ps))
        table.add("RECord:PPERiod", self._set_period)
        table.add("RECord:PPERiod?", lambda _: str(self._record_period_ps))
        table.add("RECord:PLAY", self._play)
        table.add("RECord:STOP", lambda _: self._stop_recording())
        table.add("RECord:STAGe?", lambda _: "PLAYING" if self._is_playing else "STOPPED")
        return table

    def _add_input_commands(self, table: CommandTable, channel: int) -> None:
        head, raw = f"INPUt{channel}", f"RAW{channel}"

        def inputs() -> _Input:  # not bound once: *RST puts new ones in
            return self._inputs[channel]

        def set_threshold(argument: str) -> None:
            found = THRESHOLD.fullmatch(argument)
            if found is None:
                raise ScpiError(-104, "Data type error")
            volts = float(found[1]) * (1e-3 if (found[2] or "V").upper() == "MV" else 1.0)
            inputs().threshold_v = number(f"{volts}", -2.0, 2.0)

        def set_edge(argument: str) -> None:
            edge = argument.upper()
            if not ("RISING".startswith(edge) or "FALLING".startswith(edge)) or len(edge) < 4:
                raise ScpiError(-224, "Illegal parameter value")
            inputs().edge = "RISING" if edge.startswith("R") else "FALLING"

        def set_enabled(argument: str) -> None:
            inputs().is_enabled = boolean(argument)

        def set_text(argument: str) -> None:
            inputs().remark = argument[:64]

        table.add(f"{head}:ENABle", set_enabled)
        table.add(f"{head}:ENABle?", lambda _: _on_off(inputs().is_enabled))
        table.add(f"{head}:THREshold", set_threshold)
        table.add(f"{head}:THREshold?", lambda _: f"{inputs().threshold_v:+.3f}V")
        table.add(f"{head}:EDGE", set_edge)
        table.add(f"{head}:EDGE?", lambda _: inputs().edge)
        for name in ("COUPling", "SELEct", "COUNter:MODE", "COUNter:INTEgration", "COUNter:RESEt"):
            table.add(f"{head}:{name}", set_text)
        table.add(f"{head}:COUNter?", lambda _: f"{self._world.count_rates_hz()[channel - 1]:.0f}")
        table.add(f"{head}:HIRES:ERROR:CLEAR", lambda _: None)
        table.add(f"DELAy{channel}:VALUe", lambda argument: self._set_delay(channel, argument))
        table.add(f"DELAy{channel}:VALUe?", lambda _: str(inputs().delay_ps))
        table.add(f"DELAy{channel}:LINK", set_text)
        table.add(f"{raw}:REF:LINK", set_text)
        table.add(f"{raw}:STOP:LINK", set_text)
        table.add(f"{raw}:ERRORS:CLEAR", lambda _: self._raw_errors.__setitem__(channel, 0))
        table.add(f"{raw}:ERRORS?", lambda _: str(self._raw_errors[channel]))
        table.add(f"{raw}:SEND", lambda argument: self._set_sending(channel, argument))
        table.add(f"{raw}:SEND?", lambda _: _on_off(inputs().is_sending))

    def _identity(self) -> str:
        if self.faults.is_wrong_identity:
            return "IDQ,ID281,00001,1.0"
        return f"IDQ,ID900,{self._serial},2.3.1"

    def _set_resolution(self, argument: str) -> None:
        if argument.upper() not in UNITS_PS:
            raise ScpiError(-224, "Illegal parameter value")
        self._refuse_while_playing()
        self._resolution = argument.upper()

    def _set_delay(self, channel: int, argument: str) -> None:
        self._inputs[channel].delay_ps = int(number(argument, 0, 1e12))

    def _set_sending(self, channel: int, argument: str) -> None:
        self._inputs[channel].is_sending = boolean(argument)
        for stream in self._datalink.streams:
            if stream.channel == channel:
                stream.is_sending = self._inputs[channel].is_sending

    def _set_trigger_mode(self, argument: str) -> None:
        if argument.upper()[:4] not in ("MANU", "AUTO"):
            raise ScpiError(-224, "Illegal parameter value")
        self._trigger_mode = argument

    def _set_record_enabled(self, argument: str) -> None:
        self._is_record_enabled = boolean(argument)

    def _set_record_number(self, argument: str) -> None:
        self._record_number = None if argument.upper() == "INF" else int(number(argument, 1, 1e9))

    def _set_duration(self, argument: str) -> None:
        self._refuse_while_playing()
        self._record_width_ps = int(number(argument, 1, MOST_PS))
        self._record_period_ps = self._record_width_ps + LEAST_DEAD_TIME_PS
        self._is_duration_set = True

    def _set_width(self, argument: str) -> None:
        self._refuse_while_playing()
        self._record_width_ps = int(number(argument, 1, MOST_PS))
        self._is_duration_set = False

    def _set_period(self, argument: str) -> None:
        self._refuse_while_playing()
        self._record_period_ps = int(number(argument, 1, MOST_PS))
        self._is_duration_set = False

    def _refuse_while_playing(self) -> None:
        if self._is_playing:
            raise ScpiError(-221, "Settings conflict; recording")

    @property
    def _is_playing(self) -> bool:
        return self._recorder is not None and self._recorder.is_playing

    def _play(self, _: str) -> None:
        self._refuse_while_playing()
        if not self._is_record_enabled:
            raise ScpiError(-221, "Settings conflict; REC:ENABle is OFF")
        if self._record_period_ps < self._record_width_ps + LEAST_DEAD_TIME_PS:
            raise ScpiError(-221, f"Settings conflict; less than {LEAST_DEAD_TIME_PS} ps between sub-acquisitions")
        recording = Recording(
            self._record_width_ps,
            self._record_period_ps,
            self._record_number,
            UNITS_PS[self._resolution],
            is_continuous=self._is_duration_set,
        )
        self._recorder = Recorder(self._world, recording, self._active_streams, self._pacing, self.faults)
        self._recorder.start()

    def _stop_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.stop()

    def _active_streams(self) -> tuple[ChannelStream, ...]:
        """Streams whose input is enabled; called by the recorder at every step, so it takes no lock."""
        return tuple(s for s in self._datalink.streams if self._inputs[s.channel].is_enabled)


class _Input:
    """Settings of one input and of what hangs on it."""

    def __init__(self) -> None:
        self.is_enabled = False
        self.threshold_v = 0.1
        self.edge = "RISING"
        self.delay_ps = 0
        self.is_sending = False
        self.remark = ""


def _on_off(is_on: bool) -> str:
    return "ON" if is_on else "OFF"
