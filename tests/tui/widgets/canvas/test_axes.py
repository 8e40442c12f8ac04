import math

import numpy as np
import pytest

from exphil_tui.widgets.canvas.axes import Axis, axis_around, exact, label, round_step, short

RANGES = [
    (low, low + span)
    for low in (-1e6, -3.7, 0.0, 0.93, 1e6)
    for span in (1e-3, 0.2, 1.0, 7.7, 12_000.0, 1.5e6)
]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("most", [2, 5, 11])
def test_ticks_are_round_evenly_spaced_and_inside(low: float, high: float, most: int) -> None:
    ticks = Axis(low=low, high=high).ticks(most)

    places = np.array([tick.at for tick in ticks])
    slack = (high - low) * 1e-6
    assert len(places) <= most
    assert (places >= low - slack).all()
    assert (places <= high + slack).all()
    if len(places) > 1:
        steps = np.diff(places)
        assert np.allclose(steps, steps[0], rtol=1e-6, atol=slack)
        mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0] * 1.0001))
        assert min(abs(mantissa - one) for one in (1, 2, 5)) < 1e-3


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_no_two_ticks_have_the_same_words(low: float, high: float) -> None:
    ticks = Axis(low=low, high=high).ticks(8)

    assert len({tick.label for tick in ticks}) == len(ticks) >= 3


def test_thousands_are_written_short() -> None:
    assert [tick.label for tick in Axis(low=0, high=1.5e6).ticks(4)] == ["0", "500k", "1M", "1.5M"]
    assert [tick.label for tick in Axis(low=0, high=30_000).ticks(4)] == ["0", "10k", "20k", "30k"]
    assert [tick.label for tick in Axis(low=0, high=2).ticks(5)] == ["0", "0.5", "1.0", "1.5", "2.0"]


def test_decades_get_twos_and_fives_where_there_is_room() -> None:
    axis = Axis(low=-1, high=2, log=True)

    assert [tick.label for tick in axis.ticks(12)] == [
        "0.1",
        "0.2",
        "0.5",
        "1",
        "2",
        "5",
        "10",
        "20",
        "50",
        "100",
    ]
    assert [tick.label for tick in axis.ticks(7)] == ["0.1", "0.3", "1", "3", "10", "30", "100"]
    assert [tick.label for tick in axis.ticks(4)] == ["0.1", "1", "10", "100"]
    assert [tick.label for tick in axis.ticks(2)] == ["1", "100"]


def test_part_of_a_decade_still_has_ticks_at_their_logarithmic_places() -> None:
    ticks = Axis(low=math.log10(0.8), high=math.log10(1.7), log=True).ticks(6)

    assert len(ticks) >= 3
    for tick in ticks:
        assert math.isclose(10**tick.at, float(tick.label), rel_tol=1e-9)


def test_steps_are_never_split() -> None:
    assert [tick.label for tick in Axis(low=0, high=3).ticks(10, smallest=1.0)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("log", [False, True])
def test_dots_and_values_go_back_and_forth(log: bool) -> None:
    axis = Axis(low=-1, high=3, log=log)
    edges = axis.edges(64)

    assert (np.diff(edges) > 0).all()
    middles = axis.values((axis.units(edges[:-1]) + axis.units(edges[1:])) / 2)
    assert np.floor(axis.dots(middles, 64)).tolist() == list(range(64))
    assert axis.dots(axis.values(np.array(axis.high)), 64) < 64


def test_nothing_and_less_has_no_place_on_a_logarithmic_axis() -> None:
    assert np.isnan(Axis(low=0, high=1, log=True).units(np.array([0.0, -3.0]))).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (1, 1),
        (0, 0),
        (-2, -2),
        (1e-300, 1e-300),
        (1e300, 1e300),
        (-1e300, 1e300),
        (5, 5 + 1e-13),
        (0.9, 1.3),
        (0, 15),
    ],
)
def test_an_axis_has_room_around_whatever_it_shows(low: float, high: float) -> None:
    axis = axis_around(low, high)

    assert axis.low <= low <= high <= axis.high
    assert axis.low < axis.high
    assert axis.ticks(5)


def test_a_loss_gets_no_room_below_zero() -> None:
    assert axis_around(0.0, 3.0).low == 0
    assert axis_around(0.01, 3.0).low == 0


def test_a_slightly_wider_range_keeps_the_axis() -> None:
    assert axis_around(0.90, 1.30) == axis_around(0.902, 1.301)


def test_a_round_step_is_one_two_or_five() -> None:
    assert [round_step(least) for least in (1, 1.1, 2, 3, 5, 5.1)] == [1, 2, 2, 5, 5, 10]
    assert math.isclose(round_step(0.03), 0.05)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (1.23456, "1.235"),
        (0.79123, "0.791"),
        (0.00312, "0.0031"),
        (12.3456, "12.35"),
        (9.99999, "10.00"),
        (1234.5, "1234"),
        (12_345, "12.35k"),
        (999_999, "1.000M"),
        (1.2e-5, "1.2e-5"),
        (-1.5, "-1.500"),
        (3e200, "3e200"),
        (float("nan"), "nan"),
    ],
)
def test_a_number_is_short_and_keeps_its_digits(value: float, words: str) -> None:
    assert short(value) == words


def test_a_step_is_written_out() -> None:
    assert exact(12340.0) == "12,340"
    assert exact(0.5) == "0.500"
    assert label(2500, 500) == "2.5k"
    assert label(2e-6, 1e-6) == "2e-6"
