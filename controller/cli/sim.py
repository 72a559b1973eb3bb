"""`qkd sim`: the simulated bench, a process of its own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sim = typer.Typer(
        help="A simulated bench: instruments that speak their real protocols over real transports, one physical model.",
        no_args_is_help=True,
    )
    sim.command("start")(start)
    sim.command("tell")(tell)
    app.add_typer(sim, name="sim")


def start(
    bench: Annotated[Path, typer.Argument(help="A bench's TOML file.")] = Path("configs/demo/bench.toml"),
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Where pseudo-terminals and sockets appear.")
    ] = Path("."),
    port_offset: Annotated[int, typer.Option(help="Added to every TCP port of the file.")] = 0,
    as_json: Json = False,
) -> None:
    """Serve all instruments of a bench until Ctrl-C. Nodes reach them by the resource strings of their files.

    With --json, one line first says which file appears when the bench is ready and which socket takes `qkd sim tell`.
    """
    from controller.bench_client import READY_NAME, SOCKET_NAME

    if as_json:
        print_json({"ready_file": str(workspace / READY_NAME), "control_socket": str(workspace / SOCKET_NAME)})
    words = [sys.executable, "-P", "-m", "sim_instruments", str(bench), "--workspace", str(workspace)]
    if port_offset:
        words += ["--port-offset", str(port_offset)]
    sys.stdout.flush()
    os.execv(sys.executable, words)


def tell(
    request: Annotated[
        str,
        typer.Argument(
            help='JSON, e.g. \'{"do": "fault", "name": "fibre_cut", "value": true}\' or \'{"do": "state"}\'.'
        ),
    ],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="The bench's workspace.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Tell a running bench something: a fault, an attack, a request for the truth that only it knows."""
    from controller.bench_client import BenchClient

    answer = BenchClient(workspace).ask(_object(request))
    if as_json:
        print_json(answer)
    else:
        typer.echo(json.dumps(answer, indent=2))


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object")
    return value
