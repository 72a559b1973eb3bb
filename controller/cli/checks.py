"""`qkd doctor` and `qkd config check`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import Json, PortOffset, Workspace, load, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(doctor)
    config = typer.Typer(help="Node files.", no_args_is_help=True)
    config.command("check")(check)
    app.add_typer(config, name="config")


def doctor(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Also examine the node of this file.")] = None,
    workspace: Workspace = Path("."),
    instruments: Annotated[
        bool, typer.Option("--instruments", help="Also open, identify and read the instruments; they are left safe.")
    ] = False,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="You have looked at a station that is latched broken: unlatch it.")
    ] = False,
    port_offset: PortOffset = 0,
    as_json: Json = False,
) -> int:
    """What is missing or wrong on this machine, in order, with what to do about it.

    Without --config: Python, packages, dependencies, randomness, kernels. With it also disk, trust files, ports and the
    station. The exit code is that of the first check that failed.
    """
    from controller import doctor as checks
    from controller.station import BROKEN_FILE

    findings = list(checks.examine_machine())
    if config is not None:
        node = load(config, port_offset)
        if acknowledge:
            (node.state_dir(workspace) / BROKEN_FILE).unlink(missing_ok=True)
        findings += checks.examine_node(node, workspace)
        if instruments:
            findings += checks.examine_instruments(node, workspace)
    if as_json:
        print_json(
            {"checks": [asdict(f) | {"verdict": f.verdict} for f in findings], "exit_code": checks.worst(findings)}
        )
    else:
        for finding in findings:
            typer.echo(f"{finding.verdict:8} {finding.name}: {finding.detail}")
            if finding.remedy:
                typer.echo(f"         try: {finding.remedy}")
    return checks.worst(findings)


def check(
    file: Annotated[Path, typer.Argument(help="A node's TOML file, e.g. configs/demo/alice.toml.")],
    port_offset: PortOffset = 0,
    as_json: Json = False,
) -> None:
    """Whether a node file is well-formed: every fault with file, key path, value and limit.

    Nothing is opened and nothing is switched on. `qkd doctor --config FILE` goes further.
    """
    node = load(file, port_offset)
    drivers = {name: section.driver for name, section in node.instruments.items()}
    _refuse_unknown_drivers(file, drivers)
    _refuse_resources(file, {name: section.resource for name, section in node.instruments.items()})
    if as_json:
        print_json({"file": str(file), "node": node.node.name, "role": node.node.role, "instruments": drivers})
    else:
        typer.echo(f"{file}: node {node.node.name} ({node.node.role}), {len(drivers)} instruments: ok")


def _refuse_unknown_drivers(file: Path, drivers: dict[str, str]) -> None:
    from controller.errors import ConfigurationError
    from drivers.registry import DRIVERS

    wrong = [f"{file}: instruments.{n}.driver = {d!r}: no such driver" for n, d in drivers.items() if d not in DRIVERS]
    if wrong:
        raise ConfigurationError("\n".join(wrong), remedy=f"one of {', '.join(sorted(DRIVERS))}")


def _refuse_resources(file: Path, resources: dict[str, str]) -> None:
    """Resource strings of a form that no link has. Whether anything answers there, `qkd doctor --instruments` says."""
    from controller.errors import ConfigurationError
    from drivers.errors import InstrumentError
    from drivers.links import parse_resource

    wrong = []
    for name, resource in resources.items():
        try:
            parse_resource(resource)
        except InstrumentError as error:
            wrong.append(f"{file}: instruments.{name}: {error}")
    if wrong:
        raise ConfigurationError("\n".join(wrong))
