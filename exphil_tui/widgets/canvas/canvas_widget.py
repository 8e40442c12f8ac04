"""Widget that shows one picture of braille dots and text, and repaints only the cells that changed.

A subclass calls `update` after every change; if the picture is the same, nothing is sent to the terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from textual.color import Color
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from exphil_tui.theme.glyphs import UNICODE, Glyphs
from exphil_tui.widgets.canvas.braille import Canvas, extend_inks, strip

_CONTRAST = 0.35
"""Minimum brightness difference between a colour and a light background."""
_GAP = 12
"""Number of unchanged cells between two changes in a row from which sending them separately is cheaper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    colour: str | None
    """A colour such as `#rrggbb`, or a theme variable such as `foreground`; None for the background alone."""
    strength: float = 1.0
    """Opacity of the colour over the background, 0 to 1."""
    bold: bool = False
    reverse: bool = False


class CanvasWidget(Widget):
    """Base class: a subclass defines `picture`, and `looks` by ink, starting with the look of an empty cell."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._codes = np.zeros((0, 0), np.uint32)
        self._inks = np.zeros((0, 0), np.uint8)
        self._strips: list[Strip] = []
        self._drawn_size = Size()
        self._ink_styles: list[Style] = []

    def picture(self, width: int, height: int) -> Canvas:
        raise NotImplementedError

    def looks(self) -> Sequence[Look]:
        raise NotImplementedError

    @property
    def glyphs(self) -> Glyphs:
        return getattr(self.app, "glyphs", UNICODE)

    def update(self) -> None:
        """Redraw the cells that changed; while the widget is not shown, mark all as outdated."""
        if not self.is_mounted or not self.size:
            self._drawn_size = Size()
        elif regions := self._draw():
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        # Not `size`: it is slow, and this runs for every row.
        if self._drawn_size != self.outer_size or not self._ink_styles:
            self._draw()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._ink_styles = []

    def _draw(self) -> list[Region]:
        """Draw the picture and return the regions that changed."""
        if fresh := not self._ink_styles:
            self._ink_styles = self._styles()
        self._drawn_size = self.outer_size
        width, height = self.size
        if not width:
            # Padding can leave rows without cells.
            self._strips = []
            return []
        canvas = self.picture(width, height)
        codes = canvas.codes(ascii=self.glyphs.ascii)
        inks = extend_inks(codes, canvas.inks, self._ink_styles)
        if fresh or codes.shape != self._codes.shape:
            changed = np.ones(codes.shape, bool)
            self._strips = [Strip.blank(width, self._ink_styles[0])] * height
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
            self._strips[row] = strip(codes[row], inks[row], self._ink_styles)
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
        """Return the style of each ink, with a background, which Textual does not add to a widget's rows."""
        background = self.background_colors[1]
        # A terminal's own background has unknown RGB values and cannot be blended.
        known = background.ansi is None and background.a > 0
        ground = Style(bgcolor=background.rich_color) if known else Style()
        variables = self.app.get_css_variables()
        table = []
        for look in self.looks():
            if look.colour is None:
                table.append(ground)
                continue
            colour = _parsed(variables.get(look.colour, look.colour))
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
    """Parse a colour; a theme variable may have a percentage, as in `ansi_default 50%`."""
    name, _, share = colour.partition(" ")
    found = Color.parse(name)
    return found.with_alpha(found.a * float(share.rstrip("%")) / 100) if share else found


def draw_rule(page: Canvas, ink: int, glyphs: Glyphs) -> None:
    """Draw a rule in the first row; the title is written over it."""
    if page.rows:
        page.letters[0] = ord("-" if glyphs.ascii else "─")
        page.inks[0] = ink


def _legible(colour: Color, background: Color) -> Color:
    """Darken a colour that is too light for a light background, keeping its hue; the palette is made for dark
    ones.
    """
    for _ in range(6):
        if background.brightness < 0.5 or background.brightness - colour.brightness > _CONTRAST:
            break
        colour = colour.blend(Color(0, 0, 0), 0.2)
    return colour
