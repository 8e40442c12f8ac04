from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.geometry import Region
from textual.pilot import Pilot

from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.theme.palette import series_styles
from exphil_tui.theme.themes import DARK, LIGHT
from exphil_tui.widgets.canvas.chart import Chart, HLine, Line

NAMES = ("Fox", "Falco", "Marth", "Sheik", "Captain Falcon")
HLINES = (HLine(name="markov", y=1.62, colour="#D55E00"), HLine(name="floor", y=0.62, colour="#009E73"))


class Watched(Chart):
    """Remembers what it asked to be painted again."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Sequence[Region]] = []

    def refresh(self, *regions: Region, **how: Any) -> "Watched":
        self.asked.append(regions)
        super().refresh(*regions, **how)
        return self


class ChartApp(App[None]):
    def __init__(self, lines: Sequence[Line], hlines: Sequence[HLine] = (), glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self.glyphs = glyphs
        self.lines, self.hlines = lines, hlines

    def compose(self) -> ComposeResult:
        yield Watched()

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name
        self.chart.focus()
        self.show(self.lines)

    @property
    def chart(self) -> Watched:
        return self.query_one(Watched)

    def show(self, lines: Sequence[Line]) -> None:
        self.chart.show(lines, self.hlines, title="training loss", y_title="nats per frame")

    def text(self) -> list[str]:
        """The rows of the screen."""
        return [strip.text for strip in self.screen._compositor.render_strips()]


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    found, last = np.empty(len(values)), np.nan
    for index, value in enumerate(values):
        last = value if np.isnan(last) or np.isnan(value) else weight * last + (1 - weight) * value
        found[index] = last
    return found


def curves(points: int = 4000, gap: bool = False) -> list[Line]:
    """Five characters that learn, the later ones worse."""
    rng = np.random.default_rng(7)
    given = series_styles(NAMES)
    lines = []
    for index, name in enumerate(NAMES):
        x = np.arange(points, dtype=float) * 5
        level = 0.75 + 0.13 * index + 2.2 * np.exp(-(3 + 0.4 * index) * np.sqrt(np.arange(points) / points))
        y = level * (1 + 0.12 * rng.normal(size=points))
        if gap:
            y[points // 3 : points // 2] = np.nan
        smooth = smoothed(y, max(0.8, 1 - 40 / points))
        lines.append(
            Line(name=name, x=x, y=y, smooth=smooth, colour=given[name].colour, mark=given[name].letter)
        )
    return lines


def validation() -> list[Line]:
    return [
        Line(
            name=line.name,
            x=line.x[::250],
            y=line.curve[::250],
            smooth=None,
            colour=line.colour,
            mark=line.mark,
        )
        for line in curves()
    ]


def cut(lines: Sequence[Line], length: int) -> list[Line]:
    """The same curves when fewer points were known; the arrays share their memory, as those of a `Series` do."""
    return [
        Line(
            name=line.name,
            x=line.x[:length],
            y=line.y[:length],
            smooth=None if line.smooth is None else line.smooth[:length],
            colour=line.colour,
            mark=line.mark,
        )
        for line in lines
    ]


def shown(app: ChartApp) -> tuple[float, float]:
    axis = app.chart._axis()
    assert axis is not None
    return axis.low, axis.high


SNAPSHOTS: dict[str, tuple[Callable[[], ChartApp], tuple[str, ...]]] = {
    "five": (lambda: ChartApp(curves(), HLINES), ()),
    "validation": (lambda: ChartApp(validation(), HLINES), ()),
    "logarithmic": (lambda: ChartApp(curves(), HLINES), ("x", "y")),
    "cursor": (lambda: ChartApp(curves(), HLINES), ("m", *["left"] * 9)),
    "zoomed": (lambda: ChartApp(curves(), HLINES), ("plus", "plus", "plus", "left", "left")),
    "gaps": (lambda: ChartApp(curves(gap=True), HLINES), ()),
    "ascii": (lambda: ChartApp(curves(), HLINES, ASCII), ()),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("state", SNAPSHOTS)
def test_the_chart_looks_as_it_did(snap_compare: Any, state: str, size: tuple[int, int]) -> None:
    make, press = SNAPSHOTS[state]

    assert snap_compare(make(), press=press, terminal_size=size)


def test_an_empty_chart_says_so(snap_compare: Any) -> None:
    assert snap_compare(ChartApp([]), terminal_size=(80, 24))


def test_without_colour_the_marks_stand_along_the_lines(
    snap_compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert snap_compare(ChartApp(curves(), HLINES), terminal_size=(80, 24))


def test_a_short_chart_still_reads(snap_compare: Any) -> None:
    assert snap_compare(ChartApp(curves(), HLINES), terminal_size=(60, 11))


async def test_the_same_data_again_paints_nothing() -> None:
    lines = curves()
    app = ChartApp(lines, HLINES)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.chart.asked.clear()
        app.show(cut(lines, len(lines[0].x)))
        await pilot.pause()

        assert app.chart.asked == []


async def test_new_points_paint_a_few_cells() -> None:
    lines = curves()
    app = ChartApp(cut(lines, 3010), HLINES)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.chart.asked.clear()
        app.show(cut(lines, 3012))
        await pilot.pause()

        [regions] = app.chart.asked
        assert 0 < sum(region.area for region in regions) < 150


async def test_what_stands_on_the_screen_is_what_a_new_chart_would_show() -> None:
    lines = curves()
    app = ChartApp(cut(lines, 100), HLINES)
    async with app.run_test(size=(80, 24)) as pilot:
        for length in (150, 151, 1000, 2500, 2501, 2502, 4000):
            app.show(cut(lines, length))
            await pilot.pause()
        grown = app.text()
    fresh = ChartApp(lines, HLINES)
    async with fresh.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert grown == fresh.text()


async def test_data_shown_while_the_chart_is_hidden_appear_with_it() -> None:
    app = ChartApp(curves(500))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        before = app.text()
        app.chart.display = False
        await pilot.pause()
        app.show(curves(700))
        app.chart.display = True
        await pilot.pause()

        assert app.text() != before


async def test_other_data_of_the_same_length_are_shown() -> None:
    app = ChartApp(curves(500))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        before = app.text()
        app.show(curves(500, gap=True))
        await pilot.pause()
        assert app.text() != before


async def test_a_zoomed_view_follows_new_data_until_it_is_moved() -> None:
    lines = curves()
    app = ChartApp(cut(lines, 1000))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("plus", "plus")
        low, high = shown(app)
        app.show(cut(lines, 2000))
        assert shown(app)[1] > high + 4000
        assert shown(app)[1] - shown(app)[0] == pytest.approx(high - low)

        await pilot.press("left")
        held = shown(app)
        app.show(lines)
        assert shown(app) == held

        await pilot.press("end")
        assert shown(app)[1] >= lines[0].x[-1]

        await pilot.press("0")
        assert shown(app)[0] == 0


async def test_minus_undoes_plus() -> None:
    app = ChartApp(curves())
    async with app.run_test(size=(80, 24)) as pilot:
        whole = shown(app)
        await pilot.press("equals_sign", "plus", "minus", "minus")
        assert shown(app) == whole


async def test_the_logarithm_of_x_keeps_the_part_that_was_seen() -> None:
    app = ChartApp(curves())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("plus", "plus", "left", "left")
        low, high = shown(app)
        await pilot.press("x")
        assert (10 ** shown(app)[0], 10 ** shown(app)[1]) == pytest.approx((low, high), rel=1e-6)
        assert "log x" in app.text()[0]
        await pilot.press("x")
        assert shown(app) == pytest.approx((low, high), rel=1e-6)


async def test_the_cursor_steps_from_point_to_point_and_takes_the_view_along() -> None:
    app = ChartApp(validation())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("m")
        at = app.chart.plot.cursor
        assert at in app.lines[0].x
        await pilot.press("right")
        assert app.chart.plot.cursor == at + 1250
        await pilot.press("left", "left")
        assert app.chart.plot.cursor == at - 1250
        assert f"step {at - 1250:,.0f}" in app.text()[0]

        await pilot.press("plus", "plus", *["right"] * 9)
        low, high = shown(app)
        cursor = app.chart.plot.cursor
        assert cursor is not None
        assert low <= cursor <= high

        await pilot.press("m")
        assert app.chart.plot.cursor is None
        assert not any("step 1" in row for row in app.text()[:1])


async def test_the_mouse_reads_zooms_and_drags() -> None:
    app = ChartApp(curves())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.hover(Watched, offset=(40, 12))
        under = app.chart.plot.cursor
        assert under is not None
        assert under in app.lines[0].x
        assert f"step {under:,.0f}" in app.text()[0]

        await wheel(pilot, up=True)
        await wheel(pilot, up=True)
        low, high = shown(app)
        assert high - low < 0.7 * 20_000
        assert (under - low) / (high - low) == pytest.approx(0.45, abs=0.1)

        await pilot.mouse_down(Watched, offset=(40, 12))
        await pilot.hover(Watched, offset=(30, 12))
        await pilot.mouse_up(Watched, offset=(30, 12))
        assert shown(app)[0] > low
        assert shown(app)[1] - shown(app)[0] == pytest.approx(high - low)

        for _ in range(12):
            await wheel(pilot, up=False)
        assert shown(app)[0] == 0


async def wheel(pilot: Pilot[Any], *, up: bool) -> None:
    from textual.events import MouseScrollDown, MouseScrollUp

    kind = MouseScrollUp if up else MouseScrollDown
    await pilot._post_mouse_events([kind], Watched, offset=(40, 12), button=0)
    await pilot.pause()


@pytest.mark.parametrize(
    "lines", [[], [Line(name="x", x=np.empty(0), y=np.empty(0), smooth=None, colour="#FFFFFF", mark="X")]]
)
async def test_no_key_harms_an_empty_chart(lines: list[Line]) -> None:
    app = ChartApp(lines)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("plus", "minus", "left", "right", "end", "0", "y", "x", "m", "m", "left")
        await pilot.hover(Watched, offset=(40, 12))
        await wheel(pilot, up=True)
        assert any("No data yet." in row for row in app.text())


async def test_a_chart_that_shrinks_and_loses_its_data_goes_on() -> None:
    lines = curves(500)
    app = ChartApp(lines)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("m", "plus", "left")
        await pilot.resize_terminal(20, 5)
        await pilot.resize_terminal(3, 1)
        await pilot.resize_terminal(120, 40)
        app.show([])
        await pilot.press("left", "plus")
        app.show(cut(lines, 1))
        await pilot.press("left", "plus", "0")
        app.show(lines)
        await pilot.pause()
        assert any("Captain Falcon" in row for row in app.text())


async def test_a_new_theme_repaints_it() -> None:
    app = ChartApp(curves(200))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        before = app.chart.render_line(0)
        app.theme = "textual-light"
        await pilot.pause()
        assert [segment.style for segment in app.chart.render_line(0)] != [
            segment.style for segment in before
        ]


async def test_the_background_of_the_theme_stands_behind_every_cell() -> None:
    for lines in ([], curves(200)):
        app = ChartApp(lines, HLINES)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            background = app.chart.background_colors[1].rich_color
            for row in range(24):
                assert {segment.style.bgcolor for segment in app.chart.render_line(row) if segment.style} == {
                    background
                }


async def test_the_cursor_at_the_first_step_does_not_stop_the_logarithm() -> None:
    app = ChartApp(curves())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("m", *["shift+left"] * 20)
        assert app.chart.plot.cursor == 0
        await pilot.press("x", "plus", "m", *["shift+left"] * 20, "plus", "plus", "left", "minus")
        cursor = app.chart.plot.cursor
        assert cursor is not None
        assert cursor > 0


async def test_a_cursor_stays_at_its_step_while_new_data_come() -> None:
    lines = curves()
    app = ChartApp(cut(lines, 1000))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("m", "left")
        before = app.chart.plot.cursor
        app.show(lines)
        assert app.chart.plot.cursor == before


async def test_the_mouse_beside_the_plot_reads_nothing() -> None:
    app = ChartApp(curves())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.hover(Watched, offset=(40, 12))
        await pilot.hover(Watched, offset=(0, 12))
        assert app.chart.plot.cursor is None


@pytest.mark.parametrize("seed", range(8))
async def test_any_keys_in_any_order_leave_a_chart_that_draws(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = ["plus", "minus", "left", "right", "shift+left", "shift+right", "end", "0", "y", "x", "m"]
    lines = curves(900, gap=True)
    app = ChartApp(cut(lines, 10))
    async with app.run_test(size=(80, 24)) as pilot:
        for key in rng.choice(keys, 60):
            await pilot.press(str(key))
            if rng.random() < 0.2:
                app.show(cut(lines, int(rng.integers(0, 900))))
        low, high = shown(app) if len(app.chart.plot.lines[0].x) > 1 else (0.0, 1.0)
        assert np.isfinite([low, high]).all()
        assert low < high
        on_screen = app.text()
        app.chart.notify_style_update()
        app.chart.refresh()
        await pilot.pause()
        assert app.text() == on_screen


async def test_every_line_can_be_seen_on_a_light_background() -> None:
    white = [replace(line, colour="#FFFFFF") for line in curves(200)]
    app = ChartApp([*curves(200), *white])
    async with app.run_test(size=(80, 24)) as pilot:
        app.register_theme(LIGHT)
        app.theme = LIGHT.name
        await pilot.pause()
        for row in (1, 2):
            for segment in app.chart.render_line(row):
                if segment.text.strip() and segment.style and segment.style.color and segment.style.bgcolor:
                    letter, ground = (
                        Color.from_rich_color(c) for c in (segment.style.color, segment.style.bgcolor)
                    )
                    assert ground.brightness - letter.brightness > 0.3
