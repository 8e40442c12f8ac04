"""Table of controller heads: each head's loss and its share of the total loss.

Heads predict in order, each conditioned on those before, so their losses add up to the total; a late head looks
easy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exphil_core.replays.text import sanitise
from exphil_tui.model.run_state import RunState
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.theme.palette import SeriesStyle
from exphil_tui.widgets.tables.loss_table import LossTable, changed, since
from exphil_tui.widgets.text_panel import Line, PanelContent, bar, left, right

_BAR = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRow:
    name: str
    mark: SeriesStyle
    loss: float | None
    change: float | None
    """Change of the loss as in `CharacterRow`, in nats; negative is better."""
    share: float | None
    """Share of the total loss, 0 to 1."""
    transition_f1: float | None
    """F1 of predicted changes of this head's value, 0 to 1; None if not measured."""


def head_names(state: RunState) -> tuple[str, ...]:
    """Return the heads' names in prediction order."""
    return tuple(state.train_heads) or tuple(state.validation_heads)


def head_rows(state: RunState, marks: Mapping[str, SeriesStyle], *, validation: bool) -> tuple[HeadRow, ...]:
    evaluated, before = state.evaluated, state.previous_evaluated
    curves = state.validation_heads if validation else state.train_heads
    losses: dict[str, float | None] = {}
    changes: dict[str, float | None] = {}
    for name in head_names(state):
        series = curves.get(name)
        known = series if series is not None and series.length else None
        if validation:
            losses[name] = float(known.y[-1]) if known else None
            changes[name] = _change(evaluated.heads, before.heads, name) if evaluated and before else None
        else:
            losses[name] = float(known.smooth[-1]) if known else None
            changes[name] = since(known, evaluated.step if evaluated else None)
    total = sum(loss for loss in losses.values() if loss is not None)
    return tuple(
        HeadRow(
            name=sanitise(name) or "?",
            mark=marks[name],
            loss=loss,
            change=changes[name],
            share=loss / total if loss is not None and total > 0 else None,
            transition_f1=evaluated.transition_f1.get(name) if evaluated else None,
        )
        for name, loss in losses.items()
    )


def _change(new: Mapping[str, float | None], old: Mapping[str, float | None], name: str) -> float | None:
    after, before = new.get(name), old.get(name)
    return None if after is None or before is None else after - before


class HeadTable(LossTable[HeadRow]):
    TITLE = "heads"
    BINDING_GROUP_TITLE = "Heads"

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        heading: Line = (
            (left("   head", 18, glyphs), "dim"),
            (right(self._of, 8), "dim"),
            (right("change", 10), "dim"),
            (right("share", 9), "dim"),
            (" " * (_BAR + 1), ""),
            (right("F1 of changes", 16), "dim"),
        )
        return self._table(heading, [self._line(row, glyphs) for row in self._rows])

    def _line(self, row: HeadRow, glyphs: Glyphs) -> Line:
        change, look = changed(row.change, glyphs)
        full, rest = bar(row.share or 0.0, _BAR, glyphs)
        f1 = glyphs.dash if row.transition_f1 is None else f"{row.transition_f1:.2f}"
        return (
            (" ", ""),
            (row.mark.letter, row.mark.colour),
            (left(f" {row.name}", 16, glyphs), ""),
            (right(fmt.loss(row.loss, glyphs), 8), "strong"),
            (right(change, 10), look),
            (right(fmt.percent(row.share, glyphs), 9), ""),
            (" ", ""),
            (full, row.mark.colour),
            (rest, "rule"),
            (right(f1, 16), ""),
        )
