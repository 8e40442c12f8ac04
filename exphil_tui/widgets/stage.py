"""The stage with all that is on it, in one frame of a replay.

In: `show(scene, ego=...)`, at any pace. Out: rows of letters; `stage_drawing.draw` makes the picture. What a reader
gets wrong: the camera remembers where it looked, so that it moves as smoothly as the game's; after a jump to a frame far
away it looks there at once.
"""

from collections.abc import Sequence

from exphil_tui.scene import Scene
from exphil_tui.widgets.braille import Canvas
from exphil_tui.widgets.canvas_widget import CanvasWidget, Look


class StageView(CanvasWidget):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._scene: Scene | None = None
        self._ego: int | None = None
        self._whole = False

    def show(self, scene: Scene | None, *, ego: int | None = None) -> None:
        """`ego`: the slot of the player that stands out."""
        self._scene, self._ego = scene, ego
        self.update()

    @property
    def whole(self) -> bool:
        """Whether all is seen up to the blast lines, rather than where the fighters are."""
        return self._whole

    @whole.setter
    def whole(self, whole: bool) -> None:
        self._whole = whole
        self.update()

    def looks(self) -> Sequence[Look]:
        return [Look(colour="foreground")] * 2

    def picture(self, width: int, height: int) -> Canvas:
        canvas = Canvas(width, height)
        if self._scene is not None:
            canvas.text(1, 0, self._scene.stage, 1)
        return canvas
