import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from exphil_tui.theme.glyphs import ASCII
from exphil_tui.widgets.canvas.plot import draw
from exphil_tui.widgets.canvas.plot_data import (
    HLine,
    Line,
    Plot,
    PlotInk,
    extent_of,
    ink_of_hline,
    ink_of_line,
    ink_of_raw,
    nearest_point,
)
from exphil_tui.widgets.canvas.view import ChartView

NAMES = ("Fox", "Marth", "Sheik", "Peach", "Zelda")


def line(
    name: str, y: Sequence[float] | np.ndarray, *, x: np.ndarray | None = None, smooth: bool = False
) -> Line:
    values = np.asarray(y, float)
    return Line(
        name=name,
        x=np.arange(len(values), dtype=float) if x is None else x,
        y=values,
        smooth=np.full(len(values), values.mean()) if smooth else None,
        colour="#56B4E9",
        mark=name[:1],
    )


def rows_of(plot: Plot, width: int = 80, height: int = 24) -> list[str]:
    codes = draw(plot, width, height).canvas.codes(ascii=plot.glyphs.ascii)
    return ["".join(chr(code) for code in row if code) for row in codes]


def screen(plot: Plot, width: int = 80, height: int = 24) -> str:
    return "\n".join(rows_of(plot, width, height))


@pytest.mark.parametrize("seed", range(5))
def test_every_extremum_of_a_line_is_on_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.ones(5000)
    spikes = rng.choice(5000, 20, replace=False)
    values[spikes[:10]], values[spikes[10:]] = 3.0, 0.2
    picture = draw(Plot(lines=[line("Fox", values)]), 80, 24)
    drawn = picture.canvas.inks == ink_of_line(0)

    assert picture.x_axis is not None
    plot_rows = [row for row in range(24) if drawn[row, picture.left : picture.left + picture.columns].any()]
    top, bottom = min(plot_rows[1:]), max(plot_rows)
    for spike in spikes:
        column = picture.left + int(picture.x_axis.dots(np.array(float(spike)), picture.columns))
        assert drawn[top : bottom + 1, column].sum() > 5


def test_a_line_breaks_where_there_is_no_number() -> None:
    values = np.ones(1000)
    values[400:600] = np.nan
    picture = draw(Plot(lines=[line("Fox", values)]), 80, 24)

    inside = picture.canvas.inks[2:-2, picture.left : picture.left + picture.columns] == ink_of_line(0)
    shown = inside.any(axis=0)
    share = np.flatnonzero(~shown[: int(0.95 * picture.columns)]) / picture.columns
    assert 0.36 < share.min() < share.max() < 0.6


def test_the_smoothed_line_replaces_raw_points_in_its_cells() -> None:
    values = np.tile([1.0, 3.0, 2.0], 700)
    canvas = draw(Plot(lines=[line("Fox", values, smooth=True)]), 80, 24).canvas
    row = int(np.flatnonzero((canvas.inks[3:] == ink_of_line(0)).sum(axis=1) > 40)[0]) + 3

    assert (canvas.inks == ink_of_raw(0)).any()
    masks = set(canvas.masks[row][canvas.inks[row] == ink_of_line(0)].tolist())
    assert len({mask for mask in masks if mask}) <= 2, "a flat line is one row of dots, without raw ones"


def test_the_wildest_raw_points_do_not_flatten_the_lines() -> None:
    rng = np.random.default_rng(0)
    values = 1 + 0.1 * rng.normal(size=5000)
    values[2500] = 900.0
    calm = line("Fox", values)
    smoothed = Line(name="Fox", x=calm.x, y=values, smooth=np.ones(5000), colour="red", mark="F")

    assert "900" not in screen(Plot(lines=[smoothed]))
    assert "800" in screen(Plot(lines=[calm])), "a line without a smoothed one is shown wholly"


def test_levels_are_shown_wholly_and_named() -> None:
    plot = Plot(
        lines=[line("Fox", np.linspace(2, 1, 500))],
        hlines=[
            HLine(name="copy the last", y=3.0, colour="white"),
            HLine(name="floor", y=0.4, colour="white"),
        ],
    )
    text = screen(plot)

    assert "copy the last 3.000" in text
    assert "floor 0.400" in text
    inks = draw(plot, 80, 24).canvas.inks
    assert (inks == ink_of_hline(1, 0)).any()
    assert (inks == ink_of_hline(1, 1)).any()


def test_the_name_of_a_level_makes_way_for_a_line() -> None:
    values = np.concatenate((np.full(700, 3.0), np.full(300, 1.0)))
    rows = rows_of(Plot(lines=[line("Fox", values)], hlines=[HLine(name="floor", y=1.0, colour="white")]))

    [row] = [row for row in rows if "floor" in row]
    assert row.index("floor") < 60


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (50, 12), (34, 9)])
@pytest.mark.parametrize("log", [False, True])
def test_labels_never_touch(size: tuple[int, int], log: bool) -> None:
    for last in (7, 950, 20_000, 123_456_789):
        x = np.linspace(1, last, 500)
        plot = Plot(
            lines=[line("Fox", np.geomspace(500, 0.01, 500), x=x)], x_title="step", log_x=log, log_y=log
        )
        rows = rows_of(plot, *size)
        bottom = rows[-1][rows[-2].index("└") :].split()
        assert all(re.fullmatch(r"[\d.]+[kMG]?", label) for label in bottom), rows[-1]
        numbers = [
            float(label.rstrip("kMG")) * 1000 ** " kMG".index(label[-1:] if label[-1] in "kMG" else " ")
            for label in bottom
        ]
        assert numbers == sorted(numbers)
        assert len(numbers) >= 2


def test_the_legend_says_mark_name_and_newest_value() -> None:
    rows = rows_of(Plot(lines=[line(name, [1.0, 2.0, 0.5 + index]) for index, name in enumerate(NAMES)]))

    assert rows[1].split("   ")[0] == "F Fox 0.500"
    assert "Z Zelda 4.500" in rows[1]


def test_a_long_legend_is_shortened_until_it_fits() -> None:
    names = [f"{name} of the Mushroom Kingdom" for name in NAMES]
    rows = rows_of(Plot(lines=[line(name, [1.0, 2.0]) for name in names]), 80, 13)

    for name in names:
        assert name[0] in rows[1]
    assert rows[1].count("2.000") == len(names)
    assert "…" in rows[1]
    marks = rows_of(Plot(lines=[line(name, [1.0, 2.0]) for name in names]), 24, 13)[1]
    assert marks.split() == ["F", "M", "S", "P", "Z"]


def test_the_mark_of_each_line_stands_at_its_end_and_none_hides_another() -> None:
    plot = Plot(lines=[line(name, np.full(100, 1.0 + 0.001 * index)) for index, name in enumerate(NAMES)])
    ends = [row.rstrip()[-1] for row in rows_of(plot)[2:] if row.rstrip()[-1:] in "FMSPZ"]

    assert ends == ["Z", "P", "S", "M", "F"]


@pytest.mark.parametrize(
    "values", [[1.0], [5.0, 5.0, 5.0], [0.0], [1e300, -1e300], [1e-300, 2e-300], [np.nan, 1, np.inf]]
)
@pytest.mark.parametrize("log", [False, True])
def test_whatever_there_is_is_drawn_or_said(values: list[float], log: bool) -> None:
    text = screen(Plot(lines=[line("Fox", values, smooth=len(values) == 3)], log_x=log, log_y=log))

    assert "F" in text
    assert re.search(r"[⠁-⣿]|above 0", text)


def test_nothing_to_show_is_a_sentence() -> None:
    assert "No data yet." in screen(Plot())
    assert "No data yet." in screen(Plot(lines=[line("Fox", [])]))
    assert "Every value here is NaN or infinite." in screen(Plot(lines=[line("Fox", [np.nan, np.inf])]))
    assert "above 0" in screen(Plot(lines=[line("Fox", [-1.0, 0.0])], log_y=True))
    assert "above 0" in screen(Plot(lines=[line("Fox", [1.0], x=np.zeros(1))], log_x=True, x_title="step"))


def test_what_has_no_place_on_a_logarithmic_axis_is_counted() -> None:
    assert "3 not above 0" in rows_of(Plot(lines=[line("Fox", [1, -1, 0, 5, -2, 3])], log_y=True))[0]


def test_the_cursor_reads_every_line_at_its_nearest_point() -> None:
    lines = [line("Fox", np.arange(100.0)), line("Marth", [1.0, np.nan, 3.0], x=np.array([0.0, 50.0, 90.0]))]
    rows = rows_of(Plot(lines=lines, cursor=52.0, x_title="step"))

    assert "step 52" in rows[0]
    assert "F Fox 52.00" in rows[1]
    assert "M Marth 3.000" in rows[1]
    assert "52" in rows[-1].split()
    inks = draw(Plot(lines=lines, cursor=52.0), 80, 24).canvas.inks
    assert (inks == PlotInk.CURSOR).sum() > 12


def test_a_line_that_ended_long_ago_is_not_read() -> None:
    assert nearest_point(line("Fox", [1.0, 2.0]), 50.0, 0.5) is None
    assert nearest_point(line("Fox", [1.0, 2.0]), 1.4, 0.5) == (1.0, 2.0)
    assert nearest_point(line("Fox", [1.0] + [np.nan] * 900), 800.0, 0.5) == (0.0, 1.0)
    assert nearest_point(line("Fox", [np.nan]), 0.0, 0.5) is None


def test_ascii_and_missing_colour_put_the_marks_along_the_lines() -> None:
    lines = [line(name, np.full(500, 1.0 + index)) for index, name in enumerate(NAMES)]
    text = screen(Plot(lines=lines, show_marks=True, glyphs=ASCII, title="loss", x_title="step"))

    assert text.isascii()
    for row in text.splitlines()[3:-2]:
        for name in NAMES:
            if row.rstrip().endswith(name[0]):
                assert row.count(name[0]) >= 3


@pytest.mark.parametrize("width", [0, 1, 3, 9, 15, 33])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 5, 8])
def test_no_size_is_too_small_to_draw(width: int, height: int) -> None:
    for plot in (
        Plot(),
        Plot(
            lines=[line(name, np.linspace(3, 1, 50)) for name in NAMES],
            hlines=[HLine(name="floor", y=0.5, colour="white")],
            title="loss",
            x_title="step",
            cursor=3.0,
            show_marks=True,
        ),
    ):
        canvas = draw(plot, width, height).canvas
        assert canvas.codes().shape == (height, width)


def test_the_same_plot_is_the_same_picture() -> None:
    rng = np.random.default_rng(0)
    lines = [line(name, rng.normal(size=3000), smooth=True) for name in NAMES]
    one, other = (draw(Plot(lines=lines), 80, 24).canvas for _ in range(2))

    assert (one.codes() == other.codes()).all()
    assert (one.inks == other.inks).all()


def test_a_new_point_changes_few_cells() -> None:
    rng = np.random.default_rng(0)
    values = 1 + 0.1 * rng.normal(size=3000)
    smooth = np.cumsum(values) / np.arange(1, 3001)
    counts = []
    for length in range(2000, 2040):
        plots = [
            Plot(
                lines=[
                    Line(
                        name="Fox",
                        x=np.arange(n * 1.0),
                        y=values[:n],
                        smooth=smooth[:n],
                        colour="red",
                        mark="F",
                    )
                ]
            )
            for n in (length, length + 1)
        ]
        one, other = (draw(plot, 120, 40).canvas for plot in plots)
        counts.append(int(((one.codes() != other.codes()) | (one.inks != other.inks)).sum()))

    assert np.median(counts) < 20


def test_a_view_without_points_says_how_to_get_out_of_it() -> None:
    x = np.concatenate((np.arange(10.0), np.arange(1000.0, 1010.0)))
    text = screen(Plot(lines=[line("Fox", np.ones(20), x=x)], view=ChartView(span=100, high=500)))

    assert "No points in view" in text


def test_names_are_shown_without_what_could_steer_a_terminal() -> None:
    text = screen(Plot(lines=[line("\x1b[2J\u202eFox[/]", [1.0, 2.0])], title="\x1b]0;x\x07loss"))

    assert text.replace("\n", "").isprintable()
    assert "[2JFox[/]" in text


def test_lines_that_lie_on_each_other_take_turns() -> None:
    canvas = draw(Plot(lines=[line(name, np.linspace(3, 1, 500)) for name in NAMES]), 80, 24).canvas

    counts = [int((canvas.inks[2:-2, :-2] == ink_of_line(index)).sum()) for index in range(len(NAMES))]
    assert min(counts) > 5
    alone = draw(Plot(lines=[line("Fox", np.linspace(3, 1, 500))]), 80, 24).canvas
    assert (alone.masks == canvas.masks).all()


@pytest.mark.parametrize("seed", range(150))
def test_no_numbers_are_too_strange_to_draw(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strange = np.array(
        [0, -0.0, 1, -1, np.nan, np.inf, -np.inf, 1e-320, 1e-300, 1e300, 1.7e308, -1.7e308, 1e9, 1e9 + 1]
    )
    lines = []
    for name in NAMES[: rng.integers(1, 4)]:
        size = int(rng.integers(0, 30))
        values = rng.choice(strange, size) if rng.random() < 0.7 else rng.normal(size=size)
        x = np.sort(rng.choice(np.array([0.0, 1, 2, 3, 1e3, 1e3 + 1, 1e9, 1e15]), size))
        lines.append(line(name, values, x=x, smooth=False))
    hlines = [HLine(name="floor", y=float(rng.choice(strange)), colour="red")]
    for log_x, log_y in ((False, False), (True, False), (False, True), (True, True)):
        plot = Plot(
            lines=lines, hlines=hlines, log_x=log_x, log_y=log_y, cursor=rng.choice([None, 0.0, 2.0, 1e9])
        )
        extent = extent_of(plot)
        views = [ChartView()]
        if extent is not None:
            views += [
                ChartView().zoomed(extent, 0.1),
                ChartView().zoomed(extent, 1e-4, extent.first).panned(extent, 3),
            ]
        for view in views:
            text = screen(replace(plot, view=view))
            assert len(text.splitlines()) == 24
