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


@pytest.mark.parametrize("hardware", PRODUCTS)
@pytest.mark.parametrize("words", [1, 2, 15, 16, 18, 32, 60, 256])
def test_karatsuba_matches_the_naive_twin(hardware: int | None, words: int) -> None:
    rng = np.random.default_rng(words)
    a, b = rng.integers(0, 1 << 64, (2, words), dtype=np.uint64)
    product = np.full(2 * words, 7, np.uint64)
    gf2.multiply_into(product, a, b, np.empty(gf2.scratch_words(words), np.uint64), hardware)
    as_integer = [int.from_bytes(gf2.to_bytes(x), "little") for x in (a, b, product)]
    assert as_integer[2] == naive_product(as_integer[0], as_integer[1])


@pytest.mark.parametrize("at_least", [1, 16, 17, 31, 33, 1000, 3907, 100_003])
def test_operand_length_halves_down_to_a_base_case(at_least: int) -> None:
    words = gf2.karatsuba_words(at_least)
    assert at_least <= words < at_least * (1 + 2 / gf2.BASE_WORDS) + 1
    while words > gf2.BASE_WORDS:
        assert words % 2 == 0
        words //= 2


def test_words_are_little_endian() -> None:
    assert gf2.to_words(b"\x01\x02", 2).tolist() == [0x0201, 0]
    assert gf2.to_bytes(np.array([0x0201], np.uint64)) == b"\x01\x02" + bytes(6)
