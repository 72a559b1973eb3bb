"""Sifting on both sides, strict reading of the peer's messages, and the counts."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc import bits, estimation, sifting
from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.messages import Bases
from postproc.records import BlockCounts, Detections
from postproc.symbols import split_symbols


def a_block(seed: int, n: int, errors: float = 0.1) -> tuple[np.ndarray, Detections]:
    """Alice's symbols and Bob's detections of n slots."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 4, n)
    symbols = (state | rng.integers(0, 2, n) << 4).astype(np.uint8)
    basis = rng.integers(0, 2, n).astype(np.uint8)
    bit = ((state & 1) ^ (rng.random(n) < errors)).astype(np.uint8)
    slot = np.cumsum(rng.integers(1, 50, n))
    return symbols, Detections(0, int(slot[-1]) + 1 if n else 1, slot, basis, bit)


def slow_counts(symbols: np.ndarray, bob: Detections) -> BlockCounts:
    """One detection at a time."""
    n_key, n_test, m_key, m_test = [0, 0], [0, 0], [0, 0], [0, 0]
    for symbol, basis, bit in zip(symbols.tolist(), bob.basis.tolist(), bob.bit.tolist(), strict=True):
        state, intensity = symbol & 15, symbol >> 4
        if state // 2 == basis:
            n, m = (n_test, m_test) if basis else (n_key, m_key)
            n[intensity] += 1
            m[intensity] += state % 2 != bit
    return BlockCounts(tuple(n_key), tuple(n_test), tuple(m_key), tuple(m_test))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 300))
def test_both_sides_keep_the_same_detections_and_count_alike(seed: int, n: int) -> None:
    symbols, bob = a_block(seed, n)
    alice_sifted = sifting.sift_alice(symbols, sifting.read_bases(sifting.make_bases(bob), n))
    reveal = sifting.read_reveal(sifting.make_reveal(symbols, alice_sifted), bob)
    bob_sifted = sifting.sift_bob(bob, reveal)
    assert np.array_equal(alice_sifted.key_intensity, bob_sifted.key_intensity)
    assert np.array_equal(alice_sifted.test_intensity, bob_sifted.test_intensity)
    assert np.array_equal(reveal.test_bits, alice_sifted.test_bits)
    counts = estimation.count_errors(bob_sifted, alice_sifted.key_bits, reveal.test_bits)
    assert counts == slow_counts(symbols, bob)
    assert estimation.counts_from_errors(alice_sifted, counts.m_key, counts.m_test) == counts


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 300))
def test_what_is_kept_is_what_masks_keep(seed: int, n: int) -> None:
    symbols, bob = a_block(seed, n)
    basis, bit, intensity = split_symbols(symbols)
    kept = sifting.sift_alice(symbols, bob.basis)
    for which, bits_kept, intensity_kept in (
        (0, kept.key_bits, kept.key_intensity),
        (1, kept.test_bits, kept.test_intensity),
    ):
        both = (basis == which) & (bob.basis == which)
        assert bits_kept.tolist() == bit[both].tolist()
        assert intensity_kept.tolist() == intensity[both].tolist()


def test_nothing_of_the_key_basis_is_revealed() -> None:
    symbols, bob = a_block(1, 1000)
    sifted = sifting.sift_alice(symbols, bob.basis)
    flipped = np.where(symbols & 2 == 0, symbols ^ 1, symbols).astype(np.uint8)  # every key-basis bit changed
    assert sifting.make_reveal(symbols, sifted) == sifting.make_reveal(flipped, sifting.sift_alice(flipped, bob.basis))


@pytest.mark.parametrize("symbol", [0x40, 0x80, 0x04, 0x0F, 0x20, 0x30, 0xFF])
def test_symbols_that_may_not_enter_a_key_are_refused(symbol: int) -> None:
    symbols = np.array([0, 1, symbol, 2], np.uint8)
    with pytest.raises(InputOutOfRange, match=f"symbol 2 of 4 is 0x{symbol:02x}"):
        sifting.sift_alice(symbols, np.zeros(4, np.uint8))
    with pytest.raises(InputOutOfRange, match="uint8 vector"):
        split_symbols(symbols.astype(np.int64))


def test_symbol_bytes_are_read_as_documented() -> None:
    basis, bit, intensity = split_symbols(np.array([0x00, 0x01, 0x02, 0x03, 0x10, 0x13], np.uint8))
    assert basis.tolist() == [0, 0, 1, 1, 0, 1]
    assert bit.tolist() == [0, 1, 0, 1, 0, 1]
    assert intensity.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("field", ["bases_packed", "intensities_packed", "test_bits_packed"])
@pytest.mark.parametrize(
    "change", [lambda data: data + b"\0", lambda data: data[:-1], lambda data: data[:-1] + b"\xff"]
)
def test_a_malformed_reveal_is_a_violation(field: str, change) -> None:  # type: ignore[no-untyped-def]
    symbols, bob = a_block(2, 101)
    reveal = sifting.make_reveal(symbols, sifting.sift_alice(symbols, bob.basis))
    bad = msgspec.structs.replace(reveal, **{field: change(getattr(reveal, field))})
    with pytest.raises(ProtocolViolation):
        sifting.read_reveal(bad, bob)


def test_a_reveal_with_more_test_bits_than_bob_has_is_a_violation() -> None:
    symbols, bob = a_block(3, 400)
    reveal = sifting.make_reveal(symbols, sifting.sift_alice(symbols, bob.basis))
    all_x = msgspec.structs.replace(reveal, bases_packed=bits.pack(np.ones(400, np.uint8)))
    with pytest.raises(ProtocolViolation):
        sifting.read_reveal(all_x, bob)


def test_bases_must_match_the_announced_slots() -> None:
    with pytest.raises(ProtocolViolation):
        sifting.read_bases(Bases(count=9, bases_packed=b"\0"), 9)


def test_unequal_lengths_are_refused() -> None:
    symbols, bob = a_block(4, 50)
    with pytest.raises(InputOutOfRange, match="equal lengths"):
        sifting.sift_alice(symbols, bob.basis[:-1])
    sifted = sifting.sift_alice(symbols, bob.basis)
    with pytest.raises(InputOutOfRange):
        estimation.count_errors(sifted, sifted.key_bits[:-1], sifted.test_bits)


@pytest.mark.parametrize(
    ("m_key", "m_test"),
    [((1, 2, 3), (0, 0)), ((0,), (0, 0)), ((10**6, 0), (0, 0)), ((0, 0), (0, 10**6)), ((-1, 0), (0, 0))],
)
def test_error_counts_that_cannot_be_true_are_a_violation(m_key: tuple[int, ...], m_test: tuple[int, ...]) -> None:
    symbols, bob = a_block(5, 200)
    with pytest.raises(ProtocolViolation):
        estimation.counts_from_errors(sifting.sift_alice(symbols, bob.basis), m_key, m_test)
