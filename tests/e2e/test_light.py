"""Faults of the light and an eavesdropper: named within seconds at both nodes, no key meanwhile, recovery by itself."""

from __future__ import annotations

import random
import time

import pytest

from tests.e2e.link import NODES, Link

pytestmark = pytest.mark.e2e
BITS_PER_ROUND = 1024  # four tags
NAMED_WITHIN_S = 10.0
RECOVERED_WITHIN_S = 60.0
WATCH_S = 3.0  # how long a fault stays, to see that no key is made
ATTACK_S = 8.0
MOST_ROUNDS = 6  # whose pads an attacker may cost us in this time


def credited_bits(link: Link) -> dict[str, int]:
    return {name: status.key_bits_in_store for name in NODES if (status := link.status(name))}


def burnt_bits(link: Link) -> int:
    """Authentication pads burnt so far, at Alice."""
    status = link.status("alice")
    assert status is not None
    return status.auth_bits_consumed


def require_named(link: Link, *codes: str) -> None:
    """One of these alarms is raised at both nodes within seconds; what both say is printed."""
    wanted = set(codes)
    seconds = link.wait(
        f"alarm {' or '.join(codes)} at both nodes",
        lambda: all(link.alarms(name) & wanted for name in NODES),
        NAMED_WITHIN_S,
    )
    print(f"named after {seconds:.1f} s: {[sorted(link.alarms(name)) for name in NODES]}")


def require_no_key_for(link: Link, seconds: float) -> None:
    """Once the block under way has ended, nothing is credited at either node."""
    link.wait("both stop", lambda: not any(link.has_state(name, "Distilling") for name in NODES), NAMED_WITHIN_S)
    before = credited_bits(link)
    time.sleep(seconds)
    assert credited_bits(link) == before


def require_recovery(link: Link) -> None:
    seconds = link.wait("a healthy link", link.is_healthy, RECOVERED_WITHIN_S)
    seconds += link.wait_for_blocks(1, RECOVERED_WITHIN_S)
    print(f"key again after {seconds:.1f} s")


def test_fibre_cut(link: Link) -> None:
    link.fault("fibre_cut", True)
    require_named(link, "no-light")
    require_no_key_for(link, WATCH_S)
    link.fault("fibre_cut", False)
    require_recovery(link)


def test_laser_fades(link: Link) -> None:
    link.fault("laser_fade", 0.5)
    require_named(link, "laser-faded")
    require_no_key_for(link, WATCH_S)
    link.fault("laser_fade", 1.0)
    require_recovery(link)


def test_polarization_jump_that_goes_away(link: Link, dice: random.Random) -> None:
    link.fault("polarization_jump", dice.uniform(1.2, 1.5))
    require_named(link, "polarization", "qber-x")
    link.fault("polarization_jump", 0.0)
    require_recovery(link)


def test_polarization_jump_that_stays_is_realigned(link: Link, dice: random.Random) -> None:
    jump_rad = dice.uniform(1.2, 1.5)
    link.fault("polarization_jump", jump_rad)
    require_named(link, "polarization", "qber-x")
    require_recovery(link)
    link.fault("polarization_jump", 0.0)  # which is another jump for the aligned receiver
    require_named(link, "polarization", "qber-x")
    require_recovery(link)


def test_intercept_resend_makes_no_key_and_drains_slowly(link: Link) -> None:
    link.bench({"do": "attack", "name": "intercept-resend", "fraction": 1.0})
    require_named(link, "qber-x")
    burnt_before = burnt_bits(link)
    require_no_key_for(link, ATTACK_S)
    rounds = (burnt_bits(link) - burnt_before) / BITS_PER_ROUND
    print(f"pads of {rounds:.0f} rounds burnt in {ATTACK_S:g} s")
    assert rounds <= MOST_ROUNDS, "aborted rounds follow each other without backing off"
    blocks = [block for name in NODES for block in link.runs(name)[-1].blocks]
    reasons = {block.reason for block in blocks if block.outcome == "aborted"}
    assert any("QBER X" in reason for reason in reasons), reasons
    link.bench({"do": "attack", "name": None})
    require_recovery(link)
