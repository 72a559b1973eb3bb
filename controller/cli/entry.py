"""Runs a command, turns expected faults into one line and an exit code, and lets bugs show their traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from controller.cli import bench, calibrate, checks, demo, keyrate, keys, link, sim, tags, trust
from controller.errors import EXIT_CONFIGURATION, EXIT_INSECURE, EXIT_INSTRUMENT, EXIT_OK, EXIT_STOPPED, QkdError
from drivers.errors import InstrumentError
from postproc.errors import PostprocError

HELP = """Quantum key distribution, from the instruments of a link to keys for its consumers.

A link is two nodes, Alice (transmitter) and Bob (receiver), each described by one TOML file. Begin with

    qkd demo              a whole link on this machine, with simulated instruments

    qkd doctor            what is missing here, and what to do about it

    qkd config check F    whether a node file can work

Every command takes --json. Exit codes: 0 ok, 2 configuration, 3 instrument, 4 peer, 5 insecure or aborted,
130 stopped by hand.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
checks.register(app)
link.register(app)
calibrate.register(app)
keyrate.register(app)
keys.register(app)
tags.register(app)
trust.register(app)
sim.register(app)
demo.register(app)
bench.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run and leave with the exit code of house rules."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(words))


def run(words: list[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        result: Any = app(args=words, prog_name="qkd", standalone_mode=False)
    except typer.TyperException as error:  # an option or argument that does not exist or does not fit
        return _report(words, f"{error.format_message()} (qkd --help shows what exists)", EXIT_CONFIGURATION)
    except QkdError as error:
        notes = getattr(error, "__notes__", [])  # what went wrong while things were stopped because of it
        return _report(words, "\n".join([str(error), *notes]), error.exit_code)
    except InstrumentError as error:
        return _report(words, str(error), EXIT_INSTRUMENT)
    except PostprocError as error:
        return _report(words, str(error), EXIT_INSECURE)
    except (KeyboardInterrupt, typer.Abort):
        return _report(words, "stopped by hand", EXIT_STOPPED)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `qkd ... | head`
        sys.stderr.close()
        return EXIT_OK
    return result if isinstance(result, int) else EXIT_OK


def _report(words: list[str], message: str, exit_code: int) -> int:
    print(f"qkd: {message}", file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": message, "exit_code": exit_code}))
    return exit_code
