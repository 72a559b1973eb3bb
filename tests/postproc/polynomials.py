"""Slow, obvious arithmetic of polynomials over GF(2) on Python integers: bit i is the coefficient of x^i."""

from __future__ import annotations

import numpy as np

MODULUS = (1 << 128) | (1 << 7) | (1 << 2) | (1 << 1) | 1
_DIGITS = 5  # hexadecimal digits for each coefficient: sums of up to 2^20 ones do not carry into the next


def product(a: int, b: int) -> int:
    """Carry-less product, bit by bit."""
    total = 0
    while b:
        if b & 1:
            total ^= a
        a, b = a << 1, b >> 1
    return total


def long_product(a: int, b: int) -> int:
    """The same by one product of integers with 20 bits of room for every coefficient, whose parities are the result."""
    if min(a.bit_length(), b.bit_length()) >= 1 << 4 * _DIGITS:
        raise ValueError("operands too long: a coefficient's sum would overflow its digits")
    digits = format(_spread(a) * _spread(b), "x")
    digits = digits.zfill(-(-len(digits) // _DIGITS) * _DIGITS)
    return int("".join("01"[int(digit, 16) & 1] for digit in digits[_DIGITS - 1 :: _DIGITS]), 2)


def _spread(a: int) -> int:
    return int(("0" * (_DIGITS - 1)).join(("", *format(a, "b"))), 16)


def field_product(a: int, b: int) -> int:
    """Product in GF(2)[x] / (x^128 + x^7 + x^2 + x + 1)."""
    c = product(a, b)
    while c.bit_length() > 128:
        c ^= MODULUS << (c.bit_length() - 129)
    return c


def as_words(elements: list[int]) -> np.ndarray:
    """Field elements as words, low word first."""
    return np.frombuffer(b"".join(e.to_bytes(16, "little") for e in elements), np.uint64).copy()


def as_elements(words: np.ndarray) -> list[int]:
    """The inverse of `as_words`."""
    return [int(low) | int(high) << 64 for low, high in words.reshape(-1, 2)]


def random_elements(count: int, seed: int) -> list[int]:
    """Field elements, reproducible."""
    rng = np.random.default_rng(seed)
    return [int.from_bytes(rng.bytes(16), "little") for _ in range(count)]
