import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc import amplification, gf2
from postproc.bits import pack
from postproc.errors import InputOutOfRange, ProtocolViolation, SelfTestFailed

PRODUCTS = [None] + ([gf2.HARDWARE] if gf2.best_product() is not None else [])


def naive_hash(key: np.ndarray, seed: np.ndarray, m: int) -> list[int]:
    """Row by row: y_i = XOR over j of seed[i - j + n - 1] key[j]."""
    n = len(key)
    return [sum(int(seed[i - j + n - 1] & key[j]) for j in range(n)) % 2 for i in range(m)]


def big_integer_hash(key: np.ndarray, seed_packed: bytes, m: int) -> bytes:
    """The bits n-1..n+m-2 of the product of key and seed as polynomials, by shifted Python integers."""
    seed, product = int.from_bytes(seed_packed, "little"), 0
    for j in np.flatnonzero(key):
        product ^= seed << int(j)
    return (product >> (len(key) - 1) & ((1 << m) - 1)).to_bytes((m + 7) // 8, "little")


def random_input(n: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, n, dtype=np.uint8), rng.integers(0, 2, n + m - 1, dtype=np.uint8)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 1 << 32))
def test_matches_the_matrix(n: int, m: int, seed: int) -> None:
    key, seed_bits = random_input(n, m, seed)
    for hardware in PRODUCTS:
        assert amplification.hash_with(key, pack(seed_bits), m, hardware).tolist() == naive_hash(key, seed_bits, m)


@pytest.mark.parametrize("hardware", PRODUCTS)
@pytest.mark.parametrize(("n", "m"), [(20_000, 5_000), (9_999, 3), (4_097, 4_097), (1_000, 6_001), (64, 1_025)])
def test_matches_big_integers(n: int, m: int, hardware: int | None) -> None:
    key, seed_bits = random_input(n, m, n + m)
    found = amplification.hash_with(key, pack(seed_bits), m, hardware)
    assert pack(found) == big_integer_hash(key, pack(seed_bits), m)


def test_first_row_and_column_are_where_the_definition_puts_them() -> None:
    n, m = 5, 4
    seed = np.array([1, 0, 1, 1, 0, 0, 1, 0], np.uint8)  # s_0..s_7
    columns = [amplification.toeplitz_hash(np.eye(n, dtype=np.uint8)[j], pack(seed), m) for j in range(n)]
    matrix = np.array(columns).T
    assert matrix[0].tolist() == seed[n - 1 :: -1].tolist()
    assert matrix[:, 0].tolist() == seed[n - 1 :].tolist()
    assert all(matrix[i + 1, j + 1] == matrix[i, j] for i in range(m - 1) for j in range(n - 1))


def test_is_linear_in_the_key_at_full_size() -> None:
    n, m = 300_000, 70_000
    key, seed_bits = random_input(n, m, 3)
    other, _ = random_input(n, m, 4)
    seed = pack(seed_bits)
    both = [amplification.toeplitz_hash(k, seed, m) for k in (key, other, key ^ other)]
    assert np.array_equal(both[0] ^ both[1], both[2])
    single = np.zeros(n, np.uint8)
    single[123_456] = 1
    expected = seed_bits[n - 1 - 123_456 :][:m]
    assert np.array_equal(amplification.toeplitz_hash(single, seed, m), expected)


def test_two_keys_collide_for_exactly_one_seed_in_2_to_the_m() -> None:
    """XOR-universality, exhaustively: every nonzero key of 4 bits is hashed to every value of 3 bits equally often."""
    n, m = 4, 3
    for key in range(1, 1 << n):
        bits = np.array([key >> i & 1 for i in range(n)], np.uint8)
        values = [pack(amplification.toeplitz_hash(bits, bytes([seed]), m))[0] for seed in range(1 << (n + m - 1))]
        assert np.bincount(values, minlength=8).tolist() == [8] * 8


def test_refuses_a_seed_of_another_length_and_sizes_out_of_range() -> None:
    key = np.ones(10, np.uint8)
    with pytest.raises(ProtocolViolation):
        amplification.toeplitz_hash(key, bytes(3), 4)
    with pytest.raises(ProtocolViolation, match="spare"):
        amplification.toeplitz_hash(key, b"\0\xff", 4)
    with pytest.raises(InputOutOfRange):
        amplification.toeplitz_hash(key, bytes(2), -1)
    with pytest.raises(InputOutOfRange):
        amplification.toeplitz_hash(key[:0], bytes(1), 4)


def test_known_answers_come_from_big_integers() -> None:
    amplification.self_test()
    for n, m, expected in amplification._KNOWN:
        key, seed = amplification.known_input(n, m)
        assert big_integer_hash(key, seed, m).hex() == expected


def test_self_test_notices_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amplification, "_KNOWN", ((64, 8, "00"), (64, 8, "01")))
    with pytest.raises(SelfTestFailed, match="64 bits"):
        amplification.self_test()
