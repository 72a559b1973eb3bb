"""Cascade: interactive reconciliation by binary search, for comparison, interoperability and very short links.

Brassard and Salvail 1993, with the known improvements: block sizes that are powers of two and large from the third pass
on, and reuse of every parity ever disclosed (Martinez-Mateo et al. 2015, "Demystifying the information reconciliation
protocol Cascade", section 4). In each pass the key is permuted and cut into blocks; a block whose parities differ is
halved until the wrong bit is found, and every correction makes blocks of the other passes odd, which are halved in
turn. Each message halves all odd nodes of all passes at once; the next pass begins when none is odd.

    sender, receiver = CascadeSender(key, plan), CascadeReceiver(noisy, plan)
    while (request := receiver.next_request()) is not None:
        receiver.take(sender.answer(request))

What it costs: Alice discloses one parity per node of a request. Which nodes are asked for tells on which of them Bob's
parity differs, so Bob discloses as many. Literature counts Alice's alone (`disclosed_bits` of the sender); unless the
proof in force permits that, both directions must be charged, f above 2. The session does not use Cascade. That no node
is odd at the end does not prove the bits equal: the verification hash decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.reconciliation.cascade_tree import PassTree
from postproc.records import BitArray

MAX_KEY_BITS = 1 << 24
_LAST_PASSES = 4  # of two blocks each, begun together: they find what is left
_OVERLAP = 0.1  # the next pass begins while so many nodes are odd, as a share of its blocks: fewer messages


@dataclass(frozen=True, slots=True)
class CascadePlan:
    """What both sides fix beforehand: length of the key, block sizes as powers of two per pass, and the public seed of
    the permutations. Raises InputOutOfRange."""

    key_bits: int
    block_levels: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        if not 2 <= self.key_bits <= MAX_KEY_BITS:
            raise InputOutOfRange(f"Cascade: key of {self.key_bits} bits is outside 2..{MAX_KEY_BITS}")
        if not 1 <= len(self.block_levels) <= 32 or not all(1 <= level <= 24 for level in self.block_levels):
            raise InputOutOfRange(f"Cascade: block levels {self.block_levels} are not 1..32 numbers from 1 to 24")


def choose_blocks(key_bits: int, expected_qber: float, seed: int) -> CascadePlan:
    """Blocks of up to 1 / QBER bits, then four times as many, 4096, and half the key. Raises InputOutOfRange."""
    if not 0 < expected_qber <= 0.25:
        raise InputOutOfRange(f"Cascade: expected QBER {expected_qber} is outside 0..0.25")
    first = max(1, math.floor(math.log2(1 / expected_qber)))
    half = max(1, math.ceil(math.log2(key_bits)) - 1)
    levels = [min(first, half), min(first + 2, half), min(max(first + 4, 12), half)]
    return CascadePlan(key_bits, tuple(levels + [half] * _LAST_PASSES), seed)


@dataclass(frozen=True, slots=True)
class NodeList:
    """Nodes of one pass: (level, index) covers the permuted positions from index * 2^level on. int64 [n] each."""

    pass_index: int
    level: NDArray[np.int64]
    index: NDArray[np.int64]


ParityRequest = tuple[NodeList, ...]
"""Bob asks for Alice's parities of these nodes, at most one list per pass."""


class CascadeSender:
    """Alice: answers requests and counts what she discloses."""

    def __init__(self, key_bits: BitArray, plan: CascadePlan) -> None:
        self._trees = _Trees(key_bits, plan)
        self.disclosed_bits = 0

    def answer(self, request: ParityRequest) -> BitArray:
        """Parities in the order of the request. Raises ProtocolViolation when it asks for what does not exist."""
        parts = [np.empty(0, np.uint8)]
        for nodes in request:
            tree = self._require_nodes(nodes)
            parts.append(tree.parities(self._trees.bits, nodes.level, nodes.index))
        reply = np.concatenate(parts)
        self.disclosed_bits += reply.size
        return reply

    def _require_nodes(self, nodes: NodeList) -> PassTree:
        if not 0 <= nodes.pass_index < len(self._trees.plan.block_levels):
            raise ProtocolViolation(f"Cascade: there is no pass {nodes.pass_index}")
        tree = self._trees.tree(nodes.pass_index)
        level, index = nodes.level, nodes.index
        if level.ndim != 1 or level.shape != index.shape or level.size > tree.positions:
            raise ProtocolViolation("Cascade: a request has as many levels as indices, and no more than positions")
        if (level < 0).any() or (level > tree.top).any() or (index < 0).any() or (index >= tree.nodes(level)).any():
            raise ProtocolViolation(f"Cascade: a request names nodes outside pass {nodes.pass_index}")
        return tree


class CascadeReceiver:
    """Bob: corrects his bits. `bits` are his current ones; `requests` counts his messages so far."""

    def __init__(self, noisy_bits: BitArray, plan: CascadePlan) -> None:
        self._trees = _Trees(noisy_bits.copy(), plan)
        self._begun = 0
        self._asked: ParityRequest = ()
        self.requests = 0

    @property
    def bits(self) -> BitArray:
        """Bob's bits as corrected so far, uint8 [key_bits]."""
        return self._trees.bits

    def next_request(self) -> ParityRequest | None:
        """The parities needed next; None when all passes agree. Every request must be answered before the next."""
        if self._asked:
            raise InputOutOfRange("Cascade: the last request has not been answered")
        halves = [NodeList(i, *self._trees.tree(i).left_halves()) for i in range(self._begun)]
        open_nodes = sum(nodes.level.size for nodes in halves)
        self._asked = tuple(nodes for nodes in halves if nodes.level.size)
        if open_nodes <= _OVERLAP * self._blocks_of_next_pass():
            self._asked += self._begin_passes()
        self.requests += bool(self._asked)
        return self._asked or None

    def take(self, reply: BitArray) -> None:
        """Alice's parities for the last request. Raises ProtocolViolation when number or values are impossible."""
        wanted = sum(nodes.level.size for nodes in self._asked)
        if not self._asked or reply.shape != (wanted,) or reply.dtype != np.uint8 or (reply > 1).any():
            raise ProtocolViolation("Cascade: a reply holds one parity, 0 or 1, for each node of the last request")
        wrong, first = [], 0
        for nodes in self._asked:
            part = reply[first : first + nodes.level.size]
            wrong.append(self._trees.tree(nodes.pass_index).learn(self.bits, nodes.level, nodes.index, part))
            first += nodes.level.size
        self._asked = ()
        found = np.unique(np.concatenate(wrong))
        self.bits[found] ^= 1
        for i in range(self._begun):
            self._trees.tree(i).toggle(found)

    def _blocks_of_next_pass(self) -> float:
        """Minus infinity when all passes have begun."""
        plan = self._trees.plan
        if self._begun == len(plan.block_levels):
            return -math.inf
        return -(-plan.key_bits >> plan.block_levels[self._begun])

    def _begin_passes(self) -> ParityRequest:
        """All blocks of the next pass, or of all passes left that have the same block size."""
        levels = self._trees.plan.block_levels
        first = self._begun
        while self._begun < len(levels) and levels[self._begun] == levels[first]:
            self._begun += 1
        begun = []
        for i in range(first, self._begun):
            tree = self._trees.tree(i)
            blocks = np.arange(tree.blocks, dtype=np.int64)
            begun.append(NodeList(i, np.full(blocks.size, tree.top, np.int64), blocks))
        return tuple(begun)


@dataclass(slots=True)
class _Trees:
    """The passes of one side, made when they are first needed."""

    bits: BitArray
    plan: CascadePlan
    made: dict[int, PassTree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bits.shape != (self.plan.key_bits,) or self.bits.dtype != np.uint8 or self.bits.max() > 1:
            raise InputOutOfRange(f"Cascade: this plan is for {self.plan.key_bits} bits as uint8 0 and 1")

    def tree(self, index: int) -> PassTree:
        if index not in self.made:
            top = self.plan.block_levels[index]
            self.made[index] = PassTree.make(self.plan.key_bits, top, self.plan.seed + index)
        return self.made[index]
