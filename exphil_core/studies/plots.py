"""Plots of a report: learning curves, and loss vs latency, as SVG and PNG.

They need matplotlib (the extra `plots`). A band spans the lowest and the highest seed and is no confidence
interval. Colours repeat what labels and markers show.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from exphil_core.studies.report import Group, Report, ReportRow
from exphil_core.studies.trial_result import Point

NO_PLOTS = "No plots: matplotlib is not installed; 'pip install exphil[plots]' installs it."

# The first six are Okabe and Ito's, which stay distinct under every common colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31", "#333333")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_INK, _FAINT = "#24292f", "#d0d7de"


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(report: Report, folder: Path) -> list[str]:
    """Draw a report's plots; return the names of the SVG files, none without matplotlib."""
    if not can_plot():
        return []
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "exphil",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.edgecolor": _FAINT,
            "axes.labelcolor": _INK,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    names = []
    for group in report.groups:
        if any(len(curve) > 1 for row in group.rows for curve in row.curves.values()):
            names.append(_save(_curves(report, group), folder, f"curves-{group.budget}"))
        if group.front and sum(row.latency is not None for row in group.rows) > 1:
            names.append(_save(_pareto(report, group), folder, f"pareto-{group.budget}"))
    return names


def _save(figure: Any, folder: Path, name: str) -> str:
    import matplotlib.pyplot as plt

    for kind in ("svg", "png"):
        path = folder / f"{name}.{kind}"
        partial = folder / f".{name}.partial.{kind}"
        figure.savefig(
            partial, dpi=150, metadata={"Date": None} if kind == "svg" else None, facecolor="white"
        )
        partial.replace(path)
    plt.close(figure)
    return f"{name}.svg"


def _curves(report: Report, group: Group) -> Any:
    """Plot validation loss over frames and over minutes."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), sharey=True, layout="constrained")
    most = max(point.frames for row in group.rows for curve in row.curves.values() for point in curve)
    scale, unit = (1e6, "million frames") if most >= 1e6 else (1e3, "thousand frames")
    looks = dict(
        zip(sorted(row.name for row in group.rows), cycle(zip(_COLOURS, _MARKS, strict=True)), strict=False)
    )
    for panel, of, label in (
        (panels[0], lambda point: point.frames / scale, unit),
        (panels[1], lambda point: point.seconds / 60, "training minutes"),
    ):
        for row in group.rows:
            colour, mark = looks[row.name]
            x, mean, low, high = _band(list(row.curves.values()), of)
            panel.plot(
                x,
                mean,
                color=colour,
                lw=1.8,
                marker=mark,
                ms=4,
                markevery=max(1, len(x) // 6),
                label=row.name,
            )
            if len(row.curves) > 1:
                panel.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
        panel.set_xlabel(label)
        panel.grid(color=_FAINT, lw=0.6)
        panel.set_axisbelow(True)
        if group.target is not None:
            panel.axhline(group.target, color=_INK, lw=0.8, ls=(0, (4, 3)))
    panels[0].set_ylabel("validation loss, nats per frame")
    panels[0].set_ylim(*_limits(group))
    # Outside the panel: inside, it would always cover a line.
    panels[1].legend(frameon=False, title="variant", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    band = "line: mean over seeds, band: lowest to highest seed" if _seeds(group) > 1 else "one seed"
    figure.suptitle(f"{report.name}: {group.title}\n", x=0.01, ha="left", fontsize=11, fontweight="bold")
    dashed = "" if group.target is None else "; dashed: the loss that every run reached"
    figure.text(0.01, 0.925, band + dashed, fontsize=9, color="#57606a")
    return figure


def _band(curves: Sequence[Sequence[Point]], of: Any) -> tuple[Any, Any, Any, Any]:
    """Return (x, mean, lowest, highest) over the range that every seed covers."""
    curves = [curve for curve in curves if curve]
    first = max(of(curve[0]) for curve in curves)
    last = min(of(curve[-1]) for curve in curves)
    x = np.unique(np.clip([of(point) for point in max(curves, key=len)], first, last))
    y = np.stack([np.interp(x, [of(p) for p in curve], [p.loss for p in curve]) for curve in curves])
    return x, y.mean(0), y.min(0), y.max(0)


def _limits(group: Group) -> tuple[float, float]:
    """Return y limits that leave out the steep first third, which would compress the rest."""
    curves = [curve for row in group.rows for curve in row.curves.values() if curve]
    lowest = min(point.loss for curve in curves for point in curve)
    late = [point.loss for curve in curves for point in curve if point.frames >= curve[-1].frames / 3]
    room = 0.06 * max(max(late) - lowest, 1e-3)
    return lowest - room, max(late) + room


def _seeds(group: Group) -> int:
    return max(len(row.seeds) for row in group.rows)


def _pareto(report: Report, group: Group) -> Any:
    """Plot mean loss against p99, with the Pareto front."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    timed = [row for row in group.rows if row.latency is not None]
    looks = dict(
        zip(sorted(row.name for row in group.rows), cycle(zip(_COLOURS, _MARKS, strict=True)), strict=False)
    )
    front = sorted((_p99(row), row.loss.mean) for row in timed if row.name in group.front)
    panel.step(*zip(*front, strict=True), where="post", color=_INK, lw=1, ls=(0, (4, 3)), zorder=1)
    for row in timed:
        colour, mark = looks[row.name]
        panel.errorbar(
            _p99(row),
            row.loss.mean,
            yerr=row.loss.deviation,
            color=colour,
            marker=mark,
            ms=7,
            capsize=3,
            lw=1.2,
        )
    labels = [
        panel.annotate(
            row.name,
            (_p99(row), row.loss.mean),
            xytext=_PLACES[0],
            textcoords="offset points",
            fontweight="bold" if row.name in group.front else "normal",
        )
        for row in timed
    ]
    budget = next(row.latency.budget_ms for row in timed if row.latency is not None)
    least, most = min(map(_p99, timed)), max(map(_p99, timed))
    panel.set_xlim(max(0.0, least - 0.12 * most), most * 1.25)
    if most * 1.25 > budget:
        panel.axvline(budget, color="#cf222e", lw=1)
        panel.annotate(" 60 FPS", (budget, 1), xycoords=("data", "axes fraction"), color="#cf222e", va="top")
    panel.set_xlabel(f"p99 of a frame in play, ms (budget {budget:.2f})")
    panel.set_ylabel("held-out loss, nats per frame")
    panel.grid(color=_FAINT, lw=0.6)
    panel.set_axisbelow(True)
    bars = "bars: standard deviation over seeds" if _seeds(group) > 1 else "one seed"
    figure.suptitle(f"{report.name}: {group.title}\n", x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.text(0.01, 0.93, f"{bars}; bold and dashed: Pareto front", fontsize=9, color="#57606a")
    _separate_labels(figure, labels)
    return figure


_PLACES = ((8, 5), (8, -13), (-8, 5), (-8, -13), (8, 17), (8, -25), (-8, 17), (-8, -25))
"""Offsets of a label from its mark, in points, tried in order; with a negative x the label ends there."""

_MARK = 6.0
"""Half a mark with padding, in points."""


def _separate_labels(figure: Any, labels: Sequence[Any]) -> None:
    """Move each label to the first place where it overlaps no mark and no earlier label."""
    from matplotlib.transforms import Bbox

    # Positions are known only after the layout.
    figure.canvas.draw()
    half = _MARK * figure.dpi / 72
    marks = [label.axes.transData.transform(label.xy) for label in labels]
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in marks]
    for label in sorted(labels, key=lambda each: each.xy[1]):
        for place in _PLACES:
            label.set_position(place)
            label.set_horizontalalignment("left" if place[0] > 0 else "right")
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _p99(row: ReportRow) -> float:
    assert row.latency is not None
    return row.latency.p99_ms
