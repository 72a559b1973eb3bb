"""ID Quantique's DataLinkTargetService: it takes the time stamps from the time controller and passes them on.

Commands are text lines over ZeroMQ request-reply, answers are JSON; a failure is `{"error": {"description": ...}}`.
`start-stream` gives an id; the service then binds a PAIR socket per channel, whose messages are u64 time stamps.
Source: the maker's published Python examples (common.py, acquisitions/timestamps.py, streams).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from drivers.errors import CommandRejected, GarbledReply
from drivers.time_taggers.zmq_link import RequestLink

_MAX_REPLY_BYTES = 1 << 20
_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """`status --id` of one acquisition. `errors`: what was lost, in the service's words."""

    acquisitions: int
    timestamps: int
    errors: tuple[str, ...]


def parse_answer(text: str) -> Any:
    """JSON, or None for an empty answer. ValueError if it is neither, LookupError with the description of an error."""
    if not text.strip():
        return None
    try:
        answer = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if isinstance(answer, dict) and "error" in answer:
        raise LookupError(_description(answer["error"]))
    return answer


def parse_status(answer: Any) -> StreamStatus:
    """ValueError if it is no status."""
    if not isinstance(answer, dict):
        raise ValueError("a JSON object was expected")
    errors = answer.get("errors", [])
    if not isinstance(errors, list):
        raise ValueError("a list of errors was expected")
    return StreamStatus(
        acquisitions=_count(answer.get("acquisitions_count")),
        timestamps=_count(answer.get("timestamps_count")),
        errors=tuple(_description(error) for error in errors[:_MAX_ERRORS]),
    )


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("acquisitions_count and timestamps_count were expected")
    return value


def _description(error: Any) -> str:
    text = error.get("description") if isinstance(error, dict) else error
    return str(text or "unknown error")[:200]


class DataLink:
    """The service at one endpoint. Not thread-safe: the driver's lock is around it."""

    def __init__(self, link: RequestLink, *, instrument: str, timeout_s: float) -> None:
        self._link = link
        self._instrument = instrument
        self._timeout_s = timeout_s

    def stop_all(self) -> None:
        """End every acquisition that is still running, also those of an earlier process."""
        answer = self._ask("list")
        if not isinstance(answer, list) or not all(isinstance(identity, str) for identity in answer):
            raise self._garbled("list", answer)
        for identity in answer:
            self._ask(f"stop --id {identity}")

    def start_stream(self, address: str, channel: int, port: int) -> str:
        """Begin to pass on a channel of the time controller at `address`; the identity of the acquisition."""
        answer = self._ask(f"start-stream --address {address} --channel {channel} --stream-port {port}")
        identity = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(identity, str | int) or not str(identity).isprintable() or len(str(identity)) > 100:
            raise self._garbled("start-stream", answer)
        return str(identity)

    def status(self, identity: str) -> StreamStatus:
        """Counts and errors of an acquisition. CommandRejected if the service does not know it (any more)."""
        return self._status("status", self._ask(f"status --id {identity}"))

    def stop(self, identity: str) -> StreamStatus:
        """End an acquisition; its last status."""
        answer = self._ask(f"stop --id {identity}")
        return self._status("stop", answer.get("status") if isinstance(answer, dict) else answer)

    def close(self) -> None:
        self._link.close()

    def _status(self, command: str, answer: Any) -> StreamStatus:
        try:
            return parse_status(answer)
        except ValueError as error:
            raise self._garbled(command, answer) from error

    def _ask(self, command: str) -> Any:
        self._link.write(command.encode("ascii"))
        reply = self._link.read_until(b"", self._timeout_s, _MAX_REPLY_BYTES)
        try:
            return parse_answer(reply.decode("utf-8"))
        except LookupError as error:
            raise CommandRejected(
                ((-1, f"{command.split()[0]}: {error.args[0]}"),),
                instrument=self._instrument,
                remedy="stop the acquisition and start it again; restart the DataLinkTargetService if that fails",
            ) from error
        except ValueError as error:
            raise self._garbled(command.split()[0], reply) from error

    def _garbled(self, command: str, answer: Any) -> GarbledReply:
        return GarbledReply(
            f"DataLinkTargetService answers {command!r} with {answer!r:.80}",
            instrument=self._instrument,
            remedy="check datalink_resource",
        )
