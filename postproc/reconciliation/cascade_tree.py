"""One pass of Cascade: a permutation of the key, cut into blocks, and the parities known of the blocks' halves.

A node (level, index) covers the permuted positions from index * 2^level to (index + 1) * 2^level - 1, as far as the key
goes. Halving discloses the left child's parity and gives the right one's, so the known nodes form full binary trees;
their leaves partition the key, and a corrected bit changes the parity of exactly one leaf. A leaf is odd when Alice's
parity and Bob's present one differ; it holds an odd number of wrong bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from postproc.records import BitArray

UNKNOWN = 2
_PILE_BITS = 5
_PILES = 1 << _PILE_BITS


@dataclass(slots=True, eq=False)
class PassTree:
    """top: level of the blocks; bit_of, position_of: int32 [n], the permutation and its inverse; known: uint8, Alice's
    parity of each node or UNKNOWN; odd: uint8, 1 where a leaf's parities differ. Level v starts at offset[v]."""

    positions: int
    top: int
    bit_of: NDArray[np.int32]
    position_of: NDArray[np.int32]
    offset: NDArray[np.int64]
    known: NDArray[np.uint8]
    odd: NDArray[np.uint8]
    candidates: NDArray[np.int64]  # nodes that may be odd leaves: all that are, and some that were

    @classmethod
    def make(cls, positions: int, top: int, seed: int) -> PassTree:
        """The pass with blocks of 2^top positions, nothing known yet."""
        sizes = [2 * (-(-positions >> (level + 1)) + 1) for level in range(top + 1)]
        offset = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        bit_of = _permutation(positions, np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
        position_of = _inverse(bit_of)
        known, odd = np.full(offset[-1], UNKNOWN, np.uint8), np.zeros(offset[-1], np.uint8)
        return cls(positions, top, bit_of, position_of, offset, known, odd, np.empty(0, np.int64))

    @property
    def blocks(self) -> int:
        """Number of blocks; the last may be shorter."""
        return -(-self.positions >> self.top)

    def parities(self, bits: BitArray, level: NDArray[np.int64], index: NDArray[np.int64]) -> BitArray:
        """Parity of `bits` over each node, uint8."""
        return _parities(bits, self.bit_of, level, index)

    def nodes(self, level: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many nodes these levels have; the right half of the last one may be empty."""
        return np.asarray(-(-self.positions >> level))

    def left_halves(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(level, index) of the left half of each odd leaf. A leaf of one position is never odd: it was corrected."""
        self.candidates = np.unique(self.candidates[self.odd[self.candidates] == 1])
        level = np.searchsorted(self.offset, self.candidates, side="right") - 1
        return level - 1, 2 * (self.candidates - self.offset[level])

    def learn(
        self, bits: BitArray, level: NDArray[np.int64], index: NDArray[np.int64], parity: BitArray
    ) -> NDArray[np.int32]:
        """Alice's parities of blocks, or of the left halves that were asked for; `bits` are Bob's.

        Returns the wrong bits that this pins down; correcting and toggling them is for the caller.
        """
        node = self.offset[level] + index
        if level.size and level[0] == self.top:
            self.known[node] = parity
            self.odd[node] = self.parities(bits, level, index) ^ parity
            self.candidates = node
            return np.empty(0, np.int32)
        parent = self.offset[level + 1] + index // 2
        self.known[node] = parity
        self.known[node + 1] = self.known[parent] ^ parity
        is_left_odd = self.parities(bits, level, index) ^ parity
        self.odd[parent] = 0
        self.odd[node], self.odd[node + 1] = is_left_odd, 1 - is_left_odd
        odd = np.where(is_left_odd == 1, node, node + 1)
        self.candidates = np.concatenate((self.candidates, odd))
        return self.bit_of[odd[level == 0]]

    def toggle(self, bits: NDArray[np.int32]) -> None:
        """These bits of the key were corrected: the leaves that hold them change from even to odd and back."""
        leaves = _toggle(bits, self.position_of, self.offset, self.top, self.known, self.odd)
        self.candidates = np.concatenate((self.candidates, leaves))


@njit(nogil=True, cache=True)
def _mixed(state):  # type: ignore[no-untyped-def]
    """The output of SplitMix64 (see postproc.integers) in this state."""
    z = uint64((state ^ (state >> uint64(30))) * uint64(0xBF58476D1CE4E5B9))
    z = uint64((z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB))
    return z ^ (z >> uint64(31))


@njit(nogil=True, cache=True)
def _permutation(size, seed):  # type: ignore[no-untyped-def]
    """A random permutation, int32 [size]: items are dealt to random piles that fit into the cache, and each pile is
    shuffled (Fisher-Yates)."""
    step = uint64(0x9E3779B97F4A7C15)
    first = np.zeros(_PILES + 1, np.int64)
    state = uint64(seed)
    for _ in range(size):
        state = uint64(state + step)
        first[np.int64(_mixed(state) >> uint64(64 - _PILE_BITS)) + 1] += 1
    first = np.cumsum(first)
    place, out = first[:-1].copy(), np.empty(size, np.int32)
    state = uint64(seed)
    for item in range(size):
        state = uint64(state + step)
        pile = np.int64(_mixed(state) >> uint64(64 - _PILE_BITS))
        out[place[pile]] = item
        place[pile] += 1
    for k in range(_PILES):
        items = out[first[k] : first[k + 1]]
        for i in range(items.size - 1, 0, -1):
            state = uint64(state + step)
            j = np.int64((uint64(_mixed(state) >> uint64(32)) * uint64(i + 1)) >> uint64(32))
            items[i], items[j] = items[j], items[i]
    return out


@njit(nogil=True, cache=True)
def _inverse(permutation):  # type: ignore[no-untyped-def]
    out = np.empty_like(permutation)
    for i in range(permutation.size):
        out[permutation[i]] = i
    return out


@njit(nogil=True, cache=True)
def _parities(bits, bit_of, level, index):  # type: ignore[no-untyped-def]
    out = np.empty(level.size, np.uint8)
    for i in range(level.size):
        first = index[i] << level[i]
        last = min((index[i] + 1) << level[i], bit_of.size)
        parity = np.uint8(0)
        for position in range(first, last):
            parity ^= bits[bit_of[position]]
        out[i] = parity
    return out


@njit(nogil=True, cache=True)
def _toggle(bits, position_of, offset, top, known, odd):  # type: ignore[no-untyped-def]
    """Mark the leaf of each bit; returns the leaves as indices into `known`."""
    leaves = np.empty(bits.size, np.int64)
    for i in range(bits.size):
        position = np.int64(position_of[bits[i]])
        level = top
        while level > 0 and known[offset[level - 1] + (position >> (level - 1))] != UNKNOWN:
            level -= 1
        leaves[i] = offset[level] + (position >> level)
        odd[leaves[i]] ^= np.uint8(1)
    return leaves
