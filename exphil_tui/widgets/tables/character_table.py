"""Table of a run's characters: loss, change, baselines, floor, gap closed and share of frames.

Baselines, floor and gap closed always come from the newest validation, also beside a training loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from exphil_core.melee.characters import CHARACTERS, low_tier_first
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import CharacterEvaluated, Evaluated
from exphil_tui.model.run_state import TOTAL, RunState
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.theme.palette import SeriesStyle
from exphil_tui.widgets.tables.loss_table import LossTable, changed, since
from exphil_tui.widgets.text_panel import Line, PanelContent, Part, left, right

if TYPE_CHECKING:
    from textual.events import Click

BASELINES = ("marginal", "repeat", "markov")

ALL_CHARACTERS = "all characters"

_TITLES = {character.name: character.title for character in CHARACTERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterRow:
    name: str
    title: str
    mark: SeriesStyle
    loss: float | None
    """Validation loss, or smoothed training loss."""
    change: float | None
    """Change of the loss in nats: see `loss_table`; negative is better."""
    baselines: tuple[float | None, ...]
    """In the order of `BASELINES`."""
    floor: float | None
    closed: float | None
    """Gap closed: share of the way from the best baseline to the floor."""
    share: float | None
    """Share of the training frames, 0 to 1."""


def title_of(name: str) -> str:
    """Return a character's display name; an unknown name is sanitised."""
    return ALL_CHARACTERS if name == TOTAL else _TITLES.get(name) or sanitise(name) or "?"


def character_names(state: RunState) -> tuple[str, ...]:
    """Return every character in the run's data or events, low tier first."""
    names = set(state.train) | set(state.validation) | set(state.frames)
    if state.started is not None:
        planned = state.started.dataset.get("per_character")
        names |= {name for name in planned if isinstance(name, str)} if isinstance(planned, dict) else set()
    return tuple(sorted(names - {TOTAL}, key=low_tier_first))


def character_rows(
    state: RunState, marks: dict[str, SeriesStyle], *, validation: bool
) -> tuple[CharacterRow, ...]:
    """Return one row per character and, if there are several, a row for all of them."""
    names = character_names(state)
    frames = sum(state.frames.values())
    return tuple(
        _row(state, name, marks[name], frames, validation=validation)
        for name in (*names, *((TOTAL,) if len(names) > 1 else ()))
    )


def _row(state: RunState, name: str, mark: SeriesStyle, frames: int, *, validation: bool) -> CharacterRow:
    found = _evaluated(state.evaluated, name)
    if validation:
        before = _evaluated(state.previous_evaluated, name)
        loss = found.loss if found else None
        change = _difference(loss, before.loss if before else None)
    else:
        series = state.train.get(name)
        loss = float(series.smooth[-1]) if series is not None and series.length else None
        change = since(series, state.evaluated.step if state.evaluated else None)
    share = None
    if frames:
        share = 1.0 if name == TOTAL else state.frames.get(name, 0) / frames
    return CharacterRow(
        name=name,
        title=title_of(name),
        mark=mark,
        loss=loss,
        change=change,
        baselines=tuple(getattr(found, f"baseline_{name}") for name in BASELINES)
        if found
        else (None,) * len(BASELINES),
        floor=found.floor if found else None,
        closed=found.closed if found else None,
        share=share,
    )


def _evaluated(evaluated: Evaluated | None, name: str) -> CharacterEvaluated | None:
    """Return the result of one character, or of all.

    For all characters the floor is the mean weighted by frames, if every character has one.
    """
    if evaluated is None:
        return None
    if name != TOTAL:
        return evaluated.per_character.get(name)
    parts = list(evaluated.per_character.values())
    floor = closed = None
    if parts and all(part.floor is not None for part in parts):
        frames = sum(part.frames for part in parts)
        floor = sum((part.floor or 0.0) * part.frames for part in parts) / frames if frames else None
    best = best_baseline((evaluated.baseline_marginal, evaluated.baseline_repeat, evaluated.baseline_markov))
    if floor is not None and best is not None and evaluated.loss is not None and best[1] > floor:
        closed = (best[1] - evaluated.loss) / (best[1] - floor)
    return CharacterEvaluated(
        loss=evaluated.loss,
        frames=evaluated.frames,
        baseline_marginal=evaluated.baseline_marginal,
        baseline_repeat=evaluated.baseline_repeat,
        baseline_markov=evaluated.baseline_markov,
        floor=floor,
        closed=closed,
    )


def best_baseline(values: Sequence[float | None]) -> tuple[str, float] | None:
    """Return name and loss of the strongest baseline; None if none is known."""
    known = [(value, name) for name, value in zip(BASELINES, values, strict=True) if value is not None]
    return (min(known)[1], min(known)[0]) if known else None


def _difference(new: float | None, old: float | None) -> float | None:
    return None if new is None or old is None else new - old


class CharacterTable(LossTable[CharacterRow]):
    TITLE = "characters"
    BINDING_GROUP_TITLE = "Characters"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "Character above", show=False),
        Binding("down", "choose(1)", "Character below", show=False),
    ]

    class CharacterChosen(Message):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chosen = TOTAL
        """Name of the character under the cursor."""

    def show(
        self,
        rows: Sequence[CharacterRow],
        *,
        validation: bool,
        notes: tuple[str, ...] = (),
        note_look: str = "dim",
    ) -> None:
        if rows and self.chosen not in {row.name for row in rows}:
            self.chosen = rows[-1].name
        super().show(rows, validation=validation, notes=notes, note_look=note_look)

    def action_choose(self, way: int) -> None:
        names = [row.name for row in self._rows]
        if names:
            at = names.index(self.chosen)
            self._choose(names[min(len(names) - 1, max(0, at + way))])

    def on_click(self, event: "Click") -> None:
        super().on_click(event)
        index = self.line_at(event.y)
        if index is not None:
            self._choose(self._rows[index].name)

    def _choose(self, name: str) -> None:
        if name == self.chosen:
            return
        self.chosen = name
        self.update()
        index = [row.name for row in self._rows].index(name)
        visible = max(1, self.size.height - 2)
        top = self.scroll_offset.y
        if not top <= index < top + visible:
            self.scroll_to(y=index if index < top else index - visible + 1, animate=False)
        self.post_message(self.CharacterChosen(name))

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        baselines = [("marginal", 9), ("repeat", 7), ("markov", 7)]
        columns = [
            ("loss", 6),
            ("change", 8),
            *(baselines if width >= 73 else [("baseline", 15)]),
            ("floor", 6),
            # A shorter title keeps the baseline in the narrowest panels.
            ("gap closed", 11) if width >= 59 else ("closed", 7),
            ("frames", 7),
        ]
        name_width = 19
        # Columns dropped when space is short, least important first.
        for expendable in ("frames", "floor", "baseline"):
            if name_width + sum(size for _, size in columns) <= width:
                break
            columns = [column for column in columns if column[0] != expendable]
        # Spread the columns in a wide panel, up to a limit.
        spare = width - name_width - sum(size for _, size in columns)
        name_width += min(8, max(0, spare // 2))
        extra = min(2, max(0, (width - name_width - sum(size for _, size in columns)) // len(columns)))
        columns = [(name, size + extra) for name, size in columns]
        heading: Line = (
            (left("   character", name_width, glyphs), "dim"),
            *((right(self._of if name == "loss" else name, size), "dim") for name, size in columns),
        )
        names = [row.name for row in self._rows]
        return self._table(
            heading,
            [self._line(row, name_width, columns, glyphs) for row in self._rows],
            chosen=names.index(self.chosen) if self.chosen in names else None,
        )

    def _line(
        self, row: CharacterRow, name_width: int, columns: Sequence[tuple[str, int]], glyphs: Glyphs
    ) -> Line:
        best = best_baseline(row.baselines)
        cells: list[Part] = []
        for name, size in columns:
            match name:
                case "loss":
                    cells.append((right(fmt.loss(row.loss, glyphs), size), "strong"))
                case "change":
                    text, look = changed(row.change, glyphs)
                    cells.append((right(text, size), look))
                case "baseline":
                    text = f"{best[0]} {fmt.loss(best[1], glyphs)}" if best else glyphs.dash
                    cells.append((right(text, size), ""))
                case "floor":
                    cells.append((right(fmt.loss(row.floor, glyphs), size), ""))
                case "gap closed" | "closed":
                    text = glyphs.dash if row.closed is None else f"{100 * row.closed:.0f} %"
                    cells.append((right(text, size), ""))
                case "frames":
                    text = glyphs.dash if row.share is None else f"{100 * row.share:.{int(row.share < 1)}f} %"
                    cells.append((right(text, size), "dim"))
                case _:
                    value = row.baselines[BASELINES.index(name)]
                    look = "" if best and best[0] == name else "dim"
                    cells.append((right(fmt.loss(value, glyphs), size), look))
        pointer = (">" if glyphs.ascii else "›") if row.name == self.chosen else " "
        return (
            (pointer, "accent"),
            (row.mark.letter, row.mark.colour),
            (left(f" {row.title}", name_width - 2, glyphs), "strong" if row.name == TOTAL else ""),
            *cells,
        )
