"""Byte links against real sockets and a pseudo-terminal: framing, binary data, silence, late replies, hang-up."""

from __future__ import annotations

import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.byte_link import ByteLink
from drivers.errors import ConnectionLost, GarbledReply, InstrumentError, InstrumentTimeout
from drivers.links import Resource, open_link, parse_resource

LATE_S = 0.15


def _talk(client: socket.socket) -> None:
    """`late` answers late, `half` in two pieces, `bye` hangs up, `silent` never, `flood` without end; else an echo."""
    with client, client.makefile("rb") as lines:
        for line in lines:
            if line == b"bye\n":
                return
            if line == b"half\n":
                client.sendall(b"ha")
                time.sleep(0.05)
                client.sendall(b"lf\n")
            elif line == b"late\n":
                time.sleep(LATE_S)
                client.sendall(b"late answer\n")
            elif line == b"binary\n":
                client.sendall(b"#18a\n\ncdefg\n")
            elif line == b"flood\n":
                client.sendall(b"x" * 5000)
            elif line != b"silent\n":
                client.sendall(line)


@pytest.fixture
def port() -> Iterator[int]:
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_talk, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture(params=["tcp:127.0.0.1:{}", "visa:TCPIP0::127.0.0.1::{}::SOCKET", "serial:socket://127.0.0.1:{}"])
def link(request: pytest.FixtureRequest, port: int) -> Iterator[ByteLink]:
    opened = open_link(request.param.format(port), instrument="device")
    yield opened
    opened.close()


def _ask(link: ByteLink, question: bytes, timeout_s: float = 1.0) -> bytes:
    link.write(question)
    return link.read_until(b"\n", timeout_s)


def test_is_a_byte_link(link: ByteLink) -> None:
    assert isinstance(link, ByteLink)


def test_question_and_answer(link: ByteLink) -> None:
    assert _ask(link, b"*IDN?\n") == b"*IDN?\n"
    assert _ask(link, b"half\n") == b"half\n"


def test_binary_data_may_hold_the_terminator(link: ByteLink) -> None:
    link.write(b"binary\n")
    assert link.read_exactly(12, 1.0) == b"#18a\n\ncdefg\n"[:12]


def test_silence_is_a_timeout_in_time(link: ByteLink) -> None:
    started = time.monotonic()
    with pytest.raises(InstrumentTimeout, match=r"device: no complete reply .* within 0.05 s"):
        _ask(link, b"silent\n", 0.05)
    assert time.monotonic() - started < 0.5


def test_a_late_reply_is_not_the_next_answer(link: ByteLink) -> None:
    with pytest.raises(InstrumentTimeout):
        _ask(link, b"late\n", 0.9 * LATE_S)
    assert _ask(link, b"next\n") == b"next\n"


def test_drain_takes_what_was_not_read(link: ByteLink) -> None:
    assert link.drain() == b""
    link.write(b"one\ntwo\n")
    assert link.read_until(b"\n", 1.0) == b"one\n"
    time.sleep(0.02)
    assert link.drain() == b"two\n"


def test_a_reply_without_end_is_garbled(link: ByteLink) -> None:
    link.write(b"flood\n")
    with pytest.raises(GarbledReply, match="more than 1000 bytes"):
        link.read_until(b"\n", 1.0, 1000)
    assert _ask(link, b"next\n") == b"next\n"


def test_hang_up_is_a_lost_connection_at_once(link: ByteLink) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionLost, match=r"device: connection to .* lost"):
        _ask(link, b"bye\n", 5.0)
    assert time.monotonic() - started < 1.0


def test_closing_twice_and_using_it_afterwards(link: ByteLink) -> None:
    link.close()
    link.close()
    with pytest.raises(ConnectionLost, match="is closed"):
        link.write(b"x\n")


@pytest.mark.parametrize("form", ["tcp:127.0.0.1:{}", "visa:TCPIP0::127.0.0.1::{}::SOCKET"])
def test_nobody_listens(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(ConnectionLost, match=r"device: cannot open .*[Cc]onnection refused"):
        open_link(form.format(free), instrument="device")


def test_pseudo_terminal_relative_to_the_workspace(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "laser").symlink_to(os.ttyname(slave))
    link = open_link("serial:dev/laser?baud=9600", instrument="laser", workspace=tmp_path)
    link.write(b"ilaser\r\n")
    assert os.read(master, 100) == b"ilaser\r\n"
    os.write(master, b"ilaser\r\n200.000\r\n>>")
    assert link.read_until(b">>", 1.0) == b"ilaser\r\n200.000\r\n>>"
    os.close(slave)
    os.close(master)
    with pytest.raises(ConnectionLost, match="laser: connection to serial port dev/laser lost"):
        link.read_until(b">>", 1.0)
    link.close()


def test_a_serial_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match="laser: cannot open serial port dev/none"):
        open_link("serial:dev/none", instrument="laser", workspace=tmp_path)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("serial:/dev/ttyUSB0", Resource("serial", "/dev/ttyUSB0")),
        ("serial:twin://laser?baud=9600", Resource("serial", "twin://laser", baud=9600)),
        ("visa:TCPIP0::h::5025::SOCKET", Resource("visa", "TCPIP0::h::5025::SOCKET", "@py")),
        ("visa:USB0::1::2::3::INSTR@ivi", Resource("visa", "USB0::1::2::3::INSTR", "@ivi")),
        ("tcp:[::1]:5025", Resource("tcp", "[::1]:5025")),
        ("zmq:tcp://10.0.0.1:5555", Resource("zmq", "tcp://10.0.0.1:5555")),
    ],
)
def test_resource_strings(text: str, parsed: Resource) -> None:
    assert parse_resource(text) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "laser", "usb:1", "tcp:host", "tcp:host:0", "tcp::99999", "tcp:h:٣", "serial:/d?bd=1", "serial:/d?baud=x"],
)
def test_wrong_resource_strings(text: str) -> None:
    with pytest.raises(InstrumentError, match=r"laser: resource .* cannot be used"):
        parse_resource(text, instrument="laser")


def test_messages_and_serial_visa_are_refused() -> None:
    with pytest.raises(InstrumentError, match="messages, not bytes"):
        open_link("zmq:tcp://127.0.0.1:1", instrument="tagger")
    with pytest.raises(InstrumentError, match="serial:PATH"):
        open_link("visa:ASRL1::INSTR", instrument="laser")
