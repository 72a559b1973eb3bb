"""Tags against RFC 8439, regression vectors, and an independent slow twin."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.trust import wegman_carter
from controller.trust.errors import TranscriptError

COUNTING_PAD = bytes(range(32))
REGRESSION = {
    0: "101112131415161718191a1b1c1d1e1f",
    1: "1f11131517191b1d1f21232527292b2d",
    16: "a2291a363def0b53845fa4126a6ad364",
    17: "f735c97f7308fd79222447fe76a96872",
    1 << 20: "7eb20ce219d46a4912cfa4ffd86ace56",
}


def naive_poly1305(pad: bytes, message: bytes) -> bytes:
    """RFC 8439 §2.5.1, word for word."""
    r = int.from_bytes(pad[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    accumulator = 0
    for at in range(0, len(message), 16):
        accumulator = (accumulator + int.from_bytes(message[at : at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((accumulator + int.from_bytes(pad[16:], "little")) % 2**128).to_bytes(16, "little")


def test_vector_of_rfc_8439() -> None:
    pad = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    tag = wegman_carter.tag(pad, [b"Cryptographic Forum ", b"Research Group"])
    assert tag.hex() == "a8061dc1305136c6c22b8baf0c0127a9"


@pytest.mark.parametrize("length", REGRESSION)
def test_regression_vectors(length: int) -> None:
    message = (bytes(range(256)) * (length // 256 + 1))[:length]
    assert wegman_carter.tag(COUNTING_PAD, [message]).hex() == REGRESSION[length]


@given(pad=st.binary(min_size=32, max_size=32), parts=st.lists(st.binary(max_size=50), max_size=6))
def test_equals_the_naive_twin_however_the_message_is_cut(pad: bytes, parts: list[bytes]) -> None:
    assert wegman_carter.tag(pad, parts) == naive_poly1305(pad, b"".join(parts))


@given(st.binary(min_size=1, max_size=40), st.integers(0), st.binary(min_size=32, max_size=32))
def test_a_changed_bit_is_found(message: bytes, position: int, pad: bytes) -> None:
    """Holds for every pad that hypothesis finds: the chance of a collision is below 2^-100 unless r is 0."""
    changed = bytearray(message)
    changed[position % len(message)] ^= 1 << position % 8
    tag = wegman_carter.tag(pad, [message])
    assert wegman_carter.verify(pad, [message], tag)
    if int.from_bytes(pad[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF:
        assert not wegman_carter.verify(pad, [changed], tag)


@pytest.mark.parametrize("received", [b"", bytes(15), bytes(17)])
def test_tags_of_another_length_are_never_valid(received: bytes) -> None:
    assert not wegman_carter.verify(COUNTING_PAD, [b"x"], received)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_pads_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wegman_carter.tag(bytes(length), [b"x"])


def test_longer_than_the_bound_allows_is_refused() -> None:
    part = bytes(1 << 28)
    with pytest.raises(TranscriptError, match="1073741824"):
        wegman_carter.tag(COUNTING_PAD, [part, part, part, part, b"x"])


@pytest.mark.parametrize(("n_bytes", "log2"), [(1 << 20, -87), (16 << 20, -83), (64 << 20, -81), (0, -103)])
def test_epsilon_of_the_literature(n_bytes: int, log2: float) -> None:
    assert math.log2(wegman_carter.epsilon(n_bytes)) == log2


@pytest.mark.parametrize("n_bytes", [-1, (1 << 30) + 1])
def test_epsilon_out_of_range(n_bytes: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        wegman_carter.epsilon(n_bytes)
