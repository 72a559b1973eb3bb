import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.toeplitz_fingerprint import fingerprint, fingerprint_of_hash
from postproc import amplification
from postproc.bits import pack, unpack
from postproc.errors import InputOutOfRange, ProtocolViolation, SelfTestFailed
from postproc.gf2_vectors import available_lanes
from tests.postproc.polynomials import long_product

CODES = [available_lanes()[0], None]  # every instruction set: test_gf2_field


def naive_hash(key: np.ndarray, seed: np.ndarray, m: int) -> list[int]:
    """Row by row: y_i = XOR over j of seed[i - j + n - 1] key[j]."""
    n = len(key)
    return [sum(int(seed[i - j + n - 1] & key[j]) for j in range(n)) % 2 for i in range(m)]


def big_integer_hash(key_packed: bytes, n: int, seed_packed: bytes, m: int) -> bytes:
    """The bits n-1..n+m-2 of the product of key and seed as polynomials, by Python integers."""
    product = long_product(int.from_bytes(key_packed, "little"), int.from_bytes(seed_packed, "little"))
    return (product >> (n - 1) & ((1 << m) - 1)).to_bytes((m + 7) // 8, "little")


def random_input(n: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, n, dtype=np.uint8), rng.integers(0, 2, n + m - 1, dtype=np.uint8)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 1 << 32))
def test_matches_the_matrix(n: int, m: int, seed: int) -> None:
    key, seed_bits = random_input(n, m, seed)
    expected = pack(np.array(naive_hash(key, seed_bits, m), np.uint8))
    for lanes in CODES:
        assert amplification.hash_with(pack(key), n, pack(seed_bits), m, lanes) == expected


@pytest.mark.parametrize("lanes", CODES)
@pytest.mark.parametrize(
    ("n", "m"),
    [(20_000, 5_000), (9_999, 3), (4_097, 4_097), (1_000, 6_001), (64, 1_025), (1_024, 512), (70_001, 35_003)],
)
def test_matches_big_integers(n: int, m: int, lanes: tuple[int, ...] | None) -> None:
    key, seed_bits = random_input(n, m, n + m)
    expected = big_integer_hash(pack(key), n, pack(seed_bits), m)
    assert amplification.hash_with(pack(key), n, pack(seed_bits), m, lanes) == expected


@pytest.mark.parametrize("lanes", CODES)
def test_nothing_is_lost_where_every_bit_is_set(lanes: tuple[int, ...] | None) -> None:
    """y_i of all ones is the parity of n: carries and overlaps at their worst."""
    for n in (9_999, 10_000):
        key, seed = np.ones(n, np.uint8), pack(np.ones(n + 3_000 - 1, np.uint8))
        assert amplification.hash_with(pack(key), n, seed, 3_000, lanes) == pack(np.full(3_000, n % 2, np.uint8))


@pytest.mark.parametrize(
    ("n", "m"), [(1_000_003, 500_009), (2_000_000, 64), (50_000, 1_000_001), (9_000_001, 4_400_003)]
)
def test_long_hashes_have_the_fingerprint_of_the_definition(n: int, m: int) -> None:
    key, seed = (pack(bits) for bits in random_input(n, m, n))
    secret = amplification.toeplitz_hash_packed(key, n, seed, m)
    for modulus in (0x1B, 0xD3A5_5A3C_0F1E_2D4B):
        expected = fingerprint_of_hash(key, n, seed, m, modulus)
        assert fingerprint(secret, m, modulus) == expected
        damaged = bytearray(secret)
        damaged[m // 16] ^= 4
        assert fingerprint(bytes(damaged), m, modulus) != expected


def test_fingerprint_of_the_definition_is_that_of_the_matrix() -> None:
    for n, m in ((1, 1), (1, 9), (200, 70), (65, 130)):
        key, seed = random_input(n, m, n)
        hashed = pack(np.array(naive_hash(key, seed, m), np.uint8))
        for modulus in (0x1B, 0xD3A5_5A3C_0F1E_2D4B):
            remainder = int.from_bytes(hashed, "little")
            while remainder >> 64:
                remainder ^= ((1 << 64) | modulus) << (remainder.bit_length() - 65)
            assert fingerprint(hashed, m, modulus) == remainder
            assert fingerprint_of_hash(pack(key), n, pack(seed), m, modulus) == remainder


def test_kernels_are_right_as_plain_python_too() -> None:
    program = (
        "import sys; from postproc.amplification import toeplitz_hash_packed as h;"
        "print(h(bytes.fromhex(sys.argv[1]), 1500, bytes.fromhex(sys.argv[2]), 150).hex())"
    )
    key, seed = (pack(bits) for bits in random_input(1_500, 150, 1))
    found = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", program, key.hex(), seed.hex()],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(amplification.__file__).parents[1],
    )
    assert found.stdout.strip() == big_integer_hash(key, 1_500, seed, 150).hex()


def test_threads_do_not_disturb_each_other() -> None:
    inputs = [tuple(map(pack, random_input(30_000 + i, 9_000, i))) for i in range(8)]

    def hashed(i: int) -> bytes:
        return amplification.toeplitz_hash_packed(inputs[i][0], 30_000 + i, inputs[i][1], 9_000)

    alone = [hashed(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(hashed, [*range(8)] * 5)) == alone * 5


def test_first_row_and_column_are_where_the_definition_puts_them() -> None:
    n, m = 5, 4
    seed = np.array([1, 0, 1, 1, 0, 0, 1, 0], np.uint8)  # s_0..s_7
    columns = [amplification.toeplitz_hash(np.eye(n, dtype=np.uint8)[j], pack(seed), m) for j in range(n)]
    matrix = np.array(columns).T
    assert matrix[0].tolist() == seed[n - 1 :: -1].tolist()
    assert matrix[:, 0].tolist() == seed[n - 1 :].tolist()
    assert all(matrix[i + 1, j + 1] == matrix[i, j] for i in range(m - 1) for j in range(n - 1))


def test_bits_and_packed_bits_are_hashed_alike() -> None:
    key, seed_bits = random_input(1_003, 77, 1)
    packed = amplification.toeplitz_hash_packed(pack(key), 1_003, pack(seed_bits), 77)
    assert np.array_equal(amplification.toeplitz_hash(key, pack(seed_bits), 77), unpack(packed, 77))
    assert amplification.toeplitz_hash_packed(pack(key), 1_003, pack(seed_bits[:1_002]), 0) == b""


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
    with pytest.raises(InputOutOfRange, match="2\\^27"):
        amplification.toeplitz_hash_packed(b"", (1 << 27) + 1, b"", 4)
    with pytest.raises(InputOutOfRange, match="key of 1 bytes for 10 bits"):
        amplification.toeplitz_hash_packed(b"\1", 10, bytes(2), 4)
    with pytest.raises(InputOutOfRange, match="spare"):
        amplification.toeplitz_hash_packed(b"\0\xff", 10, bytes(2), 4)


def test_known_answers_come_from_big_integers() -> None:
    amplification.self_test()
    for n, m, expected in amplification._KNOWN:
        key, seed = amplification.known_input(n, m)
        assert big_integer_hash(pack(key), n, seed, m).hex() == expected


def test_self_test_notices_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amplification, "_KNOWN", ((64, 8, "00"), (64, 8, "01")))
    with pytest.raises(SelfTestFailed, match="64 bits"):
        amplification.self_test()
