"""CTL200 against transcripts: echo, value line, prompt without line end (as in pymeasure's tests of the device)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import (
    CommandRejected,
    ConnectionLost,
    GarbledReply,
    InstrumentTimeout,
    InterlockOpen,
    ReadBackMismatch,
    SettingOutOfRange,
    WrongInstrument,
)
from drivers.lasers.koheron_ctl200 import Ctl200, Ctl200Error, parse_error_mask, unwrap_reply
from drivers.roles import Identity, Laser
from tests.drivers.scripted_link import ScriptedLink, Step


def says(command: str, value: str) -> Step:
    return command.encode() + b"\r\n", f"{command}\r\n{value}\r\n>>".encode()


OPENING = (
    says("model", "CTL200-0"),
    says("serial", "0123456789"),
    says("version", "v0.17"),
    says("ilmax", "200.000"),
)
NO_ERROR = says("err", "0")


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink(OPENING)


@pytest.fixture
def laser(link: ScriptedLink) -> Ctl200:
    return Ctl200("laser", link)


def test_identity_and_role(laser: Ctl200) -> None:
    assert laser.identity == Identity("Koheron", "CTL200-0", "0123456789", "v0.17")
    assert isinstance(laser, Laser)
    assert laser.current_limits_a == (0.0, 0.2)


def test_current_is_set_in_milliamperes_and_read_back(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(says("ilaser 150.000", "150.000"), NO_ERROR, says("ilaser", "150.000"))
    laser.set_current_a(0.15)
    link.check_done()


def test_zero_bytes_are_no_part_of_the_reply(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect((b"ilaser\r\n", b"\0\0ilaser\r\n\x0050.000\r\n\0>>"))
    assert laser.current_a() == pytest.approx(0.05)


def test_a_prompt_left_over_from_power_on(link: ScriptedLink) -> None:
    link.arrive(b"\0CTL200 v0.17\r\n>>")
    link.steps.insert(0, (b"model\r\n", b"model\r\nCTL200-0\r\n>>"))
    assert Ctl200("laser", link).identity.model == "CTL200-0"
    link.check_done()


def test_emission_on_and_off(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(NO_ERROR, says("lason 1", "1"), NO_ERROR, says("lason", "1"))
    laser.set_emission(True)
    link.expect(says("lason 0", "0"), NO_ERROR, says("lason", "0"))
    laser.set_emission(False)
    link.check_done()


def test_make_safe_twice(laser: Ctl200, link: ScriptedLink) -> None:
    for _ in range(2):
        link.expect(says("lason 0", "0"), says("lason", "0"))
        laser.make_safe()
    link.check_done()


def test_make_safe_believes_the_read_back_only(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(says("lason 0", "0"), says("lason", "1"))
    with pytest.raises(ReadBackMismatch, match="laser: is_emitting was set to False and reads True"):
        laser.make_safe()


def test_leaving_the_block_makes_safe_and_closes(link: ScriptedLink) -> None:
    link.expect(says("lason 0", "0"), says("lason", "0"))
    with Ctl200("laser", link):
        pass
    link.check_done()
    assert link.is_closed


def test_an_error_in_the_block_is_not_hidden_by_a_failing_make_safe(link: ScriptedLink) -> None:
    link.expect(says("lason 0", "1"), says("lason", "1"))
    with pytest.raises(KeyError) as caught, Ctl200("laser", link):
        raise KeyError("mine")
    assert any("could not be made safe" in note for note in caught.value.__notes__)
    assert link.is_closed


@pytest.mark.parametrize("current_a", [-1e-9, 0.2000001, 1.5, math.nan, math.inf])
def test_out_of_range_current_sends_nothing(laser: Ctl200, link: ScriptedLink, current_a: float) -> None:
    sent = bytes(link.written)
    with pytest.raises(SettingOutOfRange, match=r"laser: current_a = .* is outside 0 to 0.2; nothing was sent"):
        laser.set_current_a(current_a)
    assert link.written == sent


def test_the_configured_limit_holds_if_it_is_lower(link: ScriptedLink) -> None:
    laser = Ctl200("laser", link, current_limit_a=0.06)
    with pytest.raises(SettingOutOfRange, match=r"outside 0 to 0.06"):
        laser.set_current_a(0.07)


def test_another_current_than_the_one_set(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(says("ilaser 50.000", "50.000"), NO_ERROR, says("ilaser", "49.000"))
    with pytest.raises(ReadBackMismatch, match=r"current_a was set to 0.05 and reads 0.049"):
        laser.set_current_a(0.05)


def test_errors_are_drained_into_one(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(says("ilaser 50.000", ""), says("err", "30"), says("errclr", "ffffffff"))
    with pytest.raises(CommandRejected) as caught:
        laser.set_current_a(0.05)
    assert caught.value.entries == ((0x10, "UNKNOWN_COMMAND"), (0x20, "BAD_ARGUMENT"))
    link.check_done()


def test_interlock_forbids_emission_and_stays_latched(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(says("err", "80"))
    with pytest.raises(InterlockOpen, match="laser: the interlock is open"):
        laser.set_emission(True)
    link.expect(says("err", "80"))
    assert not laser.is_interlock_closed()
    link.expect(says("errclr", "ffffffff"), NO_ERROR)
    laser.clear_errors()
    assert laser.is_interlock_closed()
    link.check_done()


def test_interlock_that_opens_while_switching_on(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(NO_ERROR, says("lason 1", "0"), says("err", "c0"))
    with pytest.raises(InterlockOpen):
        laser.set_emission(True)
    link.check_done()


def test_wrong_instrument() -> None:
    link = ScriptedLink([says("model", "CTL300-1")])
    with pytest.raises(WrongInstrument, match="'CTL300-1' answers where a Koheron CTL200 was expected"):
        Ctl200("laser", link)


def test_wrong_serial_number(link: ScriptedLink) -> None:
    with pytest.raises(WrongInstrument, match="serial number '0123456789' answers where serial number '42'"):
        Ctl200("laser", link, serial="42")


def test_unplugged(laser: Ctl200, link: ScriptedLink) -> None:
    link.is_unplugged = True
    with pytest.raises(ConnectionLost):
        laser.set_current_a(0.01)


def test_silent_setter_is_sent_once_only(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect((b"ilaser 10.000\r\n", b""))
    with pytest.raises(InstrumentTimeout):
        laser.set_current_a(0.01)
    assert link.written.count(b"ilaser 10.000") == 1
    link.check_done()


def test_silent_query_is_asked_again_in_step(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect((b"ilaser\r\n", b""), says("model", "CTL200-0"), says("ilaser", "12.000"))
    assert laser.current_a() == pytest.approx(0.012)
    link.check_done()


def test_a_late_reply_is_never_the_next_answer(laser: Ctl200, link: ScriptedLink) -> None:
    """The old answer comes together with the one that brings the driver back into step."""
    link.expect((b"ilaser 10.000\r\n", b""))
    with pytest.raises(InstrumentTimeout):
        laser.set_current_a(0.01)
    link.expect(
        (b"model\r\n", b"ilaser 10.000\r\n10.000\r\n>>model\r\nCTL200-0\r\n>>"),
        says("lason", "1"),
    )
    assert laser.is_emitting() is True
    link.check_done()


def test_a_duplicated_reply_is_never_the_next_answer(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect(says("lason", "1"))
    assert laser.is_emitting()
    link.arrive(b"lason\r\n1\r\n>>")
    link.expect(says("model", "CTL200-0"), says("lason", "0"))
    assert not laser.is_emitting()
    link.check_done()


def test_garbage_is_a_typed_error(laser: Ctl200, link: ScriptedLink) -> None:
    link.expect((b"ilaser\r\n", b"\xe9\x9c\x8d>>"), says("model", "CTL200-0"), says("ilaser", "nan"))
    with pytest.raises(GarbledReply, match="'ilaser' was answered 'nan'"):
        laser.current_a()


def test_snapshot_holds_values_and_raw_replies(laser: Ctl200, link: ScriptedLink) -> None:
    raw = ["1", "50.000", "200.000", "1.850", "2.500", "1", "10000.000", "9850.500", "1", "0"]
    link.expect(*(says(setting.query, value) for setting, value in zip(laser.settings, raw, strict=True)))
    snapshot = laser.snapshot()
    assert snapshot.values["current_a"] == pytest.approx(0.05)
    assert snapshot.raw["current_a"] == "50.000"
    assert snapshot.values["is_emitting"] is True
    assert snapshot.identity.serial == "0123456789"


@pytest.mark.parametrize(("text", "mask"), [("0", 0), ("5", 5), ("a0", 0xA0), ("000000c0", 0xC0)])
def test_error_mask(text: str, mask: int) -> None:
    assert parse_error_mask(text) == Ctl200Error(mask)


@pytest.mark.parametrize("text", ["", "g", "-1", "1 0", "100", "ffffffff"])
def test_no_error_mask(text: str) -> None:
    with pytest.raises(ValueError, match="error mask"):
        parse_error_mask(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(raw: bytes) -> None:
    try:
        value = unwrap_reply("ilaser", raw)
    except ValueError:
        return
    assert b"ilaser" in raw.replace(b"\0", b"")
    assert "\n" not in value
