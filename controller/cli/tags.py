"""`qkd tags`: files of time tags from real devices."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.options import Json, print_json, print_table

if TYPE_CHECKING:
    from drivers.files.summary import TagFileSummary


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tags = typer.Typer(help="Files of time tags.", no_args_is_help=True)
    tags.callback()(_group)
    tags.command("info")(info)
    app.add_typer(tags, name="tags")


def _group() -> None:
    """Files of time tags."""


def info(
    file: Annotated[Path, typer.Argument(help="A recording: S-Fifteen (.ts, .raw), quTAG (.qutag), PicoQuant (.ptu).")],
    file_format: Annotated[
        str, typer.Option("--format", help="Read it as this format instead of recognising it.")
    ] = "",
    plot: Annotated[Path | None, typer.Option("--plot", help="Also write a picture (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """What is in a recording: rates per channel, duration, inter-arrival times, pulse train, anomalies.

    The file is read in batches, as a live tagger would deliver it, so its size does not matter.
    """
    from controller.errors import ConfigurationError
    from drivers.files.reader import describe, read_tag_file
    from drivers.files.summary import summarise

    if not file.is_file():
        raise ConfigurationError(f"{file}: there is no such file", remedy="check the path")
    what = describe(file, file_format or None)
    summary = summarise(read_tag_file(file, file_format or None))
    if plot is not None:
        _plot(summary, plot, file.name)
    if as_json:
        print_json({"file": asdict(what), "summary": asdict(summary)})
        return
    typer.echo(f"{file}: {what.format}, {what.size_bytes} bytes, {what.records} records")
    _print_summary(summary)


def _plot(summary: TagFileSummary, path: Path, title: str) -> None:
    from controller.errors import ConfigurationError
    from drivers.files.plotting import plot as draw

    try:
        draw(summary, path, title=title)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: the picture cannot be written: {error}") from error


def _print_summary(summary: TagFileSummary) -> None:
    typer.echo(f"{summary.clicks} clicks and {summary.markers} markers in {summary.duration_s:.6g} s")
    if (train := summary.pulse_period) is not None:
        mhz = 1e6 / train.period_ps
        typer.echo(
            f"pulse train: period {train.period_ps:.3f} ps ({mhz:.5f} MHz), vector strength {train.vector_strength:.3f}"
        )
    else:
        typer.echo("no significant pulse train")
    rows: list[tuple[str, ...]] = [
        (
            str(c.channel),
            str(c.clicks),
            f"{c.rate_hz:.1f}",
            f"{1e6 / c.pulse_period.period_ps:.5f}" if c.pulse_period else "-",
        )
        for c in summary.channels
    ]
    print_table(rows, ("channel", "clicks", "rate (1/s)", "train (MHz)"))
    _print_arrivals(summary)
    for anomaly in summary.anomalies:
        typer.echo(
            f"anomaly: {anomaly.kind}, {anomaly.count} times, first at {anomaly.time_ps} ps {anomaly.note}".rstrip()
        )
    if summary.damage:
        typer.echo(f"damaged: {summary.damage}")


def _print_arrivals(summary: TagFileSummary) -> None:
    """Time to the previous click, one row per decade."""
    edges, counts = summary.inter_arrival_edges_ps, summary.inter_arrival_counts
    decades: dict[str, int] = {}
    for low, count in zip(edges, counts, strict=False):
        name = "0 ps" if low == 0 else f"from 1e{len(str(int(low * 1.0001))) - 1} ps"
        decades[name] = decades.get(name, 0) + count
    typer.echo("time to the previous click:")
    most = max(decades.values(), default=0)
    for name, count in decades.items():
        if count:
            typer.echo(f"  {name:>13} {count:>10} {'#' * max(1, round(40 * count / most))}")
