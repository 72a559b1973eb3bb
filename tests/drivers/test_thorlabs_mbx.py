"""MBX against transcripts: carriage returns, silent setters with a colon and a space, two setters that answer 1."""

from __future__ import annotations

import math

import pytest

from drivers.errors import (
    ConnectionLost,
    GarbledReply,
    InstrumentTimeout,
    ReadBackMismatch,
    SettingOutOfRange,
    WrongInstrument,
)
from drivers.modulators.thorlabs_mbx import BiasMode, Mbx
from drivers.roles import ModulatorBias, VariableAttenuator
from tests.drivers.scripted_link import ScriptedLink

IDN = b"THORLABS,MBX1550,M00912345,1.2.0\r"
IDENTIFY = (b"*IDN?\r", IDN)


def attenuates(db: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"VOA:MODE: 0\r", b"1\r"),
        (b"VOA:ATTEN: " + db + b"\r", b""),
        (b"VOA:POWER: 1\r", b""),
        (b"VOA:MODE?\r", b"0\r"),
        (b"VOA:ATTEN?\r", db + b"\r"),
        (b"VOA:POWER?\r", b"1\r"),
    )


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink([IDENTIFY])


@pytest.fixture
def mbx(link: ScriptedLink) -> Mbx:
    return Mbx("mbx", link, lock_limit_s=0.05)


def test_roles_and_identity(mbx: Mbx) -> None:
    assert isinstance(mbx, ModulatorBias)
    assert isinstance(mbx, VariableAttenuator)
    assert mbx.identity.model == "MBX1550"
    assert mbx.attenuation_limits_db == (0.5, 20.0)


def test_lock_waits_until_locked(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect(
        (b"MZM:MODE: 2\r", b""),
        (b"MZM:MODE?\r", b"2\r"),
        (b"MZM:SETPOINT?\r", b"0\r"),
        (b"MZM:SETPOINT?\r", b"1\r"),
        (b"MZM:CALIBRATING?\r", b"1\r"),
        (b"MZM:SETPOINT?\r", b"1\r"),
        (b"MZM:CALIBRATING?\r", b"0\r"),
    )
    mbx.lock_bias()
    link.check_done()


def test_no_lock_is_a_timeout(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect((b"MZM:MODE: 2\r", b""), (b"MZM:MODE?\r", b"2\r"), *[(b"MZM:SETPOINT?\r", b"0\r")] * 10)
    with pytest.raises(InstrumentTimeout, match=r"mbx: the bias is not locked to the null point within 0.05 s"):
        mbx.lock_bias()


def test_attenuation_is_set_read_back_and_settled(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect(*attenuates(b"3.25"), (b"VOA:SETPOINT?\r", b"0\r"), (b"VOA:SETPOINT?\r", b"1\r"))
    mbx.set_attenuation_db(3.25)
    link.expect((b"VOA:ATTEN?\r", b"3.25\r"))
    assert mbx.attenuation_db() == 3.25
    link.check_done()


@pytest.mark.parametrize("attenuation_db", [0.49, 20.01, -3.0, math.nan])
def test_out_of_range_attenuation_sends_nothing(mbx: Mbx, link: ScriptedLink, attenuation_db: float) -> None:
    with pytest.raises(SettingOutOfRange, match=r"mbx: attenuation_db = .* is outside 0.5 to 20"):
        mbx.set_attenuation_db(attenuation_db)
    assert bytes(link.written) == b"*IDN?\r"


def test_make_safe_is_most_attenuation_twice(mbx: Mbx, link: ScriptedLink) -> None:
    for _ in range(2):
        link.expect(*attenuates(b"20"))
        mbx.make_safe()
    link.check_done()


def test_make_safe_believes_the_read_back_only(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect(*attenuates(b"20")[:4], (b"VOA:ATTEN?\r", b"3.25\r"))
    with pytest.raises(ReadBackMismatch, match=r"attenuation_db was set to 20.0 and reads 3.25"):
        mbx.make_safe()


def test_manual_bias_is_in_millivolts(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect((b"MZM:HOLD:VOLTAGE: 5000\r", b""), (b"MZM:HOLD:VOLTAGE?\r", b"5000\r"))
    mbx.set_hold_voltage_v(5.0004)
    link.expect((b"MZM:MODE: 7\r", b""), (b"MZM:MODE?\r", b"7\r"))
    mbx.set_bias_mode(BiasMode.MANUAL)
    with pytest.raises(SettingOutOfRange, match="outside -10 to 10"):
        mbx.set_hold_voltage_v(10.1)


def test_calibration_answers_one(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect((b"MZM:RESET\r", b"1\r"))
    mbx.calibrate_bias()
    link.expect((b"MZM:RESET\r", b"0\r"))
    with pytest.raises(GarbledReply, match="1 was expected"):
        mbx.calibrate_bias()


def test_a_refused_setter_is_silent_and_found_by_the_read_back(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect((b"MZM:MODE: 2\r", b""), (b"MZM:MODE?\r", b"0\r"))
    with pytest.raises(ReadBackMismatch, match="bias_mode was set to 2 and reads"):
        mbx.lock_bias()


def test_an_unknown_mode_is_garbage(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect((b"MZM:MODE?\r", b"12\r"), IDENTIFY, (b"MZM:MODE?\r", b"12\r"))
    with pytest.raises(GarbledReply, match="'MZM:MODE\\?' was answered '12'"):
        mbx.read_setting("bias_mode")


def test_wrong_instrument() -> None:
    with pytest.raises(WrongInstrument, match=r"mbx: 'THORLABS,TLX1,M1,1.0' answers"):
        Mbx("mbx", ScriptedLink([(b"*IDN?\r", b"THORLABS,TLX1,M1,1.0\r")]))


def test_silent_at_opening() -> None:
    with pytest.raises(InstrumentTimeout):
        Mbx("mbx", ScriptedLink([(b"*IDN?\r", b""), (b"*IDN?\r", b"")]))


def test_unplugged(mbx: Mbx, link: ScriptedLink) -> None:
    link.is_unplugged = True
    with pytest.raises(ConnectionLost):
        mbx.make_safe()


def test_a_late_reply_is_never_the_next_answer(mbx: Mbx, link: ScriptedLink) -> None:
    """`2` belongs to the mode that was asked for; it must not become an attenuation of 2 dB."""
    link.expect((b"MZM:MODE?\r", b""), (b"*IDN?\r", b""))
    with pytest.raises(InstrumentTimeout):
        mbx.read_setting("bias_mode")
    link.expect((b"*IDN?\r", b"2\r" + IDN), (b"VOA:ATTEN?\r", b"17.5\r"))
    assert mbx.attenuation_db() == 17.5
    link.check_done()


def test_a_duplicated_reply_is_never_the_next_answer(mbx: Mbx, link: ScriptedLink) -> None:
    link.expect((b"MZM:MODE?\r", b"2\r2\r"), IDENTIFY, (b"VOA:ATTEN?\r", b"17.5\r"))
    assert mbx.read_setting("bias_mode") == 2
    assert mbx.attenuation_db() == 17.5
    link.check_done()
