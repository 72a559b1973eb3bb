"""What an ID900 answers, taken apart. Every parser raises ValueError on anything else."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)")


def parse_quantity(text: str) -> float:
    """A number with or without unit: `1`, `1000TB` (time base, ps), `+0.100V`, `100mV`. ValueError otherwise."""
    found = _QUANTITY.fullmatch(text.strip())
    scales = {"": 1.0, "TB": 1.0, "V": 1.0, "MV": 1e-3}
    if found is None or found[2].upper() not in scales:
        raise ValueError("a number was expected")
    return float(found[1]) * scales[found[2].upper()]


def parse_switch(text: str) -> bool:
    """`ON`/`OFF` or `1`/`0`. ValueError otherwise."""
    word = text.strip().upper()
    if word not in ("ON", "OFF", "1", "0"):
        raise ValueError("ON or OFF was expected")
    return word in ("ON", "1")


def parse_stage(text: str) -> str:
    """State of the recording: PLAYING, or another word. ValueError if it is no word."""
    word = text.strip().upper()
    if not word.isalpha():
        raise ValueError("a word was expected")
    return word


def parse_error(text: str) -> tuple[int, str]:
    """One entry of `SYST:ERR?`. ValueError if it does not begin with a number."""
    code, _, words = text.partition(",")
    return int(code), words.strip().strip('"')


def parse_resolution(text: str) -> str:
    """HIRES or LOWRES. ValueError otherwise."""
    if text.strip().upper() not in ("HIRES", "LOWRES"):
        raise ValueError("HIRES or LOWRES was expected")
    return text.strip().upper()
