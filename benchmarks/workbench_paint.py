"""Benchmark: painting the loss chart. `python benchmarks/workbench_paint.py` prints one JSON object.

Measures milliseconds from numbers to terminal bytes at 120 × 40, for five synthetic curves of 20,000 and 1,000,000
points, raw and smoothed: with everything new, with one more point (only changed cells are made), and with nothing
new. The reference, alternating in the same process, puts every point into its cell in a loop without numpy. Both must
draw the same lines. Reports medians, and minima as `fastest`.

The raw points differ: the reference draws each of them; ours draws the minimum and maximum of each column of dots,
and enough of the others to form a cloud.
"""

import argparse
import asyncio
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip

from exphil_tui.model.series import Series
from exphil_tui.theme.palette import series_styles
from exphil_tui.widgets.canvas.chart import Chart, HLine, Line
from exphil_tui.widgets.canvas.plot import draw
from exphil_tui.widgets.canvas.plot_curves import ALTERNATE_CELLS
from exphil_tui.widgets.canvas.plot_data import Plot, PlotPicture, ink_of_line, ink_of_raw

NAMES = ("Fox", "Falco", "Marth", "Sheik", "Captain Falcon")
HLINES = (HLine(name="markov", y=1.62, colour="#D55E00"), HLine(name="floor", y=0.62, colour="#009E73"))
WIDTH, HEIGHT = 120, 40
POINTS, MANY = 20_000, 1_000_000
GOAL_MS = 10.0
ROUNDS = 30
REFERENCE_ROUNDS = 3

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def curves(points: int) -> list[Line]:
    rng = np.random.default_rng(0)
    given = series_styles(NAMES)
    lines = []
    for index, name in enumerate(NAMES):
        x = np.arange(points) * 10.0
        y = 0.75 + 0.13 * index + 2.2 * np.exp(-(3 + 0.4 * index) * np.sqrt(np.arange(points) / points))
        series = Series().extended(x, y * (1 + 0.12 * rng.normal(size=points)))
        mark = given[name]
        lines.append(
            Line(
                name=name, x=series.x, y=series.y, smooth=series.smooth, colour=mark.colour, mark=mark.letter
            )
        )
    return lines


def cut(lines: Sequence[Line], length: int) -> list[Line]:
    return [
        Line(
            name=o.name, x=o.x[:length], y=o.y[:length], smooth=o.curve[:length], colour=o.colour, mark=o.mark
        )
        for o in lines
    ]


class Holder(App[None]):
    def compose(self) -> ComposeResult:
        yield Chart()


def paint(chart: Chart, lines: Sequence[Line], console: Console) -> str:
    """Show the lines and return the terminal output of the cells that changed."""
    regions: list[Region] = []
    chart.refresh = lambda *found, **_: regions.extend(found)  # type: ignore[method-assign, assignment]
    chart.show(lines, HLINES, title="training loss", y_title="nats per frame")
    del chart.refresh
    return "".join(
        chart.render_line(region.y).crop(region.x, region.right).render(console) for region in regions
    )


def slow_picture(
    picture: PlotPicture, plot: Plot, axis_y: tuple[float, float]
) -> dict[tuple[int, int], tuple[int, int]]:
    """Draw the cells of the plot in a loop over every point: (row, column) → mask and ink."""
    axis = picture.x_axis
    assert axis is not None
    wide, high = 2 * picture.columns, 4 * _plot_rows(picture)
    low, top = axis_y
    raw: dict[tuple[int, int], tuple[int, int]] = {}
    drawn: list[dict[tuple[int, int], tuple[int, int]]] = []

    def put(cells: dict[tuple[int, int], tuple[int, int]], x: int, y: int, ink: int) -> None:
        if 0 <= x < wide and 0 <= y < high:
            cell = (y // 4, x // 2)
            cells[cell] = (cells.get(cell, (0, 0))[0] | _BITS[y % 4][x % 2], ink)

    for index, line in enumerate(plot.lines):
        for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
            across = math.floor((x - axis.low) * (wide / (axis.high - axis.low)))
            put(raw, across, high - 1 - math.floor((y - low) * (high / (top - low))), ink_of_raw(index))
        lines: dict[tuple[int, int], tuple[int, int]] = {}
        drawn.append(lines)
        before: tuple[int, int] | None = None
        for x, y in zip(line.x.tolist(), line.curve.tolist(), strict=True):
            across = math.floor((x - axis.low) * (wide / (axis.high - axis.low)))
            down = high - 1 - math.floor((y - low) * (high / (top - low)))
            put(lines, across, down, ink_of_line(index))
            if before is not None:
                dx, dy = across - before[0], down - before[1]
                steps = max(abs(dx), abs(dy))
                for step in range(1, steps):
                    put(
                        lines,
                        before[0] + math.floor(step * (dx / steps) + 0.5),
                        before[1] + math.floor(step * (dy / steps) + 0.5),
                        ink_of_line(index),
                    )
            before = (across, down)
    together: dict[tuple[int, int], tuple[int, int]] = {}
    for cell in set().union(*drawn):
        through = [lines[cell] for lines in drawn if cell in lines]
        mask = 0
        for dots, _ in through:
            mask |= dots
        # Lines that share cells alternate every ALTERNATE_CELLS columns.
        together[cell] = mask, through[cell[1] // ALTERNATE_CELLS % len(through)][1]
    return raw | together


def slow_paint(picture: PlotPicture, plot: Plot, axis_y: tuple[float, float], console: Console) -> str:
    cells = slow_picture(picture, plot, axis_y)
    styles = [Style(color=f"#{40 + 5 * ink:02x}8899") for ink in range(30)]
    out = []
    for row in range(_plot_rows(picture)):
        segments = []
        for column in range(picture.columns):
            mask, ink = cells.get((row, column), (0, 0))
            segments.append(Segment(chr(0x2800 + mask) if mask else " ", styles[ink]))
        out.append(Strip(Segment.simplify(segments)).render(console))
    return "\n".join(out)


def differing_cells(picture: PlotPicture, plot: Plot, axis_y: tuple[float, float]) -> int:
    """Count the line cells that the two draw differently; letters over the lines are left out."""
    inks = {ink_of_line(index) for index in range(len(plot.lines))}
    slow = slow_picture(picture, plot, axis_y)
    top = _plot_top(picture)
    rows, columns = _plot_rows(picture), picture.columns
    canvas, count = picture.canvas, 0
    for row in range(rows):
        for column in range(columns):
            here = (top + row, picture.left + column)
            if canvas.letters[here] >= 0:
                continue
            mask, ink = slow.get((row, column), (0, 0))
            mine = (int(canvas.masks[here]), int(canvas.inks[here]))
            if (ink in inks or mine[1] in inks) and mine != (mask, ink):
                count += 1
    return count


def _plot_top(picture: PlotPicture) -> int:
    column = picture.canvas.letters[:, picture.left - 1]
    return int(np.flatnonzero((column == ord("│")) | (column == ord("┤")))[0])


def _plot_rows(picture: PlotPicture) -> int:
    column = picture.canvas.letters[:, picture.left - 1]
    return int(((column == ord("│")) | (column == ord("┤"))).sum())


def milliseconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - began)


async def measure() -> dict[str, object]:
    console = Console(force_terminal=True, color_system="truecolor", width=WIDTH)
    app = Holder()
    found: dict[str, object] = {"width": WIDTH, "height": HEIGHT, "lines": len(NAMES), "points": POINTS}
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
        chart = app.query_one(Chart)
        lines, many = curves(POINTS), curves(MANY)
        other = curves(POINTS // 2)
        await pilot.pause()

        def timed(shown: Sequence[Line], before: Sequence[Line]) -> tuple[float, int]:
            paint(chart, before, console)
            size = 0

            def once() -> None:
                nonlocal size
                size = len(paint(chart, shown, console).encode())

            return milliseconds(once), size

        plot = Plot(
            lines=lines, hlines=HLINES, title="training loss", x_title="step", y_title="nats per frame"
        )
        picture = draw(plot, WIDTH, HEIGHT)
        assert picture.y_axis is not None
        axis_y = (picture.y_axis.low, picture.y_axis.high)
        spent: dict[str, list[float]] = {}
        sizes: dict[str, int] = {}
        for round_ in range(ROUNDS + 1):
            taken = {
                "all": timed(lines, other),
                "one_more": timed(lines, cut(lines, POINTS - 1)),
                "nothing_new": timed(lines, lines),
                "million": timed(many, other),
                "million_one_more": timed(many, cut(many, MANY - 1)),
            }
            if 0 < round_ <= REFERENCE_ROUNDS:
                slow = milliseconds(lambda: slow_paint(picture, plot, axis_y, console))
                spent.setdefault("reference", []).append(slow)
            for name, (ms, size) in taken.items() if round_ else ():
                spent.setdefault(name, []).append(ms)
                sizes[name] = size
        middle = {name: statistics.median(values) for name, values in spent.items()}
        found |= {f"{name}_ms": round(value, 3) for name, value in middle.items()}
        found |= {f"{name}_bytes": size for name, size in sizes.items()}
        found["fastest"] = {name: round(min(values), 3) for name, values in spent.items()}
        found["goal_ms"] = GOAL_MS
        found["reaches_goal"] = middle["all"] < GOAL_MS
        found["reference_to_all"] = round(middle["reference"] / middle["all"], 1)
        found["cells_that_differ"] = differing_cells(picture, plot, axis_y)
    return found


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(json.dumps(asyncio.run(measure())))


if __name__ == "__main__":
    main()
