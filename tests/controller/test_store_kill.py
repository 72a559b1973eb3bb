"""kill -9 at random moments: no pad twice, no key twice, no round on one side only, nothing lost that was acknowledged.

This covers the death of a process. That flushed data survive a power cut is the promise of the disk.
"""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import random
import time
from pathlib import Path

import pytest

from controller.keys.errors import KeyNotFound
from tests.controller import kill_loop
from tests.controller.stores import Pair, make_pair, open_pair

KILLS = 20
MOST_STEPS = 40
LONGEST_REST_S = 0.03


def lines(directory: Path) -> list[list[str]]:
    path = directory / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def live_and_be_killed(directory: Path, seed: int, steps: int, rest_s: float) -> None:
    """One life: so many steps that stand in the journal, and a moment of the next one, however fast the machine is."""
    before = len(lines(directory))
    process = multiprocessing.get_context("forkserver").Process(target=kill_loop.run, args=(str(directory), seed))
    process.start()
    deadline = time.monotonic() + 60
    while len(lines(directory)) <= before + steps:
        assert process.exitcode is None, f"seed {seed}: the loop ended by itself with {process.exitcode}"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(rest_s)
    assert process.exitcode is None, f"seed {seed}: the loop ended by itself with {process.exitcode}"
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    directory = tmp_path_factory.mktemp("kill")
    make_pair(directory, kill_loop.TARGET).close()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.controller.kill_loop"])
    master_seed = random.SystemRandom().randrange(2**32)
    print(f"seed {master_seed}")
    chance = random.Random(master_seed)
    for _ in range(KILLS):
        seed, steps = chance.randrange(2**32), chance.randrange(MOST_STEPS)
        live_and_be_killed(directory, seed, steps, chance.uniform(0, LONGEST_REST_S))
    pair = open_pair(directory)
    kill_loop.settle(pair)
    return pair


def test_the_loop_did_something(survivor: Pair) -> None:
    words = collections.Counter(line[0] for line in lines(survivor.directory))
    assert words["started"] == KILLS
    assert words["pad"] > KILLS
    assert words["taken"] > KILLS / 2


def test_no_pad_was_used_twice_and_both_nodes_used_the_same(survivor: Pair) -> None:
    used: dict[tuple[str, ...], list[tuple[int, int]]] = collections.defaultdict(list)
    content: dict[tuple[str, ...], set[str]] = collections.defaultdict(set)
    for word, *fields in lines(survivor.directory):
        if word == "pad":
            node, region, direction, offset, length, data = fields
            used[node, region, direction].append((int(offset), int(offset) + int(length)))
            content[region, direction, offset, length].add(data)
    for intervals in used.values():
        intervals.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(intervals))
    assert all(len(data) == 1 for data in content.values())


def test_no_key_was_delivered_twice_and_both_consumers_have_the_same(survivor: Pair) -> None:
    given = [tuple(fields) for word, *fields in lines(survivor.directory) if word == "given"]
    taken = [tuple(fields) for word, *fields in lines(survivor.directory) if word == "taken"]
    assert len({key_id for key_id, _ in given}) == len(given)
    assert len({key_id for key_id, _ in taken}) == len(taken)
    assert len({data for _, data in given}) == len(given)
    assert set(taken) <= set(given)


def test_every_round_ended_alike_on_both_sides(survivor: Pair) -> None:
    assert survivor.alice.unsettled() == survivor.bob.unsettled() == ()
    ready = 0
    for number in range(survivor.alice.last_round() + 1):
        states = {survivor.alice.settled(number), survivor.bob.settled(number)}
        assert states == {"ready"} or "ready" not in states
        if states == {"ready"}:
            ready += 1
            assert survivor.alice.key_ids(number) == survivor.bob.key_ids(number)
    assert ready > KILLS / 4
    sizes = kill_loop.TARGET
    assert survivor.alice.refill_layout(sizes) == survivor.bob.refill_layout(sizes)


def test_nothing_acknowledged_was_lost(survivor: Pair) -> None:
    """A key that its master SAE has can be fetched by the slave SAE, unless a kill took the reply of that fetch."""
    facts = lines(survivor.directory)
    taken = {fields[0] for word, *fields in facts if word == "taken"}
    waiting = {fields[0]: fields[1] for word, *fields in facts if word == "given" and fields[0] not in taken}
    lost = 0
    for key_id, data in waiting.items():
        slave = survivor.bob if key_id in even_keys(survivor) else survivor.alice
        try:
            (key,) = slave.deliver_slave([key_id], "s", "m")
        except KeyNotFound:
            lost += 1
        else:
            assert kill_loop.digest(key.material) == data
    assert lost <= KILLS
    survivor.close()


def even_keys(pair: Pair) -> set[str]:
    return {key_id for number in range(pair.alice.last_round() + 1) for key_id in pair.alice.key_ids(number)[0::2]}
