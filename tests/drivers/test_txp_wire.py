"""TXP/1 framing and parsing, without a link: vectors, twins, hostile replies."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modulators import txp_wire as wire
from drivers.modulators.crc32c import crc32c
from drivers.roles import SessionStatus

SESSION = 0x0123456789ABCDEF
CAPABILITIES = {
    "protocol": "DECOY",
    "slot_hz": [625e6],
    "n_states": 4,
    "n_int": 2,
    "rng": ["INT"],
    "horizon_slots": 1 << 30,
    "max_batch": 1 << 20,
    "max_block_bytes": 1 << 24,
}


def slow_crc32c(data: bytes) -> int:
    """One bit at a time, from the definition: reflected, initial value and final exclusive-or all ones."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720 appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_vectors(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum == slow_crc32c(data)


@given(st.binary(max_size=300))
def test_crc32c_is_its_slow_twin(data: bytes) -> None:
    assert crc32c(data) == slow_crc32c(data)


def reply(symbols: bytes, *, session: int = SESSION, n: int | None = None, flags: int = 0) -> bytes:
    body = struct.pack("<QII", session, len(symbols) if n is None else n, flags) + symbols
    return body + struct.pack("<I", slow_crc32c(body))


def test_request_bytes() -> None:
    request = wire.look_request(SESSION, np.array([3, 260], np.uint64))
    assert request == (
        b"LOOK #232" + bytes.fromhex("efcdab8967452301 02000000 00000000 0300000000000000 0401000000000000") + b"\n"
    )


def test_symbols_of_a_good_reply() -> None:
    symbols = wire.parse_look_reply(reply(b"\x00\x13\x42"), SESSION, 3, 4, 2)
    assert symbols.dtype == np.uint8
    assert symbols.tolist() == [0x00, 0x13, 0x42]
    symbols[0] = 1  # a copy of its own


def test_an_invalid_symbol_may_hold_anything_and_is_announced() -> None:
    assert wire.parse_look_reply(reply(b"\x00\xbf", flags=1), SESSION, 2, 4, 2).tolist() == [0x00, 0xBF]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (reply(b"\0\0"), "has 23 bytes, not 22"),
        (reply(b"\0\0\0", session=1), "session 0000000000000001"),
        (reply(b"\0\0\0", n=2), "2 slots of session"),
        (reply(b"\0\0\0")[:-1] + b"\0", "CRC-32C"),
        (reply(b"\0\0\0").replace(b"\0\0\0", b"\0\0\1", 1), "CRC-32C"),
        (reply(b"\0\0\0", flags=2), "flags 0x2"),
        (reply(b"\0\0\0", flags=1), "flags 0x1"),
        (reply(b"\0\0\x80"), "flags 0x0"),
        (reply(b"\0\0\x04"), "outside 4 states and 2 intensities"),
        (reply(b"\0\0\x20"), "outside 4 states and 2 intensities"),
    ],
)
def test_wrong_replies(payload: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wire.parse_look_reply(payload, SESSION, 3, 4, 2)


@given(st.binary(max_size=60), st.integers(0, 40))
def test_any_bytes_are_symbols_or_a_value_error(payload: bytes, n: int) -> None:
    with pytest.raises(ValueError, match=r"reply|CRC|flags|symbol|for"):
        wire.parse_look_reply(payload, SESSION, n, 4, 2)


def test_block() -> None:
    assert wire.encode_block(b"hello") == b"#15hello"
    assert wire.encode_block(bytes(10)) == b"#210" + bytes(10)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ('ERR -222,"out of range"', (-222, "out of range")),
        ('ERR 1103,""', (1103, "")),
        ("OK", None),
        ("ERR", None),
        ("ERR 1103", None),
    ],
)
def test_error_lines(text: str, entry: tuple[int, str] | None) -> None:
    assert wire.parse_error_line(text) == entry


def test_session() -> None:
    status = wire.parse_session("RUN,0123456789ABCDEF,1795336653,6246875,10,7,0")
    assert status == SessionStatus("RUN", "0123456789abcdef", 6246875, 10, 7, False)
    assert wire.parse_session("IDLE,,0,0,0,0,1").is_calibration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RUN",
        "ON,,0,0,0,0,0",
        "RUN,12,0,0,0,0,0",
        "RUN,,x,0,0,0,0",
        "RUN,,0,-1,0,0,0",
        "RUN,,0,0,0,0,2",
        "RUN,,0,²,0,0,0",
    ],
)
def test_no_session(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|number|float"):
        wire.parse_session(text)


def test_faults() -> None:
    assert wire.parse_faults("0") == ()
    assert wire.parse_faults("545") == ("clock", "laser", "interlock")
    with pytest.raises(ValueError, match="11 bits"):
        wire.parse_faults("2048")


def test_probabilities() -> None:
    assert wire.parse_probabilities("0.7,0.3") == (0.7, 0.3)
    for text in ("", "0.7", "0.7,0.4", "1.5,-0.5", "nan,1"):
        with pytest.raises(ValueError, match=r"add up|float"):
            wire.parse_probabilities(text)


def test_capabilities() -> None:
    capabilities, document = wire.parse_capabilities(json.dumps(CAPABILITIES))
    assert capabilities.slot_rates_hz == (625e6,)
    assert (capabilities.states, capabilities.intensities, capabilities.max_batch) == (4, 2, 1 << 20)
    assert wire.parse_bias_limits(document, 0) is None
    assert wire.parse_bias_limits({"bias": [{"channel": 0, "limits_v": [-5, 5]}]}, 0) == (-5.0, 5.0)
    assert wire.whole_of(document, "dac_bits", 1, 32, 16) == 16


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("slot_hz", []),
        ("slot_hz", [-1]),
        ("slot_hz", 625e6),
        ("n_states", 17),
        ("n_states", True),
        ("n_int", 0),
        ("max_batch", 255),
        ("max_batch", "1"),
        ("max_block_bytes", 1 << 40),
        ("horizon_slots", math.inf),
        ("protocol", None),
        ("rng", "INT"),
        ("n_states", None),
    ],
)
def test_capabilities_name_the_key_that_is_wrong(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"CAP\\? {key}"):
        wire.parse_capabilities(json.dumps(CAPABILITIES | {key: value}))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 50_000, "7"])
def test_capabilities_that_are_no_object(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  json's own wording
        wire.parse_capabilities(text)
