"""A strip over all frames of a game: the players' stocks, what happened when, and where one is.

In: `show(frames, frame_index, ...)`. Out: rows of letters, and `FrameChosen` where one clicks or drags. What a reader
gets wrong: a cell holds hundreds of frames, so a mark says that something happened in them, and its height how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from textual.message import Message

from exphil_tui.widgets.braille import Canvas
from exphil_tui.widgets.canvas_widget import CanvasWidget, Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Stocks:
    """Of one player over the game."""

    port: int
    """1 to 4."""
    start: int | None
    """None: unknown."""
    losses: Sequence[int]
    """Frame indices, ascending."""


class Timeline(CanvasWidget):
    class FrameChosen(Message):
        def __init__(self, frame_index: int) -> None:
            super().__init__()
            self.frame_index = frame_index

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._frame_index = 0

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
        """`hits`, `disagreements`: frame indices, ascending. `predicted`: frames so far; None without a policy.

        The same arrays mean the same frames: one that changed must be another array.
        """
        self._frame_index = frame_index
        self.update()

    def looks(self) -> Sequence[Look]:
        return [Look(colour="foreground")] * 2

    def picture(self, width: int, height: int) -> Canvas:
        canvas = Canvas(width, height)
        canvas.text(1, 0, f"frame {self._frame_index}", 1)
        return canvas
