"""Published key rates against ours: `python -m benchmarks.key_rates [--json] [--figures DIRECTORY]`.

The table compares every figure of tests/vectors/published_key_rates.json with what the proofs of `postproc.finite_key`
give from the inputs printed beside it; --figures draws the curves of docs/security-analysis.md (a minute).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.postproc.finite_key.published import Comparison, comparisons, rows


def table() -> list[Comparison]:
    """One comparison per published figure, in the order of the file."""
    return [comparison for row in rows().values() for comparison in comparisons(row)]


def main(arguments: list[str]) -> int:
    """Print the table; exit code 1 when a figure is not reproduced within its tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--figures", type=Path, help="existing directory for the PNG files")
    options = parser.parse_args(arguments)
    found = table()
    if options.json:
        results = [
            {"id": c.id, "figure": c.what, "published": c.published, "ours": c.ours, "deviation": c.deviation,
             "tolerance": c.tolerance, "is_reproduced": c.is_reproduced} for c in found
        ]  # fmt: skip
        print(json.dumps({"rows": results}))
    else:
        print(f"{'id':<24}{'figure':<24}{'published':>12}{'ours':>12}{'deviation':>11}{'tolerance':>11}")
        for c in found:
            print(
                f"{c.id:<24}{c.what:<24}{c.published:>12.7g}{c.ours:>12.7g}{c.deviation:>+11.2%}{c.tolerance:>11.1%}"
                + ("" if c.is_reproduced else "  NOT REPRODUCED")
            )
    if options.figures is not None:
        from benchmarks.key_rate_figures import draw_all

        for path in draw_all(options.figures):
            print(path, file=sys.stderr)
    return 0 if all(c.is_reproduced for c in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
