"""The live view in the terminal: both nodes side by side, in the order in which operators look (house rules §7)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.control_socket import ControlClient
from controller.errors import PeerFailure
from controller.monitoring.alarms import CATALOGUE
from controller.monitoring.status import AlarmState, NodeStatus

REFRESH_S = 0.25
LABEL_WIDTH = 16


def show(statuses: Sequence[NodeStatus], header: str = "") -> RenderableType:
    """One column per node, Alice first, one row per quantity, alarms below.

    The title counts the raised alarms, should a small terminal cut them off.
    """
    statuses = sorted(statuses, key=lambda status: status.role)
    table = Table(expand=True, box=None, padding=(0, 1, 0, 0), show_header=True, header_style="bold")
    table.add_column("", style="dim", width=LABEL_WIDTH, no_wrap=True)
    for status in statuses:
        table.add_column(f"{status.node.capitalize()} ({_role(status)})", ratio=3)
    for label, cells in _rows(statuses):
        table.add_row(label, *cells)
    parts: list[RenderableType] = [table]
    alarms = [(status.node, alarm) for status in statuses for alarm in status.alarms]
    raised = [(node, alarm) for node, alarm in alarms if not alarm.cleared_utc]
    parts += [_raised_line(node, alarm) for node, alarm in raised]
    parts += [_cleared_line(node, alarm) for node, alarm in alarms if alarm.cleared_utc]
    title = header or (statuses[0].time_utc if statuses else "")
    title += f" -- {len(raised)} ALARM{'S' if len(raised) > 1 else ''}" if raised else ""
    return Panel(Group(*parts), title=title, title_align="left", border_style="dim")


def watch_nodes(clients: Sequence[ControlClient], *, console: Console | None = None) -> None:
    """Show until Ctrl-C or until no node answers any more."""
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            statuses = []
            for client in clients:
                try:
                    statuses.append(client.status())
                except PeerFailure:
                    continue
            if not statuses:
                return
            live.update(show(statuses))
            time.sleep(REFRESH_S)


def _rows(statuses: Sequence[NodeStatus]) -> list[tuple[str, list[RenderableType]]]:
    rows: list[tuple[str, list[RenderableType]]] = [
        ("state", [_state(s) for s in statuses]),
        ("stage", [_stage(s) for s in statuses]),
        ("secret key", [_secret(s) for s in statuses]),
        ("key rate", [_rate(s) for s in statuses]),
        ("QBER Z", [_qber(s.qber_z, s.qber_z_limit) for s in statuses]),
        ("QBER X", [_qber(s.qber_x, s.qber_x_limit) for s in statuses]),
        (
            "keys in store",
            [f"{s.keys_in_store:,}, {s.keys_delivered:,} delivered" for s in statuses],
        ),
        ("blocks", [_blocks(s) for s in statuses]),
        ("detectors", [_detectors(s) for s in statuses]),
        ("photons per slot", [" / ".join(f"{mu:.4f}" for mu in s.mean_photon_numbers) or "-" for s in statuses]),
        ("clock", [_clock(s) for s in statuses]),
        ("authentication", [_authentication(s) for s in statuses]),
        ("calibration", [_calibrations(s) for s in statuses]),
    ]
    return [(label, cells) for label, cells in rows if any(str(cell) != "-" for cell in cells)]


def _role(status: NodeStatus) -> str:
    return "transmitter" if status.role == "alice" else "receiver"


def _state(status: NodeStatus) -> Text:
    is_bad = status.state.startswith("Stopped") or bool(status.station_broken)
    return Text(status.state, style="bold red" if is_bad else "bold green")


def _stage(status: NodeStatus) -> str:
    waiting = f", waiting for {status.waiting_for}" if status.waiting_for else ""
    progress = f" {status.stage_progress:4.0%}" if status.stage_progress is not None else ""
    return f"{status.stage or '-'}{progress}{waiting}"


def _secret(status: NodeStatus) -> RenderableType:
    if not status.target_secret_bits:
        return f"{status.secret_bits:,} bit"
    bar = ProgressBar(
        total=status.target_secret_bits, completed=min(status.secret_bits, status.target_secret_bits), width=20
    )
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1, min_width=2)
    line.add_row(f"{status.secret_bits:,} of {status.target_secret_bits:,}", bar)
    return line


def _rate(status: NodeStatus) -> str:
    if status.secret_key_rate_bps is None:
        return "-"
    link = status.secret_key_rate_link_bps
    return f"{status.secret_key_rate_bps:,.0f} bit/s" + (f"\n{link:,.0f} per s of light" if link is not None else "")


def _qber(value: float | None, limit: float) -> Text:
    """Value and limit, with a word beside the colour."""
    if value is None:
        return Text("-")
    is_ok = value <= limit
    return Text(f"{value:.4f} {'<=' if is_ok else '> LIMIT'} {limit:.3f}", style="" if is_ok else "bold red")


def _blocks(status: NodeStatus) -> str:
    aborted = f", {status.blocks_aborted} aborted" if status.blocks_aborted else ""
    reason = f" (last: {status.last_abort_reason})" if status.last_abort_reason else ""
    return f"{status.blocks_made} keys{aborted}{reason}"


def _detectors(status: NodeStatus) -> str:
    return (
        "  ".join(f"{rate / 1e6:.2f}" for rate in status.detector_rates_hz) + " MHz"
        if status.detector_rates_hz
        else "-"
    )


def _clock(status: NodeStatus) -> str:
    parts = []
    if status.clock_drift_ppm is not None:
        parts.append(f"{status.clock_drift_ppm:+.5f} ppm")
    if status.sync_phase_ps is not None:
        parts.append(f"{status.sync_phase_ps:+.1f} ps")
    return ", ".join(parts) or "-"


def _authentication(status: NodeStatus) -> str:
    if status.auth_rounds_left is None:
        return "-"
    used = f", {status.auth_bits_consumed:,} bit used" if status.auth_bits_consumed else " left"
    return f"{status.auth_rounds_left:,} rounds{used}"


def _calibrations(status: NodeStatus) -> str:
    return "\n".join(f"{c.routine} {c.verdict} {c.age_s:.0f} s" for c in status.calibrations) or "-"


def _raised_line(node: str, alarm: AlarmState) -> Text:
    """What is wrong now, and what to do."""
    kind = CATALOGUE.get(alarm.id)
    return Text(f"!!! {node}: {alarm.id}: {alarm.detail}" + (f" -- {kind.action}" if kind else ""), style="yellow")


def _cleared_line(node: str, alarm: AlarmState) -> Text:
    """What was wrong and has not been acknowledged, on one line: `qkd alarms` says it in full."""
    return Text(f"was {node}: {alarm.id}: {alarm.detail}", style="dim yellow", no_wrap=True, overflow="ellipsis")
