"""`qkd keys`: a node's key delivery as its consumers see it. Key bits go to a file that only its owner can read."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.options import Config, Json, PortOffset, Workspace, load, print_json

if TYPE_CHECKING:
    from controller.config import NodeConfig
    from controller.keys.consumer import Consumer, ConsumerKey


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Keys: how many there are, and fetching them as a consumer.", no_args_is_help=True)
    keys.command("status")(status)
    keys.command("fetch")(fetch)
    app.add_typer(keys, name="keys")


def status(
    config: Config,
    sae: Annotated[str, typer.Option(help="This node's consumer; its certificate is trust/SAE.pem.")],
    peer_sae: Annotated[str, typer.Option(help="The consumer at the other node.")],
    workspace: Workspace = Path("."),
    port_offset: PortOffset = 0,
    as_json: Json = False,
) -> None:
    """What the node's KME says about the keys between two consumers (ETSI GS QKD 014, Get status)."""
    with _consumer(load(config, port_offset), workspace, sae) as consumer:
        answer = consumer.status(peer_sae)
    if as_json:
        print_json(answer)
    else:
        for name, value in answer.items():
            typer.echo(f"{name}: {value}")


def fetch(
    config: Config,
    sae: Annotated[str, typer.Option(help="This node's consumer; its certificate is trust/SAE.pem.")],
    peer_sae: Annotated[str, typer.Option(help="The consumer at the other node.")],
    output: Annotated[Path, typer.Option(help="Where the keys go (JSON, mode 0600); must not exist.")],
    number: Annotated[int, typer.Option(min=1, max=10_000, help="How many keys.")] = 1,
    key_id: Annotated[
        list[str] | None, typer.Option(help="Fetch the keys that the other consumer got (repeatable), by their key_ID.")
    ] = None,
    workspace: Workspace = Path("."),
    port_offset: PortOffset = 0,
    as_json: Json = False,
) -> None:
    """Fetch keys from this node's KME, once: new ones, or with --key-id those that the other consumer was given."""
    node = load(config, port_offset)
    with _consumer(node, workspace, sae) as consumer:
        if key_id:
            keys = consumer.dec_keys(peer_sae, key_id)
        else:
            keys = consumer.enc_keys(peer_sae, number, node.kme.key_size_bits)
    _write_keys(output, keys)
    ids = [key.key_id for key in keys]
    if as_json:
        print_json({"key_IDs": ids, "file": str(output)})
    else:
        typer.echo("\n".join([f"{len(ids)} keys in {output}", *ids]))


def _consumer(node: NodeConfig, workspace: Path, sae: str) -> Consumer:
    from controller.bundle import open_consumer

    return open_consumer(node, sae, workspace)


def _write_keys(path: Path, keys: Sequence[ConsumerKey]) -> None:
    """Write keys to a new file that only its owner can read."""
    from controller.errors import ConfigurationError

    content = {"keys": [{"key_ID": k.key_id, "key": base64.b64encode(k.material).decode()} for k in keys]}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", remedy="name a file that does not exist yet") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
