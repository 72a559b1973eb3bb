"""`qkd calibrate`: what is known of a station, and measuring it again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import Config, Json, Workspace, load, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(calibrate)


def calibrate(
    config: Config,
    workspace: Workspace = Path("."),
    again: Annotated[
        bool, typer.Option("--again", help="Set the results aside: both nodes measure anew at their next start.")
    ] = False,
    routine: Annotated[list[str] | None, typer.Option(help="Only this routine (repeatable).")] = None,
    as_json: Json = False,
) -> None:
    """Calibrations in force: what was measured, with uncertainty, limits and age; with --again, measure anew.

    A calibration needs both nodes (one has the light, the other the detectors), so nodes make it together: at their
    start, and whenever a result is missing, too old, or no longer fits what they see. A running node is not disturbed.
    """
    from controller.calibration.forget import forget
    from controller.calibration.result import CalibrationStore

    node = load(config)
    forgotten = forget(node, workspace, routine or []) if again else []
    results = CalibrationStore(node.state_dir(workspace) / "calibrations").all()
    shown = [result for result in results if not routine or result.routine in routine]
    now = time.time()
    if as_json:
        import msgspec

        rows = [msgspec.to_builtins(r) | {"id": r.identifier, "age_s": r.age_s(now)} for r in shown]
        print_json({"calibrations": rows, "set_aside": forgotten})
        return
    for result in shown:
        age = f"{result.age_s(now):.0f} s old, valid for {result.validity_s:.0f} s"
        typer.echo(f"{result.routine}: {result.verdict.value.upper()}, {age} ({result.identifier})")
        lines: list[tuple[str, ...]] = [
            (check.name, f"{check.value:.5g}", f"{check.sigma:.2g}", f"{check.low:.4g} to {check.high:.4g}", check.unit)
            for check in result.checks
        ]
        print_table(lines, ("quantity", "value", "sigma", "limits", "unit"))
    if not shown and not forgotten:
        typer.echo(f"no calibration results in {node.state_dir(workspace) / 'calibrations'}")
    for name in forgotten:
        typer.echo(f"set aside: {name}")
