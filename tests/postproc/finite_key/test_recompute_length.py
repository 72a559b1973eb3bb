"""The stand-alone recomputation agrees with the nodes' formula, and notices what does not add up."""

from __future__ import annotations

import ast
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postproc.finite_key import wiesemann2026
from postproc.finite_key.planning import plan_link
from tests.postproc.finite_key.test_planning import DEMO, LINK, disturbed

SCRIPT = Path(__file__).parents[3] / "docs" / "recompute_length.py"


def a_record(seed: int = 1) -> dict[str, Any]:
    """The public part of a block record, as the nodes fill it."""
    row = plan_link(LINK, DEMO, efficiency_f=1.15, rate_slack=0.03)
    counts = disturbed(np.random.default_rng(seed), row.counts)
    reported = sum(n.bit_length() for n in counts.n_key)
    leakage = [
        ["syndromes", "alice->bob", row.leakage_bits - 500],
        ["frame success bits", "bob->alice", 16],
        ["verification hash", "alice->bob", 128],
        ["key-basis error counts", "bob->alice", reported],
    ]
    charged = sum(bits for *_, bits in leakage)
    result = wiesemann2026.evaluate(counts, DEMO, charged - 128, 128)
    return {
        "round": seed, "outcome": "key", "proof": result.proof, "mode": "fixed-length",
        "sifted_bits": sum(counts.n_key), "n_key": counts.n_key, "n_test": counts.n_test, "m_key": counts.m_key,
        "m_test": counts.m_test, "mean_photon_numbers": DEMO.mean_photon_numbers,
        "intensity_probabilities": DEMO.intensity_probabilities, "eps_sec": DEMO.eps_sec, "eps_cor": DEMO.eps_cor,
        "single_photon_key": result.single_photon_key, "phase_error_bound": result.phase_error_bound,
        "leakage": leakage, "leakage_bits": charged, "verification_bits": 128,
        "plan_secret_length_bits": row.plan.secret_length_bits,
        "plan_leakage_budget_bits": row.plan.leakage_budget_bits,
        "plan_min_single_photon_key": row.plan.min_single_photon_key, "plan_max_phase_error": row.plan.max_phase_error,
        "observed_length_bits": result.observed_length_bits, "secret_bits": row.plan.secret_length_bits,
    }  # fmt: skip


@pytest.fixture(scope="module")
def check() -> Any:
    return runpy.run_path(str(SCRIPT))["check"]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_credited_is_what_is_recomputed(check: Any, seed: int) -> None:
    assert check(a_record(seed)) == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("secret_bits", lambda x: x + 1),
        ("plan_secret_length_bits", lambda x: x + 1),
        ("observed_length_bits", lambda x: x + 1),
        ("single_photon_key", lambda x: x - 1),
        ("phase_error_bound", lambda x: x * 1.0001),
        ("leakage_bits", lambda x: x - 1),
        ("plan_min_single_photon_key", lambda x: x * 2),
        ("plan_max_phase_error", lambda x: x / 2),
        ("plan_leakage_budget_bits", lambda x: x // 2),
        ("m_test", lambda x: (x[0] + 400, x[1])),
        ("n_key", lambda x: (x[0] - 1, x[1])),
        ("verification_bits", lambda x: 64),
        ("proof", lambda x: "lim2014/1"),
        ("outcome", lambda x: "aborted"),
    ],
)
def test_any_changed_number_is_noticed(check: Any, field: str, change: Any) -> None:
    record = a_record()
    record[field] = change(record[field])
    assert check(record)


def test_it_runs_alone_and_imports_the_standard_library_only(tmp_path: Path) -> None:
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert names <= set(sys.stdlib_module_names)
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps({"blocks": [a_record(1), a_record(2)]}))
    bad.write_text(json.dumps([a_record(1) | {"secret_bits": 10**6}]))
    done = subprocess.run([sys.executable, "-I", str(SCRIPT), str(good)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("agrees")) == (0, 2)
    done = subprocess.run([sys.executable, "-I", str(SCRIPT), str(bad)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "credited length: recorded 1000000" in done.stdout
