"""Merge the sorted time stamps of several channels into one sorted stream, as far as it is complete.

Each channel arrives on a stream of its own, in messages, at its own pace. A tag may leave when no channel can still
bring an earlier one: before the watermark, the least of the last times seen of all channels. A silent channel would
hold the others back for ever. It is given up, and reported once as MISSED, when the others are `patience_ps` ahead of
it and have brought GRACE_MESSAGES each since its last; from then on it holds them back by `patience_ps` only. A tag
that comes after the watermark has passed it is delivered with flag BACKWARD.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drivers.tags import Anomaly, AnomalyKind, TagBatch, TagFlag

GRACE_MESSAGES: Final = 4
_BACKWARD: Final = int(TagFlag.BACKWARD)
_NEVER: Final = (1 << 63) - 1


@njit(nogil=True, cache=True)
def merge_sorted(
    time_ps: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    channel_names: NDArray[np.uint8],
    last_out_ps: int,
    out_time: NDArray[np.int64],
    out_channel: NDArray[np.uint8],
    out_flags: NDArray[np.uint8],
) -> int:
    """k-way merge of time_ps[starts[k]:ends[k]] into the out arrays [sum of lengths]; equal times in channel order.

    Every time below the one before it (or below `last_out_ps`) is flagged BACKWARD; returns how many were.
    """
    heads = starts.copy()
    streams = starts.size
    previous = last_out_ps
    backward = 0
    for i in range(out_time.size):
        best = -1
        best_time = 0
        for k in range(streams):
            if heads[k] < ends[k] and (best < 0 or time_ps[heads[k]] < best_time):
                best = k
                best_time = time_ps[heads[k]]
        heads[best] += 1
        out_time[i] = best_time
        out_channel[i] = channel_names[best]
        out_flags[i] = 0
        if best_time < previous:
            out_flags[i] = _BACKWARD
            backward += 1
        previous = best_time
    return backward


class TagMerger:
    """Holds what has arrived and may not leave yet. Times in ps, int64.

    channels: device channel numbers, ascending. patience_ps: see the module's text.
    """

    def __init__(self, channels: Sequence[int], *, patience_ps: int) -> None:
        self._channels = tuple(channels)
        self._patience_ps = patience_ps
        self._pieces: dict[int, deque[NDArray[np.int64]]] = {channel: deque() for channel in channels}
        self._last_ps = dict.fromkeys(channels, -1)
        self._messages_since = dict.fromkeys(channels, 0)
        self._ended: set[int] = set()
        self._given_up: set[int] = set()
        self._last_out_ps = 0
        self._news: list[Anomaly] = []
        self.complete_until_ps = 0

    def add(self, channel: int, time_ps: NDArray[np.int64]) -> None:
        """One message of one channel: time stamps in the order of the device."""
        for other in self._channels:
            self._messages_since[other] += 1
        self._messages_since[channel] = 0
        if time_ps.size:
            self._pieces[channel].append(time_ps)
            self._last_ps[channel] = max(self._last_ps[channel], int(time_ps.max()))

    def end(self, channel: int) -> None:
        """The stream of this channel is over: it holds nothing back any more."""
        self._ended.add(channel)

    def last_ps(self, channel: int) -> int:
        """Latest time seen on this channel, -1 before the first."""
        return self._last_ps[channel]

    @property
    def has_ended(self) -> bool:
        return len(self._ended) == len(self._channels)

    def take(self) -> TagBatch | None:
        """What is complete by now; None if that is nothing new."""
        watermark = self._watermark()
        if watermark <= self.complete_until_ps and not self._news:
            return None
        self.complete_until_ps = max(self.complete_until_ps, watermark)
        pieces: list[NDArray[np.int64]] = []
        lengths = np.zeros(len(self._channels), dtype=np.int64)
        for k, channel in enumerate(self._channels):
            taken = self._cut(channel, self.complete_until_ps)
            lengths[k] = sum(piece.size for piece in taken)
            pieces += taken
        joined = np.concatenate(pieces) if pieces else np.empty(0, np.int64)
        out = np.empty(joined.size, np.int64), np.empty(joined.size, np.uint8), np.empty(joined.size, np.uint8)
        ends = np.cumsum(lengths)
        names = np.array(self._channels, dtype=np.uint8)
        backward = merge_sorted(joined, ends - lengths, ends, names, self._last_out_ps, *out)
        if backward:
            first = int(out[0][np.argmax(out[2] > 0)])
            self._news.append(Anomaly(AnomalyKind.BACKWARD, first, backward, "time goes backwards"))
        if joined.size:
            self._last_out_ps = int(out[0][-1])
        news, self._news = tuple(self._news), []
        latest_ps = max(self._last_ps.values())
        return TagBatch(*out, min(self.complete_until_ps, latest_ps + 1), news)

    def _watermark(self) -> int:
        """Every tag before it has arrived, silent channels excepted."""
        running = [channel for channel in self._channels if channel not in self._ended]
        if not running:
            return _NEVER
        floor = max(self._last_ps.values()) - self._patience_ps
        grace = GRACE_MESSAGES * (len(self._channels) - 1)
        for channel in running:
            if self._last_ps[channel] >= floor:
                self._given_up.discard(channel)
            elif channel not in self._given_up and self._messages_since[channel] >= grace:
                self._given_up.add(channel)
                note = f"channel {channel} silent for more than {self._patience_ps} ps while others advance"
                self._news.append(Anomaly(AnomalyKind.MISSED, max(0, self._last_ps[channel]), 1, note))
        return min(floor if channel in self._given_up else self._last_ps[channel] for channel in running)

    def _cut(self, channel: int, until_ps: int) -> list[NDArray[np.int64]]:
        """Take this channel's tags before `until_ps` out, in pieces."""
        pieces = self._pieces[channel]
        taken = []
        while pieces and pieces[0][-1] < until_ps:
            taken.append(pieces.popleft())
        if pieces and (n := int(np.searchsorted(pieces[0], until_ps))):
            taken.append(pieces[0][:n])
            pieces[0] = pieces[0][n:]
        return taken
