"""Ctrl-C and SIGTERM as ordinary ends. First signal: finish the step, make everything safe, save. Second: now.

A second signal raises StoppedByHand in the main thread, so `with` blocks (the station above all) still run.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from controller.errors import StoppedByHand

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Install with `with StopRequest(on_first) as stop:`; `stop.is_requested` may be polled from any thread.

    `on_first` is called once, in the main thread, and must return at once.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.is_requested = False
        self._on_first = on_first
        self._old: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        self._old = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.is_requested:
            raise StoppedByHand(f"stopped at once by a second {signal.Signals(number).name}")
        self.is_requested = True
        self._on_first()
