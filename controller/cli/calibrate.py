"""`qkd calibrate`: what is known of a station, and measuring it again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import Config, Json, PortOffset, Workspace, load, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(calibrate)


def calibrate(
    config: Config,
    workspace: Workspace = Path("."),
    show: Annotated[
        bool, typer.Option("--show", help="Only show the results in force; nothing is switched on.")
    ] = False,
    port_offset: PortOffset = 0,
    as_json: Json = False,
) -> None:
    """Measure again what a run depends on, or show what is in force.

    Alice's mean photon numbers need only Alice's instruments and are measured here. Bob's gate scan needs Alice's
    light: it is forgotten here, and the nodes repeat it together at their next start.
    """
    from controller.calibration.result import CalibrationStore

    node = load(config, port_offset)
    store = CalibrationStore(node.state_dir(workspace) / "calibrations")
    if not show:
        from controller.running import recalibrate

        recalibrate(node, workspace)
    results = store.all()
    now = time.time()
    if as_json:
        import msgspec

        print_json(
            {"calibrations": [msgspec.to_builtins(r) | {"id": r.identifier, "age_s": r.age_s(now)} for r in results]}
        )
        return
    rows: list[tuple[str, ...]] = [
        (r.routine, r.verdict, "; ".join(map(str, r.checks)), f"{r.age_s(now):.0f} s of {r.validity_s:.0f} s")
        for r in results
    ]
    print_table(rows, ("routine", "verdict", "checks", "age"))
