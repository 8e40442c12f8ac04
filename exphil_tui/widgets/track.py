"""A share over time around the current frame: what just was, and what comes.

In: `show(values, at=...)`, one value a frame. Out: rows of letters. What a reader gets wrong: a frame that is not known
(NaN) is a gap, never zero.
"""

from collections.abc import Sequence

import numpy as np

from exphil_tui.widgets.braille import Canvas
from exphil_tui.widgets.canvas_widget import CanvasWidget, Look


class Track(CanvasWidget):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._title = ""

    def show(self, values: np.ndarray, *, at: int, title: str, floor: float = 0.0, top: float = 1.0) -> None:
        """`values` [T] by frame index; `at` the current one. Drawn from `floor` to `top`."""
        self._title = title
        self.update()

    def looks(self) -> Sequence[Look]:
        return [Look(colour="foreground")] * 2

    def picture(self, width: int, height: int) -> Canvas:
        canvas = Canvas(width, height)
        canvas.text(1, 0, self._title, 1)
        return canvas
