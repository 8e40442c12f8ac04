"""Stage view: one frame of a replay, with a table of the fighters below.

`stage_drawing` and `fighter_table` draw the picture; the camera moves smoothly and jumps when the frame does.
"""

from collections.abc import Sequence
from unicodedata import normalize

from exphil_tui.model.scene import Scene
from exphil_tui.theme.palette import COLOURS
from exphil_tui.widgets.canvas import fighter_table, stage_drawing
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.camera import Camera, whole
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget, Look, draw_rule
from exphil_tui.widgets.canvas.stage_drawing import StageInk

_PORTS = 4
_LEAST_PICTURE = 5
"""Minimum rows of the stage itself."""
_RULE_FROM = 9
"""Minimum rows for a title line."""

_LOOKS = {
    StageInk.NOTHING: Look(colour="foreground"),
    StageInk.TITLE: Look(colour="foreground", bold=True),
    StageInk.TEXT: Look(colour="foreground"),
    StageInk.MUTED: Look(colour="foreground-muted"),
    StageInk.RULE: Look(colour="border-blurred"),
    StageInk.GROUND: Look(colour="foreground", strength=0.62),
    StageInk.EARTH: Look(colour="foreground", strength=0.28),
    StageInk.BLAST: Look(colour="error", strength=0.7),
    StageInk.THING: Look(colour="foreground"),
    StageInk.WARN: Look(colour="warning", bold=True),
}


class StageView(CanvasWidget):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._scene: Scene | None = None
        self._ego: int | None = None
        self._whole = False
        self._camera = Camera()

    def show(self, scene: Scene | None, *, ego: int | None = None) -> None:
        """Show a scene; `ego` is the slot of the highlighted player."""
        if scene is self._scene and ego == self._ego:
            return
        self._scene, self._ego = scene, ego
        self.update()

    @property
    def whole(self) -> bool:
        """Show the stage up to the blast lines instead of following the fighters."""
        return self._whole

    @whole.setter
    def whole(self, whole: bool) -> None:
        self._whole = whole
        self.update()

    def looks(self) -> Sequence[Look]:
        table = [_LOOKS[ink] for ink in StageInk]
        for colour in COLOURS[:_PORTS]:
            table += [Look(colour=colour), Look(colour=colour, bold=True), Look(colour=colour, strength=0.72)]
        return table

    def picture(self, width: int, height: int) -> Canvas:
        page = Canvas(width, height)
        scene = self._scene
        top = 1 if height >= _RULE_FROM else 0
        if scene is None:
            if top:
                self._rule(page, "stage", "")
            page.text(2, top, "No frame to show.", StageInk.MUTED)
            return page
        fighters = sorted(scene.fighters, key=lambda one: (one.slot != self._ego, one.slot, one.follower))
        wanted = fighter_table.rows_wanted(fighters, width, height)
        lines = min(wanted, max(height - top - _LEAST_PICTURE, 0))
        rows = height - top - lines
        shape = DOTS_WIDE * width / max(DOTS_HIGH * rows, 1)
        view = whole(scene, shape) if self._whole else self._camera.follow(scene, shape)
        drawn = stage_drawing.draw(scene, view, width, rows, ego=self._ego, glyphs=self.glyphs)
        page.cover(drawn, 0, top)
        if top:
            self._rule(page, scene.stage, self._note(scene))
        fighter_table.draw(page, height - lines, lines, fighters, ego=self._ego, glyphs=self.glyphs)
        return page

    def _note(self, scene: Scene) -> str:
        items = "" if scene.items_known else f"items {self.glyphs.dash}"
        return "   ".join(note for note in (scene.note, items) if note)

    def _rule(self, page: Canvas, title: str, note: str) -> None:
        draw_rule(page, StageInk.RULE, self.glyphs)
        if self.glyphs.ascii:
            title = normalize("NFKD", title).encode("ascii", "ignore").decode()
        page.text(2, 0, f" {title} ", StageInk.TITLE)
        if note and page.columns - len(title) - len(note) >= 10:
            page.text(page.columns - len(note) - 4, 0, f" {note} ", StageInk.MUTED)
        elif note:
            page.text(2, 1, note, StageInk.MUTED)
