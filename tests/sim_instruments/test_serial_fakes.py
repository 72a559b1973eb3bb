"""Koheron CTL200, Thorlabs MBX, OZ Optics EPC: exchanges as manuals and recordings show them, and quirks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bench import switch_on
from bench import world as make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from wiring import Client, wait_until

from sim_instruments.faults import FaultKind
from sim_instruments.instruments.koheron_ctl200 import KoheronCtl200
from sim_instruments.instruments.ozoptics_epc import OzOpticsEpc
from sim_instruments.instruments.thorlabs_mbx import ThorlabsMbx
from sim_instruments.instruments.thorlabs_pm100d import ThorlabsPm100d
from sim_instruments.transports.link import Unreachable


@pytest.fixture
def laser() -> tuple[KoheronCtl200, Client]:
    device = KoheronCtl200("laser", make_world())
    return device, Client(device, "control")


def test_ctl200_echoes_answers_and_prompts(laser: tuple[KoheronCtl200, Client]) -> None:
    _, client = laser
    assert client.ask(b"ilaser 150\r\n") == b"ilaser 150\r\n150.000\r\n>>"
    assert client.ask(b"ilaser\r\n") == b"ilaser\r\n150.000\r\n>>"
    assert client.ask(b"lason 1\r\n") == b"lason 1\r\n1\r\n>>"
    assert client.ask(b"save\r\n") == b"save\r\nconfig saved\r\n>>"
    assert client.ask(b"model\r\n") == b"model\r\nCTL200-0\r\n>>"
    assert len(client.ask(b"status\r\n").split(b"\r\n")[1].split()) == 8


def test_ctl200_drives_the_laser_of_the_world(laser: tuple[KoheronCtl200, Client]) -> None:
    device, client = laser
    world = device._world
    client.ask(b"ilaser 100\r\n")
    assert world.laser_power_w() == 0.0
    client.ask(b"lason 1\r\n")
    dim_w = world.laser_power_w()
    client.ask(b"ilaser 150\r\n")
    assert world.laser_power_w() > dim_w > 0
    client.ask(b"lason 0\r\n")
    assert world.laser_power_w() == 0.0


def test_ctl200_collects_errors_in_a_mask_and_changes_nothing(laser: tuple[KoheronCtl200, Client]) -> None:
    _, client = laser
    client.ask(b"ilmax 120\r\n")
    assert client.ask(b"ilaser 150\r\n") == b"ilaser 150\r\n0.000\r\n>>"
    client.ask(b"foo\r\n")
    assert client.ask(b"err\r\n") == b"err\r\n30\r\n>>"
    assert client.ask(b"errclr\r\n") == b"errclr\r\nffffffff\r\n>>"
    assert client.ask(b"err\r\n") == b"err\r\n0\r\n>>"


def test_ctl200_interlock_trips_and_latches(laser: tuple[KoheronCtl200, Client]) -> None:
    device, client = laser
    client.ask(b"ilaser 100\r\nlason 1\r\n")
    device.faults.set(FaultKind.INTERLOCK)
    assert client.ask(b"lason\r\n") == b"lason\r\n0\r\n>>"
    assert device._world.laser_power_w() == 0.0
    client.ask(b"lason 1\r\n")
    assert client.ask(b"err\r\n") == b"err\r\nc0\r\n>>"
    client.ask(b"errclr\r\n")
    assert client.ask(b"lason 1\r\n") == b"lason 1\r\n0\r\n>>", "still open"
    device.faults.set(FaultKind.NONE)
    assert client.ask(b"lason 1\r\n") == b"lason 1\r\n0\r\n>>", "closed, but latched until cleared"
    client.ask(b"errclr\r\n")
    assert client.ask(b"lason 1\r\n") == b"lason 1\r\n1\r\n>>"


def test_ctl200_forgets_its_settings_without_power(laser: tuple[KoheronCtl200, Client]) -> None:
    device, client = laser
    client.ask(b"ilaser 100\r\nlason 1\r\n")
    device.faults.set(FaultKind.RESTART, 0.05)
    assert client.is_hung_up
    assert device._world.laser_power_w() == 0.0
    with pytest.raises(Unreachable):
        Client(device, "control")
    wait_until(lambda: device.faults.is_reachable)
    assert Client(device, "control").ask(b"ilaser\r\n") == b"ilaser\r\n0.000\r\n>>"


@given(cuts=st.lists(st.integers(0, 30), max_size=6))
@settings(max_examples=20, deadline=None)
def test_bytes_may_arrive_cut_anywhere(cuts: list[int]) -> None:
    client = Client(KoheronCtl200("laser", make_world()), "control")
    data, answers = b"ilaser 100\r\nlason\r\nrtset\r\n", b""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(places):
        answers += client.ask(data[begin:end])
    assert answers == b"ilaser 100\r\n100.000\r\n>>lason\r\n0\r\n>>rtset\r\n10000.000\r\n>>"


def test_mbx_setters_are_silent_but_two() -> None:
    client = Client(ThorlabsMbx("modulator", make_world()), "control")
    assert client.ask(b"VOA:MODE: 0\r") == b"1\r"
    assert client.ask(b"MZM:RESET\r") == b"1\r"
    assert client.ask(b"VOA:POWER: 1\rVOA:ATTEN: 12.5\rMZM:MODE: 2\rMZM:HOLD:VOLTAGE: -1500\r") == b""
    assert client.ask(b"VOA:ATTEN?\rVOA:POWER?\rMZM:MODE?\rMZM:HOLD:VOLTAGE?\r") == b"12.50\r1\r2\r-1500\r"
    assert client.ask(b"VOA:ATTEN: 25\rNONSENSE?\r") == b""
    assert client.ask(b"VOA:ATTEN?\r") == b"12.50\r"


def test_mbx_moves_the_worlds_attenuator_and_locks_after_a_while() -> None:
    world = make_world()
    client = Client(ThorlabsMbx("modulator", world), "control")
    world.set_laser(0.1, True)
    client.ask(b"VOA:POWER: 1\rVOA:ATTEN: 20\rMZM:MODE: 1\r")
    assert client.ask(b"MZM:SETPOINT?\r") == b"0\r"
    wait_until(lambda: client.ask(b"MZM:SETPOINT?\r") == b"1\r")
    wait_until(lambda: client.ask(b"VOA:SETPOINT?\r") == b"1\r")
    assert world._knobs.attenuation_db == 20.0
    client.ask(b"VOA:ATTEN: 3\r")
    assert world._knobs.attenuation_db == 3.0
    client.ask(b"VOA:POWER: 0\r")
    assert world._knobs.attenuation_db == 20.0, "without power it blocks"


def test_epc_answers_content_then_done_or_error() -> None:
    world = make_world()
    client = Client(OzOpticsEpc("polarization", world), "control")
    assert client.ask(b"V1,2200\r\n") == b"Done\r\n"
    assert client.ask(b"VL3\r\n") == b"Done\r\n"
    assert client.ask(b"V?\r\n") == b"Voltage(mV): CH1 +2200 CH2 +0000 CH3 -5000 CH4 +0000\r\nDone\r\n"
    assert client.ask(b"F2,17\r\nF?\r\n").endswith(b"CH1 010 CH2 017 CH3 010 CH4 010\r\nDone\r\n")
    assert client.ask(b"MAC\r\nM?\r\n") == b"Done\r\nWorking Mode: AC\r\nDone\r\n"
    for refused in (b"V1,5001\r\n", b"V5,0\r\n", b"V1\r\n", b"VH1,3\r\n", b"hello\r\n"):
        assert client.ask(refused) == b"Error!\r\n"
    assert world._knobs.polarization_v == (2.2, 0.0, -5.0, 0.0)


def test_pm100d_reads_the_tap_and_queues_errors() -> None:
    world = make_world()
    device = ThorlabsPm100d("meter", world)
    client = Client(device, "control")
    assert client.ask(b"*IDN?\n").startswith(b"Thorlabs,PM100D,")
    assert client.ask(b"SENS:CORR:WAV 1550.12\nsense:correction:wavelength?\n") == b"1.55012000E+03\n"
    assert client.ask(b"SENS:CORR:WAV? MIN\n") == b"8.00000000E+02\n"
    dark_w = float(client.ask(b"MEAS:POW?\n"))
    switch_on(world, attenuation_db=3.0)
    world.set_pattern(np.zeros(1, dtype=np.uint8))
    bright_w = float(client.ask(b"MEAS:POW?\n"))
    assert bright_w > 100 * abs(dark_w)
    assert client.ask(b"FOO:BAR 1\nSENS:CORR:WAV 5\n") == b""
    assert client.ask(b"SYST:ERR?\n").startswith(b"-113,")
    assert client.ask(b"SYST:ERR?\n").startswith(b"-222,")
    assert client.ask(b"SYST:ERR?\n") == b'+0,"No error"\n'
    device.faults.set(FaultKind.NO_SENSOR)
    assert b"no sensor" in client.ask(b"SYST:SENS:IDN?\n")
    assert float(client.ask(b"MEAS:POW?\n")) == 9.9e37


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.SILENT, b""),
        (FaultKind.HALF, b"THOR"),
        (FaultKind.WRONG_IDENTITY, b"THORLABS,TLX1,M00000001,1.0.0\r"),
    ],
)
def test_faults_act_on_the_answers(kind: FaultKind, expected: bytes) -> None:
    device = ThorlabsMbx("modulator", make_world())
    client = Client(device, "control")
    whole = client.ask(b"*IDN?\r")
    device.faults.set(kind)
    damaged = client.ask(b"*IDN?\r")
    assert damaged.startswith(expected)
    assert damaged != whole
    device.faults.set(FaultKind.NONE)
    assert client.ask(b"*IDN?\r") == whole


def test_garbage_has_nothing_of_the_answer_and_late_answers_come_late() -> None:
    device = ThorlabsMbx("modulator", make_world())
    client = Client(device, "control")
    device.faults.set(FaultKind.GARBAGE)
    damaged = client.ask(b"*IDN?\r")
    assert damaged.endswith(b"\r")
    assert all(byte >= 0x80 for byte in damaged[:-1])
    device.faults.set(FaultKind.LATE, 0.1)
    assert client.ask(b"MZM:MODE?\r") == b""
    wait_until(lambda: bytes(client.received) == b"0\r")


def test_overlong_lines_are_dropped_and_the_next_is_understood() -> None:
    client = Client(ThorlabsMbx("modulator", make_world()), "control")
    assert client.ask(b"X" * 100_000) == b""
    assert client.ask(b"MZM:MODE: 7\rMZM:MODE?\r") == b"0\r", "the line that was too long ended at the first \\r"
