"""The TXP/1 transmitter: every command answered, sessions, look-up rules, blocks, heartbeat, safety."""

from __future__ import annotations

import itertools
import json
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
from bench import switch_on
from bench import world as make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from wiring import Client, wait_until

from sim_instruments.crc32c import POLYNOMIAL, crc32c
from sim_instruments.faults import FaultKind
from sim_instruments.instruments.txp_transmitter import TxpTransmitter
from sim_instruments.world import World

SESSION = 0x00C0FFEE12345678


class Station:
    """A transmitter with a client at each port."""

    def __init__(self, **options: int) -> None:
        self.world: World = make_world()
        switch_on(self.world)
        self.device = TxpTransmitter("transmitter", self.world, **options)
        self.control = Client(self.device, "control")
        self.data = Client(self.device, "data")

    def ask(self, command: str) -> str:
        return self.control.ask(command.encode() + b"\n").decode()

    def run(self, simulated_ps: int = 10**7) -> None:
        """Arm and let slots pass (the first session's delay included)."""
        assert self.ask(f"SESS:ARM {SESSION:016X},IMM") == "OK\n"
        self.world.generate(round(self.world.bench.clock.session_delay_ps) + simulated_ps)

    def look(self, slots: NDArray[np.uint64], session: int = SESSION) -> bytes:
        return self.data.ask(look_command(slots, session))


def look_command(slots: NDArray[np.uint64], session: int = SESSION) -> bytes:
    body = struct.pack("<QII", session, slots.size, 0) + slots.astype("<u8").tobytes()
    return b"LOOK #" + f"{len(str(len(body)))}{len(body)}".encode() + body + b"\n"


def unpack(reply: bytes) -> tuple[int, int, NDArray[np.uint8]]:
    """(id, flags, symbols) of a LOOK reply, its frame and CRC checked."""
    assert reply[:1] == b"#", reply
    digits = int(reply[1:2])
    length = int(reply[2 : 2 + digits])
    body, end = reply[2 + digits : 2 + digits + length], reply[2 + digits + length :]
    assert end == b"\n"
    session, count, flags = struct.unpack_from("<QII", body)
    assert len(body) == 16 + count + 4
    assert struct.unpack("<I", body[-4:])[0] == slow_crc32c(body[:-4])
    return session, flags, np.frombuffer(body, dtype=np.uint8, count=count, offset=16)


def slow_crc32c(data: bytes) -> int:
    """Bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.fixture
def station() -> Iterator[Station]:
    station = Station()
    yield station
    station.device.close()


@given(st.binary(max_size=70))
@settings(max_examples=60, deadline=None)
def test_crc_equals_its_bitwise_twin(data: bytes) -> None:
    assert crc32c(data) == slow_crc32c(data)


def test_crc_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_every_command_gets_one_line(station: Station) -> None:
    for command in ("*IDN?", "CLOC:REF EXT10M", "INT:TABL 0,52000,0.5,0.01", "SAFE", "NONSENSE", "BIAS 7,1", "*CLS"):
        reply = station.ask(command)
        assert reply.endswith("\n")
        assert reply.count("\n") == 1, (command, reply)
    assert station.ask("SYST:VERS?") == "TXP,1.0\n"
    capabilities = json.loads(station.ask("CAP?"))
    assert capabilities["max_batch"] >= 256
    assert capabilities["slot_hz"] == [625e6]
    assert capabilities["prob_settable"] == 1


def test_each_port_keeps_its_own_errors(station: Station) -> None:
    assert station.ask("NONSENSE").startswith("ERR -113,")
    assert station.data.ask(b"STAT:PROB?\n").startswith(b"ERR -113,"), "not on the data port"
    assert station.ask("BIAS 0,11").startswith("ERR -222,")
    assert station.ask("SYST:ERR?").startswith("-113,")
    assert station.ask("SYST:ERR?").startswith("-222,")
    assert station.ask("SYST:ERR?") == '0,"No error"\n'
    assert station.data.ask(b"SYST:ERR?\n").startswith(b"-113,")


def test_probabilities_are_realised_in_steps_of_the_hardware(station: Station) -> None:
    assert station.ask("STAT:PROB 0.4,0.4,0.1,0.1") == "OK\n"
    realised = [float(p) for p in station.ask("STAT:PROB?").split(",")]
    assert sum(realised) == pytest.approx(1.0, abs=1e-8)
    assert realised == pytest.approx([0.4, 0.4, 0.1, 0.1], abs=2e-5)
    assert station.ask("INT:PROB 0.5,0.6").startswith("ERR -222,")


def test_settings_only_while_idle_and_in_the_hash(station: Station) -> None:
    before = station.ask("CONF:HASH?")
    assert station.ask("INT:TABL 1,23000,0.15,0.002") == "OK\n"
    assert station.ask("CONF:HASH?") != before
    station.run()
    for command in ("INT:TABL 1,1,0.1,0", "STAT:PROB 1", "PATT CW", f"SESS:ARM {SESSION:016X},IMM"):
        assert station.ask(command).startswith("ERR -200,"), command
    assert station.ask("BIAS 0,1.5") == "OK\n", "the phase actuator moves while light runs"
    assert station.ask("BIAS?") == "1.500000\n"


def test_look_ups_tell_what_was_sent_each_once(station: Station) -> None:
    station.run()
    slots = np.array([3, 4, 90, 1000], dtype=np.uint64)
    session, flags, symbols = unpack(station.look(slots))
    assert (session, flags) == (SESSION, 0)
    assert np.array_equal(symbols, station.world.symbols(slots))
    status = station.ask("SESS:STAT?").split(",")
    assert status[0] == "RUN"
    assert int(status[5]) == 4
    assert station.look(np.array([1000], dtype=np.uint64)).startswith(b"ERR 1105,")
    assert station.look(np.array([999], dtype=np.uint64)).startswith(b"ERR 1102,")
    assert unpack(station.look(np.array([1001], dtype=np.uint64)))[2].size == 1


def test_a_refused_batch_consumes_nothing(station: Station) -> None:
    station.run()
    now = station.world.slot_now()
    refusals = {
        "ERR 1103,": np.array([5, now], dtype=np.uint64),
        "ERR 1102,": np.array([7, 7], dtype=np.uint64),
    }
    for start, slots in refusals.items():
        assert station.look(slots).decode().startswith(start)
    assert station.look(np.array([5], dtype=np.uint64), session=1).startswith(b"ERR 1106,")
    assert station.data.ask(b"LOOK #15abcde\n").startswith(b"ERR -161,")
    assert unpack(station.look(np.array([5], dtype=np.uint64)))[2].size == 1
    assert station.ask("SESS:STAT?").split(",")[5] == "1"


def test_memory_is_finite_and_can_be_given_back() -> None:
    station = Station(horizon_slots=2000)
    station.run(10**7)
    now = station.world.slot_now()
    assert now > 4000
    assert station.look(np.array([now - 2001], dtype=np.uint64)).startswith(b"ERR 1104,")
    assert station.ask(f"DISC {now - 100}") == "OK\n"
    assert station.look(np.array([now - 101], dtype=np.uint64)).startswith(b"ERR 1104,")
    assert unpack(station.look(np.array([now - 100], dtype=np.uint64)))[2].size == 1
    assert station.ask(f"DISC {now + 1}").startswith("ERR -222,")


def test_a_stopped_session_drains_and_ends(station: Station) -> None:
    assert station.look(np.array([1], dtype=np.uint64)).startswith(b"ERR 1101,")
    station.run()
    assert station.ask("SESS:END").startswith("ERR -200,")
    assert station.ask("SESS:STOP") == "OK\n"
    assert station.ask("SESS:STAT?").startswith("DRAIN,")
    now = station.world.slot_now()
    station.world.generate(10**6)
    assert station.world.slot_now() == now, "no light, no slots"
    assert unpack(station.look(np.array([1], dtype=np.uint64)))[2].size == 1
    assert station.ask("SESS:END") == "OK\n"
    assert station.ask("SESS:STAT?").startswith("IDLE,0000000000000000,")
    assert station.look(np.array([2], dtype=np.uint64)).startswith(b"ERR 1101,")


def test_patterns_mark_their_symbols_as_calibration(station: Station) -> None:
    pattern = np.array([0, 1, 0x10, 2], dtype=np.uint8)
    assert station.ask("PATT USER").startswith("ERR -200,")
    assert station.control.ask(b"PATT:DATA #14" + pattern.tobytes() + b"\n") == b"OK\n"
    assert station.ask("PATT USER") == "OK\n"
    assert station.ask("SESS:STAT?").startswith("CALIBRATE,")
    station.run()
    assert station.ask("SESS:STAT?").strip().endswith(",1")
    symbols = unpack(station.look(np.arange(8, dtype=np.uint64)))[2]
    assert np.array_equal(symbols & 0x3F, np.tile(pattern, 2))
    assert np.all(symbols & 0x40)
    station.ask("SESS:STOP")
    station.ask("SESS:END")
    assert station.ask("PATT OFF") == "OK\n"
    assert station.ask("SESS:STAT?").startswith("IDLE,")


def test_nearly_two_million_look_ups_in_well_under_a_second(station: Station) -> None:
    station.run(10**10)
    slots = 1 + np.sort(np.random.default_rng(3).choice(6_000_000, 1_800_000, replace=False)).astype(np.uint64)
    station.look(np.array([0], dtype=np.uint64))  # loads the kernels
    command = look_command(slots)
    station.data.received.clear()
    began = time.perf_counter()
    for start in range(0, len(command), 1 << 18):
        station.data._link.receive(command[start : start + (1 << 18)])
    elapsed_s = time.perf_counter() - began
    assert len(station.data.received) > slots.size
    assert elapsed_s < 1.0


def test_losing_the_control_link_ends_in_safe(station: Station) -> None:
    station.ask("HEART 0.1")
    station.run()
    station.control.close()
    assert station.world.slot_now() > 0
    wait_until(lambda: station.device._state == "IDLE")
    assert not station.world._knobs.is_transmitter_on
    assert station.look(np.array([1], dtype=np.uint64)).startswith(b"ERR 1101,"), "the memory is wiped"


def test_coming_back_in_time_keeps_the_session(station: Station) -> None:
    station.ask("HEART 0.3")
    station.run()
    station.control.close()
    station.control = Client(station.device, "control")
    time.sleep(0.4)
    assert station.ask("SESS:STAT?").startswith("RUN,")


def test_an_open_interlock_latches_a_fault(station: Station) -> None:
    station.run()
    station.device.faults.set(FaultKind.INTERLOCK)
    assert station.ask("SESS:STAT?").startswith("FAULT,")
    assert station.ask("STAT:QUES?") == "512\n"
    station.ask("STAT:QUES:CLE")
    assert station.ask("STAT:QUES?") == "512\n", "still open"
    station.device.faults.set(FaultKind.NONE)
    assert station.ask(f"SESS:ARM {SESSION:016X},IMM").startswith("ERR 1109,"), "latched"
    station.ask("STAT:QUES:CLE")
    assert station.ask(f"SESS:ARM {SESSION:016X},IMM") == "OK\n"


@given(cuts=st.lists(st.integers(0, 80), max_size=6))
@settings(max_examples=25, deadline=None)
def test_blocks_may_arrive_cut_anywhere(cuts: list[int]) -> None:
    station = Station()
    station.run()
    data = look_command(np.array([2, 0x0A0A], dtype=np.uint64)[:1]) + look_command(np.array([10], dtype=np.uint64))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    answers = b"".join(station.data.ask(data[a:b]) for a, b in itertools.pairwise(places))
    assert answers.count(b"#2") == 2
    assert answers.endswith(b"\n")


@given(junk=st.binary(min_size=1, max_size=1500))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_it_fall_over(junk: bytes) -> None:
    station = Station()
    station.data.ask(junk)
    station.data.ask(b"\n" * 2 + b"X" * 600 + b"\n")
    assert station.ask("*IDN?").startswith("OpenQKD,TXP-625,")
