import numpy as np
import pytest

from postproc import amplification
from postproc.bits import pack
from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.modified_toeplitz import modified_seed_bits_needed, modified_toeplitz_hash, modified_toeplitz_hash_packed


def naive_hash(key: np.ndarray, seed: np.ndarray, m: int) -> list[int]:
    """Row by row, the matrix [T | I] written out."""
    first = len(key) - m
    rows = []
    for i in range(m):
        row = [seed[i - j + first - 1] for j in range(first)] + [int(i == j) for j in range(m)]
        rows.append(int(np.dot(row, key)) % 2)
    return rows


@pytest.mark.parametrize(("n", "m"), [(2, 1), (9, 8), (9, 1), (64, 40), (130, 65), (300, 77), (257, 128), (5, 0)])
def test_matches_the_matrix(n: int, m: int) -> None:
    rng = np.random.default_rng(n * m)
    key = rng.integers(0, 2, n, dtype=np.uint8)
    seed = rng.integers(0, 2, modified_seed_bits_needed(n), dtype=np.uint8)
    assert modified_toeplitz_hash(key, pack(seed), m).tolist() == naive_hash(key, seed, m)
    assert modified_toeplitz_hash_packed(pack(key), n, pack(seed), m) == pack(
        np.array(naive_hash(key, seed, m), np.uint8)
    )


def test_two_keys_collide_for_at_most_one_seed_in_2_to_the_m() -> None:
    """Universality, exhaustively: a nonzero difference of 5 bits goes to 0 for 1/8 of the seeds, or for none."""
    n, m = 5, 3
    for difference in range(1, 1 << n):
        bits = np.array([difference >> i & 1 for i in range(n)], np.uint8)
        zeros = sum(not modified_toeplitz_hash(bits, bytes([seed]), m).any() for seed in range(1 << (n - 1)))
        assert zeros == ((1 << n - 1) >> m if bits[: n - m].any() else 0)


def test_is_the_toeplitz_hash_of_the_first_bits_plus_the_last_bits_at_full_size() -> None:
    rng = np.random.default_rng(3)
    n, m = 500_003, 200_001
    key, seed = rng.integers(0, 2, n, dtype=np.uint8), pack(rng.integers(0, 2, n - 1, dtype=np.uint8))
    expected = amplification.toeplitz_hash(key[: n - m], seed, m) ^ key[n - m :]
    assert np.array_equal(modified_toeplitz_hash(key, seed, m), expected)


def test_refuses_what_it_cannot_hash() -> None:
    key = np.ones(10, np.uint8)
    for m in (-1, 10, 11):
        with pytest.raises(InputOutOfRange, match="shorter"):
            modified_toeplitz_hash(key, bytes(2), m)
    with pytest.raises(ProtocolViolation):
        modified_toeplitz_hash(key, bytes(3), 4)
    with pytest.raises(InputOutOfRange, match="key of 1 bytes"):
        modified_toeplitz_hash_packed(b"\1", 10, bytes(2), 4)
