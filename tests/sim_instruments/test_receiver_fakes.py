"""Single Quantum WebSQ and ID Quantique ID900: handshakes, streams, back-pressure, pacing, faults."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from bench import detectors_on, switch_on
from bench import world as make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from wiring import Client, wait_until

from sim_instruments.faults import FaultKind
from sim_instruments.instruments.id900 import Id900
from sim_instruments.instruments.id900_stream import StreamPacing, split_channels
from sim_instruments.instruments.single_quantum_websq import SingleQuantumWebSq
from sim_instruments.world import World

SESSION = "00c0ffee12345678"


def frames(data: bytes) -> list[dict[str, object]]:
    assert not data or data.endswith(b"\x17")
    return [json.loads(frame) for frame in data.split(b"\x17") if frame]


@pytest.fixture
def detectors() -> Iterator[SingleQuantumWebSq]:
    device = SingleQuantumWebSq("detectors", make_world(), period_ms=20, detectors=3)
    yield device
    device.close()


def test_websq_tells_all_its_labels(detectors: SingleQuantumWebSq) -> None:
    client = Client(detectors, "control")
    labels = {str(f["label"]): f["value"] for f in frames(client.ask(b'{"request": "labelProps", "value": "None"}'))}
    assert labels["NumberOfDetectors"] == {"value": 3, "unit": ""}
    assert {"BiasCurrent", "TriggerLevel", "InptMeasurementPeriod", "DetectorEnable"} <= set(labels)


def test_websq_broadcasts_what_was_set_to_everybody(detectors: SingleQuantumWebSq) -> None:
    one, other = Client(detectors, "control"), Client(detectors, "control")
    one.ask(b'{"command":"SetAllBiasCurrents","label":"BiasCurrent","value":[20,20,19.5]}{"comm')
    one._link.receive(b'and":"DetectorEnable","label":"DetectorEnable","value":true}')
    for client in (one, other):
        assert frames(bytes(client.received)) == [
            {"label": "BiasCurrent", "value": [20.0, 20.0, 19.5]},
            {"label": "DetectorEnable", "value": True},
        ]
    assert detectors._world._knobs.detector_bias_a[:3] == pytest.approx((20e-6, 20e-6, 19.5e-6))
    assert detectors._world._knobs.is_detector_enabled


@pytest.mark.parametrize(
    "request_text",
    [
        '{"command":"SetAllBiasCurrents","value":[20,20]}',
        '{"command":"SetAllBiasCurrents","value":[20,20,-1]}',
        '{"command":"DetectorEnable","value":1}',
        '{"command":"SetMeasurementPeriod","value":1}',
        '{"command":"Nonsense"}',
        '{"request":"Nonsense"}',
        "[1]",
        "rubbish",
    ],
)
def test_websq_broadcasts_errors_and_changes_nothing(detectors: SingleQuantumWebSq, request_text: str) -> None:
    before = detectors._world._knobs
    answer = frames(Client(detectors, "control").ask(request_text.encode()))
    assert [f["label"] for f in answer] == ["ErrorMessage"]
    assert detectors._world._knobs == before


def test_websq_counts_per_period_unasked(detectors: SingleQuantumWebSq) -> None:
    detectors_on(detectors._world)
    client = Client(detectors, "counts")
    wait_until(lambda: client.received.count(b"\n") >= 8)
    lines = bytes(client.received).split(b"\n")[:-1]
    table = np.array([[float(x) for x in line.split(b",")] for line in lines])
    assert table.shape[1] == 4
    expected = np.array(detectors._world.count_rates_hz()[:3]) * 0.02 * len(lines)
    assert np.all(np.abs(table[:, 1:].sum(axis=0) - expected) < 6 * np.sqrt(expected) + 1)


class Sink:
    """A stream in memory that takes `room` messages and then makes the writer wait."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.room = 10**9
        self.is_closed = False

    def send(self, message: bytes | memoryview, should_stop: Callable[[], bool]) -> bool:
        while len(self.messages) >= self.room:
            if should_stop():
                return False
            time.sleep(0.002)
        self.messages.append(bytes(message))
        return True

    def close(self) -> None:
        self.is_closed = True

    def tags(self) -> NDArray[np.uint64]:
        return np.concatenate([np.frombuffer(m, dtype="<u8") for m in self.messages] or [np.empty(0, np.uint64)])


class Tagger:
    """An ID900 in front of a world with light, its streams in memory."""

    def __init__(self, world: World, **pacing: float) -> None:
        self.world = world
        self.sinks: dict[int, Sink] = {}
        self.device = Id900("tagger", world, open_sink=self._open, pacing=StreamPacing(**pacing))  # type: ignore[arg-type]
        self._scpi, self._datalink = Client(self.device, "scpi"), Client(self.device, "datalink")

    def _open(self, port: int) -> Sink:
        return self.sinks.setdefault(port, Sink())

    def scpi(self, command: str) -> str:
        return self._scpi.ask(command.encode()).decode()

    def datalink(self, command: str) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self._datalink.ask(command.encode()))
        return answer

    def start(self, channels: tuple[int, ...], recording: str) -> dict[int, str]:
        ids = {}
        self.scpi("REC:TRIG:ARM:MODE MANUal")
        self.scpi(f"REC:ENABle ON;STOP;{recording}")
        for channel in channels:
            self.scpi(f"INPU{channel}:ENAB ON;THREshold +0.100V;EDGE RISING;:RAW{channel}:ERRORS:CLEAR")
            answer = self.datalink(
                f"start-stream --address 127.0.0.1 --channel {channel} --stream-port {4241 + channel}"
            )
            ids[channel] = str(answer["id"])
            self.scpi(f"RAW{channel}:SEND ON")
        assert self.scpi("SYST:ERR?") == '0,"No error"'
        self.scpi("REC:PLAY")
        return ids


@pytest.fixture
def light() -> World:
    world = make_world()
    switch_on(world)
    world.start_session(SESSION)
    world.generate(10**9)  # the first light has come through the fibre
    return world


def test_id900_streams_every_channel_until_stopped(light: World) -> None:
    tagger = Tagger(light)
    ids = tagger.start((1, 2, 3), "NUM 1;DURation 1E18")
    assert tagger.scpi("REC:STAGe?") == "PLAYING"
    wait_until(lambda: all(len(s.messages) > 5 for s in tagger.sinks.values()))
    tagger.scpi("REC:STOP")
    assert tagger.scpi("REC:STAG?") == "STOPPED"
    for channel, identity in ids.items():
        sink = tagger.sinks[4241 + channel]
        status = tagger.datalink(f"stop --id {identity}")["status"]
        assert isinstance(status, dict)
        assert status["timestamps_count"] == sink.tags().size
        assert status["errors"] == []
        assert sink.is_closed
        assert np.all(np.diff(sink.tags().astype(np.int64)) >= 0)
    now = light.now_ps
    time.sleep(0.05)
    assert light.now_ps == now, "time stands still while nothing is recorded"


def test_id900_restarts_time_at_each_sub_acquisition(light: World) -> None:
    tagger = Tagger(light)
    tagger.start((1,), "NUM 3;PWID 2000000000;PPER 2000040000")
    wait_until(lambda: tagger.scpi("REC:STAG?") == "STOPPED")
    messages = tagger.sinks[4242].messages
    assert len(messages) == 3
    for message in messages:
        tags = np.frombuffer(message, dtype="<u8")
        assert tags[0] < 10**7
        assert 1.9e9 < tags[-1] < 2e9
    assert tagger.datalink("status --id 00000001")["acquisitions_count"] == 3


def test_id900_loses_no_tag_between_its_messages() -> None:
    """As many as dark counts of known rate and no dead time give: a lost step or boundary would show."""
    tagger = Tagger(_dark_world())
    tagger.start((1, 2, 3, 4), "NUM 4;PWID 5000000000;PPER 5000040000")
    wait_until(lambda: tagger.scpi("REC:STAG?") == "STOPPED")
    total = sum(s.tags().size for s in tagger.sinks.values())
    expected = 4e6 * 4 * 5e-3
    assert abs(total - expected) < 6 * expected**0.5


def _dark_world() -> World:
    world = make_world({"detectors": {"dark_rate_hz": (1e6, 1e6, 1e6, 1e6), "dead_time_ps": (0.0,) * 4}})
    detectors_on(world)
    return world


def test_id900_units_follow_the_resolution(light: World) -> None:
    tagger = Tagger(light)
    tagger.scpi("DEVIce:RESolution LOWRES")
    assert tagger.scpi("DEVI:RES:BWID?") == "100"
    tagger.start((1,), "NUM 1;PWID 1000000000;PPER 1000040000")
    wait_until(lambda: tagger.scpi("REC:STAG?") == "STOPPED")
    assert 9.9e6 < tagger.sinks[4242].tags()[-1] < 1e7


def test_a_slow_reader_stops_the_world(light: World) -> None:
    tagger = Tagger(light, target_tags=20_000)
    tagger._open(4242).room = 3
    tagger.start((1,), "NUM 1;DURation 1E18")
    wait_until(lambda: len(tagger.sinks[4242].messages) == 3)
    time.sleep(0.1)
    now = light.now_ps
    time.sleep(0.1)
    assert light.now_ps == now
    tagger.sinks[4242].room = 10**9
    wait_until(lambda: light.now_ps > now)
    tagger.device.close()


def test_an_idle_world_keeps_pace_with_the_wall() -> None:
    world = make_world()
    detectors_on(world)
    tagger = Tagger(world, idle_pace=2.0)
    tagger.start((1, 2, 3), "NUM 1;DURation 1E18")
    began = time.monotonic()
    wait_until(lambda: world.now_ps > 200_000_000_000)
    wall_s = time.monotonic() - began
    tagger.device.close()
    assert wall_s > 0.06, "0.2 s of darkness may pass in half that time at most"
    assert wall_s < 2.0


def test_id900_errors_are_queued_and_data_link_errors_described() -> None:
    tagger = Tagger(make_world())
    assert tagger.scpi("NONSENSE:COMMAND 1") == ""
    assert tagger.scpi("REC:PLAY") == ""
    assert tagger.scpi("SYST:ERR?").startswith("-113,")
    assert tagger.scpi("SYST:ERR?").startswith("-221,")
    assert tagger.scpi("*IDN?").startswith("IDQ,ID900,")
    for wrong in (
        "nonsense",
        "start-stream --channel 1 --stream-port 4242",
        "status --id 7",
        "start-stream 5",
        '"',
        "",
    ):
        assert "description" in str(tagger.datalink(wrong)["error"])
    assert tagger.datalink("list") == []


def test_an_overflow_is_reported_on_both_ways(light: World) -> None:
    tagger = Tagger(light)
    ids = tagger.start((1,), "NUM 1;DURation 1E18")
    assert tagger.scpi("RAW1:ERRORS?") == "0"
    tagger.device.faults.set(FaultKind.OVERFLOW)
    assert tagger.scpi("RAW1:ERRORS?") == "1"
    assert "lost" in str(tagger.datalink(f"status --id {ids[1]}")["errors"])
    tagger.device.close()


def test_half_a_message_does_not_hold_whole_timestamps(light: World) -> None:
    tagger = Tagger(light)
    tagger.start((1,), "NUM 1;DURation 1E18")
    tagger.device.faults.set(FaultKind.HALF)
    whole = len(tagger.sinks[4242].messages) + 1  # one may be on its way
    wait_until(lambda: len(tagger.sinks[4242].messages) > whole)
    tagger.device.close()
    assert len(tagger.sinks[4242].messages[-1]) % 8


def test_pulling_the_cable_ends_the_streams(light: World) -> None:
    tagger = Tagger(light)
    tagger.start((1,), "NUM 1;DURation 1E18")
    tagger.device.faults.set(FaultKind.DISCONNECT)
    assert tagger.sinks[4242].is_closed


@given(
    tags=st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 4)), max_size=50),
    channels=st.sets(st.integers(1, 4), min_size=1),
    unit_ps=st.sampled_from([1, 100]),
)
@settings(max_examples=60, deadline=None)
def test_splitting_by_channel_equals_its_slow_twin(
    tags: list[tuple[int, int]], channels: set[int], unit_ps: int
) -> None:
    tags.sort()
    time_ps = np.array([t for t, _ in tags], dtype=np.int64) + 500
    channel = np.array([c for _, c in tags], dtype=np.uint8)
    split = split_channels(time_ps, channel, tuple(sorted(channels)), 500, unit_ps)
    assert set(split) == channels
    for c in channels:
        assert split[c].tolist() == [t // unit_ps for t, k in tags if k == c]
