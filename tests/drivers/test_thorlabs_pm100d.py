"""PM100D against transcripts: SCPI lines, an error queue that is compared by number, values that are no readings."""

from __future__ import annotations

import pytest

from drivers.errors import (
    CommandRejected,
    ConnectionLost,
    GarbledReply,
    InstrumentTimeout,
    ReadBackMismatch,
    SettingOutOfRange,
    WrongInstrument,
)
from drivers.meters.thorlabs_pm100d import Pm100d, parse_error
from drivers.roles import PowerMeter
from tests.drivers.scripted_link import ScriptedLink

IDN = b"Thorlabs,PM100D,P0012345,2.6.0\n"
SENSOR = (b"SYST:SENS:IDN?\n", b"S154C,18012345,01-Mar-2026,1,18,289\n")
NO_SENSOR = (b"SYST:SENS:IDN?\n", b'"no sensor","","",0,0,0\n')
NO_ERROR = (b"SYST:ERR?\n", b'+0,"No error"\n')
OPENING = (
    (b"*IDN?\n", IDN),
    (b"*CLS\n", b""),
    SENSOR,
    (b"SENS:CORR:WAV? MIN\n", b"8.00000000E+02\n"),
    (b"SENS:CORR:WAV? MAX\n", b"1.70000000E+03\n"),
)


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink(OPENING)


@pytest.fixture
def meter(link: ScriptedLink) -> Pm100d:
    return Pm100d("meter", link)


def test_role_and_identity(meter: Pm100d) -> None:
    assert isinstance(meter, PowerMeter)
    assert meter.identity.serial == "P0012345"
    assert meter.wavelength_limits_nm == (800.0, 1700.0)


def test_power_in_watts(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect((b"MEAS:POW?\n", b"1.23456789E-06\n"), (b"SYST:ERR?\n", b'0,"no errors here"\n'))
    assert meter.power_w() == pytest.approx(1.23456789e-6)
    link.expect((b"MEAS:POW?\n", b"-2.1E-12\n"), NO_ERROR)
    assert meter.power_w() == -2.1e-12
    link.check_done()


def test_over_range_is_no_reading(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect((b"MEAS:POW?\n", b"9.90000000E+37\n"), NO_ERROR, SENSOR)
    with pytest.raises(CommandRejected, match="meter: 0 over range"):
        meter.power_w()
    link.check_done()


def test_no_sensor_is_no_reading(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect((b"MEAS:POW?\n", b"9.9E37\n"), NO_ERROR, NO_SENSOR)
    with pytest.raises(CommandRejected, match="meter: 0 no sensor"):
        meter.power_w()
    link.check_done()


def test_no_sensor_at_opening() -> None:
    with pytest.raises(CommandRejected, match="meter: 0 no sensor"):
        Pm100d("meter", ScriptedLink([*OPENING[:2], (b"SYST:SENS:IDN?\n", b"no sensor\n")]))


def test_an_energy_sensor_measures_no_power() -> None:
    sensor = (b"SYST:SENS:IDN?\n", b"ES111C,1,01-Mar-2026,3,1,2\n")
    with pytest.raises(CommandRejected, match="ES111C does not measure power"):
        Pm100d("meter", ScriptedLink([*OPENING[:2], sensor]))


def test_the_whole_error_queue_in_one_error(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect(
        (b"MEAS:POW?\n", b"1.0E-06\n"),
        (b"SYST:ERR?\n", b'-231,"Data questionable"\n'),
        (b"SYST:ERR?\n", b'-113,"Undefined header"\n'),
        NO_ERROR,
    )
    with pytest.raises(CommandRejected) as caught:
        meter.power_w()
    assert caught.value.entries == ((-231, "Data questionable"), (-113, "Undefined header"))
    link.check_done()


def test_wavelength(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect((b"SENS:CORR:WAV 1550.120\n", b""), NO_ERROR, (b"SENS:CORR:WAV?\n", b"1.55012000E+03\n"))
    meter.set_wavelength_nm(1550.12)
    link.expect((b"SENS:CORR:WAV 1550.000\n", b""), NO_ERROR, (b"SENS:CORR:WAV?\n", b"1.31000000E+03\n"))
    with pytest.raises(ReadBackMismatch, match=r"wavelength_nm was set to 1550.0 and reads 1310.0"):
        meter.set_wavelength_nm(1550.0)
    link.check_done()


@pytest.mark.parametrize("wavelength_nm", [799.9, 1700.1, float("nan")])
def test_out_of_range_wavelength_sends_nothing(meter: Pm100d, link: ScriptedLink, wavelength_nm: float) -> None:
    sent = bytes(link.written)
    with pytest.raises(SettingOutOfRange, match="outside 800 to 1700"):
        meter.set_wavelength_nm(wavelength_nm)
    assert link.written == sent


def test_make_safe_reads_back(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect(SENSOR, SENSOR)
    meter.make_safe()
    meter.make_safe()
    link.check_done()


def test_wrong_instrument() -> None:
    with pytest.raises(WrongInstrument, match="ITC4001"):
        Pm100d("meter", ScriptedLink([(b"*IDN?\n", b"Thorlabs,ITC4001,M00300001,1.8.0\n")]))


def test_garbage_and_silence(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect((b"MEAS:POW?\n", b"\xd7\xd9\n"), (b"*IDN?\n", IDN), (b"MEAS:POW?\n", b"1,5E-6\n"))
    with pytest.raises(GarbledReply, match=r"'MEAS:POW\?' was answered '1,5E-6'"):
        meter.power_w()
    link.expect((b"*IDN?\n", b""))
    with pytest.raises(InstrumentTimeout):
        meter.power_w()


def test_unplugged(meter: Pm100d, link: ScriptedLink) -> None:
    link.is_unplugged = True
    with pytest.raises(ConnectionLost):
        meter.power_w()


def test_a_late_reading_is_never_the_next_answer(meter: Pm100d, link: ScriptedLink) -> None:
    link.expect((b"MEAS:POW?\n", b""), (b"*IDN?\n", b""))
    with pytest.raises(InstrumentTimeout):
        meter.power_w()
    link.expect((b"*IDN?\n", b"1.0E-06\n" + IDN), (b"SENS:CORR:WAV?\n", b"1310\n"))
    assert meter.read_setting("wavelength_nm") == 1310.0
    link.check_done()


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ('0,"No error"', (0, "No error")),
        ('+0,"No error"', (0, "No error")),
        ("-222, out of range", (-222, "out of range")),
    ],
)
def test_error_entry(text: str, entry: tuple[int, str]) -> None:
    assert parse_error(text) == entry


@pytest.mark.parametrize("text", ["", "No error", 'x,"No error"', "1.5,a"])
def test_no_error_entry(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_error(text)
