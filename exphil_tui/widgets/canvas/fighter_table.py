"""Table of every fighter's values in one frame, one line each, below the stage view.

A dash means that the replay's version does not record the value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rich.cells import cell_len, set_cell_size

from exphil_tui.model.scene import SceneFighter
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.canvas.braille import Canvas
from exphil_tui.widgets.canvas.stage_drawing import StageInk, ink_of_faint, ink_of_label

_GAPS = (2, 1)
_AT = 2
"""Cells before the names, for the mark of the ego."""
_TITLES_FROM, _DETAILS_FROM = 14, 20
"""Minimum rows of the whole picture for column titles, and for a second row with the columns that do not fit."""
_MOST_STOCKS = 4
"""Stocks drawn as one mark each; a larger number is written as a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    text: Callable[[SceneFighter, Glyphs], str]
    width: int
    right: bool = True


def rows_wanted(fighters: Sequence[SceneFighter], width: int, height: int) -> int:
    """Return the number of rows wanted: one per fighter, plus titles and detail rows if the picture is high
    enough.
    """
    shown = len(fighters)
    columns, _ = _fitting(width - _AT - _width_of_names(fighters))
    if height >= max(_DETAILS_FROM, 3 * (1 + 2 * shown)) and len(columns) < len(_COLUMNS):
        return 1 + 2 * shown
    return shown + (1 if height >= _TITLES_FROM else 0)


def draw(
    canvas: Canvas, row: int, rows: int, fighters: Sequence[SceneFighter], *, ego: int | None, glyphs: Glyphs
) -> None:
    """Draw the table into `rows` rows from `row` on; partners (Nana) only if all fit."""
    shown = list(fighters)
    if len(shown) > rows:
        shown = [fighter for fighter in shown if not fighter.follower][:rows]
    names = _width_of_names(shown)
    columns, gap = _fitting(canvas.columns - _AT - names)
    details = _COLUMNS[len(columns) :] if rows > 2 * len(shown) else ()
    if rows > len(shown):
        place = _AT + names + gap
        for column in columns:
            canvas.text(place, row, _placed(column.title, column), StageInk.MUTED)
            place += column.width + gap
        row += 1
    for fighter in shown:
        label = ink_of_label(fighter.port)
        if fighter.slot == ego and not fighter.follower:
            canvas.text(0, row, ">" if glyphs.ascii else "▸", label)
        canvas.text(_AT, row, _who(fighter), ink_of_faint(fighter.port) if fighter.follower else label)
        place = _AT + names + gap
        for column in columns:
            text = column.text(fighter, glyphs)
            ink = StageInk.MUTED if text == glyphs.dash else StageInk.TEXT
            canvas.text(place, row, _placed(text, column), label if column.title == "stocks" else ink)
            place += column.width + gap
        row += 1
        if details:
            _draw_details(canvas, row, fighter, details, glyphs)
            row += 1


def _draw_details(
    canvas: Canvas, row: int, fighter: SceneFighter, details: Sequence["_Column"], glyphs: Glyphs
) -> None:
    """Draw a detail row: `hurtbox normal   velocity +1.2 -0.5   shield 60`."""
    place = _AT + 3
    for column in details:
        text = column.text(fighter, glyphs)
        if place + len(column.title) + 1 + column.width > canvas.columns:
            return
        canvas.text(place, row, column.title, StageInk.MUTED)
        place += len(column.title) + 1
        ink = StageInk.MUTED if text == glyphs.dash else StageInk.TEXT
        canvas.text(place, row, text.ljust(column.width), ink)
        place += column.width + 2


def _width_of_names(fighters: Sequence[SceneFighter]) -> int:
    return max((cell_len(_who(fighter)) for fighter in fighters), default=0)


def _who(fighter: SceneFighter) -> str:
    if fighter.follower:
        return f"   {fighter.character}"
    team = {0: " red", 1: " blue", 2: " green"}.get(-1 if fighter.team is None else fighter.team, "")
    return f"P{fighter.port} {fighter.character}{team}"


def _fitting(width: int) -> tuple[list[_Column], int]:
    """Return the leading columns that fit, and the gap before each: the narrow one if it fits more columns."""
    found: list[list[_Column]] = []
    for gap in _GAPS:
        ends = accumulate(column.width + gap for column in _COLUMNS)
        found.append([column for column, end in zip(_COLUMNS, ends, strict=True) if end <= width])
    best = max(range(len(_GAPS)), key=lambda index: len(found[index]))
    return found[best], _GAPS[best]


def _placed(text: str, column: _Column) -> str:
    text = set_cell_size(text, column.width) if cell_len(text) > column.width else text
    return text.rjust(column.width) if column.right else text.ljust(column.width)


def _stocks(fighter: SceneFighter, glyphs: Glyphs) -> str:
    if fighter.follower:
        return ""
    if fighter.stocks is None:
        return glyphs.dash
    mark = "o" if glyphs.ascii else "●"
    return mark * fighter.stocks if fighter.stocks <= _MOST_STOCKS else f"{fighter.stocks}{mark}"


def _number(value: float | None, glyphs: Glyphs) -> str:
    return glyphs.dash if value is None else f"{value:.0f}"


def _velocity(fighter: SceneFighter, glyphs: Glyphs) -> str:
    if fighter.velocity is None:
        return glyphs.dash
    return " ".join(f"{part:+.1f}" for part in fighter.velocity)


_HURTBOXES = {"none": "normal", "invulnerable": "invuln.", "intangible": "intang."}

_COLUMNS = (
    _Column(
        title="%",
        text=lambda one, glyphs: glyphs.dash if one.percent is None else f"{one.percent:.0f} %",
        width=5,
    ),
    _Column(title="stocks", text=_stocks, width=6, right=False),
    _Column(title="action state", text=lambda one, glyphs: one.action or glyphs.dash, width=19, right=False),
    _Column(title="frame", text=lambda one, glyphs: _number(one.state_age, glyphs), width=5),
    _Column(title="hitstun", text=lambda one, glyphs: _number(one.hitstun, glyphs), width=7),
    _Column(title="hitlag", text=lambda one, glyphs: _number(one.hitlag, glyphs), width=6),
    _Column(
        title="hurtbox",
        text=lambda one, glyphs: _HURTBOXES.get(one.invulnerability or "", glyphs.dash),
        width=7,
        right=False,
    ),
    _Column(title="velocity", text=_velocity, width=11),
    _Column(title="shield", text=lambda one, glyphs: _number(one.shield, glyphs), width=6),
    _Column(title="jumps", text=lambda one, glyphs: _number(one.jumps, glyphs), width=5),
)
"""Most important first."""
