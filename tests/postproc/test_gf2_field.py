import pytest
from numba import njit

from postproc import gf2_field
from postproc.gf2_vectors import available_lanes
from tests.postproc.polynomials import as_elements, as_words, field_product, random_elements

LANES = available_lanes()
EDGES = [0, 1, 2, 0x87, 1 << 63, 1 << 64, 1 << 127, (1 << 128) - 1, ((1 << 64) - 1) << 64]


@njit
def butterfly(rows, upper, lower, constants, at, lanes):
    gf2_field.butterfly(rows, upper, lower, constants, at, lanes)


@njit
def inverse_butterfly(rows, upper, lower, constants, at, lanes):
    gf2_field.inverse_butterfly(rows, upper, lower, constants, at, lanes)


@njit
def correlate(out, row, key, k, seed, s, count, lanes):
    gf2_field.correlate(out, row, key, k, seed, s, count, lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_butterfly_and_its_inverse(lanes: tuple[int, ...] | None) -> None:
    constants = EDGES + random_elements(7, 1)
    for at, c in enumerate(constants):
        before = random_elements(12, at) if at % 2 else (EDGES + EDGES)[at % 4 :][:12]
        u, v = before[8:12], before[0:4]  # rows 2 and 0; row 1 is not touched
        rows = as_words(before)
        butterfly(rows, 2, 0, as_words(constants), at, lanes)
        upper = [x ^ field_product(c, y) for x, y in zip(u, v, strict=True)]
        assert as_elements(rows) == [x ^ y for x, y in zip(upper, v, strict=True)] + before[4:8] + upper
        inverse_butterfly(rows, 2, 0, as_words(constants), at, lanes)
        assert as_elements(rows) == before


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("count", [0, 1, 5, 16])
def test_correlation_is_the_sum_of_products(lanes: tuple[int, ...] | None, count: int) -> None:
    key, seed = EDGES + random_elements(12, 3), random_elements(14, 4) + EDGES
    out = as_words(random_elements(12, 5))
    untouched = as_elements(out)
    correlate(out, 1, as_words(key), 2, as_words(seed), 3, count, lanes)
    expected = [0, 0, 0, 0]
    for r in range(count):
        for lane in range(4):
            expected[lane] ^= field_product(key[2 + r], seed[3 + r + lane])
    assert as_elements(out) == untouched[:4] + expected + untouched[8:]


def test_the_portable_code_is_always_available() -> None:
    assert LANES[-1] is None
    assert all(len(lanes) in (1, 2, 4) for lanes in LANES[:-1] if lanes is not None)


def test_rows_begin_on_a_cache_line() -> None:
    for words in (8, 64, 1 << 20):
        rows = gf2_field.empty_rows(words)
        assert rows.size == words
        assert rows.ctypes.data % 64 == 0
