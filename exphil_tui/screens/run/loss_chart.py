"""Lines of the run screen's chart: training or validation loss, per character or per controller head."""

from dataclasses import dataclass

from exphil_core.replays.text import sanitise
from exphil_tui.model.run_state import TOTAL, RunState
from exphil_tui.model.series import Series
from exphil_tui.theme.palette import BAD, GOOD, SeriesStyle, series_styles
from exphil_tui.widgets.canvas.chart import Chart, HLine, Line
from exphil_tui.widgets.tables.character_table import best_baseline, character_names, character_rows, title_of
from exphil_tui.widgets.tables.head_table import head_names

_TOTAL_NAME = "total"
"""Name that gives the curve over all characters its letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartMode:
    validation: bool = False
    """Whether validation is shown instead of training loss."""
    heads: bool = False
    """Whether curves are per controller head instead of per character."""


def character_styles(state: RunState, foreground: str) -> dict[str, SeriesStyle]:
    """Return the style of each character, and of all of them, which is drawn in the foreground colour."""
    styles = series_styles((*character_names(state), _TOTAL_NAME))
    styles[TOTAL] = SeriesStyle(colour=foreground, letter=styles.pop(_TOTAL_NAME).letter)
    return styles


def head_styles(state: RunState) -> dict[str, SeriesStyle]:
    return series_styles(head_names(state))


def show_losses(chart: Chart, state: RunState, styles: dict[str, SeriesStyle], mode: ChartMode) -> None:
    """Show the curves of a mode; `styles` are those of the characters or of the heads."""
    if mode.heads:
        curves = state.validation_heads if mode.validation else state.train_heads
    else:
        curves = state.validation if mode.validation else state.train
    what = "validation loss" if mode.validation else "training loss"
    chart.show(
        [
            _line(name, style, curves[name], mode)
            # Draw the curve over all characters first, below the others.
            for name, style in sorted(styles.items(), key=lambda item: item[0] != TOTAL)
            if name in curves and curves[name].length and not (name == TOTAL and len(styles) == 2)
        ],
        () if mode.heads else _reference_lines(state),
        title=f"{what} {'per head' if mode.heads else 'per character'}",
        x_title="step",
        y_title="nats per frame",
    )


def _line(name: str, style: SeriesStyle, series: Series, mode: ChartMode) -> Line:
    return Line(
        name=sanitise(name) if mode.heads else title_of(name),
        x=series.x,
        y=series.y,
        smooth=None if mode.validation else series.smooth,
        colour=style.colour,
        mark=style.letter,
    )


def _reference_lines(state: RunState) -> list[HLine]:
    """Return horizontal lines at the best baseline and the floor, over all characters."""
    unstyled = {name: SeriesStyle(colour="", letter="") for name in (*character_names(state), TOTAL)}
    rows = character_rows(state, unstyled, validation=True)
    if not rows:
        return []
    best, floor = best_baseline(rows[-1].baselines), rows[-1].floor
    lines = [HLine(name=best[0], y=best[1], colour=BAD)] if best else []
    return lines + ([HLine(name="floor", y=floor, colour=GOOD)] if floor is not None else [])
