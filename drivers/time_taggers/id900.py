"""ID Quantique ID900 / ID1000 time controller as a time tagger.

SCPI over ZeroMQ request-reply (port 5555): every message is answered, commands without a value by an empty or a chatty
text; a refusal ends in `SCPI_ERR_...`. Where `SYST:ERR?` answers with a number, the queue is drained after each command
as well. Time stamps take another way: the DataLinkTargetService (port 6060, drivers/time_taggers/data_link.py) passes
each channel on as a ZeroMQ PAIR stream at stream_port_base + channel; messages are u64 little-endian in units of
`DEVI:RES:BWID?` picoseconds, an empty message ends the stream. It binds, we connect.

Two ways to record. Continuous (default): one acquisition of a day; the device sends when its buffers fill, so it suits
high rates. With `sub_acquisition_s`: endless sub-acquisitions, sent at the end of each; times restart at 0 every time
and are put together again with the period, 40 ns longer than the sub-acquisition. A channel without a single tag in a
whole sub-acquisition sends nothing, and its next tags could then be dated one period early; where that is noticed,
TagsLost is raised. Choose sub_acquisition_s such that every channel has many tags in each.

Back-pressure: nothing is read ahead. Each socket holds two messages; a reader that stops stops the service.
Source: the maker's published Python examples; MSLNZ pr-single-photons, idq_time_controller.py (errors, units).
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import zmq
from numpy.typing import NDArray

from drivers.byte_link import ByteLink
from drivers.errors import (
    CommandRejected,
    ConnectionLost,
    GarbledReply,
    InstrumentError,
    InstrumentTimeout,
    SettingOutOfRange,
    TagsLost,
)
from drivers.instrument import LinkedInstrument, Setting, in_range
from drivers.roles import Identity
from drivers.tags import TagBatch
from drivers.time_taggers.data_link import DataLink
from drivers.time_taggers.id900_replies import parse_error, parse_quantity, parse_resolution, parse_stage, parse_switch
from drivers.time_taggers.tag_merge import TagMerger
from drivers.time_taggers.zmq_link import RequestLink, endpoint_of, host_of

INPUTS = (1, 2, 3, 4)
THRESHOLD_LIMITS_V = (-2.0, 2.0)
THRESHOLD_TOLERANCE_V = 0.011  # the converter's step is not published; replies have millivolts
STREAM_PORT_BASE = 4241
DEAD_TIME_PS = 40_000
CONTINUOUS_PS = 86_400 * 10**12  # a day
SUB_ACQUISITION_LIMITS_S = (0.2, 10.0)
PATIENCE_LIMITS_S = (0.001, 60.0)
HEALTH_INTERVAL_S = 0.5
MAX_ERRORS = 50
_MAX_TIME_PS = 1 << 62
_RECEIVE_HWM = 2
_MAX_MESSAGE_BYTES = 1 << 30
_MODEL = re.compile(r"\bID\s?(900|1000)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Stream:
    """One channel under acquisition. `index`: sub-acquisition that its latest tag belongs to."""

    channel: int
    identity: str
    socket: zmq.Socket[bytes]
    index: int = 0
    last_units: int = -1


class Id900(LinkedInstrument):
    """Time tagger with four inputs (ID Quantique ID900 or ID1000)."""

    role: ClassVar[str] = "TimeTagger"
    transport: ClassVar[str] = "zmq:tcp://HOST:5555"
    options: ClassVar[dict[str, str]] = LinkedInstrument.options | {
        "datalink_resource": "where the DataLinkTargetService is, zmq:tcp://HOST:6060 (needed)",
        "stream_port_base": "the stream of channel n is at this port + n (default 4241)",
        "resolution": "HIRES or LOWRES; empty: leave as it is",
        "sub_acquisition_s": "length of a sub-acquisition, 0.2 to 10 s; 0: one continuous acquisition (default)",
        "channel_patience_s": "by how much, in time of the tags, a silent channel holds the others back (default 0.2)",
    }
    timeout_s: ClassVar[float] = 3.0
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("resolution", "DEVIce:RESolution?", parse_resolution, "HIRES or LOWRES"),
        Setting("time_unit_ps", "DEVI:RES:BWID?", parse_quantity, "picoseconds per unit of a time stamp"),
        Setting("recording", "REC:STAGe?", parse_stage, "PLAYING while it records"),
        *(
            setting
            for n in INPUTS
            for setting in (
                Setting(f"input_{n}_enabled", f"INPU{n}:ENAB?", parse_switch, "input in use", (0, 1)),
                Setting(f"input_{n}_threshold_v", f"INPU{n}:THRE?", parse_quantity, "threshold", THRESHOLD_LIMITS_V),
            )
        ),
    )

    def __init__(
        self,
        name: str,
        link: ByteLink,
        data_link: DataLink,
        *,
        control_host: str,
        stream_host: str,
        serial: str = "",
        stream_port_base: int = STREAM_PORT_BASE,
        resolution: str = "",
        sub_acquisition_s: float = 0.0,
        channel_patience_s: float = 0.2,
    ) -> None:
        self._has_error_queue = False
        self._data_link = data_link
        self._control_host = control_host
        self._stream_host = stream_host
        self._stream_port_base = int(in_range(stream_port_base, (1, 65_000), what="stream_port_base", instrument=name))
        if sub_acquisition_s:
            in_range(sub_acquisition_s, SUB_ACQUISITION_LIMITS_S, what="sub_acquisition_s", instrument=name)
        in_range(channel_patience_s, PATIENCE_LIMITS_S, what="channel_patience_s", instrument=name)
        self._sub_acquisition_ps = round(sub_acquisition_s * 1e12)
        self._patience_ps = max(round(channel_patience_s * 1e12), 3 * self._sub_acquisition_ps)
        self._reading = threading.RLock()
        self._streams: tuple[_Stream, ...] = ()
        self._merger = TagMerger(INPUTS, patience_ps=self._patience_ps)
        self._unit_ps = 1
        self._health_due_s = 0.0
        self._sound_until_ps = 0
        self._is_loss_reported = False
        super().__init__(name, link, serial=serial)
        self._has_error_queue = self._probe_error_queue()
        if resolution:
            self._set_resolution(resolution)

    @classmethod
    def open(cls, name: str, resource: str, *, workspace: Path = Path("."), **options: Any) -> Self:
        """`resource`: SCPI; option `datalink_resource`: the service. Closes both if the identification fails."""
        data_resource = options.pop("datalink_resource", None)
        if not isinstance(data_resource, str):
            raise InstrumentError(
                "the option datalink_resource is missing",
                instrument=name,
                remedy='datalink_resource = "zmq:tcp://127.0.0.1:6060"',
            )
        endpoint, data_endpoint = (endpoint_of(r, instrument=name) for r in (resource, data_resource))
        with contextlib.ExitStack() as opened:
            link = RequestLink(endpoint, instrument=name)
            opened.callback(link.close)
            data_link = RequestLink(data_endpoint, instrument=name)
            opened.callback(data_link.close)
            found = cls(
                name,
                link,
                DataLink(data_link, instrument=name, timeout_s=cls.timeout_s),
                control_host=host_of(endpoint, instrument=name),
                stream_host=host_of(data_endpoint, instrument=name),
                **options,
            )
            opened.pop_all()
        return found

    def configure_input(self, channel: int, threshold_v: float, *, is_rising: bool = True) -> None:
        """Switch an input on: DC coupled, direct, threshold -2 to 2 V, edge. Everything is read back."""
        self._check_channels((channel,))
        in_range(threshold_v, THRESHOLD_LIMITS_V, what="threshold_v", instrument=self.name)
        head = f"INPU{channel}"
        for command in (
            f"{head}:COUP DC",
            f"{head}:SELE UNSHAPED",
            f"{head}:EDGE {'RISING' if is_rising else 'FALLING'}",
            f"{head}:THRE {threshold_v:+.3f}V",
            f"{head}:ENAB ON",
        ):
            self._do(command)
        found_v = self.query(f"{head}:THRE?", parse_quantity)
        self._confirm(f"threshold of input {channel}", found_v, float(threshold_v), THRESHOLD_TOLERANCE_V)
        edge = self.query(f"{head}:EDGE?", parse_stage)
        self._confirm(f"edge of input {channel}", edge[:4], "RISI" if is_rising else "FALL")
        self._confirm(f"input {channel} enabled", self.query(f"{head}:ENAB?", parse_switch), True)

    def start(self, channels: Sequence[int]) -> None:
        """Begin to record these channels. Time 0 is the start of the recording."""
        names = self._check_channels(channels)
        with self._reading:
            self._halt()
            try:
                self._unit_ps = self._read_unit_ps()
                self._data_link.stop_all()
                self._prepare_recording()
                self._merger = TagMerger(names, patience_ps=self._patience_ps)
                for channel in names:
                    self._open_stream(channel)
                self._do("REC:PLAY")
            except InstrumentError:
                with contextlib.suppress(InstrumentError):  # the first failure is the one to report
                    self._halt()
                raise
            self._sound_until_ps = 0
            self._is_loss_reported = False
            self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S

    def read(self, timeout_s: float) -> TagBatch:
        """The next batch, merged and sorted over channels. Raises InstrumentTimeout after `timeout_s` of silence.

        TagsLost: the device or the service lost tags; what was read before `error.time_ps` is whole. Then `start`.
        """
        with self._reading:
            if not self._streams:
                raise InstrumentError("it does not record", instrument=self.name, remedy="start(channels)")
            deadline = time.monotonic() + timeout_s
            while True:
                self._check_health_if_due()
                if (batch := self._merger.take()) is not None:
                    return batch
                if self._merger.has_ended:
                    raise ConnectionLost(
                        "the data link service has ended the streams", instrument=self.name, remedy="start it again"
                    )
                has_news = self._receive(min(HEALTH_INTERVAL_S, deadline - time.monotonic()))
                if not has_news and time.monotonic() >= deadline:
                    self._check_health()
                    raise self._silence(timeout_s)

    def stop(self) -> None:
        """End the recording and the streams; tags not yet read are dropped. Idempotent.

        Raises TagsLost if the service reports a loss that `read` has not reported yet.
        """
        with self._reading:
            lost = self._halt()
            if lost and not self._is_loss_reported:
                raise self._lost("; ".join(lost))

    def make_safe(self) -> None:
        """Recording and streams off; reads back that nothing plays. It emits nothing, so that is all there is to it."""
        with self._reading:
            self._halt()
        stage = self.query("REC:STAGe?", parse_stage)
        self._confirm("recording", stage == "PLAYING", False)

    def close(self) -> None:
        with self._reading:
            self._close_streams()
        self._data_link.close()
        super().close()

    # --- settings ----------------------------------------------------------------------------------------------------
    def _identify(self) -> Identity:
        text = self.query("*IDN?", str)
        found = _MODEL.search(text)
        if found is None:
            raise self._wrong(repr(text[:80]), "an ID900 or ID1000")
        fields = [field.strip() for field in text.split(",")]
        vendor, _, serial, firmware = fields if len(fields) == 4 else ("ID Quantique", "", "", "")
        return Identity(vendor, f"ID{found[1]}", serial, firmware)

    def _synchronise(self) -> None:
        """Request and reply belong together in ZeroMQ: a new socket is in step."""

    def _probe_error_queue(self) -> bool:
        """Whether `SYST:ERR?` is understood; old entries are dropped."""
        try:
            for _ in range(MAX_ERRORS):
                if self.query("SYST:ERR?", parse_error)[0] == 0:
                    return True
        except (GarbledReply, CommandRejected):
            return False
        raise GarbledReply(f"more than {MAX_ERRORS} errors are queued", instrument=self.name, remedy="restart it")

    def _do(self, command: str) -> None:
        """A command whose answer says nothing, unless it was refused. Raises CommandRejected."""
        with self._lock:
            reply = self.command(command, str)
            entries = [(-1, f"{command}: {reply[:200]}")] if "SCPI_ERR" in reply else []
            while self._has_error_queue and len(entries) < MAX_ERRORS:
                code, words = self.query("SYST:ERR?", parse_error)
                if code == 0:
                    break
                entries.append((code, f"{command}: {words[:200]}"))
        if entries:
            raise CommandRejected(tuple(entries), instrument=self.name, remedy="check firmware and settings")

    def _set_resolution(self, resolution: str) -> None:
        if resolution not in ("HIRES", "LOWRES"):
            raise SettingOutOfRange(
                f"resolution = {resolution!r}; nothing was sent", instrument=self.name, remedy="HIRES or LOWRES"
            )
        self._do(f"DEVIce:RESolution {resolution}")
        self._confirm("resolution", self.query("DEVIce:RESolution?", parse_resolution), resolution)

    def _read_unit_ps(self) -> int:
        unit_ps = self.query("DEVI:RES:BWID?", parse_quantity)
        if unit_ps != int(unit_ps) or not 1 <= unit_ps <= 100_000:
            raise GarbledReply(f"the unit of time is {unit_ps!r} ps", instrument=self.name, remedy="check firmware")
        return int(unit_ps)

    def _check_channels(self, channels: Sequence[int]) -> tuple[int, ...]:
        names = tuple(sorted(set(channels)))
        if not names or any(channel not in INPUTS for channel in names):
            raise SettingOutOfRange(
                f"channels {list(channels)!r}; nothing was sent",
                instrument=self.name,
                remedy="one or more of 1, 2, 3, 4",
            )
        return names

    # --- recording ---------------------------------------------------------------------------------------------------
    def _prepare_recording(self) -> None:
        self._do("REC:TRIG:ARM:MODE MANUal")
        self._do("REC:ENABle ON")
        if self._sub_acquisition_ps:
            self._do("REC:NUM INF")
            self._do(f"REC:PWID {self._sub_acquisition_ps};PPER {self._period_ps}")
        else:
            self._do("REC:NUM 1")
            self._do(f"REC:DURation {CONTINUOUS_PS}")

    @property
    def _period_ps(self) -> int:
        return self._sub_acquisition_ps + DEAD_TIME_PS

    def _open_stream(self, channel: int) -> None:
        self._do(f"RAW{channel}:REF:LINK NONE")
        self._do(f"RAW{channel}:ERRORS:CLEAR")
        port = self._stream_port_base + channel
        identity = self._data_link.start_stream(self._control_host, channel, port)
        receiver: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        receiver.setsockopt(zmq.LINGER, 0)
        receiver.setsockopt(zmq.RCVHWM, _RECEIVE_HWM)
        receiver.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
        receiver.connect(f"tcp://{self._stream_host}:{port}")
        self._streams += (_Stream(channel, identity, receiver),)
        self._do(f"RAW{channel}:SEND ON")

    def _halt(self) -> list[str]:
        """Stop recording and streams; what the service reports as lost. The streams are closed whatever fails."""
        lost: list[str] = []
        with contextlib.ExitStack() as afterwards:
            afterwards.callback(self._close_streams)
            afterwards.callback(self._stop_streams, lost)
            self._do("REC:STOP")
            for stream in self._streams:
                self._do(f"RAW{stream.channel}:SEND OFF")
        return lost

    def _stop_streams(self, lost: list[str]) -> None:
        for stream in self._streams:
            try:
                lost.extend(self._data_link.stop(stream.identity).errors)
            except CommandRejected as error:  # it has forgotten the acquisition: restarted in between
                lost.append(error.entries[0][1])

    def _close_streams(self) -> None:
        streams, self._streams = self._streams, ()
        for stream in streams:
            stream.socket.close(linger=0)

    def _receive(self, timeout_s: float) -> bool:
        """Take at most one message per channel; whether any came within `timeout_s`."""
        poller = zmq.Poller()
        for stream in self._streams:
            poller.register(stream.socket, zmq.POLLIN)
        ready = dict(poller.poll(max(0, int(timeout_s * 1000))))
        for stream in self._streams:
            if stream.socket in ready:
                self._take_in(stream, stream.socket.recv(zmq.NOBLOCK, copy=False))
        return bool(ready)

    def _take_in(self, stream: _Stream, message: zmq.Frame) -> None:
        size = len(message.buffer)
        if size == 0:
            self._merger.end(stream.channel)
            return
        if size % 8:
            raise GarbledReply(
                f"a message of channel {stream.channel} has {size} bytes, no multiple of 8",
                instrument=self.name,
                remedy="check the stream ports",
            )
        self._merger.add(stream.channel, self._dated(stream, np.frombuffer(message.buffer, dtype="<u8")))

    def _dated(self, stream: _Stream, units: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Time stamps of the device to ps since the start of the recording."""
        if int(units.max()) > (_MAX_TIME_PS - stream.index * self._period_ps) // self._unit_ps:
            raise GarbledReply(
                f"a time stamp of channel {stream.channel} is {int(units.max())}",
                instrument=self.name,
                remedy="restart it",
            )
        if int(units[0]) < stream.last_units:
            self._restarted(stream, int(units[0]))
        stream.last_units = int(units[-1])
        times = units.view(np.int64)
        if self._unit_ps == 1 and not stream.index:
            return times
        offset_ps = stream.index * self._period_ps if self._sub_acquisition_ps else 0
        return times * self._unit_ps + offset_ps

    def _restarted(self, stream: _Stream, first_units: int) -> None:
        """Time went back between two messages: the next sub-acquisition, a small step (flagged later), or damage."""
        if self._sub_acquisition_ps:
            stream.index += 1
            behind = [s.channel for s in self._streams if s.last_units >= 0 and s.index < stream.index - 1]
            if behind:
                raise self._lost(f"channel {behind[0]} sent nothing in a sub-acquisition and cannot be dated any more")
        elif (stream.last_units - first_units) * self._unit_ps > self._patience_ps:
            raise self._lost(f"time of channel {stream.channel} fell from {stream.last_units} to {first_units} units")

    # --- health ------------------------------------------------------------------------------------------------------
    def _check_health_if_due(self) -> None:
        if time.monotonic() >= self._health_due_s:
            self._check_health()

    def _check_health(self) -> None:
        """Raises TagsLost if the device or the service lost something since the last time."""
        until_ps = self._merger.complete_until_ps
        for stream in self._streams:
            try:
                errors = self._data_link.status(stream.identity).errors
            except CommandRejected as error:
                raise self._lost(str(error.entries[0][1])) from error
            if errors:
                raise self._lost(f"channel {stream.channel}: {'; '.join(errors)}")
            if count := self.query(f"RAW{stream.channel}:ERRORS?", parse_quantity):
                raise self._lost(f"channel {stream.channel}: {count:g} errors of the device")
        self._sound_until_ps = until_ps
        self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S

    def _lost(self, what: str) -> TagsLost:
        self._is_loss_reported = True
        return TagsLost(
            f"time stamps were lost: {what}; whole until {self._sound_until_ps} ps",
            time_ps=self._sound_until_ps,
            instrument=self.name,
            remedy="stop and start again; if it comes back, lower the rate",
        )

    def _silence(self, timeout_s: float) -> InstrumentTimeout:
        stage = self.query("REC:STAGe?", parse_stage)
        why = "it records but no channel clicks" if stage == "PLAYING" else f"it does not record ({stage})"
        return InstrumentTimeout(
            f"no time stamps for {timeout_s:g} s: {why}", instrument=self.name, remedy="check inputs and thresholds"
        )
