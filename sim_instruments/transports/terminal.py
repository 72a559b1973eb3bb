"""Pseudo-terminal for one port of a device, under a fixed name (a symbolic link) that a resource string can hold."""

from __future__ import annotations

import os
import select
import threading
import tty
from pathlib import Path

from sim_instruments.instruments.base import Device
from sim_instruments.transports.link import Link, Unreachable

CHUNK_BYTES = 1 << 16
POLL_S = 0.05


class TerminalServer:
    """Serves `device` on a new pseudo-terminal; `path` is a link to it, absent while the device is unplugged."""

    def __init__(self, device: Device, port_name: str, path: Path) -> None:
        self._device = device
        self._port_name = port_name
        self._path = path
        self._is_running = True
        self._hang_up = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{device.name}:{port_name}", daemon=True)
        self._thread.start()
        if not self._ready.wait(timeout=5.0):
            raise TimeoutError(f"{path}: no pseudo-terminal came up within 5 s")

    def close(self) -> None:
        """Take the line and its name away."""
        self._is_running = False
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while self._is_running:
            if self._device.faults.is_reachable:
                self._serve_one_line()
            else:
                self._ready.set()
                self._hang_up.wait(POLL_S)
                self._hang_up.clear()

    def _serve_one_line(self) -> None:
        """From plugging in to pulling the plug: one terminal serves client after client, as a serial cable does."""
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._hang_up.clear()
        try:
            link = Link(self._device, self._port_name, lambda data: self._write(master, data), self._hang_up.set)
        except Unreachable:
            os.close(master)
            os.close(slave)
            return
        point_link(self._path, os.ttyname(slave))
        self._ready.set()
        try:
            while self._is_running and not self._hang_up.is_set():
                if select.select([master], [], [], POLL_S)[0]:
                    link.receive(os.read(master, CHUNK_BYTES))
        finally:
            self._path.unlink(missing_ok=True)
            link.close()
            os.close(master)
            os.close(slave)

    def _write(self, master: int, data: bytes) -> None:
        view = memoryview(data)
        while view and self._is_running and not self._hang_up.is_set():
            if select.select([], [master], [], POLL_S)[1]:
                view = view[os.write(master, view) :]


def point_link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target` in one step, replacing what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
