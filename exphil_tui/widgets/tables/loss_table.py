"""Base of the character and head tables: losses and how they changed.

For validation losses a change is since the previous validation, for training losses since the newest one.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from exphil_tui.model.series import Series
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, TextPanel

Row = TypeVar("Row")


class LossTable(TextPanel, Generic[Row]):
    """Base class of the loss tables; a subclass draws its rows in `picture`."""

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
        """`validation`: the losses are validation losses, not training losses."""
        self._validation = validation
        self._rows, self._notes, self._note_look = tuple(rows), notes, note_look
        self.update()

    @property
    def _of(self) -> str:
        """Heading of the loss column."""
        return "valid" if self._validation else "train"

    def _table(self, heading: Line, lines: Sequence[Line], *, chosen: int | None = None) -> PanelContent:
        return PanelContent(
            head=(heading,),
            lines=tuple(lines) or ((("   no data before the first step", "dim"),),),
            notes=self._notes,
            note_look=self._note_look,
            chosen=chosen,
        )


def since(series: Series | None, step: int | None) -> float | None:
    """Return the change of the smoothed curve since `step`; None if the curve has no point at or before it."""
    if series is None or step is None or not series.length:
        return None
    index = int(series.x.searchsorted(step, side="right")) - 1
    return float(series.smooth[-1] - series.smooth[index]) if index >= 0 else None


def changed(difference: float | None, glyphs: Glyphs) -> tuple[str, str]:
    """Format a change as `▼ 0.025` and return its look; a falling loss is good."""
    if difference is None:
        return glyphs.dash, "dim"
    if abs(difference) < 0.0005:
        return "= 0.000", "dim"
    if difference < 0:
        return f"{glyphs.down} {fmt.loss(-difference, glyphs)}", "good"
    return f"{glyphs.up} {fmt.loss(difference, glyphs)}", "warn"
