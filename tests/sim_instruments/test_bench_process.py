"""The bench as a process: ready file, every port across processes, control socket, faults, its ends; wrong files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial
import zmq
from wiring import DEMO_BENCH, ROOT, BenchProcess, bench_process, free_offset, read_for, wait_until

from sim_instruments.bench_file import BenchFileError, read_bench_file


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchProcess]:
    with bench_process(tmp_path_factory.mktemp("w")) as running:
        yield running


def tcp(bench: BenchProcess, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port + bench.offset), timeout=5)


def ask(bench: BenchProcess, port: int, command: bytes, end: bytes = b"\n") -> bytes:
    with tcp(bench, port) as client:
        client.sendall(command)
        return read_for(client, end)


def request(bench: BenchProcess, port: int, command: str) -> str:
    client = zmq.Context.instance().socket(zmq.REQ)
    client.setsockopt(zmq.LINGER, 0)
    client.setsockopt(zmq.RCVTIMEO, 5000)
    client.connect(f"tcp://127.0.0.1:{port + bench.offset}")
    client.send_string(command)
    answer = client.recv().decode()
    client.close()
    return answer


def test_every_port_answers_across_processes(bench: BenchProcess) -> None:
    for name, question, answer in (
        ("ctl200", b"model\r\n", b"model\r\nCTL200-0\r\n>>"),
        ("mbx", b"VOA:POWER?\r", b"0\r"),
        ("epc", b"M?\r\n", b"Working Mode: DC\r\nDone\r\n"),
    ):
        with serial.Serial(str(bench.workspace / "dev" / name), 115200, timeout=2) as port:
            port.write(question)
            assert port.read(len(answer)) == answer
    assert ask(bench, 21010, b"*IDN?\n").startswith(b"Thorlabs,PM100D")
    assert ask(bench, 21020, b"SYST:VERS?\n") == b"TXP,1.0\n"
    assert ask(bench, 21021, b"LOOK #3016" + bytes(16) + b"\n").startswith(b"ERR 1101,")
    assert b'"NumberOfDetectors"' in ask(bench, 21030, b'{"request":"labelProps","value":"None"}', b"\x17")
    assert ask(bench, 21031, b"").count(b",") == 3
    assert request(bench, 21040, "*IDN?").startswith("IDQ,ID900")
    assert request(bench, 21041, "list") == "[]"


def test_light_reaches_the_streams_across_processes(bench: BenchProcess) -> None:
    """Laser, attenuator, transmitter and detectors are told over their own wires; clicks come out of the tagger's."""
    with serial.Serial(str(bench.workspace / "dev" / "ctl200"), 115200, timeout=2) as port:
        port.write(b"ilaser 120\r\nlason 1\r\n")
        assert port.read_until(b"lason 1\r\n1\r\n>>").endswith(b"1\r\n>>")
    with serial.Serial(str(bench.workspace / "dev" / "mbx"), 115200, timeout=2) as port:
        port.write(b"VOA:POWER: 1\rVOA:ATTEN: 15.5\rMZM:MODE: 2\rVOA:ATTEN?\r")
        assert port.read_until(b"\r") == b"15.50\r"
    with tcp(bench, 21030) as client:
        client.sendall(b'{"command":"SetAllBiasCurrents","label":"BiasCurrent","value":[20,20,20]}')
        client.sendall(b'{"command":"DetectorEnable","label":"DetectorEnable","value":true}')
        wait_until(lambda: bench.control(do="state")["ok"])
        read_for(client, b"true}\x17")
    with tcp(bench, 21020) as transmitter:
        for line in (b"INT:TABL 0,40000,0.5,0.01\n", b"SESS:ARM 00000000000000A1,IMM\n"):
            transmitter.sendall(line)
            assert read_for(transmitter, b"\n") == b"OK\n"
        tags = record(bench, 1, 500_000)
        assert np.all(np.diff(tags.astype(np.int64)) >= 0)
        rate_hz = (tags.size - 1) / ((tags[-1] - tags[0]) * 1e-12)
        assert rate_hz > 1e6
        assert bench.control(do="state")["slot_now"] > 0
        bench.control(do="fault", name="fibre_cut", value=True)
        assert bench.control(do="expectation", gates=[[1, -250, 500, 0, 0]], common_dead_time_ps=0)["ok"]
        bench.control(do="fault", name="fibre_cut", value=False)


def record(bench: BenchProcess, channel: int, least: int) -> np.ndarray:
    """At least `least` tags of one channel over the wire."""
    port = 21042 + channel + bench.offset
    pair = zmq.Context.instance().socket(zmq.PAIR)
    pair.setsockopt(zmq.RCVTIMEO, 10_000)
    pair.connect(f"tcp://127.0.0.1:{port}")
    request(bench, 21040, f"INPU{channel}:ENAB ON;:RAW{channel}:SEND ON;:REC:ENAB ON;NUM 1;DURation 1e18")
    request(bench, 21041, f"start-stream --address 127.0.0.1 --channel {channel} --stream-port {port}")
    request(bench, 21040, "REC:PLAY")
    messages = []
    while sum(len(m) for m in messages) < 8 * least:
        messages.append(pair.recv())
    request(bench, 21040, "REC:STOP")
    request(bench, 21041, "stop --id 00000001")
    while last := pair.recv():
        messages.append(last)
    pair.close()
    return np.frombuffer(b"".join(messages), dtype="<u8")


def test_faults_of_one_instrument_on_demand(bench: BenchProcess) -> None:
    assert bench.control(do="instrument_fault", instrument="power_meter", fault="wrong_identity")["ok"]
    assert b"ITC4001" in ask(bench, 21010, b"*IDN?\n")
    assert bench.control(do="state")["instruments"]["power_meter"] == "wrong_identity"
    assert bench.control(do="instrument_fault", instrument="power_meter", fault="none")["ok"]
    assert b"PM100D" in ask(bench, 21010, b"*IDN?\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "dance"},
        {"do": "instrument_fault", "instrument": "sofa", "fault": "silent"},
        {"do": "instrument_fault", "instrument": "laser", "fault": "sadness"},
        {"do": "instrument_fault", "instrument": "laser", "fault": "overflow"},
        {"do": "instrument_fault", "instrument": "laser", "fault": "late", "value": -1},
        {"do": "fault", "name": "no such thing", "value": 1},
        {"do": "attack", "name": "hypnosis"},
        {"do": "expectation", "gates": [[1, 2]]},
    ],
)
def test_the_control_socket_says_what_is_wrong(bench: BenchProcess, wrong: dict[str, object]) -> None:
    answer = bench.control(**wrong)
    assert answer["ok"] is False
    assert len(answer["error"]) > 10


def test_it_ends_on_sigterm_and_leaves_nothing(tmp_path: Path) -> None:
    bench = BenchProcess(tmp_path, free_offset())
    bench.wait_ready()
    assert bench.end() == 0
    assert [p for p in tmp_path.rglob("*") if not p.is_dir()] == []


def test_it_ends_when_its_parent_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sim_instruments", str(DEMO_BENCH), "--workspace", str(tmp_path)]
    command += ["--port-offset", str(free_offset())]
    script = f"import subprocess, time; subprocess.Popen({command!r}); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_until((tmp_path / "bench.ready").exists, 60)
    child = int((tmp_path / "bench.ready").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not (tmp_path / "bench.ready").exists(), 10)
    wait_until(lambda: not _is_alive(child), 10)


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    offset = free_offset()
    with socket.create_server(("127.0.0.1", 21010 + offset)):
        bench = BenchProcess(tmp_path, offset)
        assert bench.process.wait(timeout=60) == 3
        assert bench.process.stderr is not None
        assert b"power_meter.control: cannot listen on 127.0.0.1" in bench.process.stderr.read()
        bench.end()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[world]\n[instruments.x]\nkind='sofa'\nports={}", "kind"),
        ("[world]\n[instruments.x]\nkind='id900'\nports={scpi='zmq:tcp://10.0.0.1:5555'}", "loopback"),
        ("[world]\n[instruments.x]\nkind='id900'\nports={scpi='pty:../../etc/x'}", "inside the workspace"),
        ("[world]\n[instruments.x]\nkind='id900'\nports={scpi='carrier pigeon'}", "none of"),
        ("[world]\n[instruments.x]\nkind='id900'\nports={a='tcp:localhost:5', b='tcp:localhost:5'}", "share one"),
        ("[worlds]", "unknown tables: worlds"),
        ("[instruments]", r"\[world\] is missing"),
        ("[world", "TOML"),
    ],
)
def test_a_wrong_bench_file_is_explained(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(text)
    with pytest.raises(BenchFileError, match=complaint):
        read_bench_file(path)


def test_the_process_says_so_too(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text("[world]\n[instruments.x]\nkind='ozoptics_epc'\nports={serial='pty:dev/x'}")
    command = [sys.executable, "-m", "sim_instruments", str(path), "--workspace", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, env=os.environ, check=False)
    assert result.returncode == 2
    assert b"['serial'] given; ozoptics_epc has ['control']" in result.stderr
    assert b"Traceback" not in result.stderr
