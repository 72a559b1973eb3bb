"""A run to its target: equal stores, honest error ratios, lengths that anyone can recompute, bounded memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from controller.bundle import open_consumer
from controller.calibration.receiver import GATES, receiver_calibration
from controller.calibration.result import CalibrationStore
from tests.e2e import stores
from tests.e2e.link import NODES, ROOT, Link

pytestmark = pytest.mark.e2e
TARGET_BITS = 400_000
STANDARD_ERRORS = 4.0
MEMORY_LIMIT_BYTES = 2 << 30
KEYS_FETCHED = 5


def register_gates(link: Link) -> None:
    """Tell the bench Bob's gates, so that it averages the truth for them over the run."""
    result = CalibrationStore(link.state_dir("bob") / "calibrations").latest(GATES)
    assert result is not None
    gates = [[g.channel, g.start_ps, g.width_ps, int(g.basis), g.bit] for g in receiver_calibration(result).gates]
    link.bench(
        {"do": "register_gates", "gates": gates, "common_dead_time_ps": link.configs["bob"].link.common_dead_time_ps}
    )


def fetch_both_ways(link: Link) -> list[str]:
    """Each side's consumer is master once; both compare what they got. Returns the key_IDs."""
    fetched = []
    for master, slave in (NODES, NODES[::-1]):
        here, there = link.configs[master], link.configs[slave]
        sae_here, sae_there = here.kme.saes[0], there.kme.saes[0]
        with open_consumer(here, sae_here, link.workspace) as consumer:
            keys = consumer.enc_keys(sae_there, KEYS_FETCHED, here.kme.key_size_bits)
        with open_consumer(there, sae_there, link.workspace) as consumer:
            same = consumer.dec_keys(sae_here, [key.key_id for key in keys])
        assert len(keys) == len(same) == KEYS_FETCHED
        assert all(a.matches(b) for a, b in zip(keys, same, strict=True)), f"{master} and {slave} got different keys"
        fetched += [key.key_id for key in keys]
    return fetched


def require_true_error_ratio(link: Link) -> None:
    """The error ratio of all blocks, per basis, against the bench's own expectation."""
    truth = link.bench({"do": "expectation_average"})["expectation"]
    blocks = link.runs("bob")[-1].keys
    for basis, errors, bits in (
        ("z", sum(sum(b.m_key) for b in blocks), sum(sum(b.n_key) for b in blocks)),
        ("x", sum(sum(b.m_test) for b in blocks), sum(sum(b.n_test) for b in blocks)),
    ):
        expected = truth[f"qber_{basis}"]
        deviation = (errors / bits - expected) / math.sqrt(expected * (1 - expected) / bits)
        print(f"QBER {basis}: {errors / bits:.5f}, true {expected:.5f}, {deviation:+.1f} standard errors, {bits} bits")
        assert abs(deviation) < STANDARD_ERRORS


def require_lengths_recompute(link: Link, tmp_path: Path) -> None:
    """docs/recompute_length.py, as anybody would run it, agrees with every block of both run files."""
    for name in NODES:
        blocks = link.runs(name)[-1].blocks
        record = tmp_path / f"{name}.json"
        record.write_bytes(msgspec.json.encode(list(blocks)))
        script = [sys.executable, str(ROOT / "docs/recompute_length.py"), str(record)]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert sum(block.secret_bits for block in blocks) >= TARGET_BITS
        assert len(json.loads(record.read_bytes())) == done.stdout.count("agrees")


def test_run_to_a_target(workspace: Path, tmp_path: Path) -> None:
    seed = 7
    print(f"bench seed {seed}")
    link = Link.make(workspace, seed=seed)
    try:
        link.start_bench()
        link.start(*NODES, options=("--target-secret-bits", str(TARGET_BITS)))
        link.wait("a session", lambda: link.has_state("bob", "Synchronising"), poll_s=0.01)
        register_gates(link)
        link.wait("the target", lambda: link.has_state("alice", "Target reached"))
        link.wait("both count alike", lambda: link.blocks("alice") == link.blocks("bob"))
        require_true_error_ratio(link)
        fetched = fetch_both_ways(link)
        link.measure()
        print(f"memory {link.memory_bytes / 2**20:.0f} MiB")
        assert 0 < link.memory_bytes < MEMORY_LIMIT_BYTES
        assert link.stop(*NODES) == {"alice": 0, "bob": 0}
        assert link.is_dark()
        require_lengths_recompute(link, tmp_path)
        alice, bob = contents = stores.require_equal(link)
        stores.require_settled(contents)
        assert alice.keys == bob.keys
        assert alice.keys
        assert not set(fetched) & alice.keys.keys(), "a key that was given out is still in the store"
        stores.require_pads_once(link)
    finally:
        link.close()
