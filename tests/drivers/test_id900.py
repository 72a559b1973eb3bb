"""ID900: answers parsed, streams dated and merged, losses named; against the independent fake with all its faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import (
    CommandRejected,
    ConnectionLost,
    GarbledReply,
    InstrumentError,
    InstrumentTimeout,
    SettingOutOfRange,
    TagsLost,
    WrongInstrument,
)
from drivers.roles import TimeTagger
from drivers.tags import TagBatch
from drivers.time_taggers.data_link import parse_answer, parse_status
from drivers.time_taggers.id900 import DEAD_TIME_PS, Id900
from drivers.time_taggers.id900_replies import parse_error, parse_quantity, parse_switch
from drivers.time_taggers.zmq_link import RequestLink, endpoint_of
from sim_instruments.bench import make_device
from sim_instruments.faults import FaultKind
from sim_instruments.model import bench_model
from sim_instruments.transports.zeromq import ZmqReplyServer
from sim_instruments.world import World
from tests.drivers.scripted_controller import ScriptedController, free_ports


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1.0), ("1000TB", 1000.0), (" +0.100V\n", 0.1), ("100mV", 0.1), ("-1.5e-1V", -0.15)]
)
def test_quantities_with_and_without_unit(text: str, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "V", "1 2", "nan", "0x10", "1s", "SCPI_ERR_INVALID_CMD"])
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_quantity(text)


def test_switches_and_errors() -> None:
    assert [parse_switch(text) for text in ("ON", "off", "1", "0")] == [True, False, True, False]
    assert parse_error('+0,"No error"') == (0, "No error")
    assert parse_error('-113,"Undefined header"') == (-113, "Undefined header")
    with pytest.raises(ValueError, match="invalid literal"):
        parse_error("SCPI_ERR_INVALID_CMD")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40) | st.recursive(st.integers() | st.text(max_size=4) | st.none(), st.lists).map(json.dumps))
def test_any_answer_of_the_service_is_json_or_a_value_error(text: str) -> None:
    try:
        parse_status(parse_answer(text))
    except (ValueError, LookupError):
        return
    raise AssertionError(f"{text!r} is no status")


def test_status_of_the_service() -> None:
    text = '{"acquisitions_count": 2, "timestamps_count": 7, "errors": [{"description": "lost"}], "inactivity": 0.1}'
    status = parse_status(parse_answer(text))
    assert (status.acquisitions, status.timestamps, status.errors) == (2, 7, ("lost",))
    with pytest.raises(LookupError, match="no such id"):
        parse_answer('{"error": {"description": "no such id"}}')


# --- against a scripted controller: every byte is ours ---------------------------------------------------------------
@pytest.fixture
def controller() -> Iterator[ScriptedController]:
    made = ScriptedController()
    yield made
    made.close()


@pytest.fixture
def tagger(controller: ScriptedController, monkeypatch: pytest.MonkeyPatch) -> Iterator[Id900]:
    monkeypatch.setattr(Id900, "timeout_s", 0.3)
    opened = controller.open()
    yield opened
    opened.close()


def read_tags(tagger: Id900, count: int) -> TagBatch:
    """Batches until `count` tags are there, joined."""
    batches: list[TagBatch] = []
    while sum(map(len, batches)) < count:
        batches.append(tagger.read(2.0))
    return TagBatch(
        np.concatenate([b.time_ps for b in batches]),
        np.concatenate([b.channel for b in batches]),
        np.concatenate([b.flags for b in batches]),
        batches[-1].complete_until_ps,
        tuple(a for b in batches for a in b.anomalies),
    )


def test_role(tagger: Id900) -> None:
    assert isinstance(tagger, TimeTagger)
    assert (tagger.identity.model, tagger.identity.serial) == ("ID900", "42")


def test_start_says_what_the_makers_examples_say_in_their_order(controller: ScriptedController, tagger: Id900) -> None:
    controller.heard.clear()
    tagger.start((2, 1))
    said = [text for text in controller.heard if text != "SYST:ERR?" and not text.startswith("DEVI")]
    assert said == [
        "REC:STOP",
        "list",
        "REC:TRIG:ARM:MODE MANUal",
        "REC:ENABle ON",
        "REC:NUM 1",
        "REC:DURation 86400000000000000",
        "RAW1:REF:LINK NONE",
        "RAW1:ERRORS:CLEAR",
        f"start-stream --address 127.0.0.1 --channel 1 --stream-port {controller.stream_base + 1}",
        "RAW1:SEND ON",
        "RAW2:REF:LINK NONE",
        "RAW2:ERRORS:CLEAR",
        f"start-stream --address 127.0.0.1 --channel 2 --stream-port {controller.stream_base + 2}",
        "RAW2:SEND ON",
        "REC:PLAY",
    ]


def test_channels_are_merged_and_scaled_by_the_unit(controller: ScriptedController, tagger: Id900) -> None:
    controller.replies["DEVI:RES:BWID?"] = "100TB"
    tagger.start((1, 3))
    controller.send(1, [5, 9, 30])
    controller.send(3, [7, 40])
    batch = read_tags(tagger, 3)
    assert list(zip(batch.time_ps.tolist(), batch.channel.tolist(), strict=True)) == [(500, 1), (700, 3), (900, 1)]
    assert batch.complete_until_ps == 3000
    controller.end(1)
    controller.end(3)
    assert read_tags(tagger, 2).time_ps.tolist() == [3000, 4000]
    with pytest.raises(ConnectionLost, match="has ended the streams"):
        tagger.read(0.5)


def test_sub_acquisitions_are_put_together_again(controller: ScriptedController) -> None:
    with controller.open(sub_acquisition_s=0.2) as tagger:
        tagger.start((1, 2))
        assert "REC:NUM INF" in controller.heard
        assert f"REC:PWID 200000000000;PPER {200_000_000_000 + DEAD_TIME_PS}" in controller.heard
        for k in range(3):
            for channel in (1, 2):
                controller.send(channel, [10 + channel, 100 + k])
        controller.end(1)
        controller.end(2)
        batch = read_tags(tagger, 12)
    period_ps = 200_000_000_000 + DEAD_TIME_PS
    assert batch.time_ps.tolist() == [k * period_ps + t for k in range(3) for t in (11, 12, 100 + k, 100 + k)]


def test_a_skipped_sub_acquisition_is_a_loss(controller: ScriptedController) -> None:
    with controller.open(sub_acquisition_s=0.2) as tagger:
        tagger.start((1, 2))
        controller.send(2, [10])
        for _ in range(3):
            controller.send(1, [10, 20])
        with pytest.raises(TagsLost, match="channel 2 sent nothing in a sub-acquisition"):
            read_tags(tagger, 100)


@pytest.mark.parametrize("what", ["service", "device", "restart", "forgotten"])
def test_losses_are_named(controller: ScriptedController, tagger: Id900, what: str) -> None:
    tagger.start((1,))
    controller.send(1, [10**12, 2 * 10**12])
    read_tags(tagger, 1)
    if what == "service":
        controller.errors = ["buffer overflow"]
    elif what == "device":
        controller.replies["RAW1:ERRORS?"] = "3"
    elif what == "forgotten":
        controller.replies["status"] = '{"error": {"description": "no acquisition 1"}}'
    else:
        controller.send(1, [5, 6])  # time fell back without a sub-acquisition
    named = {
        "service": "buffer overflow",
        "device": "3 errors",
        "restart": "fell from",
        "forgotten": "no acquisition 1",
    }
    with pytest.raises(TagsLost, match=named[what]) as caught:
        tagger.read(0.7)
    assert 0 <= caught.value.time_ps <= 2 * 10**12
    tagger.stop()  # the loss was reported; stopping is no news


def test_a_loss_that_shows_at_the_end_is_reported_by_stop(controller: ScriptedController, tagger: Id900) -> None:
    tagger.start((1,))
    controller.errors = ["buffer overflow"]
    with pytest.raises(TagsLost, match="buffer overflow"):
        tagger.stop()
    tagger.stop()


def test_garbage_on_a_stream(controller: ScriptedController, tagger: Id900) -> None:
    tagger.start((1,))
    controller.send_raw(1, b"\x00" * 13)
    with pytest.raises(GarbledReply, match="13 bytes, no multiple of 8"):
        tagger.read(2.0)
    tagger.start((1,))
    controller.send_raw(1, b"\xff" * 16)
    with pytest.raises(GarbledReply, match="a time stamp of channel 1 is 18446744073709551615"):
        tagger.read(2.0)


def test_refusals_in_the_answer_and_in_the_queue(controller: ScriptedController, tagger: Id900) -> None:
    controller.replies["REC:PLAY"] = "-1 SCPI_ERR_PARAM_TYPE"
    with pytest.raises(CommandRejected, match="REC:PLAY: -1 SCPI_ERR_PARAM_TYPE"):
        tagger.start((1,))
    assert "RAW1:SEND OFF" in controller.heard[controller.heard.index("REC:PLAY") :]
    del controller.replies["REC:PLAY"]
    controller.queue = ['-222,"Data out of range"', '-113,"Undefined header"']
    with pytest.raises(CommandRejected) as caught:
        tagger.configure_input(1, 0.1)
    assert [code for code, _ in caught.value.entries] == [-222, -113]


def test_a_device_without_error_queue_is_understood(controller: ScriptedController) -> None:
    controller.replies["SYST:ERR?"] = "SCPI_ERR_INVALID_CMD"
    with controller.open() as tagger:
        controller.heard.clear()
        tagger.start((1,))
    assert "SYST:ERR?" not in controller.heard


def test_back_pressure_reaches_the_sender(controller: ScriptedController, tagger: Id900) -> None:
    tagger.start((1,))
    message = np.arange(1_000_000, dtype=np.uint64)
    sent = 0
    while controller.send_if_room(1, message.tobytes()):
        sent += 1
        assert sent < 40, "320 MB vanished without anybody reading"
        time.sleep(0.01)
    assert sent >= 1


@pytest.mark.parametrize("channels", [(), (0,), (1, 5)])
def test_impossible_channels_send_nothing(
    controller: ScriptedController, tagger: Id900, channels: tuple[int, ...]
) -> None:
    controller.heard.clear()
    with pytest.raises(SettingOutOfRange, match="nothing was sent"):
        tagger.start(channels)
    with pytest.raises(SettingOutOfRange, match=r"threshold_v = 2\.5 is outside -2 to 2"):
        tagger.configure_input(1, 2.5)
    assert controller.heard == []


@pytest.mark.parametrize(
    "options",
    [{"sub_acquisition_s": 0.1}, {"channel_patience_s": 0.0}, {"resolution": "FINE"}, {"stream_port_base": 0}],
)
def test_impossible_options(controller: ScriptedController, options: dict[str, float | str]) -> None:
    with pytest.raises(SettingOutOfRange, match="tagger: "):
        controller.open(**options)


def test_reading_without_recording(tagger: Id900) -> None:
    with pytest.raises(InstrumentError, match="does not record"):
        tagger.read(0.1)


def test_nobody_listens_and_no_endpoint() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectionLost, match="nobody listens"):
        RequestLink(f"tcp://127.0.0.1:{port}", instrument="tagger")
    with pytest.raises(ConnectionLost, match="cannot be used"):
        RequestLink("ipc:///nowhere", instrument="tagger")
    with pytest.raises(ConnectionLost, match="no ZeroMQ endpoint"):
        endpoint_of("tcp:127.0.0.1:5555", instrument="tagger")
    with pytest.raises(InstrumentError, match="datalink_resource is missing"):
        Id900.open("tagger", "zmq:tcp://127.0.0.1:5555")


def test_a_late_reply_reaches_nobody(controller: ScriptedController, tagger: Id900) -> None:
    controller.delay_s["DEVI:RES:BWID?"] = 0.5
    with pytest.raises(InstrumentTimeout):
        tagger.query("DEVI:RES:BWID?", parse_quantity)
    controller.delay_s.clear()
    controller.replies["INPU1:THRE?"] = "0.25V"
    assert tagger.query("INPU1:THRE?", parse_quantity, timeout_s=2.0) == 0.25


# --- against the independent fake -----------------------------------------------------------------------------------
class Fake:
    """The fake of sim_instruments on free ports, with detectors that see only darkness."""

    def __init__(self) -> None:
        self.world = World(bench_model({"seed": 3, "detectors": {"dark_rate_hz": [200_000.0] * 4}}))
        self.world.set_detector_enabled(True)
        self.world.set_detector_bias_a([20e-6] * 4)
        self.world.set_trigger_levels_v([0.15] * 4)
        self.device = make_device("id900", "tagger", self.world)
        self.scpi, self.datalink, self.base = free_ports(3)
        self.servers = [
            ZmqReplyServer(self.device, "scpi", f"tcp://127.0.0.1:{self.scpi}"),
            ZmqReplyServer(self.device, "datalink", f"tcp://127.0.0.1:{self.datalink}"),
        ]

    def open(self, **options: float | str) -> Id900:
        return Id900.open(
            "tagger",
            f"zmq:tcp://127.0.0.1:{self.scpi}",
            datalink_resource=f"zmq:tcp://127.0.0.1:{self.datalink}",
            stream_port_base=self.base,
            **options,
        )

    def close(self) -> None:
        self.device.close()
        for server in self.servers:
            server.close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.close()


@pytest.mark.parametrize("options", [{}, {"sub_acquisition_s": 0.2}, {"resolution": "LOWRES"}])
def test_fake_and_driver_agree(fake: Fake, options: dict[str, float | str]) -> None:
    with fake.open(**options) as tagger:
        for channel in (1, 2, 3):
            tagger.configure_input(channel, 0.1, is_rising=channel != 2)
        tagger.start((1, 2, 3))
        batch = read_tags(tagger, 300_000)
        assert np.all(np.diff(batch.time_ps) >= 0)
        assert batch.anomalies == ()
        rates_hz = np.bincount(batch.channel, minlength=5) / (batch.complete_until_ps * 1e-12)
        assert rates_hz[[1, 2, 3]] == pytest.approx([200_000] * 3, rel=0.05)
        assert rates_hz[[0, 4]].tolist() == [0, 0]
        tagger.stop()
        tagger.start((2,))
        again = read_tags(tagger, 10_000)
        assert again.time_ps[0] < 10**9  # time starts anew
        assert tagger.snapshot().values["recording"] == "PLAYING"
    assert not fake.device._is_playing  # type: ignore[attr-defined]


def test_overflow_of_the_fake_is_a_loss_and_a_new_start_helps(fake: Fake) -> None:
    with fake.open() as tagger:
        tagger.configure_input(1, 0.1)
        tagger.start((1,))
        read_tags(tagger, 1000)
        fake.device.faults.set(FaultKind.OVERFLOW)
        with pytest.raises(TagsLost, match="overflow"):
            read_tags(tagger, 100_000_000)
        fake.device.faults.set(FaultKind.NONE)
        tagger.start((1,))
        read_tags(tagger, 1000)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.SILENT, InstrumentTimeout),
        (FaultKind.GARBAGE, GarbledReply),
        (FaultKind.HALF, InstrumentError),
        (FaultKind.DISCONNECT, ConnectionLost),
    ],
)
def test_faults_while_recording_are_named_and_pass(
    fake: Fake, kind: FaultKind, error: type[InstrumentError], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind is FaultKind.SILENT:
        monkeypatch.setattr(Id900, "timeout_s", 1.0)
    tagger = fake.open()
    tagger.configure_input(1, 0.1)
    tagger.start((1,))
    read_tags(tagger, 1000)
    fake.device.faults.set(kind)
    with pytest.raises(error, match="tagger: "):
        read_tags(tagger, 10**9)
    with pytest.raises(error, match="tagger: "):
        tagger.make_safe()
    fake.device.faults.set(FaultKind.NONE)
    deadline = time.monotonic() + 5
    while True:
        try:
            tagger.make_safe()
            break
        except ConnectionLost:
            assert time.monotonic() < deadline
    tagger.configure_input(1, 0.1)
    tagger.start((1,))
    read_tags(tagger, 1000)
    tagger.make_safe()
    tagger.close()


def test_wrong_identity_and_serial(fake: Fake) -> None:
    with pytest.raises(WrongInstrument, match="'7' was expected"):
        fake.open(serial="7")
    fake.device.faults.set(FaultKind.WRONG_IDENTITY)
    with pytest.raises(WrongInstrument, match=r"ID281.* answers where an ID900"):
        fake.open()


def test_closing_leaves_no_socket_behind(fake: Fake) -> None:
    tagger = fake.open()
    tagger.configure_input(1, 0.1)
    tagger.start((1,))
    began = time.monotonic()
    tagger.close()
    with pytest.raises(ConnectionLost, match="is closed"):
        tagger.configure_input(1, 0.1)
    assert time.monotonic() - began < 1
    assert isinstance(zmq.Context.instance(), zmq.Context)
