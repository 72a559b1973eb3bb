"""TXP/1 driver against transcripts: control port, data port, every way in which a look-up can go wrong."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.errors import (
    CommandRejected,
    ConnectionLost,
    GarbledReply,
    InstrumentError,
    InstrumentTimeout,
    InterlockOpen,
    ReadBackMismatch,
    SettingOutOfRange,
    WrongInstrument,
)
from drivers.modulators import txp_wire as wire
from drivers.modulators.txp_transmitter import TxpTransmitter
from drivers.roles import SymbolTransmitter
from tests.drivers.scripted_link import ScriptedLink
from tests.drivers.test_txp_wire import CAPABILITIES, SESSION, reply

IDN = b"Lab,FPGA,42,1.0\n"
CAP = (b"CAP?\n", json.dumps(CAPABILITIES | {"dac_bits": 14, "max_pattern_slots": 8}).encode() + b"\n")
OPENING = ((b"*IDN?\n", IDN), (b"SYST:VERS?\n", b"TXP,1.0\n"), (b"*CLS\n", b"OK\n"), CAP)
ARM = (b"SESS:ARM 0123456789abcdef,IMM\n", b"OK\n")
NO_ERROR = (b"SYST:ERR?\n", b'0,"No error"\n')


class Ports:
    """A transmitter on two scripted links; a new data link is handed out each time the driver opens the port."""

    def __init__(self) -> None:
        self.control = ScriptedLink(OPENING)
        self.data = [ScriptedLink(), ScriptedLink(), ScriptedLink()]
        self.opened = 0

    def open_data(self) -> ScriptedLink:
        self.opened += 1
        return self.data[self.opened - 1]


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def transmitter(ports: Ports) -> TxpTransmitter:
    return TxpTransmitter("transmitter", ports.control, ports.open_data)


@pytest.fixture
def armed(ports: Ports, transmitter: TxpTransmitter) -> TxpTransmitter:
    ports.control.expect(ARM)
    transmitter.arm_session("0123456789ABCDEF")
    return transmitter


def slots(*numbers: int) -> NDArray[np.uint64]:
    return np.array(numbers, np.uint64)


def look(*numbers: int) -> bytes:
    return wire.look_request(SESSION, slots(*numbers))


def block(payload: bytes) -> bytes:
    return wire.encode_block(payload) + b"\n"


def test_role_and_capabilities(transmitter: TxpTransmitter) -> None:
    assert isinstance(transmitter, SymbolTransmitter)
    assert transmitter.capabilities.max_batch == 1 << 20
    assert transmitter.identity.vendor == "Lab"


def test_every_setting(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect(
        (b"SLOT:RATE 625000000\n", b"OK\n"),
        (b"SLOT:RATE?\n", b"625000000\n"),
        (b"STAT:PROB 0.450000000,0.450000000,0.050000000,0.050000000\n", b"OK\n"),
        (b"STAT:PROB?\n", b"0.4499,0.4501,0.05,0.05\n"),
        (b"INT:PROB 0.700000000,0.300000000\n", b"OK\n"),
        (b"INT:PROB?\n", b"0.7,0.3\n"),
        (b"INT:TABL 1,9000,0.15,0.002\n", b"OK\n"),
        (b"INT:TABL 0,16383,NAN,NAN\n", b"OK\n"),
        (b"BIAS 0,-0.350000\n", b"OK\n"),
        (b"PATT:DATA #14\x00\x0a\x02\x03\n", b"OK\n"),
        (b"PATT USER\n", b"OK\n"),
        (b"PATT OFF\n", b"OK\n"),
        (b"DISC 100\n", b"OK\n"),
        (b"*OPC?\n", b"1\n"),
    )
    transmitter.configure_slots(625e6)
    assert transmitter.set_state_probabilities([0.45, 0.45, 0.05, 0.05]) == (0.4499, 0.4501, 0.05, 0.05)
    assert transmitter.set_intensity_probabilities([0.7, 0.3]) == (0.7, 0.3)
    transmitter.set_intensity(1, 9000, 0.15, 0.002)
    transmitter.set_intensity(0, 16383, math.nan, math.nan)
    transmitter.set_phase_bias_v(-0.35)
    transmitter.set_pattern(np.array([0, 10, 2, 3], np.uint8))
    transmitter.set_pattern_off()
    transmitter.discard_below(100)
    transmitter.heartbeat()
    ports.control.check_done()


def test_session(armed: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect((b"SESS:STAT?\n", b"RUN,0123456789abcdef,1795336653,1000,0,0,0\n"))
    assert armed.session_status().slot_now == 1000
    ports.control.expect((b"SESS:STOP\n", b"OK\n"), (b"SESS:END\n", b"OK\n"))
    armed.stop_session()
    armed.end_session()
    ports.control.check_done()


def test_faults(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect((b"STAT:QUES?\n", b"520\n"), (b"STAT:QUES:CLE\n", b"OK\n"), (b"STAT:QUES?\n", b"0\n"))
    assert transmitter.faults() == ("rng_underrun", "interlock")
    transmitter.clear_faults()
    assert transmitter.faults() == ()


def test_make_safe_is_idempotent_and_reads_back(transmitter: TxpTransmitter, ports: Ports) -> None:
    for state in (b"IDLE", b"FAULT"):
        ports.control.expect((b"SAFE\n", b"OK\n"), (b"SESS:STAT?\n", state + b",,0,0,0,0,0\n"))
        transmitter.make_safe()
    ports.control.expect((b"SAFE\n", b"OK\n"), (b"SESS:STAT?\n", b"RUN,0123456789abcdef,0,0,0,0,0\n"))
    with pytest.raises(ReadBackMismatch, match="transmitter: state is RUN after SAFE"):
        transmitter.make_safe()
    ports.control.check_done()


def test_values_out_of_range_send_nothing(transmitter: TxpTransmitter, ports: Ports) -> None:
    sent = bytes(ports.control.written)
    refused = [
        lambda: transmitter.configure_slots(1e9),
        lambda: transmitter.set_state_probabilities([0.5, 0.4]),
        lambda: transmitter.set_state_probabilities([1.5, -0.5]),
        lambda: transmitter.set_intensity_probabilities([0.2] * 5),
        lambda: transmitter.set_intensity_probabilities([]),
        lambda: transmitter.set_intensity(2, 0, 0.5, 0.0),
        lambda: transmitter.set_intensity(0, 1 << 14, 0.5, 0.0),
        lambda: transmitter.set_intensity(0, 0, 0.5, -1.0),
        lambda: transmitter.set_phase_bias_v(10.1),
        lambda: transmitter.set_pattern(np.zeros(0, np.uint8)),
        lambda: transmitter.set_pattern(np.zeros(9, np.uint8)),
        lambda: transmitter.arm_session("123"),
        lambda: transmitter.arm_session("0123456789abcdeg"),
        lambda: transmitter.discard_below(-1),
    ]
    for call in refused:
        with pytest.raises(SettingOutOfRange, match="transmitter: "):
            call()
    assert ports.control.written == sent


def test_a_refusal_holds_the_whole_error_queue(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect(
        (b"BIAS 0,9.000000\n", b'ERR -222,"9 V is too much"\n'),
        (b"SYST:ERR?\n", b'-363,"overrun"\n'),
        (b"SYST:ERR?\n", b'-222,"9 V is too much"\n'),
        NO_ERROR,
    )
    with pytest.raises(CommandRejected) as caught:
        transmitter.set_phase_bias_v(9.0)
    assert caught.value.entries == ((-363, "overrun"), (-222, "9 V is too much"))
    ports.control.check_done()


def test_interlock(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect((ARM[0], b'ERR 1109,"interlock"\n'), (b"SYST:ERR?\n", b'1109,"interlock"\n'), NO_ERROR)
    with pytest.raises(InterlockOpen, match=r"transmitter: 'SESS:ARM .* was refused: interlock"):
        transmitter.arm_session("0123456789abcdef")


def test_neither_ok_nor_error_is_garbage(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect((b"PATT OFF\n", b"YES\n"))
    with pytest.raises(GarbledReply, match="'PATT OFF' was answered 'YES': OK was expected"):
        transmitter.set_pattern_off()


def test_another_language_is_the_wrong_instrument(ports: Ports) -> None:
    ports.control = ScriptedLink([(b"*IDN?\n", b"ACME,AWG-9000,1,2.0\n"), (b"SYST:VERS?\n", b"1999.0\n")])
    with pytest.raises(WrongInstrument, match=r"ACME AWG-9000 with SYST:VERS '1999.0' answers where TXP,1.x"):
        TxpTransmitter("transmitter", ports.control, ports.open_data)


def test_a_late_ok_is_never_the_next_answer(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect((b"SESS:STOP\n", b""))
    with pytest.raises(InstrumentTimeout):
        transmitter.stop_session()
    ports.control.expect((b"*IDN?\n", b"OK\n" + IDN), (b"SESS:END\n", b'ERR -200,"state"\n'), NO_ERROR)
    with pytest.raises(CommandRejected, match="-200 state"):
        transmitter.end_session()
    ports.control.check_done()


def test_look_up(armed: TxpTransmitter, ports: Ports) -> None:
    ports.data[0].expect(
        (look(3, 10, 260), block(reply(b"\x00\x13\x02"))),
        (look(261), block(reply(b"\x81", flags=1))),
    )
    assert armed.look_up(slots(3, 10, 260)).tolist() == [0x00, 0x13, 0x02]
    assert armed.invalid_symbols == 0
    assert armed.look_up(slots(261)).tolist() == [0x81]
    assert armed.invalid_symbols == 1
    assert armed.look_up(slots()).size == 0
    ports.data[0].check_done()
    assert ports.opened == 1


def test_look_up_after_the_driver_was_started_anew(transmitter: TxpTransmitter, ports: Ports) -> None:
    ports.control.expect((b"SESS:STAT?\n", b"DRAIN,0123456789abcdef,0,1000,0,0,0\n"))
    ports.data[0].expect((look(5), block(reply(b"\x01"))))
    assert transmitter.look_up(slots(5)).tolist() == [1]


@pytest.mark.parametrize(
    "bad",
    [
        slots(5, 5),
        slots(6, 5),
        np.array([1, 2], np.int64),
        np.zeros((1, 1), np.uint64),
        np.arange((1 << 20) + 1, dtype=np.uint64),
    ],
)
def test_bad_batches_send_nothing(armed: TxpTransmitter, ports: Ports, bad: NDArray[np.uint64]) -> None:
    with pytest.raises(SettingOutOfRange, match="nothing was sent"):
        armed.look_up(bad)
    assert not ports.data[0].written


def test_slots_ascend_over_the_whole_session_and_start_anew_with_the_next(armed: TxpTransmitter, ports: Ports) -> None:
    ports.data[0].expect((look(7), block(reply(b"\0"))))
    armed.look_up(slots(7))
    with pytest.raises(SettingOutOfRange, match="slots from 7 on after slot 7"):
        armed.look_up(slots(7, 8))
    ports.control.expect(ARM)
    armed.arm_session("0123456789abcdef")
    ports.data[0].expect((look(0), block(reply(b"\0"))))
    armed.look_up(slots(0))


def test_a_refused_look_up_consumes_nothing(armed: TxpTransmitter, ports: Ports) -> None:
    ports.data[0].expect(
        (look(7, 9), b'ERR 1103,"slot 9 is not sent yet"\n'),
        (b"SYST:ERR?\n", b'1103,"slot 9 is not sent yet"\n'),
        NO_ERROR,
        (look(7, 9), block(reply(b"\0\1"))),
    )
    with pytest.raises(CommandRejected, match="1103 slot 9 is not sent yet"):
        armed.look_up(slots(7, 9))
    assert armed.look_up(slots(7, 9)).tolist() == [0, 1]
    assert ports.opened == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", InstrumentTimeout),
        (block(reply(b"\0\0"))[:-10], InstrumentTimeout),
        (b"OK\n", GarbledReply),
        (b"ERROR\n", GarbledReply),
        (b"#0\n", GarbledReply),
        (b"#1x\n", GarbledReply),
        (b"#9999999999", GarbledReply),
        (block(reply(b"\0\0\0")), GarbledReply),
        (block(reply(b"\0\0", session=1)), GarbledReply),
        (block(reply(b"\0\0"))[:-1] + b"!", GarbledReply),
        (block(reply(b"\0\0")[:-1] + b"\x55"), GarbledReply),
    ],
)
def test_after_a_broken_look_up_the_port_is_opened_anew_and_the_slots_are_gone(
    armed: TxpTransmitter, ports: Ports, answer: bytes, error: type[InstrumentError]
) -> None:
    ports.data[0].expect((look(7, 9), answer))
    with pytest.raises(error):
        armed.look_up(slots(7, 9))
    assert ports.data[0].is_closed
    with pytest.raises(SettingOutOfRange):
        armed.look_up(slots(9))
    ports.data[1].expect((look(10), block(reply(b"\3"))))
    assert armed.look_up(slots(10)).tolist() == [3]


def test_a_reply_that_came_twice_is_never_the_next_answer(armed: TxpTransmitter, ports: Ports) -> None:
    ports.data[0].expect((look(7), block(reply(b"\1")) * 2))
    assert armed.look_up(slots(7)).tolist() == [1]
    ports.data[1].expect((look(8), block(reply(b"\2"))))
    assert armed.look_up(slots(8)).tolist() == [2]
    assert ports.data[0].is_closed


def test_unplugged_data_port(armed: TxpTransmitter, ports: Ports) -> None:
    ports.data[0].is_unplugged = True
    ports.data[1].is_unplugged = True
    with pytest.raises(ConnectionLost):
        armed.look_up(slots(1))


def test_closing_closes_both_ports(transmitter: TxpTransmitter, ports: Ports) -> None:
    transmitter.close()
    transmitter.close()
    assert ports.control.is_closed
    assert ports.data[0].is_closed


def test_the_data_port_must_be_named() -> None:
    with pytest.raises(ValueError, match="transmitter: the option data_resource is missing"):
        TxpTransmitter.open("transmitter", "tcp:127.0.0.1:1")
