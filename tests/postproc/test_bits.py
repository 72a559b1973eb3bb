import numpy as np
import pytest

from postproc.bits import pack, unpack
from postproc.errors import InputOutOfRange, ProtocolViolation


def test_bit_order_is_least_significant_first() -> None:
    assert pack(np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8)) == b"\x01\x02"


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_round_trip(n: int) -> None:
    bits = np.random.default_rng(n).integers(0, 2, n, dtype=np.uint8)
    assert np.array_equal(unpack(pack(bits), n), bits)


@pytest.mark.parametrize(("data", "n"), [(b"", 1), (b"\0\0", 8), (b"\x80", 7), (b"\0", -1)])
def test_refuses_what_is_not_n_bits(data: bytes, n: int) -> None:
    with pytest.raises(ProtocolViolation):
        unpack(data, n)


def test_refuses_to_pack_what_is_not_a_bit() -> None:
    with pytest.raises(InputOutOfRange, match="value 2"):
        pack(np.array([0, 1, 2], np.uint8))
