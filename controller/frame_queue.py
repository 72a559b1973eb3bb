"""A queue of round messages that is bounded in bytes: one long message may wait, or many short ones, never many long
ones.
"""

from __future__ import annotations

import asyncio
from collections import deque


class FrameQueue:
    """(round number, payload) in order. `put` waits until the frame fits, or until nothing else waits."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._frames: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._changed = asyncio.Condition()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the frames that nobody has taken yet."""
        return self._bytes

    async def put(self, number: int, payload: bytes) -> None:
        """Append; waits as long as the budget is exceeded."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: not self._frames or self._bytes + len(payload) <= self._budget_bytes,
            )
            self._frames.append((number, payload))
            self._bytes += len(payload)
            self._changed.notify_all()

    async def get(self) -> tuple[int, bytes]:
        """The oldest frame; waits for one. A cancelled call takes nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._frames))
            number, payload = self._frames.popleft()
            self._bytes -= len(payload)
            self._changed.notify_all()
            return number, payload
