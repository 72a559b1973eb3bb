"""`qkd keyrate plan`: the best parameters of a link for every distance, beside what physics allows."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli import keyrate_plot
from controller.cli.options import Json, load, print_json, print_table

if TYPE_CHECKING:
    from postproc.finite_key.link_model import LinkModel
    from postproc.finite_key.reach import ReachPoint

Number = float | None
MOST_DISTANCES = 500


def plan(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="A node's file: what is not given here is taken from it.")
    ] = Path("configs/demo/alice.toml"),
    to_km: Annotated[float, typer.Option(help="Longest distance.")] = 240.0,
    step_km: Annotated[float, typer.Option(help="Distance between lines; the first line is one step away.")] = 10.0,
    fibre_db_per_km: Annotated[float, typer.Option(help="Loss of the fibre.")] = 0.2,
    block: Annotated[int, typer.Option(min=10_000, help="Key-basis detections in a block.")] = 1_000_000,
    mean_uncertainty: Annotated[
        float, typer.Option(help="Relative uncertainty of the mean photon numbers, for l (interval).")
    ] = 0.02,
    receiver_loss_db: Annotated[Number, typer.Option(help="Loss in front of the detectors.")] = None,
    detector_efficiency: Annotated[Number, typer.Option(help="Of every detector, 0 to 1.")] = None,
    dark_count_rate_hz: Annotated[Number, typer.Option(help="Of every detector.")] = None,
    detector_dead_time_ps: Annotated[Number, typer.Option(help="Of every detector.")] = None,
    error_ratio_z: Annotated[Number, typer.Option(help="Errors by light in the key basis.")] = None,
    error_ratio_x: Annotated[Number, typer.Option(help="Errors by light in the test basis.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw rate against distance into this file (.png, .svg).")] = None,
    as_json: Json = False,
) -> None:
    """The mean photon numbers and probabilities with the most planned key at every distance, and the PLOB bound.

    l (counts): length if exactly the expected counts came; l (interval): the same if the mean photon numbers are only
    known within --mean-uncertainty; l (plan): fixed beforehand, with room for fluctuations: the rate follows from it.
    PLOB: what no protocol without repeaters exceeds on this fibre, two optical modes per slot. Nothing is switched on.
    """
    given = {
        "receiver_loss_db": receiver_loss_db,
        "detector_efficiency": detector_efficiency,
        "dark_count_rate_hz": dark_count_rate_hz,
        "detector_dead_time_ps": detector_dead_time_ps,
        "error_ratio_z": error_ratio_z,
        "error_ratio_x": error_ratio_x,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    distances = _distances(to_km, step_km)
    if plot is not None:
        keyrate_plot.check(plot)
    points = _points(config, changes, distances, fibre_db_per_km, block, mean_uncertainty)
    if plot is not None:
        keyrate_plot.draw(points, plot)
    if as_json:
        print_json({"rows": [_as_dict(point) for point in points], "plot": None if plot is None else str(plot)})
    else:
        from postproc.finite_key.reach import COLUMNS, table_row

        print_table([table_row(point) for point in points], COLUMNS)


def _distances(to_km: float, step_km: float) -> list[float]:
    if not 0 < step_km <= to_km or to_km / step_km > MOST_DISTANCES:
        raise typer.BadParameter(
            f"--step-km {step_km} and --to-km {to_km}: 0 < step <= longest, at most {MOST_DISTANCES} lines"
        )
    return [step_km * k for k in range(1, int(to_km / step_km + 1e-9) + 1)]


def _points(
    config: Path,
    changes: dict[str, float],
    distances_km: list[float],
    fibre_db_per_km: float,
    block: int,
    mean_uncertainty: float,
) -> list[ReachPoint]:
    from controller import link_plan
    from controller.version import software_version
    from postproc.finite_key.reach import BlockRule, rate_against_distance

    node = load(config)
    model: LinkModel = replace(link_plan.link_model(node), **changes)
    rule = BlockRule(
        key_detections=block,
        efficiency_f=link_plan.BUDGET_EFFICIENCY_F,
        rate_slack=link_plan.RATE_SLACK,
        error_slack=link_plan.ERROR_SLACK,
    )
    return rate_against_distance(
        model,
        node.link.parameters(software_version()),
        distances_km,
        rule,
        fibre_db_per_km=fibre_db_per_km,
        mean_uncertainty=mean_uncertainty,
    )


def _as_dict(point: ReachPoint) -> dict[str, Any]:
    derived = {"secret_rate_bps": point.row.secret_rate_bps, "block_s": point.block_s}
    return asdict(point) | derived
