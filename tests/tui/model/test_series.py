"""A curve: it grows in place, older ones stay as they are, and its smoothed line is that of a plain loop."""

import math

import numpy as np
import pytest

from exphil_tui.model.series import MEMORY_SHARE, SHORTEST_MEMORY, Series


def plain_average(y: np.ndarray) -> np.ndarray:
    """What `Series.smooth` is by its definition."""
    out, mean, count = [], 0.0, 0
    for value in y:
        if math.isnan(value):
            out.append(math.nan)
            continue
        count += 1
        mean += (value - mean) / min(count, max(SHORTEST_MEMORY, MEMORY_SHARE * count))
        out.append(mean)
    return np.array(out)


def grown(y: np.ndarray, random: np.random.Generator, *, most: int) -> Series:
    """A curve of `y` over 0, 1, 2, … that got its points in pieces of random length."""
    series = Series()
    while series.length < len(y):
        end = series.length + int(random.integers(1, most + 1))
        series = series.extended(np.arange(series.length, min(end, len(y))), y[series.length : end])
    return series


@pytest.mark.parametrize("length", [1, 2, 9, 63, 64, 65, 500, 20_000])
@pytest.mark.parametrize("most", [1, 7, 3000])
def test_the_smoothed_line_is_that_of_a_loop_however_points_arrive(length: int, most: int) -> None:
    random = np.random.default_rng(length)
    y = random.normal(1, 1, length) * 10.0 ** random.integers(-6, 6, length)
    y[random.random(length) < 0.1] = np.nan
    series = grown(y, random, most=most)
    np.testing.assert_array_equal(series.x, np.arange(length))
    np.testing.assert_array_equal(series.y, y)
    scale = np.nanmax(np.abs(y), initial=1.0)
    np.testing.assert_allclose(series.smooth / scale, plain_average(y) / scale, rtol=0, atol=1e-9)


def test_a_constant_is_not_biased_at_its_beginning() -> None:
    series = Series().extended(range(1000), np.full(1000, 3.0))
    np.testing.assert_allclose(series.smooth, 3.0, rtol=1e-12)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, 1e305])
def test_what_is_no_number_is_a_gap_and_does_not_spoil_the_rest(hole: float) -> None:
    series = Series().extended([1, 2, 3, 4], [5.0, hole, hole, 7.0])
    np.testing.assert_array_equal(np.isnan(series.y), [False, True, True, False])
    np.testing.assert_array_equal(series.smooth, [5.0, np.nan, np.nan, 6.0])


def test_a_curve_of_gaps_alone_begins_with_its_first_number() -> None:
    series = Series().extended([1, 2], [np.nan, np.nan]).extended([3], [2.0])
    np.testing.assert_array_equal(series.smooth, [np.nan, np.nan, 2.0])


def test_older_curves_never_change() -> None:
    """Whatever is done to any of the curves that share memory, all show what they showed."""
    random = np.random.default_rng(3)
    curves: list[Series] = [Series()]
    shown: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def seen(series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return series.x.copy(), series.y.copy(), series.smooth.copy()

    shown.append(seen(curves[0]))
    for _ in range(300):
        series = curves[random.integers(len(curves))]
        last = series.x[-1] if series.length else 0.0
        if random.random() < 0.25:
            series = series.cut_to(random.uniform(-1, last + 1))
        else:
            x = np.cumsum(random.integers(1, 4, int(random.integers(0, 60)))) + last - random.integers(0, 9)
            series = series.extended(x, random.normal(size=len(x)))
        curves.append(series)
        shown.append(seen(series))
        for curve, before in zip(curves, shown, strict=True):
            for now, then in zip(seen(curve), before, strict=True):
                np.testing.assert_array_equal(now, then)


def test_x_always_rises_and_the_last_word_counts() -> None:
    series = Series().extended([10, 20, 30], [1.0, 2.0, 3.0])
    assert series.extended([20, 25], [9.0, 8.0]).x.tolist() == [10, 20, 25]
    assert series.extended([20, 25], [9.0, 8.0]).y.tolist() == [1, 9, 8]
    tangled = series.extended([40, 50, 60, 45, 70, 70, 15, 16], range(8))
    assert tangled.x.tolist() == [10, 15, 16]
    assert tangled.y.tolist() == [1, 6, 7]


def test_points_that_run_backwards_give_the_same_at_once_as_one_by_one() -> None:
    random = np.random.default_rng(4)
    for _ in range(50):
        x = random.integers(0, 30, 40)
        y = random.normal(size=40)
        at_once = Series().extended(x, y)
        singly = Series()
        for point in zip(x, y, strict=True):
            singly = singly.extended(point[:1], point[1:])
        assert (np.diff(at_once.x) > 0).all()
        np.testing.assert_array_equal(at_once.x, singly.x)
        np.testing.assert_array_equal(at_once.y, singly.y)
        np.testing.assert_allclose(at_once.smooth, singly.smooth, rtol=1e-12)


def test_cutting_back_and_going_on_is_as_if_nothing_had_been_cut() -> None:
    random = np.random.default_rng(5)
    y = random.normal(size=200)
    y[50:60] = np.nan
    straight = Series().extended(range(200), y)
    for cut in (-1, 0, 49, 55, 59, 60, 150, 199, 500):
        again = straight.cut_to(cut)
        assert again.x.tolist() == [x for x in range(200) if x <= cut]
        again = again.extended(range(again.length, 200), y[again.length :])
        np.testing.assert_allclose(again.smooth, straight.smooth, rtol=1e-12)


def test_extending_by_nothing_or_cutting_nothing_gives_the_curve_itself() -> None:
    series = Series().extended([1, 2], [1.0, 2.0])
    assert series.extended([], []) is series
    assert series.cut_to(2) is series
