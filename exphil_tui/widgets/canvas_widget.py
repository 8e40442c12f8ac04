"""A widget that is one picture of braille dots and letters, and repaints only the cells that changed.

In: from its child, a `Canvas` for a size and a `Look` for each ink. Out: strips. What a reader gets wrong: a child
calls `update` after each change of what it shows, as often as it likes; where the picture comes out the same, nothing
is sent to the terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from textual.color import Color
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from exphil_tui.glyphs import UNICODE, Glyphs
from exphil_tui.widgets.braille import Canvas, spread, strip

_CONTRAST = 0.35
"""By how much a colour is darker than a light background."""
_GAP = 12
"""Cells that stay as they are between two changes of a row, from which it is cheaper to send the two apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    colour: str
    """`#rrggbb`, or a variable of the theme such as `foreground`."""
    strength: float = 1.0
    """How much of its colour it has; the rest is the background."""
    bold: bool = False
    reverse: bool = False


class CanvasWidget(Widget):
    """Base: a child says what it shows in `picture` and its `looks` by ink, the first that of nothing."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._codes = np.zeros((0, 0), np.uint32)
        self._inks = np.zeros((0, 0), np.uint8)
        self._strips: list[Strip] = []
        self._drawn_size = Size()
        self._table: list[Style] = []

    def picture(self, width: int, height: int) -> Canvas:
        raise NotImplementedError

    def looks(self) -> Sequence[Look]:
        raise NotImplementedError

    @property
    def glyphs(self) -> Glyphs:
        return getattr(self.app, "glyphs", UNICODE)

    def update(self) -> None:
        """Draws what differs from what is shown; nothing where nothing does or nobody sees it."""
        if self.is_mounted and self.size and (regions := self._draw()):
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        # Not `size`, which is slow to ask for in every row.
        if self._drawn_size != self.outer_size or not self._table:
            self._draw()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._table = []

    def _draw(self) -> list[Region]:
        """Make the picture; the cells of it that changed."""
        if fresh := not self._table:
            self._table = self._styles()
        self._drawn_size = self.outer_size
        width, height = self.size
        canvas = self.picture(width, height)
        codes = canvas.codes(ascii=self.glyphs.ascii)
        inks = spread(codes, canvas.inks, self._table)
        if fresh or codes.shape != self._codes.shape:
            changed = np.ones(codes.shape, bool)
            self._strips = [Strip.blank(width, self._table[0])] * height
        else:
            changed = (codes != self._codes) | (inks != self._inks)
        self._codes, self._inks = codes, inks
        counts = np.count_nonzero(changed, axis=1)
        rows = np.flatnonzero(counts)
        first = changed.argmax(axis=1)
        last = width - 1 - changed[:, ::-1].argmax(axis=1)
        regions = []
        for row, count, left, right in zip(
            rows.tolist(), counts[rows].tolist(), first[rows].tolist(), last[rows].tolist(), strict=True
        ):
            self._strips[row] = strip(codes[row], inks[row], self._table)
            if right + 1 - left - count <= _GAP:
                regions.append(Region(left, row, right + 1 - left, 1))
                continue
            columns = np.flatnonzero(changed[row])
            ends = np.append(np.flatnonzero(columns[1:] - columns[:-1] > _GAP), len(columns) - 1).tolist()
            begin = 0
            for end in ends:
                at = int(columns[begin])
                regions.append(Region(at, row, int(columns[end]) + 1 - at, 1))
                begin = end + 1
        return regions

    def _styles(self) -> list[Style]:
        """By ink, each with the background, which Textual does not put behind the rows of a widget."""
        background = self.background_colors[1]
        # A terminal's own background has no numbers, to be named or to be mixed.
        known = background.ansi is None and background.a > 0
        ground = Style(bgcolor=background.rich_color) if known else Style()
        variables = self.app.get_css_variables()
        table = []
        for look in self.looks():
            colour = _parsed(look.colour if look.colour.startswith("#") else variables[look.colour])
            colour = _legible(colour, background)
            strength = look.strength * colour.a
            if known and strength < 1:
                colour = background.blend(colour.with_alpha(1.0), strength)
            table.append(
                ground
                + Style(
                    color=colour.with_alpha(1.0).rich_color,
                    bold=look.bold,
                    reverse=look.reverse,
                    dim=not known and strength < 1,
                )
            )
        return table


def _parsed(colour: str) -> Color:
    """A theme's variable may be `ansi_default 50%`, which is for its stylesheets alone."""
    name, _, share = colour.partition(" ")
    found = Color.parse(name)
    return found.with_alpha(found.a * float(share.rstrip("%")) / 100) if share else found


def draw_rule(page: Canvas, ink: int, glyphs: Glyphs) -> None:
    """Along the first row, for a title to be written over."""
    if page.rows:
        page.letters[0] = ord("-" if glyphs.ascii else "─")
        page.inks[0] = ink


def _legible(colour: Color, background: Color) -> Color:
    """The palette is of a dark terminal: on a light one its yellow and white become darker and keep their hue."""
    for _ in range(6):
        if background.brightness < 0.5 or background.brightness - colour.brightness > _CONTRAST:
            break
        colour = colour.blend(Color(0, 0, 0), 0.2)
    return colour
