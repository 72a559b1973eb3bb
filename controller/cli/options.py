"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # slow: pydantic, numpy
    from controller.config import NodeConfig
    from controller.control_socket import ControlClient

Json = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]
Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", help="Directory that relative paths of the file refer to.")
]
PortOffset = Annotated[
    int, typer.Option("--port-offset", help="Added to every TCP port of the file, to run links side by side.")
]


def load(config: Path, port_offset: int = 0) -> NodeConfig:
    """Load a node file (imports pydantic's machinery only now)."""
    from controller.config_loading import load_config

    return load_config(config, port_offset=port_offset)


def client(config: Path, workspace: Path) -> ControlClient:
    """A client of the node that runs with this file in this workspace."""
    from controller.control_socket import SOCKET_NAME, ControlClient

    return ControlClient(load(config).state_dir(workspace) / SOCKET_NAME)


def print_json(value: Any) -> None:
    """One line, keys in the order given."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def print_table(rows: list[tuple[str, ...]], headings: tuple[str, ...]) -> None:
    """Plain aligned columns: readable in a log, without colour."""
    table = [headings, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    for index, row in enumerate(table):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if index == 0:
            typer.echo("  ".join("-" * width for width in widths))
