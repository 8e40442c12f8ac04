"""Line chart widget with zoom, pan and a cursor; `plot.draw` makes the picture.

`show` with the same data is free. With new data only the changed cells are repainted, which matters over slow
connections.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from textual import events
from textual.binding import Binding, BindingType

from exphil_tui.widgets.canvas.axes import Axis
from exphil_tui.widgets.canvas.braille import Canvas, Thinning
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget, Look
from exphil_tui.widgets.canvas.plot import draw
from exphil_tui.widgets.canvas.plot_data import HLine as HLine
from exphil_tui.widgets.canvas.plot_data import Line as Line
from exphil_tui.widgets.canvas.plot_data import Plot, PlotPicture, extent_of
from exphil_tui.widgets.canvas.view import EVERYTHING, ChartView, Extent

_RAW_STRENGTH = 0.38
"""Opacity of a raw point over the background."""
_ZOOM, _WHEEL = 0.5, 0.8
_PAN, _WHEEL_PAN = 0.125, 0.05
_FAST = 10
"""Dot columns that the cursor moves with shift."""


class Chart(CanvasWidget, can_focus=True):
    BINDING_GROUP_TITLE = "Chart"
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        min-height: 4;
        padding: 0 1;
    }
    """
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

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._plot = Plot()
        self._cursor: float | None = None
        self._hover: float | None = None
        self._dragged_from: tuple[int, ChartView] | None = None
        self._data: object = None
        """Identity of the data shown last."""
        self._thinning = Thinning()
        self._picture: PlotPicture | None = None

    def show(
        self,
        lines: Sequence[Line],
        hlines: Sequence[HLine] = (),
        *,
        title: str = "",
        x_title: str = "step",
        y_title: str = "",
    ) -> None:
        data = ([_identity(line) for line in lines], list(hlines), title, x_title, y_title)
        if data == self._data:
            return
        self._data = data
        if _colours(self._plot.lines, self._plot.hlines) != _colours(lines, hlines):
            self._ink_styles = []
        self._change(lines=tuple(lines), hlines=tuple(hlines), title=title, x_title=x_title, y_title=y_title)

    @property
    def plot(self) -> Plot:
        """The plot as shown, including view and cursor."""
        return self._plot

    def action_zoom(self, direction: int) -> None:
        if (extent := extent_of(self._plot)) is not None:
            around = None if self._cursor is None else self._unit(self._cursor)
            factor = _ZOOM if direction > 0 else 1 / _ZOOM
            self._change(view=self._plot.view.zoomed(extent, factor, around))

    def action_move(self, direction: int, fast: bool = False) -> None:
        """Move the cursor if it is on, else the view."""
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
            # A logarithmic axis has no place for it.
            self._cursor = None
        converted = replace(self._plot, log_x=not self._plot.log_x)
        if axis is None or (extent := extent_of(converted)) is None:
            self._change(log_x=converted.log_x, view=EVERYTHING)
            return
        self._change(log_x=converted.log_x, view=_converted_view(self._plot.view, axis, extent))

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
        """Return x under a cell of the widget; None outside the plot."""
        picture = self._picture
        if picture is None or picture.x_axis is None or not 0 <= column - picture.left < picture.columns:
            return None
        axis = picture.x_axis
        unit = axis.low + (column - picture.left + 0.5) / picture.columns * (axis.high - axis.low)
        return float(axis.values(np.array(unit)))

    def _nearest(self, at: float) -> float:
        """Return x of the nearest point of any line."""
        near = [float(x) for xs in self._xs() for x in xs[max(0, int(np.searchsorted(xs, at)) - 1) :][:2]]
        return min(near, key=lambda x: abs(x - at))

    def _next_point(self, at: float, direction: int, dots: int) -> float:
        """Return x of the next point of any line at least `dots` dot columns away; the last point if there is
        none.
        """
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
        """Return x of each line that has a point on the axis."""
        found = [
            line.x[line.x.searchsorted(0, "right") :] if self._plot.log_x else line.x
            for line in self._plot.lines
        ]
        return [xs for xs in found if len(xs)]

    def _change(self, **changes: object) -> None:
        """Apply changes to the plot and repaint the cells that differ."""
        cursor = self._cursor if self._hover is None else self._hover
        plot = replace(self._plot, **changes, cursor=cursor)  # type: ignore[arg-type]
        if plot.cursor == self._plot.cursor and all(
            getattr(self._plot, name) is value or (name == "view" and self._plot.view == value)
            for name, value in changes.items()
        ):
            return
        self._plot = plot
        self.update()

    def picture(self, width: int, height: int) -> Canvas:
        plot = replace(self._plot, glyphs=self.glyphs, show_marks=self.app.no_color or self.glyphs.ascii)
        self._picture = draw(plot, width, height, self._thinning)
        return self._picture.canvas

    def looks(self) -> Sequence[Look]:
        found = [
            Look(colour=None),
            Look(colour="foreground", bold=True),
            Look(colour="foreground"),
            Look(colour="foreground", strength=0.6),
            Look(colour="foreground", strength=0.25),
            Look(colour="foreground", strength=0.7),
        ]
        for line in self._plot.lines:
            found += [
                Look(colour=line.colour, strength=_RAW_STRENGTH),
                Look(colour=line.colour),
                Look(colour=line.colour, bold=True),
            ]
        return [*found, *(Look(colour=hline.colour) for hline in self._plot.hlines)]


def _identity(line: Line) -> tuple[object, ...]:
    """Return a key that is equal for the same data: names, colours, array addresses and lengths.

    The chart keeps references to the arrays, so their addresses are not reused.
    """
    arrays = [line.x, line.y] if line.smooth is None else [line.x, line.y, line.smooth]
    places = tuple((array.__array_interface__["data"][0], len(array)) for array in arrays)
    return line.name, line.colour, line.mark, places


def _colours(lines: Sequence[Line], hlines: Sequence[HLine]) -> tuple[list[str], list[str]]:
    return [line.colour for line in lines], [level.colour for level in hlines]


def _converted_view(view: ChartView, axis: Axis, extent: Extent) -> ChartView:
    """Return the same data range on the other kind of axis."""
    if view.span is None:
        return view
    low, high = (float(end) for end in axis.values(np.array((axis.low, axis.high))))
    converted = Axis(low=extent.first, high=extent.first + 1, log=extent.log)
    first, last = (float(end) for end in converted.units(np.array((low, high))))
    # The range starts at or below 0: start a logarithmic axis at its first point.
    first = extent.first if np.isnan(first) else max(first, extent.first)
    if not last > first:
        return EVERYTHING
    return ChartView(span=last - first, high=None if view.follows else last)
