import numpy as np
import pytest
from rich.cells import cell_len

from exphil_tui.theme.glyphs import ASCII, UNICODE
from exphil_tui.widgets.sparkline import sparkline


def test_a_curve_falls_from_full_to_low() -> None:
    assert sparkline(range(8, 0, -1), 8, UNICODE) == "█▇▆▅▄▃▂▁"
    assert sparkline(range(8, 0, -1), 8, ASCII) == "@#*+=-:."


def test_many_values_become_the_means_of_the_cells() -> None:
    values = np.repeat([1.0, 8.0, 1.0, 4.0], 250) + np.tile([-0.5, 0.5], 500)

    assert sparkline(values, 4, UNICODE) == sparkline([1, 8, 1, 4], 4, UNICODE)


def test_few_values_stand_on_the_right() -> None:
    assert sparkline([1, 2], 6, UNICODE) == "    ▁█"


def test_what_is_not_finite_leaves_a_gap_and_the_others_count() -> None:
    assert sparkline([1, float("nan"), 8], 3, UNICODE) == "▁ █"
    assert sparkline([1, float("inf"), 8, 8], 2, UNICODE) == "▁█"


def test_a_flat_line_stands_in_the_middle() -> None:
    assert sparkline([3.0, 3.0, 3.0], 3, UNICODE) == "▅▅▅"


@pytest.mark.parametrize(
    "values", [[], [float("nan")] * 3, [1e308, -1e308], [1e-320, 2e-320], [5], np.arange(1e5)]
)
@pytest.mark.parametrize("width", [0, 1, 7])
def test_it_is_as_wide_as_was_asked(values: list[float], width: int) -> None:
    assert cell_len(sparkline(values, width, UNICODE)) == width
