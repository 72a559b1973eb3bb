"""Cascade: corrects, counts what leaves, refuses nonsense, and equals a slow twin."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.reconciliation import binary_entropy
from postproc.reconciliation.cascade import CascadePlan, CascadeReceiver, CascadeSender, NodeList, choose_blocks
from postproc.reconciliation.cascade_tree import UNKNOWN, PassTree


def noisy_pair(n: int, qber: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2, n, dtype=np.uint8)
    return key, key ^ (rng.random(n) < qber).astype(np.uint8)


def reconcile(key: np.ndarray, noisy: np.ndarray, plan: CascadePlan) -> tuple[CascadeSender, CascadeReceiver]:
    sender, receiver = CascadeSender(key, plan), CascadeReceiver(noisy, plan)
    while (request := receiver.next_request()) is not None:
        receiver.take(sender.answer(request))
    return sender, receiver


class NaiveCascade:
    """Both parties in one: every leaf a (level, index), every parity a sum over its bits."""

    def __init__(self, key: np.ndarray, noisy: np.ndarray, plan: CascadePlan) -> None:
        self.key, self.bits, self.plan = key, noisy.copy(), plan
        self.leaves: list[set[tuple[int, int]]] = []  # per pass: (level, index)
        self.orders = [PassTree.make(key.size, top, plan.seed + i).bit_of for i, top in enumerate(plan.block_levels)]
        self.disclosed = self.requests = 0

    def members(self, i: int, leaf: tuple[int, int]) -> np.ndarray:
        return self.orders[i][leaf[1] << leaf[0] : (leaf[1] + 1) << leaf[0]]

    def is_odd(self, i: int, leaf: tuple[int, int]) -> bool:
        where = self.members(i, leaf)
        return bool((self.key[where].sum() + self.bits[where].sum()) % 2)

    def run(self, overlap: float) -> None:
        levels = self.plan.block_levels
        while True:
            odd = [{leaf for leaf in leaves if self.is_odd(i, leaf)} for i, leaves in enumerate(self.leaves)]
            count = sum(map(len, odd))
            begun = len(self.leaves)
            if begun < len(levels) and count <= overlap * -(-self.key.size >> levels[begun]):
                while len(self.leaves) < len(levels) and levels[len(self.leaves)] == levels[begun]:
                    blocks = -(-self.key.size >> levels[begun])
                    self.leaves.append({(levels[begun], b) for b in range(blocks)})
                    self.disclosed += blocks
            elif count == 0:
                return
            self.requests += 1
            wrong = set()
            for i, leaves in enumerate(odd):
                for level, index in leaves:
                    self.disclosed += 1
                    self.leaves[i].remove((level, index))
                    halves = [(level - 1, 2 * index), (level - 1, 2 * index + 1)]
                    self.leaves[i].update(halves)
                    wrong |= {int(self.members(i, half)[0]) for half in halves if level == 1 and self.is_odd(i, half)}
            for bit in wrong:
                self.bits[bit] ^= 1


@pytest.mark.parametrize(
    ("n", "qber", "seed"), [(2, 0.5, 1), (7, 0.4, 2), (64, 0.1, 3), (1000, 0.03, 4), (1000, 0.2, 5), (1023, 0.06, 6)]
)
def test_same_bits_disclosures_and_messages_as_the_naive_twin(n: int, qber: float, seed: int) -> None:
    key, noisy = noisy_pair(n, qber, seed)
    plan = choose_blocks(n, min(qber, 0.25), seed)
    sender, receiver = reconcile(key, noisy, plan)
    naive = NaiveCascade(key, noisy, plan)
    naive.run(overlap=0.1)
    assert np.array_equal(receiver.bits, naive.bits)
    assert (sender.disclosed_bits, receiver.requests) == (naive.disclosed, naive.requests)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 600), st.floats(0, 0.5), st.integers(0, 1 << 40))
def test_it_always_ends_with_all_asked_parities_equal(n: int, qber: float, seed: int) -> None:
    key, noisy = noisy_pair(n, qber, seed)
    plan = choose_blocks(n, 0.05, seed)
    _, receiver = reconcile(key, noisy, plan)
    for i, top in enumerate(plan.block_levels):
        tree = PassTree.make(n, top, plan.seed + i)
        blocks = np.arange(tree.blocks)
        level = np.full(blocks.size, top)
        assert np.array_equal(tree.parities(key, level, blocks), tree.parities(receiver.bits, level, blocks))


@pytest.mark.parametrize(("qber", "limit"), [(0.01, 1.09), (0.03, 1.09), (0.08, 1.11)])
def test_efficiency_in_one_direction(qber: float, limit: float) -> None:
    key, noisy = noisy_pair(100_000, qber, 8)
    sender, receiver = reconcile(key, noisy, choose_blocks(key.size, qber, 1))
    assert np.array_equal(receiver.bits, key)
    assert not np.array_equal(noisy, key)
    assert 1 < sender.disclosed_bits / (key.size * binary_entropy(float(np.mean(key != noisy)))) < limit
    assert receiver.requests < 200


def test_without_errors_only_the_blocks_are_disclosed() -> None:
    key, _ = noisy_pair(4096, 0, 9)
    plan = choose_blocks(key.size, 0.02, 1)
    sender, receiver = reconcile(key, key, plan)
    assert sender.disclosed_bits == sum(-(-4096 >> level) for level in plan.block_levels)
    assert np.array_equal(receiver.bits, key)


def test_the_callers_bits_are_left_alone() -> None:
    key, noisy = noisy_pair(1000, 0.05, 10)
    before = noisy.copy()
    reconcile(key, noisy, choose_blocks(1000, 0.05, 1))
    assert np.array_equal(noisy, before)


@pytest.mark.parametrize(
    ("pass_index", "level", "index"),
    [(-1, [3], [0]), (99, [3], [0]), (0, [-1], [0]), (0, [9], [0]), (0, [0], [1000]), (0, [0], [-1]), (0, [0, 0], [1])],
)
def test_requests_for_what_does_not_exist_are_refused(pass_index: int, level: list[int], index: list[int]) -> None:
    key, _ = noisy_pair(1000, 0, 11)
    sender = CascadeSender(key, choose_blocks(1000, 0.05, 1))
    with pytest.raises(ProtocolViolation):
        sender.answer((NodeList(pass_index, np.array(level), np.array(index)),))
    assert sender.disclosed_bits == 0


def test_replies_of_the_wrong_shape_or_value_are_refused() -> None:
    key, noisy = noisy_pair(1000, 0.05, 12)
    plan = choose_blocks(1000, 0.05, 1)
    receiver = CascadeReceiver(noisy, plan)
    with pytest.raises(ProtocolViolation):
        receiver.take(np.zeros(3, np.uint8))
    request = receiver.next_request()
    assert request is not None
    with pytest.raises(InputOutOfRange, match="not been answered"):
        receiver.next_request()
    good = CascadeSender(key, plan).answer(request)
    for bad in (good[:-1], good.astype(np.int64), good + np.uint8(2)):
        with pytest.raises(ProtocolViolation):
            receiver.take(bad)
    receiver.take(good)


def test_limits_of_a_plan() -> None:
    for bad in ({"key_bits": 1}, {"key_bits": 1 << 25}, {"block_levels": ()}, {"block_levels": (0,)}):
        with pytest.raises(InputOutOfRange):
            replace(CascadePlan(1000, (4, 6), 1), **bad)
    for qber in (0.0, 0.3, float("nan")):
        with pytest.raises(InputOutOfRange):
            choose_blocks(1000, qber, 1)
    with pytest.raises(InputOutOfRange):
        CascadeSender(np.zeros(999, np.uint8), choose_blocks(1000, 0.05, 1))


def test_a_pass_is_a_permutation_that_nothing_is_known_of() -> None:
    tree = PassTree.make(1000, 4, 77)
    assert np.array_equal(np.sort(tree.bit_of), np.arange(1000))
    assert np.array_equal(tree.bit_of[tree.position_of], np.arange(1000))
    assert (tree.known == UNKNOWN).all()
    assert not np.array_equal(tree.bit_of, PassTree.make(1000, 4, 78).bit_of)
