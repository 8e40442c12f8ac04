"""A table of losses: its rows, of what they are, and how a loss has changed. The characters' and the heads' are such.

In: rows, in whatever form the table draws them. Out: a panel that shows them. What a reader gets wrong: a change is
since the validation before where the losses are the validation's, and since the newest one where they are the
training's.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from exphil_tui import figures
from exphil_tui.glyphs import Glyphs
from exphil_tui.series import Series
from exphil_tui.widgets.text_panel import Line, Picture, TextPanel

Row = TypeVar("Row")


class LossTable(TextPanel, Generic[Row]):
    """Base of the tables: one says how it draws its rows in `picture`."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: tuple[Row, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._note_look = "dim"
        self._validation = False

    def show(
        self,
        rows: Sequence[Row],
        *,
        validation: bool,
        notes: tuple[str, ...] = (),
        note_look: str = "dim",
    ) -> None:
        """`validation`: the losses are the validation's, not the training's."""
        self._validation = validation
        self._rows, self._notes, self._note_look = tuple(rows), notes, note_look
        self.update()

    @property
    def _of(self) -> str:
        """Heading of the losses."""
        return "valid" if self._validation else "train"

    def _table(self, heading: Line, lines: Sequence[Line], *, chosen: int | None = None) -> Picture:
        return Picture(
            head=(heading,),
            lines=tuple(lines) or ((("   no data yet: the first step of the run brings it", "dim"),),),
            notes=self._notes,
            note_look=self._note_look,
            chosen=chosen,
        )


def since(series: Series | None, step: int | None) -> float | None:
    """How the smoothed curve moved since it passed `step`; None where it never did."""
    if series is None or step is None or not series.length:
        return None
    index = int(series.x.searchsorted(step, side="right")) - 1
    return float(series.smooth[-1] - series.smooth[index]) if index >= 0 else None


def changed(difference: float | None, glyphs: Glyphs) -> tuple[str, str]:
    """`▼ 0.025` and how it looks: a loss that falls is good."""
    if difference is None:
        return glyphs.dash, "dim"
    if abs(difference) < 0.0005:
        return "= 0.000", "dim"
    if difference < 0:
        return f"{glyphs.down} {figures.loss(-difference, glyphs)}", "good"
    return f"{glyphs.up} {figures.loss(difference, glyphs)}", "warn"
