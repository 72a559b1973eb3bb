"""The default proof against what its authors' own code gave for the same counts (tests/vectors has the source)."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postproc.finite_key import one_decoy, wiesemann2026
from postproc.finite_key.proof import Source
from postproc.records import BlockCounts

VECTORS = Path(__file__).parents[2] / "vectors" / "wiesemann2026_authors.json"
ROWS = json.loads(VECTORS.read_text(encoding="utf-8"))["rows"]
FLOATS = 1e-13  # relative: both compute in double precision


def inputs(row: dict[str, Any]) -> tuple[BlockCounts, Source]:
    given = row["inputs"]
    counts = BlockCounts(*(tuple(given[name]) for name in ("n_key", "n_test", "m_key", "m_test")))
    return counts, Source(tuple(given["mu"]), tuple(given["p"]), given["eps_sec"], given["eps_cor"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{sum(row['inputs']['n_key'])} detections")
def test_bounds_and_length_are_those_of_the_authors(row: dict[str, Any]) -> None:
    counts, source = inputs(row)
    expected = row["expected"]
    key = wiesemann2026.decoy_bounds(counts.n_key, counts.m_key, source)
    test = wiesemann2026.decoy_bounds(counts.n_test, counts.m_test, source)
    wrong = one_decoy.single_photon_errors_upper(counts.m_test, source, source.eps_sec / wiesemann2026.EPS_TERMS)
    test = replace(test, single_photon_errors_upper=max(0.0, min(wrong, sum(counts.n_test))))  # their clip
    phase = wiesemann2026.phase_error_bound(key.single_photon_lower, test, source.eps_sec)
    assert key.vacuum_upper == pytest.approx(expected["vacuum_key"], rel=FLOATS)
    assert key.single_photon_lower == pytest.approx(expected["single_key"], rel=FLOATS)
    assert test.single_photon_lower == pytest.approx(expected["single_test"], rel=FLOATS)
    assert test.single_photon_errors_upper == pytest.approx(expected["single_errors_test"], rel=FLOATS)
    assert phase == pytest.approx(expected["phase_error"], rel=FLOATS)
    leak = math.floor(expected["leak"])
    length = wiesemann2026.secret_length_bits(key.single_photon_lower, phase, leak, 0, source)
    exact = expected["length"] + expected["leak"] - leak
    assert length == (math.floor(exact) if expected["length"] > 0 else 0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{sum(row['inputs']['n_key'])} detections")
def test_our_clip_never_gives_less(row: dict[str, Any]) -> None:
    counts, source = inputs(row)
    ours = wiesemann2026.evaluate(counts, source, math.ceil(row["expected"]["leak"]), 0)
    assert ours.observed_length_bits >= math.floor(row["expected"]["length"]) - 1
