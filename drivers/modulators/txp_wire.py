"""TXP/1 on the wire, without I/O: blocks, look-ups, capabilities, session state (docs/transmitter-protocol.md).

Everything that comes from the transmitter is checked here; a ValueError says what is wrong with it.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.roles import SessionStatus, TransmitterCapabilities

STATE_BITS = 0x0F
INTENSITY_BITS = 0x30
INTENSITY_SHIFT = 4
CALIBRATION = 0x40  # a reserved slot with a known symbol: not for a key
INVALID = 0x80  # random source ran dry or a fault was present when it was sent: not for a key

MAX_BLOCK_BYTES = 1 << 30
MAX_BATCH = 1 << 24
FLAG_HAS_INVALID = 1  # flags of a look-up reply: bit 0, some symbol is INVALID; the others are reserved and 0

STATES = ("OFF", "IDLE", "CALIBRATE", "ARMED", "RUN", "DRAIN", "FAULT")
FAULTS = (
    "clock",
    "pps",
    "rng_health",
    "rng_underrun",
    "mem_overrun",
    "laser",
    "power_window",
    "temperature",
    "dac_link",
    "interlock",
    "config_changed",
)
_HEAD = struct.Struct("<QII")
_CRC = struct.Struct("<I")


def encode_block(payload: bytes) -> bytes:
    """An IEEE 488.2 definite-length block, for example b"#15hello"."""
    length = str(len(payload))
    if len(length) > 9:
        raise ValueError(f"a block holds at most 999999999 bytes, not {length}")
    return f"#{len(length)}{length}".encode("ascii") + payload


def look_request(session: int, slots: NDArray[np.uint64]) -> bytes:
    """The line `LOOK #...` with its line feed. session: the session's id as a number; slots: uint64 [n]."""
    payload = _HEAD.pack(session, slots.size, 0) + slots.astype("<u8", copy=False).tobytes()
    return b"LOOK " + encode_block(payload) + b"\n"


def look_request_bytes(n: int) -> int:
    """Length of the block that asks for `n` slots."""
    return _HEAD.size + 8 * n


def look_reply_bytes(n: int) -> int:
    """Length of the block in answer to `n` slots."""
    return _HEAD.size + n + _CRC.size


def parse_look_reply(payload: bytes, session: int, n: int, states: int, intensities: int) -> NDArray[np.uint8]:
    """The symbols, uint8 [n], of a reply whose session, length, checksum, flags and symbols are right.

    ValueError otherwise.
    """
    from drivers.modulators.crc32c import crc32c

    if len(payload) != look_reply_bytes(n):
        raise ValueError(f"the reply to {n} slots has {look_reply_bytes(n)} bytes, not {len(payload)}")
    (checksum,) = _CRC.unpack_from(payload, len(payload) - _CRC.size)
    if checksum != (computed := crc32c(memoryview(payload)[: -_CRC.size])):
        raise ValueError(f"its CRC-32C is {checksum:08x}, computed {computed:08x}")
    found_session, found_n, flags = _HEAD.unpack_from(payload)
    if (found_session, found_n) != (session, n):
        raise ValueError(f"it is for {found_n} slots of session {found_session:016x}, not {n} of {session:016x}")
    symbols = np.frombuffer(payload, np.uint8, n, _HEAD.size).copy()
    has_invalid = bool(np.any(symbols & INVALID))
    if flags not in (0, FLAG_HAS_INVALID) or has_invalid != bool(flags & FLAG_HAS_INVALID):
        raise ValueError(f"its flags {flags:#x} do not agree with its symbols")
    if not np.all(_known_symbols(states, intensities)[symbols]):
        raise ValueError(f"a symbol is outside {states} states and {intensities} intensities")
    return symbols


def _known_symbols(states: int, intensities: int) -> NDArray[np.bool_]:
    """bool [256]: symbols that may occur. An invalid one may hold anything in its lower bits."""
    symbol = np.arange(256)
    is_known = ((symbol & STATE_BITS) < states) & (((symbol & INTENSITY_BITS) >> INTENSITY_SHIFT) < intensities)
    return is_known | ((symbol & INVALID) != 0)


def parse_error_line(text: str) -> tuple[int, str] | None:
    """`ERR -222,"out of range"` -> (-222, "out of range"); None if it is not an error line."""
    found = re.fullmatch(r'ERR ([+-]?\d{1,6}),"([^"]*)"', text)
    return (int(found[1]), found[2]) if found else None


def parse_error_entry(text: str) -> tuple[int, str]:
    """An answer of `SYST:ERR?`."""
    found = re.fullmatch(r'([+-]?\d{1,6}),"([^"]*)"', text)
    if not found:
        raise ValueError('<code>,"<text>" was expected')
    return int(found[1]), found[2]


def parse_ok(text: str) -> None:
    if text != "OK":
        raise ValueError("OK was expected")


def parse_probabilities(text: str) -> tuple[float, ...]:
    """Comma-separated probabilities that add up to 1 within 1e-3 (hardware realises them in steps)."""
    values = tuple(float(field) for field in text.split(","))
    if not all(0.0 <= value <= 1.0 for value in values) or abs(sum(values) - 1.0) > 1e-3:
        raise ValueError("probabilities that add up to 1 were expected")
    return values


def parse_faults(text: str) -> tuple[str, ...]:
    """Names of the bits set in `STAT:QUES?`."""
    mask = int(text)
    if not 0 <= mask < 1 << len(FAULTS):
        raise ValueError(f"a mask of {len(FAULTS)} bits was expected")
    return tuple(name for bit, name in enumerate(FAULTS) if mask >> bit & 1)


def parse_session(text: str) -> SessionStatus:
    """state,id,start_tai_s,slot_now,horizon_low,consumed,cal"""
    fields = text.split(",")
    if len(fields) != 7:
        raise ValueError("seven fields of a session were expected")
    state, session_id, start, slot_now, horizon_low, consumed, calibration = fields
    if state not in STATES:
        raise ValueError(f"one of {' '.join(STATES)} was expected")
    if not re.fullmatch(r"([0-9A-Fa-f]{16})?", session_id) or calibration not in ("0", "1"):
        raise ValueError("a session id of 16 hex digits or nothing, and cal 0 or 1 were expected")
    if not all(number.isascii() and number.isdigit() for number in (slot_now, horizon_low, consumed)):
        raise ValueError("slot_now, horizon_low and consumed must be whole numbers")
    float(start)
    return SessionStatus(state, session_id.lower(), int(slot_now), int(horizon_low), int(consumed), calibration == "1")


def parse_capabilities(text: str) -> tuple[TransmitterCapabilities, dict[str, Any]]:
    """The JSON of `CAP?`: what the role needs, and all of it. ValueError names the key that is missing or wrong."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("a JSON object was expected")
    rates = document.get("slot_hz")
    if not isinstance(rates, list) or not rates or not all(_is_number(rate) and rate > 0 for rate in rates):
        raise ValueError("CAP? slot_hz must be a list of slot rates in Hz")
    sources = document.get("rng", [])
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise ValueError("CAP? rng must be a list of names")
    protocol = document.get("protocol")
    if not isinstance(protocol, str):
        raise ValueError("CAP? protocol must be a name")
    capabilities = TransmitterCapabilities(
        protocol=protocol,
        slot_rates_hz=tuple(float(rate) for rate in rates),
        states=_whole(document, "n_states", 1, 16),
        intensities=_whole(document, "n_int", 1, 4),
        max_batch=_whole(document, "max_batch", 256, MAX_BATCH),
        max_block_bytes=_whole(document, "max_block_bytes", 256 * 8 + _HEAD.size, MAX_BLOCK_BYTES),
        horizon_slots=_whole(document, "horizon_slots", 1, 1 << 63),
        random_sources=tuple(sources),
    )
    return capabilities, document


def parse_bias_limits(document: dict[str, Any], channel: int) -> tuple[float, float] | None:
    """(least, most) volts of a bias channel from `CAP?`, None if it does not exist. ValueError if it is no range."""
    entries = document.get("bias", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("CAP? bias must be a list of channels")
    limits = next((entry.get("limits_v") for entry in entries if entry.get("channel") == channel), None)
    if limits is None:
        return None
    if not isinstance(limits, list) or len(limits) != 2 or not all(_is_number(limit) for limit in limits):
        raise ValueError("CAP? bias limits_v must be [least, most]")
    return float(limits[0]), float(limits[1])


def whole_of(document: dict[str, Any], key: str, least: int, most: int, default: int) -> int:
    """An optional whole number of `CAP?`. ValueError if it is there and out of bounds."""
    return _whole(document, key, least, most) if key in document else default


def _whole(document: dict[str, Any], key: str, least: int, most: int) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"CAP? {key} must be a whole number from {least} to {most}, not {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
