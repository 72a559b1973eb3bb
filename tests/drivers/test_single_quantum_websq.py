"""WebSQ: framing, read-back of unacknowledged setters, counts lines in pieces; faults of the independent fake."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.detectors.single_quantum_websq import WebSq, parse_counts, parse_frame
from drivers.errors import (
    CommandRejected,
    ConnectionLost,
    GarbledReply,
    InstrumentError,
    InstrumentTimeout,
    ReadBackMismatch,
    SettingOutOfRange,
    WrongInstrument,
)
from drivers.roles import DetectorBank
from sim_instruments.faults import FaultKind
from sim_instruments.instruments.single_quantum_websq import SingleQuantumWebSq
from sim_instruments.model import bench_model
from sim_instruments.transports.tcp import TcpServer
from sim_instruments.world import World
from tests.drivers.scripted_link import ScriptedLink

ASK = json.dumps({"request": "labelProps", "value": "None"}).encode()
LABELS: dict[str, Any] = {
    "NumberOfDetectors": 2,
    "InptMeasurementPeriod": 100.0,
    "BiasCurrent": [0.0, 0.0],
    "TriggerLevel": [100.0, 100.0],
    "DetectorEnable": False,
}


def props(**changes: Any) -> bytes:
    """The answer to labelProps: one frame per label, two of them back to back in one."""
    objects = [json.dumps({"label": k, "value": {"value": v, "unit": ""}}) for k, v in (LABELS | changes).items()]
    return (objects[0] + objects[1] + "\x17" + "\x17".join(objects[2:]) + "\x17").encode()


def command(name: str, label: str, value: Any) -> bytes:
    return json.dumps({"command": name, "label": label, "value": value}).encode()


def broadcast(label: str, value: Any) -> bytes:
    return json.dumps({"label": label, "value": value}).encode() + b"\x17"


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink([(ASK, props()), (ASK, props())])


@pytest.fixture
def counts() -> ScriptedLink:
    return ScriptedLink()


@pytest.fixture
def websq(link: ScriptedLink, counts: ScriptedLink) -> WebSq:
    found = WebSq("snspd", link, counts)
    link.check_done()
    return found


def test_role_and_named_substitute(websq: WebSq) -> None:
    assert isinstance(websq, DetectorBank)
    assert websq.channels == 2
    assert "no identity query" in websq.identity.substitute


def test_setter_is_confirmed_by_asking_and_broadcasts_are_no_answers(websq: WebSq, link: ScriptedLink) -> None:
    link.expect(
        (command("SetAllBiasCurrents", "BiasCurrent", [20.0, 15.5]), broadcast("BiasCurrent", [1.0, 2.0])),
        (ASK, props()),  # not applied yet
        (ASK, broadcast("BiasCurrent", [20.0, 15.5]) + props(BiasCurrent=[20.0, 15.5])),
    )
    websq.set_bias_currents_a((20e-6, 15.5e-6))
    link.check_done()
    link.expect((ASK, props(BiasCurrent=[20.0, 15.5])))
    assert websq.bias_currents_a() == pytest.approx((20e-6, 15.5e-6))


def test_a_setter_that_is_not_obeyed(websq: WebSq, link: ScriptedLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.detectors.single_quantum_websq._APPLY_LIMIT_S", 0.0)
    link.expect((command("DetectorEnable", "DetectorEnable", True), b""), (ASK, props()))
    with pytest.raises(ReadBackMismatch, match="DetectorEnable was set to 'true' and reads 'false'"):
        websq.set_enabled(True)


def test_an_error_label_is_a_refusal(websq: WebSq, link: ScriptedLink) -> None:
    link.expect(
        (command("SetAllTriggerLevels", "TriggerLevel", [150.0, 150.0]), broadcast("ErrorMessage", "too high")),
        (ASK, props()),
    )
    with pytest.raises(CommandRejected, match="snspd: -1 ErrorMessage: 'too high'"):
        websq.set_trigger_levels_v((0.15, 0.15))


@pytest.mark.parametrize("currents", [(20e-6,), (20e-6, 101e-6), (math.nan, 0.0), (-1e-9, 0.0)])
def test_out_of_range_sends_nothing(websq: WebSq, currents: tuple[float, ...]) -> None:
    with pytest.raises(SettingOutOfRange, match="nothing was sent"):
        websq.set_bias_currents_a(currents)
    with pytest.raises(SettingOutOfRange, match="nothing was sent"):
        websq.set_trigger_levels_v((0.1, 2.1))


def test_make_safe_is_bias_off_twice(websq: WebSq, link: ScriptedLink) -> None:
    for _ in range(2):
        link.expect((command("DetectorEnable", "DetectorEnable", False), b""), (ASK, props()))
        websq.make_safe()
    link.check_done()


def test_counts_are_per_second_fresh_and_survive_pieces(
    websq: WebSq, link: ScriptedLink, counts: ScriptedLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.expect((ASK, props()), (ASK, props()))
    counts.arrive(b"1.0,1,1\n2.0,5,6\n3.0,")
    real = counts.read_until

    def later(terminator: bytes, timeout_s: float, max_bytes: int = 65_536) -> bytes:
        counts.arrive(b"70,80\n")
        return real(terminator, timeout_s, max_bytes)

    monkeypatch.setattr(counts, "read_until", later)
    assert websq.count_rates_hz() == (700.0, 800.0)


def test_counts_that_do_not_come_or_are_none(websq: WebSq, link: ScriptedLink, counts: ScriptedLink) -> None:
    link.expect((ASK, props()))
    with pytest.raises(InstrumentTimeout):
        websq.count_rates_hz()
    for line in ("1.0,3", "1.0,3,4,5", "1.0,nan,2", "1.0,-1,2", "a,b,c"):
        with pytest.raises(ValueError, match=r"counts|float"):
            parse_counts(line, 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8), max_size=3), max_size=5))
def test_frames_hold_any_number_of_objects(objects: list[dict[str, Any]]) -> None:
    assert parse_frame("".join(map(json.dumps, objects)).encode() + b"\x17") == objects


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_other_frame_is_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(isinstance(item, dict) for item in parse_frame(data))


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"deep|recursion|JSON"):
        parse_frame(b'{"a":' * 100_000)


def test_wrong_instruments() -> None:
    other = json.dumps({"label": "Voltage", "value": {"value": 1}}).encode() + b"\x17"
    with pytest.raises(WrongInstrument, match="without the label 'NumberOfDetectors'"):
        WebSq("snspd", ScriptedLink([(ASK, other)]), ScriptedLink())
    with pytest.raises(WrongInstrument, match="2 detectors answers where one with 4"):
        WebSq("snspd", ScriptedLink([(ASK, props()), (ASK, props())]), ScriptedLink(), detectors=4)
    with pytest.raises(GarbledReply, match="is no JSON"):
        WebSq("snspd", ScriptedLink([(ASK, b"hello\x17"), (ASK, b"hello\x17")]), ScriptedLink())


def test_counts_port_must_be_named() -> None:
    with pytest.raises(InstrumentError, match="counts_resource is missing"):
        WebSq.open("snspd", "tcp:127.0.0.1:9")


class Fake:
    """The independent fake behind two TCP ports."""

    def __init__(self) -> None:
        self.device = SingleQuantumWebSq("snspd", World(bench_model({"seed": 1})), period_ms=20.0)
        self.servers = [TcpServer(self.device, port, "127.0.0.1", 0) for port in ("control", "counts")]

    def open(self) -> WebSq:
        control, counts = (f"tcp:127.0.0.1:{server.port}" for server in self.servers)
        return WebSq.open("snspd", control, counts_resource=counts, detectors=4)

    def close(self) -> None:
        for server in self.servers:
            server.close()
        self.device.close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(WebSq, "timeout_s", 0.4)
    made = Fake()
    yield made
    made.close()


def test_fake_and_driver_agree(fake: Fake) -> None:
    with fake.open() as websq:
        websq.set_bias_currents_a((20e-6, 20e-6, 20e-6, 20e-6))
        websq.set_trigger_levels_v((0.15,) * 4)
        websq.set_enabled(True)
        assert websq.is_enabled()
        assert websq.bias_currents_a() == pytest.approx((20e-6, 20e-6, 20e-6, 20e-6))
        assert websq.trigger_levels_v() == pytest.approx((0.15,) * 4)
        rates = [websq.count_rates_hz() for _ in range(10)]  # every seventh line comes in two pieces
        assert 50 < sum(map(sum, rates)) / 40 < 200  # dark counts, about 100 /s each
        assert json.loads(str(websq.snapshot().values["NumberOfDetectors"])) == 4
    assert fake.device._is_enabled is False


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.SILENT, InstrumentTimeout),
        (FaultKind.GARBAGE, GarbledReply),
        (FaultKind.HALF, InstrumentError),
        (FaultKind.DISCONNECT, ConnectionLost),
    ],
)
def test_faults_are_named_and_pass(fake: Fake, kind: FaultKind, error: type[InstrumentError]) -> None:
    websq = fake.open()
    fake.device.faults.set(kind)
    with pytest.raises(error, match="snspd: "):
        websq.make_safe()
    fake.device.faults.set(FaultKind.NONE)
    if kind is FaultKind.DISCONNECT:
        websq.close()
        websq = fake.open()
    websq.make_safe()
    assert len(websq.count_rates_hz()) == 4
    websq.close()


def test_wrong_identity_at_opening(fake: Fake) -> None:
    fake.device.faults.set(FaultKind.WRONG_IDENTITY)
    with pytest.raises(WrongInstrument, match="where a Single Quantum WebSQ was expected"):
        fake.open()
