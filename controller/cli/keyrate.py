"""`qkd keyrate`: the calculation from which a link's parameters are chosen."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.keyrate_plan import plan
from controller.cli.keyrate_proofs import proofs
from controller.cli.options import Json, load, print_json

if TYPE_CHECKING:
    from postproc.finite_key.planning import PlanRow

DETECTIONS = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)


def register(app: typer.Typer) -> None:
    """Add the command and its subcommands."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(keyrate)
    group.command()(plan)
    group.command()(proofs)
    app.add_typer(group, name="keyrate")


def keyrate(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", help="A node's file.")] = Path("configs/demo/alice.toml"),
    best: Annotated[
        bool, typer.Option("--best", help="Also search intensities and probabilities with the most key (seconds).")
    ] = False,
    as_json: Json = False,
) -> None:
    """How much key a block can give: the file's own block first, then the same link with other sizes of a block.

    From [expectation] and [link]: counts, leakage, acceptance thresholds, l (counts): length if exactly the expected
    counts came, l (plan): length that is fixed beforehand, with room for fluctuations. Nothing is switched on.
    """
    if context.invoked_subcommand is not None:
        return
    from postproc.finite_key.planning_table import format_table

    rows = _rows(config, has_best=best)
    if as_json:
        print_json({"rows": [asdict(row) | {"secret_rate_bps": row.secret_rate_bps} for row in rows]})
    else:
        typer.echo(format_table(rows))


def _rows(config: Path, *, has_best: bool) -> list[PlanRow]:
    from controller import link_plan
    from controller.version import software_version
    from postproc.finite_key import planning

    node = load(config)
    parameters = node.link.parameters(software_version())
    own = link_plan.plan_link(node, parameters).row
    rows = [own]
    for detections in DETECTIONS:
        slots = planning.slots_for_key_detections(own.model, parameters, detections)
        rows.append(link_plan.plan_link(node, replace(parameters, block_slots=slots)).row)
    if has_best:
        rows.append(
            planning.optimise(
                own.model,
                parameters,
                key_detections=sum(own.counts.n_key),
                efficiency_f=link_plan.BUDGET_EFFICIENCY_F,
                rate_slack=link_plan.RATE_SLACK,
                error_slack=link_plan.ERROR_SLACK,
            )
        )
    return rows
