import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from postproc import gf2

PRODUCTS = [None] + ([gf2.HARDWARE] if gf2.best_product() is not None else [])
word = st.integers(0, (1 << 64) - 1)


def naive_product(a: int, b: int) -> int:
    """Carry-less product of two Python integers, bit by bit."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a, b = a << 1, b >> 1
    return product


@njit
def one_product(a, b, hardware):
    return gf2.carryless_product(a, b, hardware)


@pytest.mark.parametrize("hardware", PRODUCTS)
@settings(deadline=None)
@given(a=word, b=word)
def test_product_of_words(hardware: int | None, a: int, b: int) -> None:
    low, high = one_product(np.uint64(a), np.uint64(b), hardware)
    assert int(low) | int(high) << 64 == naive_product(a, b)


@pytest.mark.parametrize("hardware", PRODUCTS)
def test_product_of_all_ones_carries_nothing(hardware: int | None) -> None:
    ones = (1 << 64) - 1
    low, high = one_product(np.uint64(ones), np.uint64(ones), hardware)
    assert int(low) | int(high) << 64 == naive_product(ones, ones)


def test_words_are_little_endian() -> None:
    assert gf2.to_words(b"\x01\x02", 2).tolist() == [0x0201, 0]
    assert gf2.to_bytes(np.array([0x0201], np.uint64)) == b"\x01\x02" + bytes(6)
