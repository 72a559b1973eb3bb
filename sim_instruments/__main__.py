"""`python -m sim_instruments BENCH.toml --workspace DIR [--port-offset N]`: a simulated bench as its own process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXIT_CONFIGURATION = 2
EXIT_PORTS = 3


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 stopped as told, 2 the bench file is wrong, 3 a port or the workspace cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m sim_instruments", description=__doc__)
    parser.add_argument("bench", type=Path, help="bench file (TOML): [world] and [instruments]")
    parser.add_argument("--workspace", type=Path, required=True, help="directory for dev/, bench.ready and bench.sock")
    parser.add_argument("--port-offset", type=int, default=0, help="added to every port of the file")
    options = parser.parse_args(arguments)

    from sim_instruments.server import serve  # numba and numpy load here, not for --help

    try:
        serve(options.bench, options.workspace, options.port_offset)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_PORTS
    return 0


if __name__ == "__main__":
    sys.exit(main())
