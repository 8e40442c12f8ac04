"""Numbers as people read them."""

import math

import pytest

from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import ASCII, UNICODE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1.00k"),
        (35_123, "35.1k"),
        (553_685, "554k"),
        (20e6, "20.0M"),
        (1.5e9, "1.50G"),
    ],
)
def test_counts_have_three_figures(value: float, text: str) -> None:
    assert fmt.count(value, UNICODE) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1e-6, "<0.01 %"),
        (0.0006, "0.06 %"),
        (0.043, "4.3 %"),
        (0.0995, "10 %"),
        (0.724, "72 %"),
        (1, "100 %"),
    ],
)
def test_shares_are_percent_as_fine_as_they_are_small(share: float, text: str) -> None:
    assert fmt.percent(share, UNICODE) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (8, "8 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (18_720, "5 h 12 min"),
        (187_200, "2 d 4 h"),
        (-3, "0 s"),
    ],
)
def test_times_are_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert fmt.duration(seconds, UNICODE) == text


@pytest.mark.parametrize(("value", "text"), [(15.27, "15.3"), (0.4784, "0.478"), (0.0, "0.000")])
def test_losses_have_three_digits_where_they_are_small(value: float, text: str) -> None:
    assert fmt.loss(value, UNICODE) == text


def test_memory_is_in_powers_of_1024() -> None:
    assert fmt.memory(640 * 2**20, UNICODE) == "640 MB"
    assert fmt.memory(1.25 * 2**30, UNICODE) == "1.2 GB"


@pytest.mark.parametrize(
    "show",
    [fmt.loss, fmt.count, fmt.percent, fmt.duration, fmt.memory, fmt.milliseconds],
)
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_dash_never_zero(show: object, value: float | None) -> None:
    assert show(value, UNICODE) == "–"  # type: ignore[operator]
    assert show(value, ASCII) == "-"  # type: ignore[operator]
