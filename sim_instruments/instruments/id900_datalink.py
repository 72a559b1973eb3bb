"""The data link service of the ID900: one command line per message, JSON back, and the streams it opens."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable

from sim_instruments.instruments.id900_stream import CHANNELS, ChannelStream, Sink


class DataLinkError(Exception):
    """Answered as {"error": {"description": ...}}."""


class DataLink:
    """Keeps the open streams. `is_sending(channel)` tells what RAWn:SEND stands at when a stream opens."""

    def __init__(self, open_sink: Callable[[int], Sink], is_sending: Callable[[int], bool]) -> None:
        self._open_sink = open_sink
        self._is_sending = is_sending
        self._lock = threading.Lock()
        self._streams: dict[str, ChannelStream] = {}
        self._opened = 0

    @property
    def streams(self) -> tuple[ChannelStream, ...]:
        """Open streams, in the order in which they were opened."""
        return tuple(self._streams.values())

    def answer(self, message: bytes) -> bytes:
        """Run one command line."""
        try:
            words = shlex.split(message.decode("utf-8", errors="replace"))
            with self._lock:
                reply = self._run(words)
        except (DataLinkError, ValueError) as error:
            reply = {"error": {"description": str(error)}}
        return json.dumps(reply).encode("utf-8")

    def close_all(self) -> None:
        """End every stream."""
        with self._lock:
            for stream in self.streams:
                self._close(stream)

    def _run(self, words: list[str]) -> object:
        verb, options = (words[0] if words else ""), _options(words[1:])
        if verb == "list":
            return list(self._streams)
        if verb == "start-stream":
            return {"id": self._start(options)}
        if verb == "status":
            return self._find(options).status()
        if verb == "stop":
            stream = self._find(options)
            self._close(stream)
            return {"status": stream.status()}
        raise DataLinkError(f"unknown command: {verb[:40]!r}")

    def _start(self, options: dict[str, str]) -> str:
        channel = _whole_option(options, "channel", 1, CHANNELS)
        port = _whole_option(options, "stream-port", 1, 65_535)
        if "address" not in options:
            raise DataLinkError("option --address is missing")
        if any(stream.channel == channel for stream in self.streams):
            raise DataLinkError(f"channel {channel} is already acquired")
        try:
            sink = self._open_sink(port)
        except OSError as error:
            raise DataLinkError(str(error)) from error
        self._opened += 1
        identity = f"{self._opened:08x}"
        self._streams[identity] = ChannelStream(
            identity,
            channel,
            sink,
            with_reference="with-ref-index" in options,
            is_sending=self._is_sending(channel),
        )
        return identity

    def _find(self, options: dict[str, str]) -> ChannelStream:
        identity = options.get("id", "")
        if identity not in self._streams:
            raise DataLinkError(f"no acquisition {identity[:40]!r}")
        return self._streams[identity]

    def _close(self, stream: ChannelStream) -> None:
        stream.is_sending = False
        self._streams.pop(stream.id, None)
        stream.sink.close()


def _options(words: list[str]) -> dict[str, str]:
    """`--name value` and `--flag` words. Raises DataLinkError."""
    options: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word[2:]
            options[name] = ""
        elif name and not options[name]:
            options[name] = word
        else:
            raise DataLinkError(f"unexpected word {word[:40]!r}")
    return options


def _whole_option(options: dict[str, str], name: str, least: int, most: int) -> int:
    text = options.get(name, "")
    if not text.isdigit() or not least <= int(text) <= most:
        raise DataLinkError(f"option --{name} must be a whole number from {least} to {most}, not {text[:20]!r}")
    return int(text)
