"""`qkd run`, `qkd status`, `qkd stop`, `qkd alarms`: one node of a link."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.options import Config, Json, PortOffset, Workspace, client, load, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (run, status, stop, alarms):
        app.command()(command)


def run(
    config: Config,
    workspace: Workspace = Path("."),
    target_secret_bits: Annotated[
        int, typer.Option(min=0, help="Make no more key after this many secret bits; 0: as long as it runs.")
    ] = 0,
    port_offset: PortOffset = 0,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="You have looked at a station that is latched broken: start anyway.")
    ] = False,
    stop_with_parent: Annotated[
        bool, typer.Option("--stop-with-parent", help="End when the process that started this one has ended.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live view; qkd status shows the state.")] = False,
    as_json: Json = False,
) -> int:
    """Run a node until it is stopped: make keys, and give them to its consumers.

    The instruments are opened and identified, calibrated where needed, and made safe on every way out. First Ctrl-C:
    finish the step, save, make safe. Second: at once.
    """
    from controller.running import run_node

    node = load(config, port_offset)
    end = run_node(
        node,
        workspace,
        config_text=config.read_text(encoding="utf-8"),
        target_secret_bits=target_secret_bits,
        is_acknowledged=acknowledge,
        has_live_view=not (quiet or as_json),
        stops_with_parent=stop_with_parent,
    )
    if as_json:
        print_json(end.summary)
    else:
        typer.echo(f"{node.node.name}: {end.summary['state']}, {end.summary['secret_bits']:,} secret bits")
    return end.exit_code


def status(
    config: Config,
    workspace: Workspace = Path("."),
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """The state of a running node: in words, then rates, QBER against limits, keys, counts, authentication, alarms."""
    import msgspec

    node = client(config, workspace)
    if as_json:
        print_json(msgspec.to_builtins(node.status()))
        return
    from rich.console import Console

    from controller.monitoring.live import show, watch_nodes

    if watch:
        watch_nodes([node])
    else:
        Console().print(show([node.status()]))


def stop(
    config: Config,
    workspace: Workspace = Path("."),
    now: Annotated[bool, typer.Option("--now", help="Do not finish the present step.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a running node to end: it finishes its step, saves, and makes its instruments safe."""
    client(config, workspace).stop(now=now)
    if as_json:
        print_json({"stopping": True, "now": now})
    else:
        typer.echo("stopping" + (" now" if now else " after the present step"))


def alarms(
    config: Config,
    workspace: Workspace = Path("."),
    acknowledge: Annotated[str, typer.Option("--acknowledge", help="Mark this alarm as seen.")] = "",
    catalogue: Annotated[bool, typer.Option("--catalogue", help="Explain all alarms that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Alarms of a running node with meaning, likely causes and what to do; `--catalogue` needs no running node."""
    from dataclasses import asdict

    import msgspec

    from controller.monitoring.alarms import CATALOGUE

    if catalogue:
        shown = [asdict(kind) for kind in CATALOGUE.values()]
    else:
        node = client(config, workspace)
        if acknowledge:
            node.acknowledge(acknowledge)
        shown = [asdict(CATALOGUE[s.id]) | msgspec.to_builtins(s) for s in node.status().alarms if s.id in CATALOGUE]
    if as_json:
        print_json({"alarms": shown})
        return
    for alarm in shown:
        detail = f" ({alarm['detail']})" if "detail" in alarm else ""
        typer.echo(f"{alarm['id']}: {alarm['meaning']}{detail}")
        if "raised_utc" in alarm:
            typer.echo(f"    {_history(alarm)}")
        typer.echo(f"    likely: {'; '.join(alarm['causes'])}\n    do: {alarm['action']}")
    if not shown:
        typer.echo("no alarms")


def _history(alarm: dict[str, Any]) -> str:
    """Since when the alarm is there, and why it is still shown."""
    gone = f"gone since {alarm['cleared_utc']}" if alarm["cleared_utc"] else "LASTS"
    seen = "acknowledged" if alarm["is_acknowledged"] else f"not acknowledged (--acknowledge {alarm['id']})"
    return f"raised {alarm['raised_utc']}, {gone}, {seen}"
