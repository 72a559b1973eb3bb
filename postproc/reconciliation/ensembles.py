"""Degree distributions as a function of the leakage: designs by density evolution, interpolated in between.

The distribution is designed at a few QBERs only (ensembles.json); at any other number of rows the edge fractions are
interpolated linearly in the leakage and the check degree follows. Density evolution gives interpolated ensembles
thresholds as good as their neighbours' (docs/decisions/0012-codes-and-decoder.md), so that a base matrix can have any
number of rows, and the rate any value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from postproc.errors import InputOutOfRange

COLUMNS = (256, 512, 1024)  # what a base matrix may have
_MOST_LEAKAGE = 0.59  # the ensemble of the highest design serves up to here; beyond, rows are split


@dataclass(frozen=True, slots=True)
class Design:
    """One design: `edge_fractions_1e5`, (column degree, share of the edges in units of 1e-5) pairs; `leakage`, rows per
    column; `threshold_f`, leakage / h(QBER) at which density evolution just converges; `overhead`, f at which frames
    decode, by (profile, columns)."""

    qber: float
    threshold_f: float
    leakage: float
    edge_fractions_1e5: tuple[tuple[int, int], ...]
    overhead: dict[tuple[str, int], float]


@cache
def designs() -> tuple[Design, ...]:
    """All designs, by rising leakage, read from the package's own data file (see its "about")."""
    data = json.loads(files("postproc.reconciliation").joinpath("ensembles.json").read_text(encoding="utf-8"))
    return tuple(
        Design(
            qber=float(entry["qber"]),
            threshold_f=float(entry["threshold_f"]),
            leakage=float(entry["leakage"]),
            edge_fractions_1e5=tuple((int(d), int(v)) for d, v in entry["edge_fractions_1e5"].items()),
            overhead={(p, int(n)): float(f) for p, row in entry["overhead"].items() for n, f in row.items()},
        )
        for entry in data["designs"]
    )


def row_limits(columns: int) -> tuple[int, int]:
    """Fewest and most rows of a base matrix with that many columns. Raises InputOutOfRange."""
    if columns not in COLUMNS:
        raise InputOutOfRange(f"base matrices have {COLUMNS} columns, not {columns}")
    return int(columns * designs()[0].leakage) + 1, int(columns * _MOST_LEAKAGE)


def edge_fractions(columns: int, rows: int) -> dict[int, float]:
    """Share of the edges by column degree, summing to 1; the same on every machine (only + - * / are used)."""
    below, above, weight = _between(rows / columns)
    degrees = sorted({d for design in (below, above) for d, _ in design.edge_fractions_1e5})
    low, high = dict(below.edge_fractions_1e5), dict(above.edge_fractions_1e5)
    mixed = {d: low.get(d, 0) * (1 - weight) + high.get(d, 0) * weight for d in degrees}
    total = sum(mixed.values())
    return {d: share / total for d, share in mixed.items() if share > 0}


def overhead(profile: str, columns: int, leakage: float) -> float:
    """f at which frames of such a base matrix were seen to decode when the number of errors is known exactly."""
    below, above, weight = _between(leakage)
    return below.overhead[profile, columns] * (1 - weight) + above.overhead[profile, columns] * weight


def _between(leakage: float) -> tuple[Design, Design, float]:
    """The designs around a leakage and the weight of the upper one; the outermost design beyond the ends."""
    known = designs()
    if leakage <= known[0].leakage:
        return known[0], known[0], 0.0
    for below, above in pairwise(known):
        if leakage <= above.leakage:
            return below, above, (leakage - below.leakage) / (above.leakage - below.leakage)
    return known[-1], known[-1], 0.0
