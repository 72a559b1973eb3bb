import numpy as np
import pytest

from postproc import additive_fft
from postproc.cantor_basis import cantor_basis, conversion_stages, twiddle_factors
from postproc.gf2_field import empty_rows
from postproc.gf2_vectors import available_lanes
from tests.postproc.polynomials import as_elements, as_words, field_product, random_elements

CODES = [available_lanes()[0], None]


def point(index: int) -> int:
    """Sum of the basis elements at the set bits of index."""
    total = 0
    for j in range(index.bit_length()):
        if index >> j & 1:
            total ^= cantor_basis()[j]
    return total


def horner(coefficients: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = field_product(value, x) ^ coefficient
    return value


def random_rows(count: int, seed: int) -> np.ndarray:
    rows = empty_rows(8 * count)
    rows[:] = as_words(random_elements(4 * count, seed))
    return rows


def test_basis_is_cantors() -> None:
    v = cantor_basis()
    assert v[0] == 1
    assert all(field_product(v[i], v[i]) ^ v[i] == v[i - 1] for i in range(1, 128))
    independent = set()
    for element in v:  # Gaussian elimination: every element has a leading bit that those before lack
        for other in sorted(independent, reverse=True):
            element = min(element, element ^ other)
        assert element
        independent.add(element)


def test_twiddle_factors_are_vanishing_polynomials_at_the_first_point_of_a_block() -> None:
    found = as_elements(twiddle_factors(16))
    for i in range(3):
        for block in range(16):
            x = point(block << (i + 1))
            for _ in range(i):
                x ^= field_product(x, x)
            assert found[block] == x


@pytest.mark.parametrize("log2_size", range(8))
def test_novel_basis_has_the_same_polynomial(log2_size: int) -> None:
    size = 1 << log2_size
    rows = random_rows(size, log2_size)
    powers = as_elements(rows)[::4]
    additive_fft.to_novel_basis(rows, 8, conversion_stages(log2_size))
    x = random_elements(1, 99)[0]
    vanishing = [x]
    for _ in range(log2_size):
        vanishing.append(field_product(vanishing[-1], vanishing[-1]) ^ vanishing[-1])
    value = 0
    for i, coefficient in enumerate(as_elements(rows)[::4]):
        term = coefficient
        for j in range(log2_size):
            if i >> j & 1:
                term = field_product(term, vanishing[j])
        value ^= term
    assert value == horner(powers, x)


@pytest.mark.parametrize("lanes", CODES)
@pytest.mark.parametrize(("log2_size", "coset"), [(1, 0), (2, 0), (3, 0), (5, 0), (3, 1), (4, 5)])
def test_transform_evaluates_four_polynomials(log2_size: int, coset: int, lanes: tuple[int, ...] | None) -> None:
    size = 1 << log2_size
    rows = random_rows(size + 2, size)  # a row before and one after stay as they are
    before = as_elements(rows)
    inner = rows[8:-8]
    additive_fft.to_novel_basis(inner, 8, conversion_stages(log2_size))
    additive_fft.transform(rows, 1, size, coset, twiddle_factors(64), lanes)
    after = as_elements(rows)
    assert after[:4] + after[-4:] == before[:4] + before[-4:]
    for q in range(4):
        coefficients = before[4 + q : -4 : 4]
        assert after[4 + q : -4 : 4] == [horner(coefficients, point(coset * size + p)) for p in range(size)]


@pytest.mark.parametrize("lanes", CODES)
def test_blocks_larger_than_the_cache_are_evaluated_too(lanes: tuple[int, ...] | None) -> None:
    log2_size = 11
    rows = random_rows(1 << log2_size, 7)
    before = as_elements(rows)
    assert 1 << log2_size > 4 * additive_fft.LEAF
    additive_fft.to_novel_basis(rows, 8, conversion_stages(log2_size))
    additive_fft.transform(rows, 0, 1 << log2_size, 0, twiddle_factors(1 << log2_size - 1), lanes)
    after = as_elements(rows)
    for p in (0, 1, 513, 2047):
        assert after[4 * p + 2] == horner(before[2::4], point(p))
    additive_fft.inverse_transform(rows, 0, 1 << log2_size, 0, twiddle_factors(1 << log2_size - 1), lanes)
    additive_fft.from_novel_basis(rows, 8, conversion_stages(log2_size))
    assert as_elements(rows) == before
