"""The whole link: what the demonstration makes per second of wall time, and where the time goes.

    python -m benchmarks.link [--json] [SECRET_BITS]

Runs `qkd demo` (bench, two nodes, two consumers: real processes and transports) in a temporary directory and reads the
nodes' own records. Rates count from the first round to the last: calibration and start-up are shown apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from controller.recorder import RunData, read_run

ROOT = Path(__file__).resolve().parent.parent
PORT_OFFSET = 7000


def run_demo(workspace: Path, secret_bits: int) -> dict[str, Any]:
    """The demonstration's own summary."""
    command = [
        *(sys.executable, "-m", "controller.cli", "demo", "--json", "--workspace", str(workspace)),
        *("--port-offset", str(PORT_OFFSET), "--secret-bits", str(secret_bits)),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the demonstration ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def seconds_per_stage(run: RunData) -> dict[str, float]:
    """Mean over the keys of one node."""
    totals: dict[str, float] = {}
    for block in run.keys:
        for stage, seconds in block.stage_seconds.items():
            totals[stage] = totals.get(stage, 0.0) + seconds / len(run.keys)
    return {stage: round(seconds, 3) for stage, seconds in sorted(totals.items())}


def main() -> None:
    """Print a table, and with --json one line with `rows`."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    with tempfile.TemporaryDirectory(prefix="qkd-") as folder:
        summary = run_demo(Path(folder) / "w", numbers[0] if numbers else 5_000_000)
        runs = {node: read_run(Path(path)) for node, path in summary["run_files"].items()}
    rounds_s = sum(block.stage_seconds["round"] for block in runs["alice"].keys)
    row = {
        "blocks": summary["blocks"],
        "sifted_bits": summary["sifted_bits"],
        "secret_bits": summary["secret_bits"],
        "sifted_mbit_s_in_rounds": round(summary["sifted_bits"] / rounds_s / 1e6, 2),
        "efficiency_f": round(summary["efficiency_f"], 4),
        "wall_s": summary["wall_s"],
        "peak_memory_mb": summary["peak_memory_bytes"] >> 20,
        "stages_s": {node: seconds_per_stage(run) for node, run in runs.items()},
    }
    for name, value in row.items():
        print(f"{name:>24}  {value}")
    if "--json" in sys.argv:
        print(json.dumps({"rows": [row]}))


if __name__ == "__main__":
    main()
