"""Tag streams of the time controller: the thread that lets simulated time pass while somebody reads, and no faster.

Simulated time advances only here. Each step asks the world for about `target_tags` tags (at most `longest_step_ps` of
simulated time), splits them by channel, and hands them to the open streams, which hold two messages each: when a reader
stops reading, the sends stop, and with them the world.

When almost nothing clicks (less than `idle_tags` in a step) no reader holds the world back, and simulated hours would
pass in seconds; then simulated time is held to `idle_pace` times wall time, so that what a station notices after
seconds of wall time it also notices after seconds of simulated time. At ordinary rates there is no pacing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numba as nb
import numpy as np
from numpy.typing import NDArray

from sim_instruments.faults import FaultKind, FaultSwitch
from sim_instruments.world import World

CHANNELS = 4
CLOCK_SLACK_PS = 10**9  # how far simulated time may run on when no tag shows that a sub-acquisition is over


class Sink(Protocol):
    """Where one channel's messages go (transports.zeromq.PairStream)."""

    def send(self, message: bytes | memoryview, should_stop: Callable[[], bool]) -> bool: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamPacing:
    """How large the steps are, and how fast an idle world may run."""

    target_tags: int = 100_000
    longest_step_ps: int = 20_000_000_000
    shortest_step_ps: int = 1_000_000
    idle_tags: int = 2_000
    idle_pace: float = 2.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What `REC` was set to when it was played. `sub_acquisitions` None: until stopped.

    width_ps: tags of each period that are recorded; period_ps: after which time restarts at 0 (>= width_ps).
    is_continuous: one acquisition set by its duration, sent as it comes; else one message per sub-acquisition and
    channel.
    """

    width_ps: int
    period_ps: int
    sub_acquisitions: int | None
    unit_ps: int
    is_continuous: bool


@dataclass(slots=True)
class ChannelStream:
    """One `start-stream` of the data link."""

    id: str
    channel: int
    sink: Sink
    with_reference: bool = False
    is_sending: bool = False
    acquisitions_count: int = 0
    timestamps_count: int = 0
    last_message_s: float = field(default_factory=time.monotonic)
    errors: list[str] = field(default_factory=list)
    pending: list[NDArray[np.uint64]] = field(default_factory=list)
    is_losing: bool = False

    def lose_next_message(self) -> None:
        """Overflow: the next message is lost, and the status says so."""
        self.is_losing = True
        self.errors.append("timestamps lost: transfer buffer overflow")

    def status(self) -> dict[str, object]:
        """As the data link reports it; inactivity in seconds."""
        return {
            "acquisitions_count": self.acquisitions_count,
            "timestamps_count": self.timestamps_count,
            "inactivity": round(time.monotonic() - self.last_message_s, 3),
            "errors": [{"description": text} for text in self.errors],
        }


@nb.njit(nogil=True, cache=True)
def _count_channels(channel: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    counts = np.zeros(wanted.size, dtype=np.int64)
    for c in channel:
        if c < wanted.size and wanted[c]:
            counts[c] += 1
    return counts


@nb.njit(nogil=True, cache=True)
def _fill_channels(
    time_ps: NDArray[np.int64],
    channel: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    origin_ps: int,
    unit_ps: int,
    starts: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    places = starts.copy()
    for i in range(time_ps.size):
        c = channel[i]
        if c < wanted.size and wanted[c]:
            out[places[c]] = (time_ps[i] - origin_ps) // unit_ps
            places[c] += 1


def split_channels(
    time_ps: NDArray[np.int64], channel: NDArray[np.uint8], channels: tuple[int, ...], origin_ps: int, unit_ps: int
) -> dict[int, NDArray[np.uint64]]:
    """Tags of each wanted channel as uint64 device units since `origin_ps` (no tag may be earlier), order kept."""
    wanted = np.zeros(CHANNELS + 1, dtype=np.bool_)
    wanted[list(channels)] = True
    counts = _count_channels(channel, wanted)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
    out = np.empty(int(starts[-1]), dtype=np.uint64)
    _fill_channels(time_ps, channel, wanted, origin_ps, unit_ps, starts, out)
    return {c: out[starts[c] : starts[c + 1]] for c in channels}


class Recorder:
    """Runs one recording on a thread of its own until it is done or stopped."""

    def __init__(
        self,
        world: World,
        recording: Recording,
        streams: Callable[[], tuple[ChannelStream, ...]],
        pacing: StreamPacing,
        faults: FaultSwitch,
    ) -> None:
        self._world = world
        self._recording = recording
        self._streams = streams
        self._pacing = pacing
        self._faults = faults
        self._stopping = threading.Event()
        self._elapsed_ps = 0
        self._rate_hz = 0.0
        self._time_ps = np.empty(0, dtype=np.int64)
        self._channel = np.empty(0, dtype=np.uint8)
        self._thread = threading.Thread(target=self._run, name="id900:recorder", daemon=True)

    def start(self) -> None:
        self._world.start_tagger()
        self._thread.start()

    @property
    def is_playing(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the recording; returns when its thread has."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        index = 0
        while not self._stopping.is_set():
            total = self._recording.sub_acquisitions
            if total is not None and index >= total:
                return
            self._record_one(index * self._recording.period_ps)
            index += 1

    def _record_one(self, origin_ps: int) -> None:
        """One sub-acquisition. The tagger's own clock says when it is over; later tags wait for the next."""
        end_ps = origin_ps + self._recording.width_ps
        while not self._is_past(end_ps) and not self._stopping.is_set():
            active = tuple(s for s in self._streams() if s.is_sending)
            if not active or self._faults.kind is FaultKind.SILENT:
                self._stopping.wait(0.01)  # nobody takes tags: the world stands still
                continue
            self._step(end_ps)
            self._share_out(active, origin_ps, end_ps)
            if self._recording.is_continuous:
                self._flush(active)
        finished = tuple(s for s in self._streams() if s.is_sending)
        self._share_out(finished, origin_ps, end_ps)
        self._flush(finished)
        for stream in finished:
            stream.acquisitions_count += 1
            stream.last_message_s = time.monotonic()

    def _is_past(self, end_ps: int) -> bool:
        """A tag beyond `end_ps` is there, or there is none and simulated time is well beyond it."""
        return bool(self._time_ps.size and self._time_ps[-1] >= end_ps) or self._elapsed_ps >= end_ps + CLOCK_SLACK_PS

    def _step(self, end_ps: int) -> None:
        duration_ps = min(self._step_ps(), max(end_ps - self._elapsed_ps, CLOCK_SLACK_PS))
        began_s = time.monotonic()
        time_ps, channel = self._world.generate(duration_ps)
        self._elapsed_ps += duration_ps
        self._rate_hz = max(1.0, time_ps.size / (duration_ps * 1e-12))
        self._time_ps = np.concatenate((self._time_ps, time_ps)) if self._time_ps.size else time_ps
        self._channel = np.concatenate((self._channel, channel)) if self._channel.size else channel
        if time_ps.size < self._pacing.idle_tags:
            least_wall_s = duration_ps * 1e-12 / self._pacing.idle_pace
            self._stopping.wait(max(0.0, least_wall_s - (time.monotonic() - began_s)))

    def _share_out(self, active: tuple[ChannelStream, ...], origin_ps: int, end_ps: int) -> None:
        """Tags of [origin, end) to their streams; later ones stay, earlier ones (of the dead time) go."""
        first, last = (int(i) for i in np.searchsorted(self._time_ps, (origin_ps, end_ps)))
        channels = tuple(sorted({s.channel for s in active}))
        split = split_channels(
            self._time_ps[first:last], self._channel[first:last], channels, origin_ps, self._recording.unit_ps
        )
        for stream in active:
            stream.pending.append(split[stream.channel])
        self._time_ps, self._channel = self._time_ps[last:], self._channel[last:]

    def _step_ps(self) -> int:
        if not self._rate_hz:
            return self._pacing.shortest_step_ps * 100
        wanted_ps = int(self._pacing.target_tags / self._rate_hz * 1e12)
        return max(self._pacing.shortest_step_ps, min(wanted_ps, self._pacing.longest_step_ps))

    def _flush(self, streams: tuple[ChannelStream, ...]) -> None:
        """Send what is pending. No empty message: that would be the end of the stream."""
        for stream in streams:
            pending, stream.pending = stream.pending, []
            tags = pending[0] if len(pending) == 1 else np.concatenate(pending) if pending else np.empty(0, np.uint64)
            is_lost, stream.is_losing = stream.is_losing, False
            if not tags.size or is_lost:
                continue
            message = _damaged(_with_reference(tags) if stream.with_reference else tags, self._faults.kind)
            if stream.sink.send(message, self._stopping.is_set):
                stream.timestamps_count += int(tags.size)
                stream.last_message_s = time.monotonic()


def _damaged(tags: NDArray[np.uint64], kind: FaultKind) -> memoryview:
    """The message of these tags as the fault makes it: noise, or cut within a timestamp."""
    if kind is FaultKind.GARBAGE:
        tags = tags * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(0xA5A5A5A5A5A5A5A5)
    data = tags.reshape(-1).view(np.uint8).data
    return data[: len(data) // 2 - 3] if kind is FaultKind.HALF else data


def _with_reference(tags: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Pairs {timestamp, reference index}; the index is 0 while RAW:REF:LINK is NONE."""
    pairs = np.zeros((tags.size, 2), dtype=np.uint64)
    pairs[:, 0] = tags
    return pairs
