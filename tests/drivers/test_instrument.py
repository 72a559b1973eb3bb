"""Rules of the driver base that no single instrument shows: parsers, limits, limits of patience, threads."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ConnectionLost, GarbledReply, InstrumentTimeout, SettingOutOfRange
from drivers.instrument import (
    IdnInstrument,
    LinkedInstrument,
    identity_from_idn,
    in_range,
    parse_bool,
    parse_float,
    parse_int,
    parse_scaled,
)
from drivers.roles import Identity
from tests.drivers.scripted_link import ScriptedLink

IDN = (b"*IDN?\n", b"Maker,Model 7,42,1.0\n")


class Meter(IdnInstrument):
    """The least driver there can be."""

    model_pattern = "model 7"

    def make_safe(self) -> None:
        self.query("SAFE?", parse_bool)


class Chatterbox(ScriptedLink):
    """Never stops talking."""

    def drain(self) -> bytes:
        return b"noise"


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), (" -2.5E-3 ", -2.5e-3), ("+9.9E37", 9.9e37)])
def test_float(text: str, value: float) -> None:
    assert parse_float(text) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "-Infinity", "1_0", "0x10", "1,5", "1e999"])
def test_no_float(text: str) -> None:
    with pytest.raises(ValueError, match=r"finite|float"):
        parse_float(text)


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "-", "--1", "1_000", "٣"])
def test_no_int(text: str) -> None:
    with pytest.raises(ValueError, match=r"integer|literal"):
        parse_int(text)


def test_int_bool_scaled() -> None:
    assert (parse_int("-7"), parse_int("+007")) == (-7, 7)
    assert (parse_bool("1"), parse_bool(" 0")) == (True, False)
    assert parse_scaled(1e-3)("250") == pytest.approx(0.25)
    with pytest.raises(ValueError, match="0 or 1"):
        parse_bool("ON")


@given(st.floats(), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_in_range_never_clips(value: float, a: float, b: float) -> None:
    limits = (min(a, b), max(a, b))
    if limits[0] <= value <= limits[1]:
        assert in_range(value, limits, what="x", instrument="i") is value
    else:
        with pytest.raises(SettingOutOfRange, match="i: x = "):
            in_range(value, limits, what="x", instrument="i")


def test_nan_is_in_no_range() -> None:
    with pytest.raises(SettingOutOfRange):
        in_range(math.nan, (-math.inf, math.inf), what="x", instrument="i")


def test_identity() -> None:
    assert identity_from_idn("Maker, Model ,42,1.0") == Identity("Maker", "Model", "42", "1.0")
    for text in ("", "a,b,c", "a,b,c,d,e", "a,b\x07,c,d"):
        with pytest.raises(ValueError, match="four fields"):
            identity_from_idn(text)


def test_an_instrument_that_never_stops_talking() -> None:
    with pytest.raises(GarbledReply, match="meter: it keeps sending without being asked"):
        Meter("meter", Chatterbox())


def test_threads_take_turns() -> None:
    """Question and answer stay together when two threads ask."""
    link = ScriptedLink([IDN, *[(b"A?\n", b"7\n")] * 200])
    meter = Meter("meter", link)
    answers: list[int] = []

    def ask() -> None:
        answers.extend(meter.query("A?", parse_int) for _ in range(100))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [7] * 200
    link.check_done()


def test_a_forgotten_instrument_closes_its_link() -> None:
    link = ScriptedLink([IDN])
    meter = Meter("meter", link)
    assert meter.identity.model == "Model 7"
    del meter
    assert link.is_closed


def test_opening_that_fails_closes_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    link.is_unplugged = True
    monkeypatch.setattr("drivers.instrument.open_link", lambda *_, **__: link)
    with pytest.raises(ConnectionLost):
        Meter.open("meter", "tcp:127.0.0.1:1")
    assert link.is_closed


class NamedMeter(LinkedInstrument):
    """Finds back into step by the default way: by asking who is there."""

    def _identify(self) -> Identity:
        return self.query("WHO?", identity_from_idn)

    def make_safe(self) -> None:
        self.query("SAFE?", parse_bool)


def test_the_way_back_into_step_does_not_ask_its_own_way_back() -> None:
    who = (b"WHO?\n", b"Maker,Model 7,42,1.0\n")
    link = ScriptedLink([who])
    meter = NamedMeter("meter", link)
    link.expect((b"VALUE?\n", b""), (b"WHO?\n", b""))
    with pytest.raises(InstrumentTimeout):
        meter.query("VALUE?", parse_float)
    link.check_done()
    link.expect(who, (b"VALUE?\n", b"2.5\n"))
    assert meter.query("VALUE?", parse_float) == 2.5
    link.check_done()
