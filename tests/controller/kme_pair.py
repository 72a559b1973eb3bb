"""Two key management entities on loopback over real mutual TLS, their notices exchanged in process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.errors import QkdError
from controller.keys.consumer import Consumer, client_context
from controller.keys.errors import NoticeNotSent
from controller.keys.kme_server import serve_kme
from controller.keys.kme_settings import KmeSettings
from controller.keys.notice_exchange import NoticeExchange
from tests.controller.stores import Pair

SAES = {"alice": ("sae-a1", "sae-a2"), "bob": ("sae-b1", "sae-b2")}
OTHER = {"alice": "bob", "bob": "alice"}
Tamper = Callable[[bytes], bytes | None]


def settings(directory: Path, name: str) -> KmeSettings:
    return KmeSettings(
        kme_id=f"KME-{name}",
        peer_kme_id=f"KME-{OTHER[name]}",
        host="127.0.0.1",
        port=0,
        certificate=directory / f"kme-{name}.pem",
        private_key=directory / f"kme-{name}.key",
        client_ca=directory / "ca.pem",
        saes=SAES[name],
        peer_saes=SAES[OTHER[name]],
        max_keys_per_request=16,
    )


class Wire:
    """What lies between the nodes. `tamper` may change or swallow (None) a payload; `is_up` False: no connection."""

    def __init__(self, pair: Pair) -> None:
        self.is_up = True
        self.tamper: Tamper = lambda payload: payload
        self.payloads: list[bytes] = []
        self.failures: list[QkdError] = []
        self.ends = {
            "alice": NoticeExchange(pair.alice, self._sender("bob"), lambda: self.is_up, timeout_s=0.5),
            "bob": NoticeExchange(pair.bob, self._sender("alice"), lambda: self.is_up, timeout_s=0.5),
        }
        self._tasks: set[asyncio.Task[None]] = set()

    def _sender(self, to: str) -> Callable[[bytes], Awaitable[None]]:
        async def send(payload: bytes) -> None:
            if not self.is_up:
                raise NoticeNotSent("no connection to the peer")
            self.payloads.append(payload)
            if (arriving := self.tamper(payload)) is not None:
                task = asyncio.create_task(self._deliver(to, arriving))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        return send

    async def _deliver(self, to: str, payload: bytes) -> None:
        try:
            await self.ends[to].received(payload)
        except QkdError as error:
            self.failures.append(error)


@dataclass
class KmePair:
    pair: Pair
    wire: Wire
    ports: dict[str, int]
    directory: Path

    def url(self, node: str) -> str:
        return f"https://127.0.0.1:{self.ports[node]}"

    def consumer(self, sae: str, node: str) -> Consumer:
        files = [self.directory / name for name in (f"{sae}.pem", f"{sae}.key", "ca.pem")]
        return Consumer(self.url(node), client_context(*files), timeout_s=10)


@contextlib.contextmanager
def running(pair: Pair, directory: Path) -> Iterator[KmePair]:
    """Serve both KMEs in the event loop of another thread."""
    wire = Wire(pair)
    ports: dict[str, int] = {}
    is_ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with (
            serve_kme(settings(directory, "alice"), pair.alice, wire.ends["alice"].notify) as ports["alice"],
            serve_kme(settings(directory, "bob"), pair.bob, wire.ends["bob"].notify) as ports["bob"],
        ):
            is_ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert is_ready.wait(10), "the servers did not start"
        yield KmePair(pair, wire, ports, directory)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
