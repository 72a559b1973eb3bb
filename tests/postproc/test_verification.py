import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from postproc import gf2, verification
from postproc.bits import pack
from postproc.errors import InputOutOfRange, SelfTestFailed

MODULUS = 1 << 128 | 0x87
PRODUCTS = [None] + ([gf2.HARDWARE] if gf2.best_product() is not None else [])
LENGTHS = [0, 1, 64, 127, 128, 129, 255, 256, 1000, 1024]


def field_product(a: int, b: int) -> int:
    product = 0
    for i in range(128):
        if b >> i & 1:
            product ^= a << i
    for i in range(254, 127, -1):
        if product >> i & 1:
            product ^= MODULUS << (i - 128)
    return product


def naive_hash(key_packed: bytes, n_bits: int, seed: bytes) -> bytes:
    """Sum of block times power of the seed, as the definition says it."""
    key, h = int.from_bytes(key_packed, "little"), int.from_bytes(seed, "little")
    blocks = [key >> (128 * i) & ((1 << 128) - 1) for i in range(-(-n_bits // 128))] + [n_bits]
    total, power = 0, h
    for block in reversed(blocks):
        total ^= field_product(block, power)
        power = field_product(power, h)
    return total.to_bytes(16, "little")


@pytest.mark.parametrize("hardware", PRODUCTS)
@pytest.mark.parametrize("n_bits", LENGTHS)
def test_matches_the_naive_twin(n_bits: int, hardware: int | None) -> None:
    rng = np.random.default_rng(n_bits)
    key, seed = pack(rng.integers(0, 2, n_bits, dtype=np.uint8)), rng.bytes(16)
    assert verification.hash_with(key, n_bits, seed, hardware) == naive_hash(key, n_bits, seed)


@pytest.mark.parametrize("n_bytes", [1, 15, 16, 17, 100, 4096])
def test_agrees_with_ghash_of_aes_gcm(n_bytes: int) -> None:
    """GHASH has the bits of each byte reversed and its own length block (bit length, big-endian, in the first half)."""

    def mirror(data: bytes) -> bytes:
        return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)

    key, nonce, message = bytes(range(16)), bytes(12), bytes(7 * i % 256 for i in range(n_bytes))
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    seed, mask = encryptor.update(bytes(16)), encryptor.update(nonce + b"\0\0\0\1")
    tag = AESGCM(key).encrypt(nonce, b"", message)
    ghash = mirror(bytes(a ^ b for a, b in zip(tag, mask, strict=True)))
    own = verification.polynomial_hash(mirror(message), 8 * n_bytes, mirror(seed))
    ghash_length = int.from_bytes(mirror((8 * n_bytes).to_bytes(8, "big") + bytes(8)), "little")
    correction = field_product(ghash_length ^ (8 * n_bytes), int.from_bytes(mirror(seed), "little"))
    assert int.from_bytes(own, "little") ^ correction == int.from_bytes(ghash, "little")


def test_a_flipped_bit_or_another_length_changes_the_hash() -> None:
    seed = bytes(range(1, 17))
    hashes = {verification.polynomial_hash((1 << i).to_bytes(33, "little"), 257, seed) for i in range(257)}
    hashes |= {verification.polynomial_hash(bytes(-(-n // 8)), n, seed) for n in range(1, 300)}
    assert len(hashes) == 257 + 299


def test_collisions_in_a_small_field_stay_within_the_bound() -> None:
    """The same construction over GF(2^4) (x^4 + x + 1), all seeds, all pairs of keys of up to two blocks."""

    def product(a: int, b: int) -> int:
        total = 0
        for i in range(4):
            total ^= (a << i) * (b >> i & 1)
        for i in (6, 5, 4):
            total ^= (0b10011 << (i - 4)) * (total >> i & 1)
        return total

    def toy_hash(blocks: tuple[int, ...], h: int) -> int:
        state = 0
        for block in (*blocks, len(blocks)):
            state = product(state ^ block, h)
        return state

    keys = [(), *[(a,) for a in range(16)], *[(a, b) for a in range(16) for b in range(16)]]
    values = np.array([[toy_hash(key, h) for h in range(16)] for key in keys])
    agreements = (values[:, None, :] == values[None, :, :]).sum(axis=2)
    np.fill_diagonal(agreements, 0)
    assert agreements.max() == 3  # l + 1 of 16 seeds for l = 2 blocks, and it is reached


def test_collision_probability_counts_blocks_and_length() -> None:
    assert verification.collision_probability(1_000_000) == (7813 + 1) * 2.0**-128


@pytest.mark.parametrize(
    ("key", "n_bits", "seed"),
    [
        (b"\0", 9, bytes(16)),
        (b"\0\0", 8, bytes(16)),
        (b"\x80", 7, bytes(16)),
        (b"\0", 8, bytes(15)),
        (b"", -1, bytes(16)),
    ],
)
def test_refuses_inconsistent_input(key: bytes, n_bits: int, seed: bytes) -> None:
    with pytest.raises(InputOutOfRange):
        verification.polynomial_hash(key, n_bits, seed)


def test_known_answers_come_from_the_naive_twin() -> None:
    verification.self_test()
    for n_bits, expected in verification._KNOWN:
        assert naive_hash(verification.known_key(n_bits), n_bits, verification._KNOWN_SEED).hex() == expected


def test_self_test_notices_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_KNOWN", ((8, "00" * 16),))
    with pytest.raises(SelfTestFailed, match="8 bits"):
        verification.self_test()
