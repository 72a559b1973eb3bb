"""Each instrument fails in each way, before the start and during a run: named, exit code 3, dark, nothing lost."""

from __future__ import annotations

import random

import pytest

from controller.errors import EXIT_INSTRUMENT
from controller.station import BROKEN_FILE
from tests.e2e import stores
from tests.e2e.link import NODES, Link

pytestmark = pytest.mark.e2e
INSTRUMENTS = {
    "alice": ("laser", "modulator", "power_meter", "transmitter"),
    "bob": ("polarization", "detectors", "tagger"),
}
FAULTS_AT_START = ("silent", "garbage", "disconnect", "wrong_identity")
FAULTS_IN_A_RUN = ("silent", "garbage", "disconnect")
WITH_INTERLOCK = ("transmitter",)  # that of the laser is cleared at its front panel
EXIT_WITHIN_S = 45.0


def heal(link: Link) -> None:
    for names in INSTRUMENTS.values():
        for instrument in names:
            link.instrument_fault(instrument, "none")


def require_all_named(link: Link, faults: dict[str, str]) -> None:
    """Both nodes have ended, and each said one line about each of its instruments."""
    for node, instruments in INSTRUMENTS.items():
        assert link.wait_exit(node, EXIT_WITHIN_S) == EXIT_INSTRUMENT
        said = link.said(node)
        print(f"{node}: {said}")
        assert f"{len(instruments)} of {len(instruments)} instruments failed" in said
        assert "Traceback" not in said
        for instrument in instruments:
            lines = [line for line in said.splitlines() if line.strip().startswith(f"{instrument}: ")]
            assert len(lines) == 1, f"{instrument} ({faults[instrument]}) is not named once"
            assert "try:" in lines[0]


def test_faults_before_the_start(link: Link) -> None:
    """All instruments at once, each with another fault; after four turns each has shown all of them."""
    link.stop(*NODES)
    for turn in range(len(FAULTS_AT_START)):
        faults = {}
        for index, instrument in enumerate(name for names in INSTRUMENTS.values() for name in names):
            faults[instrument] = FAULTS_AT_START[(index + turn) % len(FAULTS_AT_START)]
            link.instrument_fault(instrument, faults[instrument])
        link.start(*NODES)
        require_all_named(link, faults)
        assert link.is_dark()


def test_faults_during_a_run(link: Link, dice: random.Random) -> None:
    """One instrument of each node at a time; the nodes end, are refused until somebody has looked, and go on."""
    for alices, bobs in zip(INSTRUMENTS["alice"], (*INSTRUMENTS["bob"], ""), strict=True):
        victims = {node: name for node, name in zip(NODES, (alices, bobs), strict=True) if name}
        faults = {
            node: dice.choice((*FAULTS_IN_A_RUN, "interlock") if name in WITH_INTERLOCK else FAULTS_IN_A_RUN)
            for node, name in victims.items()
        }
        for node, instrument in victims.items():
            link.instrument_fault(instrument, faults[node])
        for node, instrument in victims.items():
            assert link.wait_exit(node, EXIT_WITHIN_S) == EXIT_INSTRUMENT, link.report()
            said = link.said(node)
            print(f"{node}, {instrument} {faults[node]}: {said}")
            assert f"{instrument}: " in said
            assert "Traceback" not in said
            assert f"{instrument}: " in (link.state_dir(node) / BROKEN_FILE).read_text(encoding="utf-8")
        assert link.is_dark()
        heal(link)
        link.ensure_running(*NODES)
        link.wait_for_blocks(1)
    link.stop(*NODES)
    alice, bob = stores.require_equal(link)
    assert alice.keys == bob.keys


def test_a_broken_station_waits_for_a_person(link: Link) -> None:
    link.stop(*NODES)
    latch = link.state_dir("alice") / BROKEN_FILE
    latch.write_text("laser: it smelled", encoding="utf-8")
    link.start("alice")
    assert link.wait_exit("alice") == EXIT_INSTRUMENT
    assert "laser: it smelled" in link.said("alice")
    assert "--acknowledge" in link.said("alice")
    link.start("alice", options=("--acknowledge",))
    link.wait("a node that starts", lambda: link.status("alice") is not None)
    assert not latch.exists()
