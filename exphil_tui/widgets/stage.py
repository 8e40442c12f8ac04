"""The stage with all that is on it in one frame of a replay, and below it what is known of every fighter.

In: `show(scene, ego=...)`, at any pace. Out: rows of letters; `stage_drawing` and `fighter_table` make the picture.
What a reader gets wrong: the camera remembers where it looked, so that it moves as smoothly as the game's. After a
jump to a frame far away it looks there at once.
"""

from collections.abc import Sequence
from unicodedata import normalize

from exphil_tui.palette import COLOURS
from exphil_tui.scene import Scene
from exphil_tui.widgets import fighter_table, stage_drawing
from exphil_tui.widgets.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.camera import Camera, whole
from exphil_tui.widgets.canvas_widget import CanvasWidget, Look, draw_rule
from exphil_tui.widgets.stage_drawing import StageInk

_PORTS = 4
_LEAST_PICTURE = 5
"""Rows that the stage keeps, whatever else there is to say."""
_RULE_FROM = 9
"""Rows from which the stage's name has one."""

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
        """`ego`: the slot of the player that stands out."""
        if scene is self._scene and ego == self._ego:
            return
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
        items = "" if scene.things_known else f"items {self.glyphs.dash}"
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
