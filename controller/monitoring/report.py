"""A run as one web page without any outside reference: numbers, plots, instruments, calibrations, assumptions."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.block_record import BlockRecord
from controller.errors import StorageFailure
from controller.monitoring import report_figures as figures
from controller.recorder import RunData, read_run

TEMPLATE = "report.html.j2"
GATE_ROUTINE = "gates"


def write_report(path: Path, run_files: Mapping[str, Path], summary: Mapping[str, Any] | None = None) -> Path:
    """Write the page. `run_files`: by node name, at least one; the one with role bob tells most. `summary`: what a demo
    knows beside them (truth, consumers). Raises StorageFailure for unreadable run files or a full disk."""
    runs = {name: read_run(file) for name, file in run_files.items()}
    page = render(runs, summary or {})
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageFailure(f"{path}: the report cannot be written: {error}", remedy="free disk space") from error
    return path


def render(runs: Mapping[str, RunData], summary: Mapping[str, Any]) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    main = next((run for run in runs.values() if run.role == "bob"), next(iter(runs.values())))
    link = tomllib.loads(main.config_text).get("link", {})
    return environment.get_template(TEMPLATE).render(
        runs=runs,
        main=main,
        link=link,
        summary=summary,
        headline=_headline(main, summary),
        figures=_figures(main, link, summary),
        calibrations=_calibrations(runs),
        blocks=main.blocks,
        last=main.keys[-1] if main.keys else None,
        instruments=_instruments(runs),
    )


def _headline(main: RunData, summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(number, unit, what it is) of the tiles at the top."""
    keys = main.keys
    secret = sum(block.secret_bits for block in keys)
    tiles = [
        (f"{secret:,}", "bit", "secret key"),
        (f"{len(keys)}", f"of {len(main.blocks)}", "blocks became keys"),
        (_ratio(keys, "key"), "", "QBER Z (key basis)"),
        (_ratio(keys, "test"), "", "QBER X (test basis)"),
        (f"{max((b.phase_error_bound for b in keys), default=0.5):.4f}", "", "phase error bound, worst block"),
        (f"{sum(b.leakage_bits for b in keys):,}", "bit", "disclosed about the keys"),
    ]
    if summary.get("wall_s"):
        tiles.append((f"{summary['wall_s']:.0f}", "s", "of wall time"))
    return tiles


def _ratio(blocks: Sequence[BlockRecord], basis: str) -> str:
    detections = sum(sum(getattr(block, f"n_{basis}")) for block in blocks)
    errors = sum(sum(getattr(block, f"m_{basis}")) for block in blocks)
    return f"{errors / detections:.4f}" if detections else "-"


def _figures(main: RunData, link: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(title, SVG, caption); figures without data are left out."""
    slot_rate_hz = float(link.get("slot_rate_hz", 1.0))
    limits = (float(link.get("qber_z_limit", 0.0)), float(link.get("qber_x_limit", 0.0)))
    truth = (summary.get("true_qber_z"), summary.get("true_qber_x"))
    drawn = [
        ("Arrival times", figures.arrivals(main, _gates(main), 1e12 / slot_rate_hz),
         "Clicks by phase in the slot; shaded: the windows in which they count."),
        ("Count rates", figures.count_rates(main), "Of each detector, as the tagger delivered them."),
    ]  # fmt: skip
    if main.blocks:
        drawn = [
            ("Errors", figures.qber(main.blocks, limits, truth),
             "Per round with one standard error. Dashed: limits. Dotted: what the simulated bench alone knows."),
            ("Key", figures.accumulation(main.blocks, slot_rate_hz), "Secret bits after privacy amplification."),
            *drawn,
            ("Disclosed", figures.leakage(main.keys), "All information about the keys that left a node, by message."),
            ("Authentication", figures.authentication(main.blocks), "One-time pads burnt for tags, and their refill."),
            ("Time per stage", figures.stages(main.blocks), "Wall time of each round at this node."),
        ]  # fmt: skip
    return [entry for entry in drawn if entry[1]]


def _gates(main: RunData) -> list[tuple[int, float, float, str]]:
    """(channel, start ps, width ps, label) of the newest gate calibration in the file."""
    found = [c["values"] for c in main.calibrations if c.get("routine") == GATE_ROUTINE]
    if not found:
        return []
    values = found[-1]
    gates: list[tuple[int, float, float, str]] = []
    while f"gate_{len(gates)}_channel" in values:
        prefix = f"gate_{len(gates)}_"
        basis = "ZX"[int(values[f"{prefix}basis"])]
        label = f"{basis}{int(values[f'{prefix}bit'])}"
        gates.append((int(values[f"{prefix}channel"]), values[f"{prefix}start_ps"], values[f"{prefix}width_ps"], label))
    return gates


def _calibrations(runs: Mapping[str, RunData]) -> list[dict[str, Any]]:
    """Node, routine, verdict, checks with limits, and a figure of what was measured."""
    return [
        {"node": run.node, **calibration, "rows": _checks(calibration), "figure": figures.series(calibration)}
        for run in runs.values()
        for calibration in run.calibrations
    ]


def _checks(calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Checks in words; infinite limits and unknown uncertainties stand as null in a run file."""
    rows = []
    for check in calibration.get("checks", []):
        low, high, value = (check[name] for name in ("low", "high", "value"))
        rows.append(
            {
                "name": check["name"],
                "measured": f"{_text(value)} ± {_text(check['sigma'])} {check['unit']}".replace(" ± -", ""),
                "limits": f"{_text(low)} … {_text(high)}",
                "is_met": value is not None and (low is None or low <= value) and (high is None or value <= high),
            }
        )
    return rows


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _instruments(runs: Mapping[str, RunData]) -> list[dict[str, Any]]:
    """Node, name, identity and settings of every instrument, from the last snapshot of each run."""
    return [
        {"node": run.node, "name": name, **entry}
        for run in runs.values()
        if run.snapshots
        for name, entry in run.snapshots[-1]["instruments"].items()
    ]
