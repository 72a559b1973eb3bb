import numpy as np
import pytest

from postproc.block_convolution import LARGEST, SMALLEST, best_log2_points, convolve
from postproc.gf2_vectors import available_lanes
from tests.postproc.polynomials import long_product

CODES = [available_lanes()[0], None]
BLOCKS = [(1, 1), (1, 4), (2, 3), (3, 2), (4, 8), (5, 4), (9, 1)]


def as_integer(words: np.ndarray) -> int:
    return int.from_bytes(words.tobytes(), "little")


def check(key: np.ndarray, seed: np.ndarray, n: int, m: int, log2_points: int, lanes: tuple[int, ...] | None) -> None:
    block = 32 << log2_points
    expected = long_product(as_integer(key), as_integer(seed)) >> n * block & ((1 << m * block) - 1)
    assert as_integer(convolve(key, seed, log2_points, lanes)) == expected


@pytest.mark.parametrize("lanes", CODES)
@pytest.mark.parametrize(("n", "m"), BLOCKS)
@pytest.mark.parametrize("log2_points", [SMALLEST, 6])
def test_wanted_blocks_of_the_product(n: int, m: int, log2_points: int, lanes: tuple[int, ...] | None) -> None:
    half = 1 << log2_points - 1
    rng = np.random.default_rng(n + m)
    key, seed = (rng.integers(0, 1 << 64, count * half, dtype=np.uint64) for count in (n, n + m))
    check(key, seed, n, m, log2_points, lanes)
    check(np.full_like(key, (1 << 64) - 1), np.full_like(seed, (1 << 64) - 1), n, m, log2_points, lanes)


@pytest.mark.parametrize("lanes", CODES)
def test_blocks_beyond_the_cache(lanes: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(1)
    key, seed = (rng.integers(0, 1 << 64, count << 10, dtype=np.uint64) for count in (1, 2))
    check(key, seed, 1, 1, 11, lanes)


def test_block_size_is_within_limits_and_grows_with_the_key() -> None:
    sizes = [best_log2_points(n, n // 2) for n in (1, 1000, 10**5, 10**6, 10**7, 1 << 27)]
    assert sizes == sorted(sizes)
    assert sizes[0] == SMALLEST
    assert sizes[-1] == LARGEST
    assert all(SMALLEST <= best_log2_points(n, m) <= LARGEST for n in (1, 1 << 27) for m in (1, 1 << 27))
