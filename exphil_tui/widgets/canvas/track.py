"""Track: a value over time around the current frame.

An unknown frame (NaN) is a gap, never zero. Each dot column is the mean of a fixed group of frames, independent
of the current frame.
"""

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np

from exphil_tui.theme import format as fmt
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget, Look, draw_rule
from exphil_tui.widgets.text_panel import fitted

_GRAIN: Final = 4
"""Frames per dot column."""
_FRAMES_A_SECOND: Final = 60


class _TrackInk(IntEnum):
    NOTHING = 0
    TITLE = 1
    TEXT = 2
    MUTED = 3
    RULE = 4
    PAST = 5
    COMING = 6
    NOW = 7


_LOOKS = {
    _TrackInk.NOTHING: Look(colour="foreground"),
    _TrackInk.TITLE: Look(colour="foreground", bold=True),
    _TrackInk.TEXT: Look(colour="foreground", bold=True),
    _TrackInk.MUTED: Look(colour="foreground-muted"),
    _TrackInk.RULE: Look(colour="border-blurred"),
    _TrackInk.PAST: Look(colour="primary"),
    _TrackInk.COMING: Look(colour="primary", strength=0.55),
    _TrackInk.NOW: Look(colour="foreground", bold=True),
}


class Track(CanvasWidget):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._values = np.zeros(0)
        self._at = 0
        self._title = ""
        self._floor, self._top = 0.0, 1.0

    def show(self, values: np.ndarray, *, at: int, title: str, floor: float = 0.0, top: float = 1.0) -> None:
        """Show `values` [T], indexed by frame index, around frame `at`, on a scale from `floor` to `top`."""
        self._values, self._at, self._title = values, at, title
        self._floor, self._top = floor, top
        self.update()

    def looks(self) -> Sequence[Look]:
        return [_LOOKS[ink] for ink in _TrackInk]

    def picture(self, width: int, height: int) -> Canvas:
        page = Canvas(width, height)
        top = 1 if height >= 2 else 0
        if top:
            self._rule(page)
        self._draw_values(page, top, height - top)
        return page

    def _rule(self, page: Canvas) -> None:
        """Render the title line: `─ probability of what the human did ─── 83 % ─`."""
        glyphs = self.glyphs
        draw_rule(page, _TrackInk.RULE, glyphs)
        value = float(self._values[self._at]) if 0 <= self._at < len(self._values) else math.nan
        shown = fmt.percent(value, glyphs) if (self._floor, self._top) == (0.0, 1.0) else f"{value:.3f}"
        shown = f" {shown if math.isfinite(value) else glyphs.dash} "
        page.text(1, 0, f" {fitted(self._title, page.columns - len(shown) - 8, glyphs)} ", _TrackInk.TITLE)
        page.text(page.columns - len(shown) - 2, 0, shown, _TrackInk.TEXT)

    def _draw_values(self, page: Canvas, row: int, rows: int) -> None:
        """Draw the values; the picture scrolls left by one dot column at a time."""
        if rows <= 0:
            return
        columns = page.dots_wide
        now = columns // 2
        bins = np.arange(columns) - now + self._at // _GRAIN
        means = self._means(bins)
        share = (means - self._floor) / (self._top - self._floor)
        dots = DOTS_HIGH * rows
        known = np.isfinite(share)
        high = np.zeros(columns, int)
        high[known] = np.clip(np.round(share[known] * dots), 1, dots).astype(int)
        lit = np.arange(dots)[:, None] >= dots - high[None, :]
        down, across = np.nonzero(lit)
        past = across <= now
        y = down + DOTS_HIGH * row + 0.0
        page.plot(across[~past] + 0.0, y[~past], _TrackInk.COMING)
        page.plot(across[past] + 0.0, y[past], _TrackInk.PAST)
        cell = now // DOTS_WIDE
        for offset in range(rows):
            page.text(cell, row + offset, "|" if self.glyphs.ascii else "│", _TrackInk.NOW)
        seconds = now * _GRAIN / _FRAMES_A_SECOND
        if rows >= 2:
            for text, column in ((f"-{seconds:.0f} s", 0), (f"+{seconds:.0f} s", page.columns - 5)):
                if page.is_free(column, row, len(text)):
                    page.text(column, row, text, _TrackInk.MUTED)

    def _means(self, bins: np.ndarray) -> np.ndarray:
        """Return the mean of the known frames of each bin; NaN if there are none."""
        first = int(bins[0]) * _GRAIN
        last = (int(bins[-1]) + 1) * _GRAIN
        padded = np.full(last - first, np.nan)
        begin, end = max(first, 0), min(last, len(self._values))
        if begin < end:
            padded[begin - first : end - first] = self._values[begin:end]
        grouped = padded.reshape(len(bins), _GRAIN)
        known = np.isfinite(grouped)
        counts = known.sum(axis=1)
        sums = np.where(known, grouped, 0.0).sum(axis=1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
