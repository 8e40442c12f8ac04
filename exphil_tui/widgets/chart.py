"""The chart: lines over x, with zoom, pan and a cursor.

In: `show(lines, levels, ...)`, as often as one likes, and keys and the mouse. Out: rows of letters; `plot.draw` makes
the picture. What a reader gets wrong: `show` with the same data costs nothing and sends nothing. With new data only
the cells that look different are painted again, because a terminal far away pays for every one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color, ColorParseError
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from exphil_tui.glyphs import UNICODE
from exphil_tui.widgets.axes import Axis
from exphil_tui.widgets.braille import Thinning, spread, strip
from exphil_tui.widgets.plot import Level as Level
from exphil_tui.widgets.plot import Line as Line
from exphil_tui.widgets.plot import Picture, Plot, draw, extent_of
from exphil_tui.widgets.view import EVERYTHING, Extent, View

_RAW_STRENGTH = 0.38
"""How much of its colour a raw point has; the rest is the background."""
_CONTRAST = 0.35
"""By how much a colour is darker than a light background."""
_ZOOM, _WHEEL = 0.5, 0.8
_PAN, _WHEEL_PAN = 0.125, 0.05
_FAST = 10
"""Columns of dots that the cursor moves with shift."""


class Chart(Widget, can_focus=True):
    BINDING_GROUP_TITLE = "Chart"
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        min-height: 4;
        padding: 0 1;
        & > .chart--title { color: $foreground; text-style: bold; }
        & > .chart--text { color: $foreground; }
        & > .chart--muted { color: $foreground 60%; }
        & > .chart--grid { color: $foreground 25%; }
        & > .chart--cursor { color: $foreground 70%; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--title",
        "chart--text",
        "chart--muted",
        "chart--grid",
        "chart--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False),
        Binding("minus", "zoom(-1)", "Zoom out", show=False),
        Binding("left", "move(-1)", "Move the view or the cursor to the left", show=False),
        Binding("right", "move(1)", "Move the view or the cursor to the right", show=False),
        Binding("shift+left", "move(-1, True)", "Move far to the left", show=False),
        Binding("shift+right", "move(1, True)", "Move far to the right", show=False),
        Binding("end", "show_newest", "Go to the newest and follow it", show=False),
        Binding("0", "show_everything", "Show everything", show=False),
        Binding("y", "toggle_log('y')", "Linear or logarithmic y", show=False),
        Binding("x", "toggle_log('x')", "Linear or logarithmic x", show=False),
        Binding("m", "toggle_cursor", "Cursor on or off", show=False),
    ]

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._plot = Plot()
        self._cursor: float | None = None
        self._hover: float | None = None
        self._dragged_from: tuple[int, View] | None = None
        self._data: object = None
        """Stands for what was shown last; equal where the data are the same."""
        self._thinning = Thinning()
        self._picture: Picture | None = None
        self._codes = np.zeros((0, 0), np.uint32)
        self._inks = np.zeros((0, 0), np.uint8)
        self._strips: list[Strip] = []
        self._table: list[Style] = []

    def show(
        self,
        lines: Sequence[Line],
        levels: Sequence[Level] = (),
        *,
        title: str = "",
        x_title: str = "step",
        y_title: str = "",
    ) -> None:
        data = ([_identity(line) for line in lines], list(levels), title, x_title, y_title)
        if data == self._data:
            return
        self._data = data
        if _colours(self._plot.lines, self._plot.levels) != _colours(lines, levels):
            self._table = []
        self._change(lines=tuple(lines), levels=tuple(levels), title=title, x_title=x_title, y_title=y_title)

    @property
    def plot(self) -> Plot:
        """What is shown, the view and the cursor included."""
        return self._plot

    def render_line(self, y: int) -> Strip:
        if self._picture is None or _size(self._picture) != self.content_size or not self._table:
            self._draw()
        return (
            self._strips[y]
            if y < len(self._strips)
            else Strip.blank(self.content_size.width, self.rich_style)
        )

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._table = []

    def action_zoom(self, direction: int) -> None:
        if (extent := extent_of(self._plot)) is not None:
            around = None if self._cursor is None else self._unit(self._cursor)
            factor = _ZOOM if direction > 0 else 1 / _ZOOM
            self._change(view=self._plot.view.zoomed(extent, factor, around))

    def action_move(self, direction: int, fast: bool = False) -> None:
        """The cursor if it is there, else the view."""
        extent = extent_of(self._plot)
        if extent is None:
            return
        if self._cursor is None:
            self._change(view=self._plot.view.panned(extent, _PAN * direction * (4 if fast else 1)))
            return
        self._cursor = self._next_point(self._cursor, direction, _FAST if fast else 1)
        self._change(view=self._plot.view.reaching(extent, self._unit(self._cursor)))

    def action_show_newest(self) -> None:
        self._change(view=replace(self._plot.view, high=None))

    def action_show_everything(self) -> None:
        self._change(view=EVERYTHING)

    def action_toggle_log(self, which: str) -> None:
        if which == "y":
            self._change(log_y=not self._plot.log_y)
            return
        axis = self._axis()
        if self._cursor is not None and self._cursor <= 0:
            # It has no place on a logarithmic axis.
            self._cursor = None
        turned = replace(self._plot, log_x=not self._plot.log_x)
        if axis is None or (extent := extent_of(turned)) is None:
            self._change(log_x=turned.log_x, view=EVERYTHING)
            return
        self._change(log_x=turned.log_x, view=_turned(self._plot.view, axis, extent))

    def action_toggle_cursor(self) -> None:
        axis = self._axis()
        if self._cursor is not None or axis is None:
            self._cursor = None
        else:
            self._cursor = self._nearest(float(axis.values(np.array((axis.low + axis.high) / 2))))
        self._change()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged_from is not None:
            column, view = self._dragged_from
            extent = extent_of(self._plot)
            if extent is not None and self._picture is not None:
                self._change(view=view.panned(extent, (column - event.x) / self._picture.columns))
            return
        at = self._value_at(event.get_content_offset_capture(self).x)
        self._hover = None if at is None else self._nearest(at)
        self._change()

    def on_leave(self) -> None:
        self._hover = None
        self._change()

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self._dragged_from = (event.x, self._plot.view)
            self.capture_mouse()

    def on_mouse_up(self) -> None:
        self._dragged_from = None
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, _WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1 / _WHEEL)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        self._wheel_pan(event, -_WHEEL_PAN)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        self._wheel_pan(event, _WHEEL_PAN)

    def _wheel(self, event: events.MouseEvent, factor: float) -> None:
        if event.shift or event.ctrl:
            self._wheel_pan(event, -_WHEEL_PAN if factor < 1 else _WHEEL_PAN)
            return
        event.stop()
        extent, at = extent_of(self._plot), self._value_at(event.get_content_offset_capture(self).x)
        if extent is not None and at is not None:
            self._change(view=self._plot.view.zoomed(extent, factor, self._unit(at)))

    def _wheel_pan(self, event: events.MouseEvent, share: float) -> None:
        event.stop()
        if (extent := extent_of(self._plot)) is not None:
            self._change(view=self._plot.view.panned(extent, share))

    def _axis(self) -> Axis | None:
        extent = extent_of(self._plot)
        return None if extent is None else self._plot.view.axis(extent)

    def _unit(self, x: float) -> float:
        axis = self._axis()
        assert axis is not None
        return float(axis.units(np.array(x, float)))

    def _value_at(self, column: int) -> float | None:
        """x under a cell of the widget; None beside the plot."""
        picture = self._picture
        if picture is None or picture.x_axis is None or not 0 <= column - picture.left < picture.columns:
            return None
        axis = picture.x_axis
        unit = axis.low + (column - picture.left + 0.5) / picture.columns * (axis.high - axis.low)
        return float(axis.values(np.array(unit)))

    def _nearest(self, at: float) -> float:
        """x of the point nearest to `at`, of any line."""
        near = [float(x) for xs in self._xs() for x in xs[max(0, int(np.searchsorted(xs, at)) - 1) :][:2]]
        return min(near, key=lambda x: abs(x - at))

    def _next_point(self, at: float, direction: int, dots: int) -> float:
        """x of the next point of any line that is at least so many columns of dots away; the last where none is."""
        axis = self._axis()
        assert axis is not None
        dot = (axis.high - axis.low) / (2 * self._picture.columns if self._picture is not None else 200)
        goal = float(axis.values(np.array(self._unit(at) + direction * dots * dot)))
        found = []
        for xs in self._xs():
            place = (
                int(np.searchsorted(xs, goal))
                if direction > 0
                else int(np.searchsorted(xs, goal, "right")) - 1
            )
            found.append(float(xs[min(max(place, 0), len(xs) - 1)]))
        ahead = [x for x in found if (x >= goal if direction > 0 else x <= goal)]
        if not ahead:
            return max(found) if direction > 0 else min(found)
        return min(ahead) if direction > 0 else max(ahead)

    def _xs(self) -> list[np.ndarray]:
        """x of each line that has a point on the axis."""
        found = [
            line.x[line.x.searchsorted(0, "right") :] if self._plot.log_x else line.x
            for line in self._plot.lines
        ]
        return [xs for xs in found if len(xs)]

    def _change(self, **changes: object) -> None:
        """What is shown from now on; only the cells that look different are painted again."""
        cursor = self._cursor if self._hover is None else self._hover
        plot = replace(self._plot, **changes, cursor=cursor)  # type: ignore[arg-type]
        if plot.cursor == self._plot.cursor and all(
            getattr(self._plot, name) is value or (name == "view" and self._plot.view == value)
            for name, value in changes.items()
        ):
            return
        self._plot = plot
        if not self.content_size or not self.is_mounted:
            self._picture = None
            return
        if regions := self._draw():
            self.refresh(*regions)

    def _draw(self) -> list[Region]:
        """Make the picture; the cells of it that changed, by rows."""
        if fresh := not self._table:
            self._table = self._styles_of()
        width, height = self.content_size
        look = replace(
            self._plot,
            glyphs=getattr(self.app, "glyphs", UNICODE),
            lettered=self.app.no_color or getattr(self.app, "glyphs", UNICODE).ascii,
        )
        self._picture = draw(look, width, height, self._thinning)
        codes = self._picture.canvas.codes(ascii=look.glyphs.ascii)
        inks = spread(codes, self._picture.canvas.inks, self._table)
        if fresh or codes.shape != self._codes.shape:
            changed = np.ones(codes.shape, bool)
            self._strips = [Strip.blank(width, self._table[0])] * height
        else:
            changed = (codes != self._codes) | (inks != self._inks)
        self._codes, self._inks = codes, inks
        regions = []
        for row in np.flatnonzero(changed.any(axis=1)).tolist():
            self._strips[row] = strip(codes[row], inks[row], self._table)
            columns = np.flatnonzero(changed[row])
            regions.append(Region(int(columns[0]), row, int(columns[-1] - columns[0]) + 1, 1))
        return regions

    def _styles_of(self) -> list[Style]:
        """By ink, each with the background, which Textual does not put behind the rows of a widget."""
        background = self.background_colors[1]
        # A terminal's own background has no numbers, to be named or to be mixed.
        known = background.ansi is None and background.a > 0
        ground = Style(bgcolor=background.rich_color) if known else Style()

        def style(colour: Color, strength: float = 1.0, bold: bool = False) -> Style:
            if not known or strength == 1:
                return ground + Style(color=colour.rich_color, dim=strength < 1, bold=bold)
            return ground + Style(color=background.blend(colour, strength).rich_color, bold=bold)

        table = [ground]
        for part in ("title", "text", "muted", "grid", "cursor"):
            styles = self.get_component_styles(f"chart--{part}")
            bold = bool(styles.text_style.bold)
            table.append(style(styles.color.with_alpha(1.0), styles.color.a, bold))
        for line in self._plot.lines:
            colour = _legible(_parsed(line.colour), background)
            table += [style(colour, _RAW_STRENGTH), style(colour), style(colour, bold=True)]
        table += [style(_legible(_parsed(level.colour), background)) for level in self._plot.levels]
        return table


def _legible(colour: Color, background: Color) -> Color:
    """The palette is of a dark terminal: on a light one its yellow and white become darker and keep their hue."""
    for _ in range(6):
        if background.brightness < 0.5 or background.brightness - colour.brightness > _CONTRAST:
            break
        colour = colour.blend(Color(0, 0, 0), 0.2)
    return colour


def _parsed(colour: str) -> Color:
    try:
        return Color.parse(colour)
    except ColorParseError:
        return Color.parse("white")


def _identity(line: Line) -> tuple[object, ...]:
    """Equal for the same data: an array that grows in place has another length, one that was replaced another place.

    The chart holds on to the arrays, so their places are not used again.
    """
    arrays = [line.x, line.y] if line.smooth is None else [line.x, line.y, line.smooth]
    places = tuple((array.__array_interface__["data"][0], len(array)) for array in arrays)
    return line.name, line.colour, line.mark, places


def _colours(lines: Sequence[Line], levels: Sequence[Level]) -> tuple[list[str], list[str]]:
    return [line.colour for line in lines], [level.colour for level in levels]


def _size(picture: Picture) -> Size:
    return Size(picture.canvas.columns, picture.canvas.rows)


def _turned(view: View, axis: Axis, extent: Extent) -> View:
    """The same part of the data on the other kind of axis."""
    if view.span is None:
        return view
    low, high = (float(end) for end in axis.values(np.array((axis.low, axis.high))))
    turned = Axis(low=extent.first, high=extent.first + 1, log=extent.log)
    first, last = (float(end) for end in turned.units(np.array((low, high))))
    # From 0, a logarithmic axis begins at the first point that it has.
    first = extent.first if np.isnan(first) else max(first, extent.first)
    if not last > first:
        return EVERYTHING
    return View(span=last - first, high=None if view.follows else last)
