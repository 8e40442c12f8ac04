from itertools import pairwise

import numpy as np
import pytest
from rich.cells import cell_len
from rich.style import Style

from exphil_tui.widgets.canvas.braille import Canvas, Thinning, thin

INK = 1
STYLES = [Style(), Style(color="red"), Style(color="blue", reverse=True)]


def lit(canvas: Canvas) -> set[tuple[int, int]]:
    """The dots that shine, read back from the letters that a terminal gets."""
    places = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 0), 4: (1, 1), 5: (1, 2), 6: (0, 3), 7: (1, 3)}
    found = set()
    for row, strip in enumerate(canvas.strips(STYLES)):
        for column, letter in enumerate(strip.text):
            mask = ord(letter) - 0x2800 if letter != " " else 0
            for bit, (x, y) in places.items():
                if mask >> bit & 1:
                    found.add((2 * column + x, 4 * row + y))
    return found


def slowly_drawn(x: np.ndarray, y: np.ndarray, wide: int, high: int) -> set[tuple[int, int]]:
    """A polyline dot by dot, without a clip: what the fast one must equal."""
    dots = set()
    points = [
        (int(np.floor(a)), int(np.floor(b))) if np.isfinite(a) and np.isfinite(b) else None
        for a, b in zip(x, y, strict=True)
    ]
    dots |= {point for point in points if point is not None}
    for one, other in pairwise(points):
        if one is None or other is None:
            continue
        dx, dy = other[0] - one[0], other[1] - one[1]
        steps = max(abs(dx), abs(dy))
        for step in range(1, steps):
            across, down = np.floor(step * (dx / steps) + 0.5), np.floor(step * (dy / steps) + 0.5)
            dots.add((one[0] + int(across), one[1] + int(down)))
    return {(a, b) for a, b in dots if 0 <= a < wide and 0 <= b < high}


@pytest.mark.parametrize("seed", range(12))
def test_a_polyline_equals_one_drawn_dot_by_dot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    canvas = Canvas(13, 7)
    x, y = rng.uniform(-40, 70, 30), rng.uniform(-40, 70, 30)
    y[rng.random(30) < 0.15] = np.nan
    x[rng.random(30) < 0.05] = np.inf

    canvas.polyline(x, y, INK)

    assert lit(canvas) == slowly_drawn(x, y, 26, 28)


@pytest.mark.parametrize("gaps", [0.0, 0.002, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_a_thinned_line_gives_the_picture_of_the_whole_one(seed: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-20, 80, 3000))
    y = np.cumsum(rng.normal(size=3000)) + 20
    y[rng.random(3000) < gaps] = np.nan
    whole, thinned = Canvas(30, 10), Canvas(30, 10)

    whole.polyline(x, y, INK)
    columns, values = thin(x, y, np.arange(61.0))
    thinned.polyline(columns, values, INK)

    inside = {dot for dot in lit(whole) if 1 <= dot[0] < 59}
    assert {dot for dot in lit(thinned) if 1 <= dot[0] < 59} == inside
    assert len(columns) <= 4 * 62 or gaps


@pytest.mark.parametrize("count", [500, 20_000, 1_000_000])
def test_every_extremum_of_a_column_lights_its_dot(count: int) -> None:
    rng = np.random.default_rng(count)
    x, y = np.linspace(0, 100, count, endpoint=False), rng.normal(20, 5, count)
    canvas = Canvas(50, 10)
    columns, values = thin(x, y, np.arange(101.0))

    canvas.polyline(columns, values, INK)

    dots = lit(canvas)
    for column in range(100):
        here = y[(x >= column) & (x < column + 1)]
        for extremum in (here.min(), here.max()):
            if 0 <= extremum < 40:
                assert (column, int(extremum)) in dots


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    for missing in (np.nan, np.inf, -np.inf):
        canvas = Canvas(5, 1)
        canvas.polyline(
            *thin(np.arange(10.0), np.array([1.0] * 4 + [missing] * 2 + [1.0] * 4), np.arange(11.0)), INK
        )
        assert lit(canvas) == {(column, 1) for column in (0, 1, 2, 3, 6, 7, 8, 9)}


def test_a_line_leaves_the_canvas_towards_the_neighbours_outside() -> None:
    canvas = Canvas(5, 2)

    canvas.polyline(*thin(np.array([-90.0, 5.0, 90.0]), np.array([3.0, 3.0, 3.0]), np.arange(11.0)), INK)

    assert lit(canvas) == {(column, 3) for column in range(10)}


def test_coordinates_beyond_all_bounds_are_drawn_without_a_complaint() -> None:
    canvas = Canvas(5, 2)

    with np.errstate(all="raise"):
        canvas.line(-1e300, 4, 1e300, 4, INK)
        canvas.line(3, -1e18, 3, 1e18, INK)

    assert lit(canvas) == {(column, 4) for column in range(10)} | {(3, row) for row in range(8)}


def test_an_empty_canvas_takes_everything() -> None:
    for size in ((0, 0), (0, 3), (3, 0), (-1, -1)):
        canvas = Canvas(*size)
        canvas.line(0, 0, 9, 9, INK)
        canvas.rectangle(0, 0, 3, 3, INK, filled=True)
        canvas.polygon(np.array([0.0, 4, 4]), np.array([0.0, 0, 4]), INK)
        canvas.text(0, 0, "name", INK)
        assert "".join(strip.text for strip in canvas.strips(STYLES)).strip() == ""


def test_a_filled_rectangle_has_its_corners_and_all_between() -> None:
    filled, hollow = Canvas(6, 3), Canvas(6, 3)

    filled.rectangle(2, 1, 7, 5, INK, filled=True)
    hollow.rectangle(7, 5, 2, 1, INK)

    area = {(x, y) for x in range(2, 8) for y in range(1, 6)}
    assert lit(filled) == area
    assert lit(hollow) == area - {(x, y) for x in range(3, 7) for y in range(2, 5)}


def test_a_rectangle_that_reaches_outside_is_cut() -> None:
    canvas = Canvas(3, 2)

    canvas.rectangle(-5, -5, 1, 2, INK, filled=True)
    canvas.rectangle(30, 30, 40, 40, INK, filled=True)

    assert lit(canvas) == {(x, y) for x in range(2) for y in range(3)}


def test_a_polygon_is_filled_and_a_disc_is_round() -> None:
    canvas, disc = Canvas(10, 5), Canvas(10, 5)

    canvas.polygon(np.array([2.5, 15.5, 15.5, 2.5]), np.array([2.5, 2.5, 15.5, 15.5]), INK)
    disc.disc(10, 10, 6, INK)

    assert lit(canvas) == {(x, y) for x in range(2, 16) for y in range(2, 16)}
    assert lit(disc) == {
        (x, y) for x in range(20) for y in range(20) if np.hypot(x + 0.5 - 10, y + 0.5 - 10) <= 6
    }


@pytest.mark.parametrize("seed", range(6))
def test_a_polygon_holds_the_dots_that_a_ray_finds_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-10, 40, 7), rng.uniform(-10, 40, 7)
    filled, border = Canvas(13, 7), Canvas(13, 7)
    filled.polygon(x, y, INK)
    border.polyline(np.append(x, x[0]), np.append(y, y[0]), INK)

    inside = set()
    for column in range(26):
        for row in range(28):
            crossings = 0
            for i in range(7):
                (x0, y0), (x1, y1) = (x[i], y[i]), (x[(i + 1) % 7], y[(i + 1) % 7])
                if (y0 <= row + 0.5) != (y1 <= row + 0.5):
                    crossings += x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0) <= column + 0.5
            if crossings % 2:
                inside.add((column, row))
    assert lit(filled) == inside | lit(border)


def test_what_is_drawn_later_colours_the_cell() -> None:
    canvas = Canvas(1, 1)
    canvas.plot(np.array([0.0]), np.array([0.0]), 1)
    canvas.plot(np.array([1.0]), np.array([3.0]), 2)

    assert canvas.inks[0, 0] == 2
    assert lit(canvas) == {(0, 0), (1, 3)}


def test_a_canvas_that_covers_another_hides_the_dots_of_its_cells_only() -> None:
    below, above = Canvas(3, 1), Canvas(1, 1)
    below.line(0, 0, 5, 0, 1)
    above.plot(np.array([1.0]), np.array([3.0]), 2)

    below.cover(above, column=1)

    assert lit(below) == {(0, 0), (1, 0), (3, 3), (4, 0), (5, 0)}
    assert below.inks.tolist() == [[1, 2, 1]]


@pytest.mark.parametrize(("column", "row"), [(-2, 0), (2, 1), (-1, -1), (9, 9)])
def test_a_canvas_may_cover_another_in_part(column: int, row: int) -> None:
    below, above = Canvas(3, 2), Canvas(3, 2)
    above.rectangle(0, 0, 5, 7, INK, filled=True)

    below.cover(above, column, row)

    cells = {(x, y) for x in range(column, column + 3) for y in range(row, row + 2)}
    shown = {(x, y) for y in range(2) for x in range(3) if below.masks[y, x]}
    assert shown == {(x, y) for x, y in cells if 0 <= x < 3 and 0 <= y < 2}


def test_text_stands_over_dots_and_keeps_every_row_as_wide_as_the_canvas() -> None:
    canvas = Canvas(8, 1)
    canvas.line(0, 1, 15, 1, INK)
    canvas.text(1, 0, "狐 fox", INK)

    row = canvas.strips(STYLES)[0]

    assert row.text == "⠒狐 fox⠒"
    assert cell_len(row.text) == row.cell_length == 8


def test_a_letter_that_does_not_fit_or_cannot_be_printed_is_left_out() -> None:
    canvas = Canvas(4, 1)
    canvas.text(-1, 0, "ab狐c狐", INK)
    canvas.text(0, 5, "elsewhere", INK)
    assert canvas.strips(STYLES)[0].text == "b狐c"

    hostile = Canvas(12, 1)
    hostile.text(0, 0, "\x1b[2J\n\u202ea\u0301\0b\x9b", INK)
    assert hostile.strips(STYLES)[0].text == "[2Jab       "


def test_ascii_shows_every_dot_and_nothing_beyond_ascii() -> None:
    canvas = Canvas(16, 16)
    canvas.masks[:] = np.arange(256).reshape(16, 16)
    canvas.text(0, 0, "Pokémon", INK)

    rows = [strip.text for strip in canvas.strips(STYLES, ascii=True)]

    assert "".join(rows).isascii()
    assert rows[0].startswith("Pok?mon")
    assert " " not in "".join(rows)[7:]


def test_a_row_changes_its_style_only_where_something_is_seen_to_change() -> None:
    canvas = Canvas(20, 1)
    for x in range(0, 40, 8):
        canvas.plot(np.array([x]), np.array([0.0]), 1)
    assert len(list(canvas.strips(STYLES)[0])) == 1

    canvas.text(10, 0, "on", 2)
    segments = list(canvas.strips(STYLES)[0])
    assert [segment.text for segment in segments if segment.style == STYLES[2]] == ["on"]


def test_a_cleared_canvas_is_a_new_one() -> None:
    canvas = Canvas(4, 2)
    canvas.rectangle(0, 0, 7, 7, INK, filled=True)
    canvas.text(0, 0, "name", INK)

    canvas.clear()

    assert canvas.is_free(0, 0, 4)
    assert not lit(canvas)


@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_a_line_that_grows_is_thinned_as_if_it_were_new(gaps: float) -> None:
    rng = np.random.default_rng(3)
    x, y = np.sort(rng.uniform(0, 100, 5000)), rng.normal(size=5000)
    y[rng.random(5000) < gaps] = np.nan
    thinning = Thinning()

    for length in (0, 1, 2, 3, 700, 701, 701, 2500, 5000):
        for edges in (np.linspace(0, 100, 101), np.linspace(20, 60, 41)):
            thinning.begin()
            known = [thinning.thin(x[:length], y[:length], edges) for _ in range(2)]
            for columns, values in known:
                wanted_columns, wanted = thin(x[:length], y[:length], edges)
                assert np.array_equal(columns, wanted_columns)
                assert np.array_equal(values, wanted, equal_nan=True)


def test_only_what_is_new_of_a_line_is_looked_at() -> None:
    x, y, edges = np.arange(1000.0), np.ones(1000), np.linspace(0, 1000, 101)
    thinning = Thinning()
    thinning.begin()
    thinning.thin(x[:900], y[:900], edges)
    y[:500] = 7.0

    thinning.begin()
    _, values = thinning.thin(x, y, edges)

    assert (values == 1).all()
