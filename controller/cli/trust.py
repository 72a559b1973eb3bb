"""`qkd trust`: what two nodes must share before they first talk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import Json, load, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    trust = typer.Typer(help="Trust anchors: what two nodes must share before they first talk.", no_args_is_help=True)
    trust.command("psk")(psk)
    trust.command("kek")(kek)
    trust.command("ca")(throwaway_ca)
    app.add_typer(trust, name="trust")


def psk(
    alice: Annotated[Path, typer.Option(help="Alice's node file.")] = Path("configs/demo/alice.toml"),
    bob: Annotated[Path, typer.Option(help="Bob's node file.")] = Path("configs/demo/bob.toml"),
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Where both halves are written.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Make a pre-shared key: one half per node, from the operating system's random generator.

    It is the first authentication pool of the link and holds the certificates with which the nodes know each other.
    Carry Bob's half to Bob by a way that you trust. Each node imports its half at its first start and destroys
    the file.
    """
    from controller.bundle import make_psk

    paths = make_psk(load(alice), load(bob), workspace)
    if as_json:
        print_json({"files": [str(path) for path in paths]})
    else:
        typer.echo("\n".join(f"written: {path}" for path in paths))


def kek(
    config: Annotated[Path, typer.Option("--config", "-c", help="The node's file.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="The node's workspace.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Make the key that encrypts a node's store. Keep it where the store's backups are not."""
    from controller.bundle import make_kek

    path = make_kek(load(config), workspace)
    if as_json:
        print_json({"files": [str(path)]})
    else:
        typer.echo(f"written: {path}")


def throwaway_ca(
    alice: Annotated[Path, typer.Option(help="Alice's node file.")] = Path("configs/demo/alice.toml"),
    bob: Annotated[Path, typer.Option(help="Bob's node file.")] = Path("configs/demo/bob.toml"),
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Where the files are written.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Certificates for key delivery between a node and its consumers, from an authority whose key is thrown away.

    They carry no claim of trust: for trials only. Real consumers get certificates from an authority of your own.
    """
    from controller.bundle import make_delivery_certificates

    paths = make_delivery_certificates((load(alice), load(bob)), workspace)
    if as_json:
        print_json({"files": [str(path) for path in paths]})
    else:
        typer.echo("\n".join(f"written: {path}" for path in paths))
