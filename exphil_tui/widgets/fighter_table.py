"""What is known of every fighter in one frame, in figures: a line each, below the picture of the stage.

In: the fighters of a `Scene` and a width. Out: text on a `Canvas`. What a reader gets wrong: a dash is a value that the
replay's version does not tell. A zero is a zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from exphil_tui.glyphs import Glyphs
from exphil_tui.scene import Fighter
from exphil_tui.widgets.braille import Canvas
from exphil_tui.widgets.stage_drawing import StageInk, ink_of_faint, ink_of_label

_GAP = 2
_MOST_STOCKS = 4
"""Drawn as one mark each; more are a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    text: Callable[[Fighter, Glyphs], str]
    width: int
    right: bool = True


def draw(
    canvas: Canvas, row: int, rows: int, fighters: Sequence[Fighter], *, ego: int | None, glyphs: Glyphs
) -> None:
    """From `row` on, in as many rows; titles where there is one to spare, partners only where all fit."""
    shown = list(fighters)
    if len(shown) > rows:
        shown = [fighter for fighter in shown if not fighter.follower][:rows]
    titles = rows > len(shown)
    who = max((cell_len(_who(fighter)) for fighter in shown), default=0)
    columns = _fitting(canvas.columns - who - 3)
    at = 2
    if titles:
        place = at + who + _GAP
        for column in columns:
            canvas.text(place, row, _placed(column.title, column), StageInk.MUTED)
            place += column.width + _GAP
        row += 1
    for offset, fighter in enumerate(shown):
        label, ink = ink_of_label(fighter.port), StageInk.TEXT
        if fighter.slot == ego and not fighter.follower:
            canvas.text(0, row + offset, ">" if glyphs.ascii else "▸", label)
        canvas.text(
            at, row + offset, _who(fighter), ink_of_faint(fighter.port) if fighter.follower else label
        )
        place = at + who + _GAP
        for column in columns:
            text = column.text(fighter, glyphs)
            looks = StageInk.MUTED if text == glyphs.dash else ink
            canvas.text(
                place, row + offset, _placed(text, column), label if column.title == "stocks" else looks
            )
            place += column.width + _GAP


def _who(fighter: Fighter) -> str:
    if fighter.follower:
        return f"   {fighter.character}"
    team = {0: " red", 1: " blue", 2: " green"}.get(-1 if fighter.team is None else fighter.team, "")
    return f"P{fighter.port} {fighter.character}{team}"


def _fitting(width: int) -> list[_Column]:
    """The first columns, as they matter, that fit."""
    found: list[_Column] = []
    for column in _COLUMNS:
        if column.width + _GAP <= width:
            found.append(column)
            width -= column.width + _GAP
        else:
            break
    return found


def _placed(text: str, column: _Column) -> str:
    text = set_cell_size(text, column.width) if cell_len(text) > column.width else text
    return text.rjust(column.width) if column.right else text.ljust(column.width)


def _stocks(fighter: Fighter, glyphs: Glyphs) -> str:
    if fighter.follower:
        return ""
    if fighter.stocks is None:
        return glyphs.dash
    mark = "o" if glyphs.ascii else "●"
    return mark * fighter.stocks if fighter.stocks <= _MOST_STOCKS else f"{fighter.stocks}{mark}"


def _number(value: float | None, glyphs: Glyphs) -> str:
    return glyphs.dash if value is None else f"{value:.0f}"


def _velocity(fighter: Fighter, glyphs: Glyphs) -> str:
    if fighter.velocity is None:
        return glyphs.dash
    return " ".join(f"{part:+.2f}" for part in fighter.velocity)


_COLUMNS = (
    _Column(
        title="percent",
        text=lambda one, glyphs: glyphs.dash if one.percent is None else f"{one.percent:.0f} %",
        width=7,
    ),
    _Column(title="stocks", text=_stocks, width=6, right=False),
    _Column(title="action state", text=lambda one, glyphs: one.action or glyphs.dash, width=20, right=False),
    _Column(title="frame", text=lambda one, glyphs: _number(one.state_age, glyphs), width=5),
    _Column(title="hitstun", text=lambda one, glyphs: _number(one.hitstun, glyphs), width=7),
    _Column(title="hitlag", text=lambda one, glyphs: _number(one.hitlag, glyphs), width=6),
    _Column(title="shield", text=lambda one, glyphs: _number(one.shield, glyphs), width=6),
    _Column(
        title="hurtbox",
        text=lambda one, glyphs: {None: glyphs.dash, "none": "normal"}.get(
            one.invulnerability, one.invulnerability or ""
        ),
        width=12,
        right=False,
    ),
    _Column(title="velocity", text=_velocity, width=11),
)
"""The most wanted first."""
