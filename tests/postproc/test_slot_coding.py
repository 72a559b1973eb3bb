import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.slot_coding import MAX_SLOT, decode_deltas, encode_deltas


def naive_leb128(number: int) -> bytes:
    groups = []
    while True:
        groups.append(number % 128)
        number //= 128
        if number == 0:
            return bytes([g + 128 for g in groups[:-1]] + groups[-1:])


@settings(deadline=None)  # the first call compiles
@given(st.sets(st.integers(0, MAX_SLOT - 1), max_size=40), st.integers(0, 1 << 40))
def test_matches_the_naive_twin_and_round_trips(numbers: set[int], previous: int) -> None:
    slots = sorted(n for n in numbers if n > previous)
    expected = b"".join(naive_leb128(b - a) for a, b in zip([previous, *slots], slots, strict=False))
    data = encode_deltas(np.array(slots, np.int64), previous)
    assert data == expected
    assert decode_deltas(data, len(slots), previous, MAX_SLOT).tolist() == slots


@settings(deadline=None)  # the first call compiles
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(-1, 1000))
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes, count: int, previous: int) -> None:
    try:
        slots = decode_deltas(data, count, previous, MAX_SLOT)
    except ProtocolViolation:
        return
    assert encode_deltas(slots, previous) == data


@pytest.mark.parametrize(
    ("data", "count", "reason"),
    [
        (b"\x01\x80", 2, "ends inside"),
        (b"\x01\x00", 2, "zero"),
        (b"\x81\x00", 1, "shortest"),
        (b"\x01\x01", 1, "left over"),
        (b"\x64", 1, "limit"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 1, "limit"),
        (b"\xff" * 9 + b"\x01", 2, "limit"),
        (b"\x01", 1 << 40, "cannot hold"),
        (b"\x01", -1, "cannot hold"),
    ],
)
def test_hostile_data_is_named(data: bytes, count: int, reason: str) -> None:
    with pytest.raises(ProtocolViolation, match=reason):
        decode_deltas(data, count, previous=0, limit=100)


@pytest.mark.parametrize("slots", [[3, 3], [4, 2], [0], [MAX_SLOT]])
def test_the_encoder_refuses_what_does_not_ascend(slots: list[int]) -> None:
    with pytest.raises(InputOutOfRange):
        encode_deltas(np.array(slots, np.int64), previous=0)


def test_first_slot_of_a_block_and_no_slots() -> None:
    assert decode_deltas(encode_deltas(np.array([0, 1]), -1), 2, -1, 2).tolist() == [0, 1]
    assert decode_deltas(encode_deltas(np.array([], np.int64), 5), 0, 5, 6).size == 0
