"""`qkd bench`: the benchmarks behind every figure that the documentation claims, one command each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import Json
from controller.errors import ConfigurationError

MODULES = {
    "twin": "simulated_bench",
    "tags": "id900_stream",
    "sift": "timing",
    "synchronise": "timing",
    "reconcile": "reconcile",
    "amplify": "amplify",
    "authenticate": "authenticate",
    "growth": "block_growth",
    "link": "link",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(MODULES)}.")],
    as_json: Json = False,
) -> int:
    """Measure on this machine what the documentation claims.

    Further options go to the benchmark (benchmarks/*.py says which). With --json the last line is one object with
    `rows`. Other work on the machine shows in the figures; most are CPU time of one core for that reason.
    """
    if name not in MODULES:
        raise ConfigurationError(f"no benchmark {name!r}", remedy=f"one of {', '.join(MODULES)}")
    root = Path(__file__).resolve().parents[2]
    words = [*context.args, *(["--json"] if as_json else [])]
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{MODULES[name]}", *words], cwd=root, check=False
    ).returncode
