"""kill -9 of either node, or of both, at many moments: the run goes on, and nothing that must be unique is repeated.

The moments are spread over the life of a link. Those of the commit are found by watching the stores on the disk: they
last for some milliseconds between two durable steps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from controller.bundle import open_consumer
from tests.e2e import stores
from tests.e2e.link import NODES, Link

pytestmark = pytest.mark.e2e
WATCH_S = 0.001


@dataclass(frozen=True)
class Moment:
    """Who is killed, and when: once `is_there` holds, and up to `spread_s` later."""

    name: str
    victims: tuple[str, ...]
    is_there: Callable[[Link], bool]
    spread_s: float = 0.0
    forgets_calibration: bool = False  # killed in the calibration that follows


def in_state(node: str, state: str) -> Callable[[Link], bool]:
    return lambda link: link.has_state(node, state)


def newest_is(node: str, state: str) -> Callable[[Link], bool]:
    """Whether the newest round on this node's disk is in this state."""

    def is_there(link: Link) -> bool:
        states = link.round_states(node)
        return bool(states) and states[max(states)] == state

    return is_there


def at_once(_: Link) -> bool:
    return True


ALICE, BOB, BOTH = ("alice",), ("bob",), NODES
EARLY = (
    Moment("Bob as he starts", BOB, at_once, spread_s=2.5),
    Moment("Alice in the handshake or before", ALICE, in_state("alice", "Waiting for the peer"), spread_s=0.3),
    Moment("Bob in the handshake or before", BOB, in_state("bob", "Waiting for the peer"), spread_s=0.3),
    Moment("Alice in the calibration", ALICE, in_state("alice", "Calibrating"), 1.5, forgets_calibration=True),
    Moment("Bob in the calibration", BOB, in_state("bob", "Calibrating"), 1.0, forgets_calibration=True),
    Moment("Bob at the session's start", BOB, in_state("bob", "Synchronising"), spread_s=1.0),
    Moment("Alice at the session's start", ALICE, in_state("alice", "Synchronising"), spread_s=1.0),
)
LATE = (
    Moment("Alice in a round", ALICE, in_state("alice", "Distilling"), spread_s=1.5),
    Moment("Bob in a round", BOB, in_state("bob", "Distilling"), spread_s=1.5),
    Moment("both in a round", BOTH, in_state("bob", "Distilling"), spread_s=1.5),
    Moment("Alice with a round open", ALICE, newest_is("alice", "open")),
    Moment("Bob after he stored the key", BOB, newest_is("bob", "pending")),
    Moment("Alice when Bob has stored the key", ALICE, newest_is("bob", "pending"), spread_s=0.02),
    Moment("Alice after her decision", ALICE, newest_is("alice", "committed")),
    Moment("Bob after Alice's decision", BOB, newest_is("alice", "committed")),
    Moment("both after Alice's decision", BOTH, newest_is("alice", "committed")),
    Moment("Bob when he is ready", BOB, newest_is("bob", "ready")),
)


def fetch_one(link: Link) -> None:
    """A consumer takes a key in between, so that kills also fall on what delivery leaves behind."""
    here, there = (link.configs[name] for name in NODES)
    with open_consumer(here, here.kme.saes[0], link.workspace) as consumer:
        keys = consumer.enc_keys(there.kme.saes[0], 1, here.kme.key_size_bits)
    with open_consumer(there, there.kme.saes[0], link.workspace) as consumer:
        same = consumer.dec_keys(here.kme.saes[0], [key.key_id for key in keys])
    assert keys[0].matches(same[0])


def strike(link: Link, moment: Moment, dice: random.Random) -> dict[str, str]:
    """Wait for the moment, kill, start again. Returns the states in which the newest rounds were left."""
    link.wait(moment.name, lambda: moment.is_there(link), poll_s=WATCH_S)
    time.sleep(dice.uniform(0.0, moment.spread_s))
    link.kill(*moment.victims)
    left = {name: f"{max(states)} {states[max(states)]}" for name in NODES if (states := link.round_states(name))}
    time.sleep(dice.uniform(0.0, 0.3))
    return left


def require_settled_past(link: Link) -> None:
    """No round but the newest two is unsettled on a disk: a connection settles all before it opens another."""
    for name in NODES:
        states = link.round_states(name)
        last = max(states, default=0)
        old = {number: state for number, state in states.items() if number < last - 1}
        assert set(old.values()) <= {"ready", "dropped"}, f"{name}: {states}\n{link.report()}"


def forget_calibrations(link: Link) -> None:
    """So that the next connection measures everything anew."""
    for name in NODES:
        for path in (link.state_dir(name) / "calibrations").glob("*"):
            path.unlink()


def test_killed_at_any_moment(link: Link, dice: random.Random) -> None:
    early, late = dice.sample(EARLY, 5), dice.sample(LATE, 9)
    link.kill("bob")  # the early moments come one after the other while the link tries to begin
    link.start("bob")
    for moment in early:
        if moment.forgets_calibration:
            forget_calibrations(link)
        print(f"killed {moment.name}: left {strike(link, moment, dice)}")
        link.start(*moment.victims)
    for moment in late:
        link.wait_for_blocks(1)
        left = strike(link, moment, dice)
        link.start(*moment.victims)
        seconds = link.wait_for_blocks(1)
        require_settled_past(link)
        print(f"killed {moment.name}: left {left}, key again after {seconds:.1f} s")
    link.wait_for_blocks(1)
    fetch_one(link)
    link.stop(*NODES)
    contents = stores.require_equal(link)
    stores.require_rounds_rise(link)
    burnt = stores.require_pads_once(link)
    print(f"pads burnt: {dict(burnt)}")
    assert min(burnt["round"], burnt["resync"], burnt["notice"]) > 0
    assert contents[0].keys == contents[1].keys, "a key is held on one side only, or differs"
    stores.require_settled(contents)
