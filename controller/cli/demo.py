"""`qkd demo`: a whole link on this machine."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli.options import Json, print_json

if TYPE_CHECKING:
    from controller.config import NodeConfig
    from controller.demo import Observer
    from controller.monitoring.status import NodeStatus

ROOT = Path(__file__).resolve().parent.parent.parent


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    secret_bits: Annotated[int, typer.Option(min=1000, help="Secret bits that must stand in both stores.")] = 1_000_000,
    attack: Annotated[
        str, typer.Option(help="Let the bench mount an attack once keys are being made, e.g. intercept-resend.")
    ] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Of all randomness in the bench; default: its file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep stores, keys and certificates of the run, too.")] = False,
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="A new or empty directory; default runs/demo-<UTC>.")
    ] = None,
    configs: Annotated[Path, typer.Option(help="Folder with alice.toml, bob.toml, bench.toml.")] = ROOT
    / "configs/demo",
    port_offset: Annotated[int, typer.Option(help="Added to every TCP port, to run demos side by side.")] = 0,
    deadline_s: Annotated[float, typer.Option(min=10, help="Give up after this long.")] = 900.0,
    as_json: Json = False,
) -> int:
    """A whole link on this machine: a simulated bench and two nodes as processes, keys for two consumers, a report.

    The nodes open and identify their instruments, calibrate, authenticate from a pre-shared key, exchange (simulated)
    light, distil secret key, and give it to a consumer on each side. Every byte from an instrument crosses a real
    transport. Afterwards: runs/demo-*/report.html, run files (HDF5), logs.

    With --attack no key may appear: the command then ends with exit code 5 and names the reason.
    """
    from controller.demo import Demo, DemoOptions, new_workspace

    place = (workspace or new_workspace(Path("runs"))).absolute()
    options = DemoOptions(
        workspace=place, configs=configs, secret_bits=secret_bits, seed=seed, attack=attack, port_offset=port_offset,
        deadline_s=deadline_s,
    )  # fmt: skip
    with _observer(is_quiet=as_json or not sys.stdout.isatty()) as observe:
        show = Demo(options, observe)
        try:
            nodes = show.prepare()
            _print_plan(nodes)
            result = show.run()
        finally:
            if not keep:
                show.forget_secrets()
    from controller.demo_summary import summarise
    from controller.monitoring.report import write_report

    summary = summarise(result)
    report = write_report(place / "report.html", result.run_files, summary)
    summary["report"] = str(report)
    return _conclude(summary, is_json=as_json)


def _conclude(summary: dict[str, Any], *, is_json: bool) -> int:
    """Print the end; the exit code says whether it is what a demonstration must come to."""
    from controller.errors import EXIT_INSECURE, EXIT_OK

    failure = _failure(summary)
    if failure:
        summary["error"] = failure
    if is_json:
        print_json(summary)
    else:
        _print_summary(summary)
    if failure:
        print(f"qkd: {failure}", file=sys.stderr)
    return EXIT_INSECURE if failure else EXIT_OK


def _failure(summary: dict[str, Any]) -> str:
    """Why there is no key, or why the keys must not be used; "" when all is well."""
    attack = summary["attack"]
    if attack and not summary["blocks"]:
        alarms = [f"QBER alarm {alarm}" for alarm in summary["alarms"] if alarm.startswith("qber")]
        return f"attack {attack!r}: no key was made; {'; '.join(summary['abort_reasons'] or alarms)}"
    if attack:
        return f"attack {attack!r}: {summary['blocks']} blocks became keys; this must not be"
    return "" if summary["keys_match"] else f"the keys of the two sides differ; read {summary['report']}"


@contextlib.contextmanager
def _observer(*, is_quiet: bool) -> Iterator[Observer]:
    """How progress is shown: a live view in a terminal, otherwise one line per stage on the error stream."""
    if is_quiet:
        lines = _ProgressLines()
        yield lines.observe
        return
    from rich.console import Console
    from rich.live import Live

    from controller.monitoring.live import show

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4) as live:

        def observe(stage: str, statuses: list[NodeStatus]) -> None:
            live.update(show(statuses, header=f"qkd demo: {stage}") if statuses else f"qkd demo: {stage} ...")

        yield observe


class _ProgressLines:
    """Stages and states as lines with the time, each once."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._last: dict[str, str] = {}

    def observe(self, stage: str, statuses: list[NodeStatus]) -> None:
        """Print what is new."""
        self._say("demo", stage)
        for status in statuses:
            key = f", {status.secret_bits:,} secret bits" if status.secret_bits else ""
            self._say(status.node, f"{status.state}{key}")

    def _say(self, who: str, what: str) -> None:
        if self._last.get(who) != what:
            self._last[who] = what
            print(f"{time.monotonic() - self._start_s:7.1f} s  {who}: {what}", file=sys.stderr, flush=True)


def _print_plan(nodes: dict[str, NodeConfig]) -> None:
    """The calculation from which the parameters of the blocks follow."""
    from controller.link_plan import plan_link
    from controller.version import software_version

    alice = nodes["alice"]
    row = plan_link(alice, alice.link.parameters(software_version())).row
    link, counts, plan = row.params, row.counts, row.plan
    signal, decoy = link.mean_photon_numbers
    lines = [
        "Plan of a block, fixed beforehand from [expectation] (see qkd keyrate):",
        f"  sent            {link.block_slots:,} slots, {signal:g} / {decoy:g} photons (signal / decoy)",
        f"  expected        {sum(counts.n_key):,} detections in Z, {sum(counts.n_test):,} in X;"
        f" QBER {counts.qber_z:.4f} / {counts.qber_x:.4f}",
        f"  demanded        single photons in Z >= {plan.min_single_photon_key:,},"
        f" phase error <= {plan.max_phase_error:.4f}",
        f"  secret          {plan.secret_length_bits:,} bit a block, {row.secret_rate_bps:,.0f} bit per s of light",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _print_summary(summary: dict[str, Any]) -> None:
    """The end in words and numbers."""
    lines = [
        f"secret key        {summary['secret_bits']:,} bit in each store, from {summary['blocks']} blocks"
        f" ({summary['aborted_blocks']} aborted)",
        f"sifted            {summary['sifted_bits']:,} bit; disclosed {summary['leakage_bits']:,} bit"
        f" (f = {_number(summary['efficiency_f'], 3)})",
        f"QBER Z            {_number(summary['qber_z'])}   truth {_number(summary['true_qber_z'])}",
        f"QBER X            {_number(summary['qber_x'])}   truth {_number(summary['true_qber_x'])}",
        f"phase error       at most {_number(summary['phase_error_bound'])}",
        f"authentication    {summary['auth_bits_consumed']:,} bit used, {summary['auth_bits_pool']:,} bit in the pool",
        f"consumers         {_consumers(summary)}",
        f"time              {summary['wall_s']:.1f} s for {summary['simulated_s']:.2f} s of light;"
        f" memory {summary['peak_memory_bytes'] / 1e9:.2f} GB",
        f"report            {summary['report']}",
    ]
    typer.echo("\n".join(lines))


def _consumers(summary: dict[str, Any]) -> str:
    """What the two consumers found, or that there was nothing for them."""
    if not summary["keys_compared"]:
        return "no keys to fetch"
    equal = "equal" if summary["keys_match"] else "NOT EQUAL"
    return f"{summary['keys_compared']} keys, {equal}; message {'read' if summary['message_read'] else 'not read'}"


def _number(value: float | None, digits: int = 5) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
