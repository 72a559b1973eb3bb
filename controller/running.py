"""From the command line to a running node and back: the latch of the station, signals, the live view, the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.config import NodeConfig
from controller.control_socket import SOCKET_NAME, ControlClient
from controller.errors import EXIT_OK, EXIT_STOPPED, PeerFailure, StationBroken
from controller.station import BROKEN_FILE
from controller.stopping import StopRequest

if TYPE_CHECKING:
    from controller.node import Node, RunOptions

PARENT_CHECK_S = 0.5
VIEW_REFRESH_S = 0.25


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended: 0 by itself or after its target, 130 when it was stopped before it."""

    exit_code: int
    summary: dict[str, Any]


def run_node(
    config: NodeConfig,
    workspace: Path,
    *,
    config_text: str,
    target_secret_bits: int,
    is_acknowledged: bool,
    has_live_view: bool,
    stops_with_parent: bool = False,
) -> RunEnd:
    """Run until stopped. Raises QkdError with the reason of any other end."""
    from controller.node import RunOptions  # slow: the whole node

    options = RunOptions(target_secret_bits=target_secret_bits, is_acknowledged=is_acknowledged)
    state_dir = config.state_dir(workspace)
    _check_latch(state_dir / BROKEN_FILE, is_acknowledged=is_acknowledged)
    view = _LiveView(state_dir) if has_live_view else contextlib.nullcontext()
    with view:
        return asyncio.run(_run(config, workspace, config_text, options, stops_with_parent))


async def _run(config: NodeConfig, workspace: Path, text: str, options: RunOptions, stops_with_parent: bool) -> RunEnd:
    node = _make_node(config, text, workspace, options)
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        loop.call_soon_threadsafe(lambda: node.request_stop(now=False))

    with StopRequest(ask_to_stop) as stop, _parent_watch(ask_to_stop if stops_with_parent else None):
        await node.run()
    progress = node.progress
    is_short = stop.is_requested and not 0 < options.target_secret_bits <= progress.secret_bits
    names = ("state", "secret_bits", "sifted_bits", "blocks_made", "blocks_aborted", "qber_z", "qber_x", "link_time_s")
    summary = {"node": config.node.name, **{name: getattr(progress, name) for name in names}}
    return RunEnd(EXIT_STOPPED if is_short else EXIT_OK, summary)


def _make_node(config: NodeConfig, text: str, workspace: Path, options: RunOptions) -> Node:
    if config.node.role == "alice":
        from controller.alice_node import AliceNode

        return AliceNode(config, text, workspace, options)
    from controller.bob_node import BobNode

    return BobNode(config, text, workspace, options)


class _LiveView:
    """Shows the node of a state directory in the terminal while the block lasts, from a thread of its own."""

    def __init__(self, state_dir: Path) -> None:
        self._client = ControlClient(state_dir / SOCKET_NAME)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="live view", daemon=True)

    def _show(self) -> None:
        from rich.live import Live

        from controller.monitoring.live import show

        with Live(refresh_per_second=4) as live:
            while not self._is_over.wait(VIEW_REFRESH_S):
                with contextlib.suppress(PeerFailure):  # the node is starting or ending
                    live.update(show([self._client.status()]))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(timeout=2.0)


def _check_latch(latch: Path, *, is_acknowledged: bool) -> None:
    """Refuse to start on a station that is latched broken, unless somebody has looked."""
    if is_acknowledged:
        latch.unlink(missing_ok=True)
    elif latch.exists():
        raise StationBroken(
            f"station latched broken: {latch.read_text(encoding='utf-8')}",
            remedy="look at the instrument, then qkd run --acknowledge",
        )


@contextlib.contextmanager
def _parent_watch(on_orphaned: Callable[[], None] | None) -> Iterator[None]:
    """Call `on_orphaned` once the parent process has ended, so that a killed supervisor leaves no light on."""
    if on_orphaned is None:
        yield
        return
    parent, is_over = os.getppid(), threading.Event()

    def watch() -> None:
        while not is_over.wait(PARENT_CHECK_S):
            if os.getppid() != parent:
                on_orphaned()
                return

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
