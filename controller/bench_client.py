"""The bench's own control socket: faults, attacks, and the truth that no node may know."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.errors import PeerFailure

READY_NAME = "bench.ready"
SOCKET_NAME = "bench.sock"
MAX_ANSWER_BYTES = 1 << 20


class BenchClient:
    """Blocking, one connection per question."""

    def __init__(self, workspace: Path, *, timeout_s: float = 30.0) -> None:
        self._path = workspace / SOCKET_NAME
        self._timeout_s = timeout_s

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One question, one answer. Raises PeerFailure if the bench is absent or refuses."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout_s)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    answer = json.loads(lines.readline(MAX_ANSWER_BYTES))
        except (OSError, ValueError) as error:
            raise PeerFailure(f"{self._path}: the bench does not answer ({error})", remedy="qkd sim start") from error
        if not isinstance(answer, dict) or answer.get("ok") is not True:
            raise PeerFailure(f"{self._path}: the bench refuses {request.get('do')!r}: {_reason(answer)}")
        return answer


def _reason(answer: object) -> str:
    """The bench's own words, if it gave any."""
    return str(answer["error"]) if isinstance(answer, dict) and "error" in answer else repr(answer)
