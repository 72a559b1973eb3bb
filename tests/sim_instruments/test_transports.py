"""Each way to plug a fake in, with plain client libraries and no driver; faults as a client sees them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvisa
import serial
import zmq
from bench import world as make_world
from wiring import free_port, read_for, wait_until

from sim_instruments.faults import FaultKind
from sim_instruments.instruments.id900 import Id900
from sim_instruments.instruments.koheron_ctl200 import KoheronCtl200
from sim_instruments.instruments.thorlabs_mbx import ThorlabsMbx
from sim_instruments.instruments.thorlabs_pm100d import ThorlabsPm100d
from sim_instruments.instruments.txp_transmitter import TxpTransmitter
from sim_instruments.transports.in_process import plugged
from sim_instruments.transports.tcp import TcpServer
from sim_instruments.transports.terminal import TerminalServer
from sim_instruments.transports.zeromq import PairStream, ZmqReplyServer

METER = "TCPIP0::meter::21010::SOCKET"
TRANSMITTER = "TCPIP0::transmitter::5025::SOCKET"
USB_METER = "USB0::0x1313::0x8078::P0012345::0::INSTR"


@pytest.fixture
def meter() -> ThorlabsPm100d:
    return ThorlabsPm100d("meter", make_world())


def test_pyserial_url_in_process() -> None:
    device = KoheronCtl200("laser", make_world())
    with plugged({"bench-1/laser": (device, "control")}), serial.serial_for_url("twin://bench-1/laser") as port:
        port.timeout = 1.0
        port.write(b"model\r\n")
        assert port.read_until(b">>") == b"model\r\nCTL200-0\r\n>>"
        port.timeout = 0.02
        assert port.read(1) == b""
        device.faults.set(FaultKind.DISCONNECT)
        with pytest.raises(serial.SerialException):
            port.write(b"model\r\n")
        with pytest.raises(serial.SerialException, match="unplugged"):
            serial.serial_for_url("twin://bench-1/laser")
    with pytest.raises(serial.SerialException, match="nothing is plugged in"):
        serial.serial_for_url("twin://bench-1/laser")


@pytest.mark.parametrize("resource", [METER, USB_METER])
def test_pyvisa_backend_in_process(meter: ThorlabsPm100d, resource: str) -> None:
    with plugged({resource: (meter, "control")}):
        manager = pyvisa.ResourceManager("@twin")
        assert resource in manager.list_resources("?*")
        with manager.open_resource(resource, read_termination="\n", write_termination="\n", timeout=500) as session:
            assert session.query("*IDN?").startswith("Thorlabs,PM100D")  # type: ignore[attr-defined]
            session.write("SENS:CORR:WAV 1550")  # type: ignore[attr-defined]
            assert float(session.query("SENS:CORR:WAV?")) == 1550  # type: ignore[attr-defined]
            session.timeout = 50
            began = time.monotonic()
            with pytest.raises(pyvisa.errors.VisaIOError, match="VI_ERROR_TMO"):
                session.read()  # type: ignore[attr-defined]
            assert time.monotonic() - began >= 0.05
            meter.faults.set(FaultKind.DISCONNECT)
            with pytest.raises(pyvisa.errors.VisaIOError, match="VI_ERROR_CONN_LOST"):
                session.query("*IDN?")  # type: ignore[attr-defined]
        with pytest.raises(pyvisa.errors.VisaIOError):
            manager.open_resource(resource)


def test_pyvisa_reads_blocks_of_bytes_in_process() -> None:
    device = TxpTransmitter("transmitter", make_world())
    with plugged({TRANSMITTER: (device, "control")}):
        session = pyvisa.ResourceManager("@twin").open_resource(TRANSMITTER, read_termination="\n")
        session.write_raw(b"PATT:DATA #14\x00\x13\x10\x01\n")  # type: ignore[attr-defined]
        assert session.read() == "OK"  # type: ignore[attr-defined]
        session.close()
    device.close()


@pytest.fixture
def tcp_meter(meter: ThorlabsPm100d) -> Iterator[tuple[ThorlabsPm100d, int]]:
    server = TcpServer(meter, "control", "127.0.0.1", 0)
    yield meter, server.port
    server.close()


def test_tcp_serves_clients_side_by_side(tcp_meter: tuple[ThorlabsPm100d, int]) -> None:
    _, port = tcp_meter
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as two:
        for client in (one, two, one):
            client.sendall(b"*OPC?\n")
            assert read_for(client, b"\n") == b"1\n"


def test_pyvisa_py_talks_to_the_tcp_server(tcp_meter: tuple[ThorlabsPm100d, int]) -> None:
    _, port = tcp_meter
    resource = f"TCPIP0::127.0.0.1::{port}::SOCKET"
    with pyvisa.ResourceManager("@py").open_resource(
        resource, read_termination="\n", write_termination="\n"
    ) as session:
        assert session.query("*IDN?").startswith("Thorlabs,PM100D")  # type: ignore[attr-defined]


def test_tcp_faults_as_a_client_sees_them(tcp_meter: tuple[ThorlabsPm100d, int]) -> None:
    meter, port = tcp_meter
    client = socket.create_connection(("127.0.0.1", port))
    meter.faults.set(FaultKind.SILENT)
    client.sendall(b"*OPC?\n")
    assert read_for(client, b"\n", 0.1) == b""
    meter.faults.set(FaultKind.DISCONNECT)
    assert read_for(client, b"\n", 2.0) == b"", "end of file"
    client.close()
    with socket.create_connection(("127.0.0.1", port)) as refused:
        assert read_for(refused, b"\n", 2.0) == b"", "closed at once"
    meter.faults.set(FaultKind.RESTART, 0.1)
    wait_until(lambda: meter.faults.is_reachable)
    with socket.create_connection(("127.0.0.1", port)) as again:
        again.sendall(b"SENS:CORR:WAV?\n")
        assert float(read_for(again, b"\n")) == 1310, "power-on settings"


def test_pseudo_terminal_under_a_fixed_name(tmp_path: Path) -> None:
    device = ThorlabsMbx("modulator", make_world())
    path = tmp_path / "dev" / "mbx"
    server = TerminalServer(device, "control", path)
    with serial.Serial(str(path), 115200, timeout=2.0) as port:
        port.write(b"MZM:MODE: 7\rMZM:MODE?\r")
        assert port.read_until(b"\r") == b"7\r"
    with serial.Serial(str(path), 115200, timeout=2.0) as port:
        port.write(b"MZM:MODE?\r")
        assert port.read_until(b"\r") == b"7\r", "closing a serial port changes nothing in the device"
        device.faults.set(FaultKind.DISCONNECT)
        wait_until(lambda: not path.exists())
        with pytest.raises(serial.SerialException):
            port.read(1)
    device.faults.set(FaultKind.NONE)
    wait_until(path.exists)
    with serial.Serial(str(path), 115200, timeout=2.0) as port:
        port.write(b"MZM:MODE?\r")
        assert port.read_until(b"\r") == b"7\r"
    server.close()
    assert not path.is_symlink()


def _request(endpoint: str) -> zmq.Socket[bytes]:
    client: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
    client.setsockopt(zmq.LINGER, 0)
    client.setsockopt(zmq.RCVTIMEO, 2000)
    client.connect(endpoint)
    return client


def test_zeromq_answers_every_request_and_survives_unanswered_ones() -> None:
    device = Id900("tagger", make_world(), open_sink=lambda port: PairStream(f"tcp://127.0.0.1:{port}"))
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    server = ZmqReplyServer(device, "scpi", endpoint)
    client = _request(endpoint)
    client.send(b"REC:NUM INF")
    assert client.recv() == b"", "no answer is an empty message"
    client.send(b"REC:NUM?")
    assert client.recv() == b"INF"
    device.faults.set(FaultKind.SILENT)
    client.setsockopt(zmq.RCVTIMEO, 100)
    client.send(b"*IDN?")
    with pytest.raises(zmq.Again):
        client.recv()
    client.close()
    device.faults.set(FaultKind.NONE)
    second = _request(endpoint)
    second.send(b"DEVI:RES:BWID?")
    assert second.recv() == b"1"
    second.close()
    server.close()
    device.close()


def test_two_fakes_cannot_share_a_zeromq_port() -> None:
    device = Id900("tagger", make_world(), open_sink=lambda port: PairStream(f"tcp://127.0.0.1:{port}"))
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    server = ZmqReplyServer(device, "scpi", endpoint)
    with pytest.raises(OSError, match=endpoint):
        ZmqReplyServer(device, "datalink", endpoint)
    server.close()


def test_a_pair_stream_ends_with_an_empty_message() -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    stream = PairStream(endpoint)
    client: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
    client.setsockopt(zmq.RCVTIMEO, 2000)
    client.connect(endpoint)
    assert stream.send(b"12345678", lambda: False)
    assert client.recv() == b"12345678"
    stream.close()
    assert client.recv() == b""
    assert not stream.send(b"later", lambda: False)
    client.close()


def test_a_pair_stream_without_reader_gives_up_when_told() -> None:
    stream = PairStream(f"tcp://127.0.0.1:{free_port()}")
    assert not stream.send(b"12345678", lambda: True)
    stream.close()


def test_a_stream_can_be_opened_again_at_once_and_holds_nothing_old() -> None:
    """As after a reader was killed while the writer waited for it."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    stream = PairStream(endpoint)
    dead: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
    dead.setsockopt(zmq.RCVHWM, 1)
    dead.connect(endpoint)
    big = bytes(1 << 22)
    while stream.send(big, lambda: False):
        if not stream._socket.poll(200, zmq.POLLOUT):
            break
    dead.close(linger=0)
    stream.close()
    again = PairStream(endpoint)
    reader: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
    reader.setsockopt(zmq.RCVTIMEO, 2000)
    reader.connect(endpoint)
    assert again.send(b"new", lambda: False)
    assert reader.recv() == b"new"
    again.close()
    reader.close()
