"""The benchmark counts what it says it counts."""

import json
import subprocess
import sys

import pytest

from benchmarks.reconcile import one_block
from benchmarks.reconcile_peers import dense_rows, one_cascade
from postproc.reconciliation import EFFICIENT, binary_entropy, choose_code
from postproc.reconciliation.codes import build_code


def test_disclosed_bits_include_retries() -> None:
    """Blocks far short of the asymptotic length, so that some need a second attempt."""
    outcomes = [one_block("efficient", 0.03, 20_000, 10, seed) for seed in range(40)]
    assert any(o.first_failures for o in outcomes)
    for o in outcomes:
        assert o.undetected == 0
        assert o.disclosed_bits > 0.9 * o.entropy_bits
    calm = [o.disclosed_bits / o.frames for o in outcomes if not o.first_failures]
    helped = [o.disclosed_bits / o.frames for o in outcomes if o.first_failures]
    assert sum(helped) / len(helped) > sum(calm) / len(calm)


def test_a_block_that_decodes_at_once_discloses_its_syndromes() -> None:
    plan = choose_code(62_000, 0.05, mode=EFFICIENT, prior_bits=10**12)
    outcome = one_block("efficient", 0.05, 62_000, 10**6, 1)
    assert outcome.first_failures == 0
    assert outcome.disclosed_bits == pytest.approx(plan.frames * plan.syndrome_bits, rel=0.03)
    assert outcome.entropy_bits == pytest.approx(62_000 * binary_entropy(0.05), rel=0.1)


def test_cascade_counts_both_directions() -> None:
    wrong, disclosed, messages, entropy, _ = one_cascade(0.03, 10_000, 1)
    assert wrong == 0
    assert 1 < disclosed / entropy < 1.2
    assert messages % 2 == 0


def test_expanded_matrix_has_every_edge_once() -> None:
    code = build_code(256, 51, 16)
    row, column = dense_rows(code)
    assert len(set(zip(row.tolist(), column.tolist(), strict=True))) == code.column.size * 16
    assert row.max() == 51 * 16 - 1
    assert column.max() == 256 * 16 - 1


def test_last_line_is_json_with_the_promised_rows() -> None:
    words = [
        sys.executable,
        "-m",
        "benchmarks.reconcile",
        "--points",
        "fast:0.03:20000",
        "--frames",
        "2",
        "--jobs",
        "2",
    ]
    done = subprocess.run([*words, "--cascade", "0.03:5000", "--json"], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert [row["profile"] for row in rows] == ["fast", "cascade"]
    for row in rows:
        assert row.keys() >= {"profile", "qber", "n", "f", "fer", "frames", "mbit_s"}
        assert row["frames"] == 2
