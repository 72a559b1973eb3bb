"""The figures of a report, each a piece of SVG. Slow library: matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from controller.block_record import BlockRecord
from controller.recorder import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, RED, GREEN, GOLD, VIOLET, GREY = "#2563a8", "#c2410c", "#2f855a", "#b7791f", "#6b46a8", "#8a94a0"
PALETTE = (BLUE, RED, GREEN, GOLD, VIOLET, GREY, "#0e7490", "#9d174d")
WAITING = "waiting"  # the stage in which a node waits for the other one
STYLE: dict[Any, Any] = {
    "font.size": 9, "font.family": "sans-serif", "svg.fonttype": "none", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": "#333", "xtick.color": "#555",
    "ytick.color": "#555", "axes.grid": True, "grid.color": "#e6e9ed", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "legend.frameon": False, "svg.hashsalt": "qkd",
}  # fmt: skip


def draw(plot: Callable[[Axes], None], width_in: float = 5.6, height_in: float = 2.9) -> str:
    """One figure as SVG text for a web page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        plot(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def qber(blocks: Sequence[BlockRecord], limits: tuple[float, float], truth: tuple[float | None, float | None]) -> str:
    """Error ratio per block and basis with standard errors, limits, and the truth where it is known."""

    def plot(axes: Axes) -> None:
        for name, colour, marker, limit, true, basis in (
            ("Z (key)", BLUE, "o", limits[0], truth[0], "key"),
            ("X (test)", RED, "s", limits[1], truth[1], "test"),
        ):
            rows = [b for b in blocks if sum(getattr(b, f"n_{basis}"))]
            n = np.array([sum(getattr(b, f"n_{basis}")) for b in rows], float)
            q = np.array([sum(getattr(b, f"m_{basis}")) for b in rows]) / n
            x = [b.round for b in rows]
            axes.errorbar(
                x, q, np.sqrt(q * (1 - q) / n), fmt=marker, color=colour, ms=4, capsize=2, label=f"QBER {name}"
            )
            axes.axhline(limit, color=colour, ls="--", lw=1)
            place = (1.0 if basis == "key" else 0.85, limit)
            text = axes.annotate(f"limit {name[0]} {limit:g}", place, xycoords=("axes fraction", "data"), ha="right")
            text.set(va="bottom", color=colour, fontsize=7)
            if true is not None:
                axes.axhline(true, color=colour, ls=":", lw=1.2, label=f"truth {name[0]} (bench) {true:.4f}")
        axes.set(xlabel="round", ylabel="error ratio", ylim=(0, None))
        _whole_numbers(axes)
        axes.legend(fontsize=7, ncols=2)

    return draw(plot)


def accumulation(blocks: Sequence[BlockRecord], slot_rate_hz: float) -> str:
    """Sifted and secret bits against the link's own time."""

    def plot(axes: Axes) -> None:
        time_s = np.cumsum([0.0] + [b.slots / slot_rate_hz for b in blocks])
        sifted = np.cumsum([0] + [b.sifted_bits if b.outcome == "key" else 0 for b in blocks])
        secret = np.cumsum([0] + [b.secret_bits for b in blocks])
        axes.step(time_s, sifted / 1e6, where="post", color=GREY, label="sifted")
        axes.step(time_s, secret / 1e6, where="post", color=GREEN, lw=2, label="secret")
        axes.fill_between(time_s, secret / 1e6, step="post", color=GREEN, alpha=0.15)
        axes.set(xlabel="link time (s of slots sent)", ylabel="Mbit")
        axes.legend(fontsize=8)

    return draw(plot)


def arrivals(bob: RunData, gates: Sequence[tuple[int, float, float, str]], slot_ps: float) -> str:
    """Arrival phase in the slot per detector, with the acceptance windows (channel, start ps, width ps, label)."""

    def plot(axes: Axes) -> None:
        counts = bob.histograms.sum(axis=0)
        centres = (np.arange(counts.shape[1]) + 0.5) * bob.histogram_headers[-1, 1]
        for channel, row in enumerate(counts, start=1):
            if row.any():
                axes.plot(centres, np.maximum(row, 0.5), color=PALETTE[channel - 1], lw=1, label=f"detector {channel}")
        top = float(max(counts.max(), 1))
        for channel, start, width, label in gates:
            colour = PALETTE[(channel - 1) % len(PALETTE)]
            for low in (start % slot_ps, start % slot_ps - slot_ps):
                left, right = max(low, 0.0), min(low + width, slot_ps)
                if right > left:
                    axes.axvspan(left, right, color=colour, alpha=0.12, lw=0)
                    axes.text(
                        (left + right) / 2, top * (1.2 + 0.9 * channel), label, ha="center", fontsize=7, color=colour
                    )
        axes.set(
            xlabel="phase in the slot (ps)", ylabel="clicks", yscale="log", xlim=(0, slot_ps), ylim=(None, top * 12)
        )
        axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)

    return draw(plot) if len(bob.histogram_headers) else ""


def stages(blocks: Sequence[BlockRecord]) -> str:
    """Seconds per stage and round, stacked."""

    def plot(axes: Axes) -> None:
        names = list(dict.fromkeys(name for b in blocks for name in b.stage_seconds if name != "round"))
        bottom = np.zeros(len(blocks))
        x = np.arange(len(blocks))
        names.sort(key=lambda name: name != WAITING)
        for colour, name in zip(itertools.chain(("#d5dae0",), itertools.cycle(PALETTE)), names, strict=False):
            seconds = np.array([b.stage_seconds.get(name, 0.0) for b in blocks])
            axes.bar(x, seconds, bottom=bottom, color=colour, width=0.7, label=name)
            bottom += seconds
        axes.set(xlabel="round", ylabel="wall seconds", xticks=x[:: max(1, len(x) // 12)])
        axes.set_xticklabels([str(b.round) for b in blocks][:: max(1, len(x) // 12)])
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))

    return draw(plot)


def leakage(blocks: Sequence[BlockRecord]) -> str:
    """Where bits of information were disclosed, summed over the blocks, by message and direction."""

    def plot(axes: Axes) -> None:
        parts: dict[str, int] = {}
        for what, direction, count in (entry for b in blocks for entry in b.leakage):
            name = f"{what} ({'Alice to Bob' if direction.startswith('alice') else 'Bob to Alice'})"
            parts[name] = parts.get(name, 0) + count
        ordered = sorted(parts.items(), key=lambda item: item[1])
        axes.barh([name for name, _ in ordered], [count for _, count in ordered], color=BLUE, height=0.6)
        for y, (_, count) in enumerate(ordered):
            axes.annotate(f"{count:,}", (count, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set(xlabel="bits", xscale="log", xlim=(0.5, max(parts.values(), default=1) * 20))
        axes.grid(visible=False, axis="y")

    return draw(plot)


def authentication(blocks: Sequence[BlockRecord]) -> str:
    """Pad bits burnt and pad bits that the keys put back, summed over the rounds."""

    def plot(axes: Axes) -> None:
        rounds = [b.round for b in blocks]
        axes.step(rounds, np.cumsum([b.auth_bits_consumed for b in blocks]), where="mid", color=RED, label="consumed")
        axes.step(rounds, np.cumsum([b.refill_bits for b in blocks]), where="mid", color=GREEN, label="refilled")
        axes.set(xlabel="round", ylabel="bits of authentication pool", ylim=(0, None))
        _whole_numbers(axes)
        axes.legend(fontsize=8)

    return draw(plot)


def count_rates(bob: RunData) -> str:
    """Clicks per second and detector against wall time."""

    def plot(axes: Axes) -> None:
        for channel in range(1, 5):
            rate = bob.rates[:, 1 + channel]
            if rate.any():
                axes.plot(bob.rates[:, 0], rate / 1e6, color=PALETTE[channel - 1], lw=1.2, label=f"detector {channel}")
        axes.set(xlabel="wall time (s)", ylabel="Mclick/s of link time", ylim=(0, None))
        axes.legend(fontsize=7)

    return draw(plot) if len(bob.rates) else ""


def series(calibration: dict[str, Any]) -> str:
    """What a calibration measured: its first series against its second, or against the index; "" without series."""
    measured = {name: values for name, values in calibration.get("series", {}).items() if len(values) > 1}
    if not measured:
        return ""

    def plot(axes: Axes) -> None:
        names = list(measured)
        abscissa = names[0] if len({len(v) for v in measured.values()}) == 1 and len(names) > 1 else ""
        for colour, name in zip(itertools.cycle(PALETTE), [n for n in names if n != abscissa][:6], strict=False):
            x = measured[abscissa] if abscissa else range(len(measured[name]))
            axes.plot(x, measured[name], ".-", color=colour, lw=1, ms=3, label=name.replace("_", " "))
        axes.set(xlabel=abscissa.replace("_", " ") or "sample")
        axes.legend(fontsize=7)

    return draw(plot, 4.2, 2.4)
