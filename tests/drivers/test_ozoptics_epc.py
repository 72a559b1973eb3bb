"""EPC against transcripts of its command set, and against the independent fake with every fault it can show."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

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
from drivers.modulators.ozoptics_epc import Epc, parse_mode, parse_voltages_v
from drivers.roles import PolarizationController
from sim_instruments.faults import FaultKind
from sim_instruments.instruments.ozoptics_epc import OzOpticsEpc
from sim_instruments.model import bench_model
from sim_instruments.transports.in_process import plugged
from sim_instruments.world import World
from tests.drivers.scripted_link import ScriptedLink

DONE = b"Done\r\n"


def voltages(*mv: int) -> tuple[bytes, bytes]:
    text = " ".join(f"CH{i} {v:+05d}" for i, v in enumerate(mv, 1))
    return b"V?\r\n", f"Voltage(mV): {text}\r\n".encode() + DONE


def sets(*mv: int) -> list[tuple[bytes, bytes]]:
    return [(b"MDC\r\n", DONE), *((f"V{i},{v}\r\n".encode(), DONE) for i, v in enumerate(mv, 1)), voltages(*mv)]


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink([voltages(2200, 5000, -1000, -4000)])


@pytest.fixture
def epc(link: ScriptedLink) -> Epc:
    return Epc("pol", link)


def test_role_and_named_substitute_for_the_identity(epc: Epc) -> None:
    assert isinstance(epc, PolarizationController)
    assert (epc.identity.model, epc.identity.serial) == ("EPC", "")
    assert "no identity query" in epc.identity.substitute
    assert (epc.channels, epc.voltage_limits_v) == (4, (-5.0, 5.0))


def test_voltages_are_read_in_volts(epc: Epc, link: ScriptedLink) -> None:
    link.expect(voltages(2200, 5000, -1000, -4000))
    assert epc.voltages_v() == (2.2, 5.0, -1.0, -4.0)


def test_setting_goes_to_fixed_voltage_mode_and_is_read_back(epc: Epc, link: ScriptedLink) -> None:
    link.expect(*sets(1234, 0, -5000, 5000))
    epc.set_voltages_v((1.2342, 0.0, -5.0, 5.0))
    link.check_done()


def test_setters_that_answer_with_a_content_line_are_understood_too(epc: Epc, link: ScriptedLink) -> None:
    link.expect(*((asked, b"OK\r\n" + DONE) for asked, _ in sets(0, 0, 0, 0)[:-1]), voltages(0, 0, 0, 0))
    epc.set_voltages_v((0.0,) * 4)
    link.check_done()


@pytest.mark.parametrize("volts", [(5.001, 0, 0, 0), (0, 0, 0, -5.2), (0, math.nan, 0, 0), (0, 0, 0), (0,) * 5])
def test_out_of_range_sends_nothing(epc: Epc, link: ScriptedLink, volts: tuple[float, ...]) -> None:
    with pytest.raises(SettingOutOfRange, match=r"pol: .*nothing was sent"):
        epc.set_voltages_v(volts)
    assert bytes(link.written) == b"V?\r\n"


def test_another_voltage_than_set_is_a_mismatch(epc: Epc, link: ScriptedLink) -> None:
    link.expect(*sets(1000, 0, 0, 0)[:-1], voltages(990, 0, 0, 0))
    with pytest.raises(ReadBackMismatch, match=r"voltage of channel 1 was set to 1.0 and reads 0.99"):
        epc.set_voltages_v((1.0, 0, 0, 0))


def test_a_refused_command_is_not_repeated(epc: Epc, link: ScriptedLink) -> None:
    link.expect((b"MDC\r\n", b"Error!\r\n"))
    with pytest.raises(CommandRejected, match="Error!"):
        epc.set_voltages_v((0.0,) * 4)
    link.check_done()


def test_make_safe_is_zero_volts_in_fixed_mode_twice(epc: Epc, link: ScriptedLink) -> None:
    for _ in range(2):
        link.expect(*sets(0, 0, 0, 0), (b"M?\r\n", b"Working Mode: DC\r\n" + DONE))
        epc.make_safe()
    link.check_done()


def test_make_safe_believes_the_read_back_only(epc: Epc, link: ScriptedLink) -> None:
    link.expect(*sets(0, 0, 0, 0), (b"M?\r\n", b"Working Mode: AC\r\n" + DONE))
    with pytest.raises(ReadBackMismatch, match="mode was set to 'DC' and reads 'AC'"):
        epc.make_safe()


def test_something_that_refuses_or_misunderstands_the_question_is_no_epc() -> None:
    with pytest.raises(WrongInstrument, match=r"pol: 'Error!' to V\? answers where an OZ Optics EPC"):
        Epc("pol", ScriptedLink([(b"V?\r\n", b"Error!\r\n")]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Voltage(mV): CH1 +1 CH2 +2 CH3 +3",
        "Voltage(mV): CH1 +1 CH2 +2 CH3 +3 CH5 +4",
        "Frequency(Hz): CH1 001 CH2 002 CH3 003 CH4 004",
        "Voltage(mV): CH1 +6000 CH2 +2 CH3 +3 CH4 +4",
        "Voltage(mV): CH1 +1234567 CH2 +2 CH3 +3 CH4 +4",
    ],
)
def test_no_voltages(text: str) -> None:
    with pytest.raises(ValueError, match="volt"):
        parse_voltages_v(text)


def test_mode() -> None:
    assert [parse_mode(text) for text in ("Working Mode: DC", "mode ac!")] == ["DC", "AC"]
    with pytest.raises(ValueError, match="DC or AC"):
        parse_mode("  ")


@pytest.fixture
def fake() -> Iterator[OzOpticsEpc]:
    device = OzOpticsEpc("pol", World(bench_model({"seed": 1})))
    with plugged({"epc": (device, "control")}):
        yield device


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Epc, "timeout_s", 0.2)


def test_fake_and_driver_agree(fake: OzOpticsEpc) -> None:
    with Epc.open("pol", "serial:twin://epc?baud=9600") as epc:
        epc.set_voltages_v((1.5, -2.25, 5.0, -5.0))
        assert epc.voltages_v() == (1.5, -2.25, 5.0, -5.0)
        assert fake._voltages_mv == [1500, -2250, 5000, -5000]
        assert epc.snapshot().values["voltage_2_v"] == -2.25
    assert fake._voltages_mv == [0, 0, 0, 0]


@pytest.mark.usefixtures("quick")
def test_late_replies_are_never_the_next_answer(fake: OzOpticsEpc) -> None:
    epc = Epc.open("pol", "serial:twin://epc")
    epc.set_voltages_v((1.0, 1.0, 1.0, 1.0))
    fake.faults.set(FaultKind.LATE, 0.25)
    with pytest.raises(InstrumentTimeout, match="pol: "):
        epc.voltages_v()
    fake.faults.set(FaultKind.NONE)
    epc.set_voltages_v((2.0, 2.0, 2.0, 2.0))
    assert epc.voltages_v() == (2.0, 2.0, 2.0, 2.0)
    epc.close()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.SILENT, InstrumentTimeout),
        (FaultKind.GARBAGE, GarbledReply),
        (FaultKind.HALF, InstrumentError),
        (FaultKind.DISCONNECT, ConnectionLost),
        (FaultKind.WRONG_IDENTITY, CommandRejected),
    ],
)
@pytest.mark.usefixtures("quick")
def test_faults_are_named_and_pass(fake: OzOpticsEpc, kind: FaultKind, error: type[InstrumentError]) -> None:
    epc = Epc.open("pol", "serial:twin://epc")
    fake.faults.set(kind)
    with pytest.raises(error, match="pol: "):
        epc.make_safe()
    fake.faults.set(FaultKind.NONE)
    if kind is FaultKind.DISCONNECT:  # a broken link stays broken; a new one is opened
        epc.close()
        epc = Epc.open("pol", "serial:twin://epc")
    epc.make_safe()
    epc.close()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.SILENT, InstrumentTimeout),
        (FaultKind.GARBAGE, GarbledReply),
        (FaultKind.DISCONNECT, ConnectionLost),
        (FaultKind.WRONG_IDENTITY, WrongInstrument),
    ],
)
@pytest.mark.usefixtures("quick")
def test_faults_at_opening(fake: OzOpticsEpc, kind: FaultKind, error: type[InstrumentError]) -> None:
    fake.faults.set(kind)
    with pytest.raises(error, match="pol: "):
        Epc.open("pol", "serial:twin://epc")
