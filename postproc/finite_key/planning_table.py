"""The planning table as text: what `qkd keyrate` and the documentation show."""

from __future__ import annotations

from postproc.finite_key.planning import PlanRow

COLUMNS = (
    "mu", "p signal", "pZ Alice", "pZ Bob", "block slots", "nZ", "nX", "QBER Z", "QBER X", "leak", "S1 min", "phi max",
    "l (counts)", "l (plan)", "bit/s",
)  # fmt: skip


def table_row(row: PlanRow) -> tuple[str, ...]:
    """One line of the table as text, in the order of COLUMNS."""
    params, counts, plan = row.params, row.counts, row.plan
    return (
        "{:.3f}/{:.3f}".format(*params.mean_photon_numbers),
        f"{params.intensity_probabilities[0]:.2f}",
        f"{params.key_basis_probability:.2f}",
        f"{row.model.receiver_key_basis_probability:.2f}",
        f"{params.block_slots:.3g}",
        f"{sum(counts.n_key)}",
        f"{sum(counts.n_test)}",
        f"{counts.qber_z:.4f}",
        f"{counts.qber_x:.4f}",
        f"{plan.leakage_budget_bits}",
        f"{plan.min_single_photon_key}",
        f"{plan.max_phase_error:.4f}",
        f"{row.observed_length_bits}",
        f"{plan.secret_length_bits}",
        f"{row.secret_rate_bps:.4g}",
    )


def format_table(rows: list[PlanRow]) -> str:
    """The planning table as aligned text."""
    lines = [COLUMNS, *(table_row(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
