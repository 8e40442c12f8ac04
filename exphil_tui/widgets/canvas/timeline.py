"""Timeline of a game: stocks per player, hits, disagreements and the current frame; a click or drag seeks.

A cell covers hundreds of frames: a mark means that something happened in them, its height how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from textual import events
from textual.geometry import Size
from textual.message import Message

from exphil_tui.theme.palette import COLOURS
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget, Look

_PORTS: Final = 4
_HEAD: Final = 3
"""Cells before the timeline for the row's label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stocks:
    """Stock changes of one player over the game."""

    port: int
    """1 to 4."""
    start: int | None
    """None: unknown."""
    losses: Sequence[int]
    """Frame indices, ascending."""
    gains: Sequence[int] = ()
    """Frame indices at which a teammate's stock was taken over."""


class _TimelineInk(IntEnum):
    NOTHING = 0
    MUTED = 1
    FAINT = 2
    HIT = 3
    DISAGREEMENT = 4
    CURSOR = 5


_LOOKS = {
    _TimelineInk.NOTHING: Look(colour="foreground"),
    _TimelineInk.MUTED: Look(colour="foreground-muted"),
    _TimelineInk.FAINT: Look(colour="foreground", strength=0.35),
    _TimelineInk.HIT: Look(colour="foreground", strength=0.75),
    _TimelineInk.DISAGREEMENT: Look(colour="warning"),
    _TimelineInk.CURSOR: Look(colour="foreground", bold=True, reverse=True),
}

_NO_FRAMES: Final = np.zeros(0, np.int32)


def _ink_of_port(port: int) -> int:
    return len(_TimelineInk) + port - 1


class Timeline(CanvasWidget):
    """Timeline widget: one row per player and one for events; the last players are dropped if rows are missing."""

    class FrameChosen(Message):
        def __init__(self, frame_index: int) -> None:
            super().__init__()
            self.frame_index = frame_index

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._frames, self._frame_index = 0, 0
        self._stocks: tuple[Stocks, ...] = ()
        self._hits = self._disagreements = _NO_FRAMES
        self._predicted: int | None = None
        self._dragged_to: int | None = None
        """Cell that the mouse chose last."""
        self._ground: Canvas | None = None
        """Everything but the cursor; None if it must be redrawn."""

    def show(
        self,
        frames: int,
        frame_index: int,
        *,
        stocks: Sequence[Stocks],
        hits: np.ndarray,
        disagreements: np.ndarray,
        predicted: int | None,
    ) -> None:
        """Show a game.

        Args:
            frames: Number of frames.
            frame_index: The current frame.
            hits: Frame indices, ascending.
            disagreements: Frame indices, ascending.
            predicted: Number of frames predicted so far; None without a policy.

        Arrays are compared by identity: pass a new array when its contents change.
        """
        shown = tuple(stocks)
        if (
            frames != self._frames
            or hits is not self._hits
            or disagreements is not self._disagreements
            or predicted != self._predicted
            or shown != self._stocks
        ):
            rows = len(shown) != len(self._stocks)
            self._frames, self._stocks, self._predicted = frames, shown, predicted
            self._hits, self._disagreements = hits, disagreements
            self._ground = None
            if rows:
                self.refresh(layout=True)
        self._frame_index = frame_index
        self.update()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(len(self._stocks), 1) + 1

    def looks(self) -> Sequence[Look]:
        return [_LOOKS[ink] for ink in _TimelineInk] + [Look(colour=colour) for colour in COLOURS[:_PORTS]]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._ground = None

    def picture(self, width: int, height: int) -> Canvas:
        ground = self._ground
        if ground is None or (ground.columns, ground.rows) != (width, height):
            ground = self._ground = self._draw_ground(width, height)
        page = Canvas(width, height)
        page.cover(ground)
        if self._frames and width > _HEAD:
            column = _HEAD + min(self._frame_index, self._frames - 1) * (width - _HEAD) // self._frames
            page.inks[:, column] = _TimelineInk.CURSOR
            if self.glyphs.ascii or self.app.no_color:
                # Reversed blanks may be invisible without colour.
                page.text(column, height - 1, "^" if self.glyphs.ascii else "▲", _TimelineInk.CURSOR)
        return page

    def _draw_ground(self, width: int, height: int) -> Canvas:
        page = Canvas(width, height)
        if not self._frames or width <= _HEAD:
            return page
        events_row = height - 1
        for row, stocks in enumerate(self._stocks[: max(events_row, 0)]):
            page.text(0, row, f"P{stocks.port}", _ink_of_port(stocks.port))
            self._draw_stocks(page, row, stocks)
        self._draw_events(page, events_row)
        return page

    def _edges(self, columns: int) -> np.ndarray:
        """Return the first frame of each dot column, and the end."""
        return np.linspace(0, self._frames, DOTS_WIDE * columns + 1)

    def _draw_stocks(self, page: Canvas, row: int, stocks: Stocks) -> None:
        """Draw the stocks left over time: `4━━━━━━3━━━━━━━━2━━━`."""
        if stocks.start is None:
            page.text(_HEAD, row, self.glyphs.dash, _TimelineInk.MUTED)
            return
        line, out = ("=", "x") if self.glyphs.ascii else ("━", "✖")
        ink = _ink_of_port(stocks.port)
        columns = page.columns - _HEAD
        changes = sorted([(0, 0), *((at, -1) for at in stocks.losses), *((at, 1) for at in stocks.gains)])
        left = stocks.start
        for frame_index, change in changes:
            left += change
            column = frame_index * columns // self._frames
            text = f"{left}".ljust(columns - column, line) if left > 0 else out.ljust(columns - column)
            page.text(_HEAD + column, row, text, ink)

    def _draw_events(self, page: Canvas, row: int) -> None:
        """Draw hits as dots along the top and disagreements as bars from below, in the predicted part."""
        edges = self._edges(page.columns - _HEAD)
        x = np.arange(len(edges) - 1) + DOTS_WIDE * _HEAD + 0.0
        top = DOTS_HIGH * row + 0.0
        hits = np.diff(np.searchsorted(self._hits, edges)) > 0
        page.plot(x[hits], np.full(hits.sum(), top), _TimelineInk.HIT)
        if self._predicted is None:
            page.text(0, row, "hit", _TimelineInk.MUTED)
            return
        page.text(0, row, "!=" if self.glyphs.ascii else " ≠", _TimelineInk.MUTED)
        ahead = edges[:-1] >= self._predicted
        dots = ahead & (np.arange(len(ahead)) % 4 == 0)
        page.plot(x[dots], np.full(dots.sum(), top + 3), _TimelineInk.FAINT)
        counts = np.diff(np.searchsorted(self._disagreements, edges))
        share = counts / np.maximum(np.diff(edges), 1)
        high = np.where(counts > 0, np.clip(np.ceil(3 * share), 1, 3), 0).astype(int)
        lit = np.arange(1, DOTS_HIGH)[:, None] >= DOTS_HIGH - high[None, :]
        down, across = np.nonzero(lit)
        page.plot(x[across], top + 1 + down, _TimelineInk.DISAGREEMENT)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self.capture_mouse()
            self._dragged_to = None
            self._choose(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._choose(event.x)

    def on_mouse_up(self) -> None:
        self.release_mouse()

    def _choose(self, column: int) -> None:
        """Post `FrameChosen`, once per cell during a drag."""
        columns = self.size.width - _HEAD
        cell = min(max(column - _HEAD, 0), columns - 1)
        if not self._frames or columns <= 0 or cell == self._dragged_to:
            return
        self._dragged_to = cell
        self.post_message(self.FrameChosen(min(int((cell + 0.5) / columns * self._frames), self._frames - 1)))
