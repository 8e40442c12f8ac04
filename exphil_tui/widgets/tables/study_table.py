"""Table of a study's variants for one budget: mean and spread over seeds, state of the runs, and the verdict
below.

Enter on a variant expands its seeds, on a run posts `RunWanted`. A mean without ± is from one seed and decides
nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from exphil_core.replays.text import sanitise
from exphil_tui.model.study_budget import BudgetView, VariantView
from exphil_tui.model.study_snapshot import StudyRun
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, Part, TextPanel, left, right, wrapped

if TYPE_CHECKING:
    from textual.events import Click

_SENTENCE_LETTERS = 600

_WIDTHS = {
    "seeds": 6, "loss": 17, "gap closed": 11, "p99": 7, "60 FPS": 10, "frames": 8, "min": 7, "frames/s": 10,
    "params": 8, "state": 12,
}  # fmt: skip
_EXPENDABLE = ("params", "frames/s", "frames", "min", "gap closed", "60 FPS")
"""Columns dropped when space is short, least important first."""
_NAME_MOST, _NAME_LEAST = 22, 8

_SIGNS = {
    "running": ("●", ">", "good"),
    "orphaned": ("!", "!", "warn"),
    "failed": ("✗", "x", "bad"),
    "waiting": ("○", "o", "dim"),
    "complete": ("✓", "+", "good"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A selectable row of the table: a variant or one of its runs."""

    variant: str
    run: str = ""
    """Empty: the variant itself."""


class StudyTable(TextPanel):
    BINDING_GROUP_TITLE = "Variants"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "Row above", show=False),
        Binding("down", "choose(1)", "Row below", show=False),
        Binding("enter", "open", "Open", tooltip="The run of a variant, or its seeds where it has several"),
    ]

    class RunWanted(Message):
        def __init__(self, run: str) -> None:
            super().__init__()
            self.run = run

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._view: BudgetView | None = None
        self._notes: tuple[str, ...] = ()
        self._failures: tuple[tuple[str, str], ...] = ()
        self._expanded: frozenset[str] = frozenset()
        self._cursor: _Row | None = None
        self._nothing = ""

    def show(
        self,
        view: BudgetView | None,
        *,
        notes: Sequence[str],
        failures: Sequence[tuple[str, str]],
        nothing: str,
    ) -> None:
        """Show a budget.

        Args:
            view: The budget's variants; None if there is none.
            notes: Sentences shown below the verdict.
            failures: Runs without a result, with the reason.
            nothing: Sentence shown if `view` is None.
        """
        if view is None or self._view is None or view.budget != self._view.budget:
            self._cursor = None
        self._view, self._notes, self._failures, self._nothing = view, tuple(notes), tuple(failures), nothing
        rows = self._selectable_rows()
        if self._cursor not in rows:
            same = [p for p in rows if self._cursor is not None and p.variant == self._cursor.variant]
            self._cursor = next(iter((*same, *rows)), None)
        self.update()

    def reset(self) -> None:
        """Reset for another study: scroll to the top and collapse all variants."""
        self._expanded, self._cursor, self._view = frozenset(), None, None
        self.scroll_home(animate=False)

    def action_choose(self, way: int) -> None:
        """Move the cursor by one line; after the last one, scroll the verdict into view."""
        rows = self._selectable_rows()
        if self._cursor not in rows:
            self.scroll_relative(y=way, animate=False)
            return
        at = rows.index(self._cursor)
        top, room = self.scroll_offset.y, max(1, self.size.height - 1)
        if (way > 0 and at == len(rows) - 1) or (way < 0 and at < top):
            self.scroll_relative(y=way, animate=False)
            return
        at = min(len(rows) - 1, max(0, at + way))
        self._cursor = rows[at]
        self.update()
        if not top <= at < top + room:
            self.scroll_to(y=at if at < top else at - room + 1, animate=False)

    def action_open(self) -> None:
        if self._view is None or self._cursor is None:
            return
        if self._cursor.run:
            self.post_message(self.RunWanted(self._cursor.run))
            return
        variant = next(found for found in self._view.variants if found.name == self._cursor.variant)
        if len(variant.runs) == 1:
            self.post_message(self.RunWanted(variant.runs[0].trial.run))
        else:
            self._expanded ^= {variant.name}
            self.update()

    def on_click(self, event: "Click") -> None:
        index, rows = self.line_at(event.y), self._selectable_rows()
        if index is None or index >= len(rows):
            return
        if self._cursor == rows[index]:
            self.action_open()
        else:
            self._cursor = rows[index]
            self.update()

    def _selectable_rows(self) -> list[_Row]:
        """Return the selectable rows in order; they precede all others."""
        found = []
        for variant in self._view.variants if self._view is not None else ():
            found.append(_Row(variant=variant.name))
            if variant.name in self._expanded:
                found += [_Row(variant=variant.name, run=run.trial.run) for run in variant.runs]
        return found

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        view = self._view
        if view is None:
            return PanelContent(
                lines=tuple(((f"  {text}", "dim"),) for text in _wrapped(self._nothing, width - 4))
            )
        columns, name = _columns(view, width)
        rows = self._selectable_rows()
        return PanelContent(
            head=(_heading(columns, name, glyphs),),
            lines=(
                *self._rows(view, columns, name, width, glyphs),
                *_sentences(view, self._failures, self._notes, width, glyphs),
            ),
            chosen=rows.index(self._cursor) if self._cursor in rows else None,
        )

    def _rows(
        self, view: BudgetView, columns: Sequence[str], name: int, width: int, glyphs: Glyphs
    ) -> Iterator[Line]:
        for variant in view.variants:
            here = self._cursor is not None and self._cursor.variant == variant.name and not self._cursor.run
            fold = "" if len(variant.runs) == 1 else _expand_sign(variant.name in self._expanded, glyphs)
            pointer = (">" if glyphs.ascii else "›") if here else " "
            yield (
                (pointer, "accent"),
                (variant.mark.letter, variant.mark.colour),
                (left(f" {variant.title}", name + 1, glyphs), "strong"),
                *(_cell(column, variant, glyphs) for column in columns),
                (f" {fold}", "dim"),
            )
            if variant.name in self._expanded:
                for run in variant.runs:
                    at = self._cursor is not None and self._cursor.run == run.trial.run
                    yield _run_line(run, width, glyphs, pointer=(">" if glyphs.ascii else "›") if at else " ")


def _columns(view: BudgetView, width: int) -> tuple[list[str], int]:
    """Return the columns that fit, and the width for names."""
    rows = [variant.row for variant in view.variants if variant.row is not None]
    there = [name for name in _WIDTHS if name != "state" or any(_is_open(v) for v in view.variants)]
    if not any(row.closed is not None for row in rows):
        there.remove("gap closed")
    longest = max((len(variant.title) for variant in view.variants), default=0)
    wanted = min(_NAME_MOST, max(_NAME_LEAST, longest))
    for expendable in _EXPENDABLE:
        if _taken(there) + wanted <= width:
            break
        if expendable in there:
            there.remove(expendable)
    return there, max(_NAME_LEAST, min(max(longest, _NAME_LEAST), width - _taken(there)))


def _taken(columns: Sequence[str]) -> int:
    # Cursor, letter, blank, and the fold sign at the end.
    return 5 + sum(_WIDTHS[column] for column in columns)


def _is_open(variant: VariantView) -> bool:
    return any(run.state != "complete" for run in variant.runs)


def _heading(columns: Sequence[str], name: int, glyphs: Glyphs) -> Line:
    titles = {"p99": "p99 ms"}
    return (
        (left("   variant", name + 3, glyphs), "dim"),
        *(
            ("  " + left(titles.get(column, column), _WIDTHS[column] - 2, glyphs), "dim")
            if column in ("60 FPS", "state")
            else (right(titles.get(column, column), _WIDTHS[column]), "dim")
            for column in columns
        ),
    )


def _cell(column: str, variant: VariantView, glyphs: Glyphs) -> Part:
    width, row = _WIDTHS[column], variant.row
    latency = row.latency if row is not None else None
    unknown: Part = (right(glyphs.dash, width), "dim")
    match column:
        case "seeds":
            done, of = variant.completed, len(variant.runs)
            return right(str(done) if done == of else f"{done}/{of}", width), "" if done else "dim"
        case "loss":
            return _loss(variant, width, glyphs)
        case "state":
            text, look = _state_cell(variant, glyphs)
            return "  " + left(text, width - 2, glyphs), look
        case "p99" if latency is not None:
            return right(fmt.milliseconds(latency.p99_ms, glyphs), width), ""
        case "60 FPS":
            if latency is None:
                return "  " + left(glyphs.dash, width - 2, glyphs), "dim"
            look = {"fits": "good", "late": "warn"}.get(latency.fit, "bad")
            return "  " + left(latency.fit, width - 2, glyphs), look
        case "gap closed" if row is not None and row.closed is not None:
            return right(f"{100 * row.closed:.0f} %", width), ""
        case "frames" if row is not None:
            return right(fmt.count(row.frames, glyphs), width), "dim"
        case "min" if row is not None:
            return right(f"{row.seconds / 60:.1f}", width), "dim"
        case "frames/s" if row is not None:
            return right(fmt.count(row.frames_per_s, glyphs), width), "dim"
        case "params" if row is not None:
            return right(fmt.count(row.parameters, glyphs), width), "dim"
    return unknown


def _loss(variant: VariantView, width: int, glyphs: Glyphs) -> Part:
    if variant.row is None:
        known = [run.loss for run in variant.runs if run.loss is not None]
        text = f"{min(known):.4f} so far" if known else glyphs.dash
        return right(text, width), "dim"
    loss = variant.row.loss
    if loss.deviation is None:
        return right(f"{loss.mean:.4f} one seed", width), "warn"
    return right(f"{loss.mean:.4f} {plus_minus(glyphs)} {loss.deviation:.4f}", width), "strong"


def plus_minus(glyphs: Glyphs) -> str:
    return "+-" if glyphs.ascii else "±"


def _expand_sign(open: bool, glyphs: Glyphs) -> str:
    return ("-" if open else "+") if glyphs.ascii else ("▾" if open else "▸")


def _sign(state: str, glyphs: Glyphs) -> tuple[str, str]:
    sign, ascii_sign, look = _SIGNS.get(state, ("?", "?", ""))
    return (ascii_sign if glyphs.ascii else sign), look


def _state_cell(variant: VariantView, glyphs: Glyphs) -> Part:
    """Return the most urgent state of the variant's runs."""
    states = [run.state for run in variant.runs]
    for state in ("running", "orphaned", "failed", "waiting"):
        if state in states:
            sign, look = _sign(state, glyphs)
            if state == "running":
                furthest = max(run.progress or 0.0 for run in variant.runs if run.state == state)
                return f"{sign} {100 * furthest:.0f} %", look
            words = {"orphaned": "orphaned", "failed": f"{states.count(state)} failed", "waiting": "queued"}
            return f"{sign} {words[state]}", look
    return "", ""


def _run_line(run: StudyRun, width: int, glyphs: Glyphs, *, pointer: str) -> Line:
    sign, look = _sign(run.state, glyphs)
    loss = glyphs.dash if run.loss is None else f"{run.loss:.4f}"
    done = "" if run.progress is None else f"{100 * run.progress:.0f} %"
    words = {
        "running": f"running, {done or 'starting'}",
        "orphaned": "orphaned: started, but no worker is running it",
        "waiting": "queued",
        "failed": sanitise(run.trial.why, limit=_SENTENCE_LETTERS) or "failed",
        "complete": "",
    }.get(run.state, run.state)
    text = words or sanitise(run.trial.run, limit=120)
    start = f"    seed {run.trial.seed:<4} "
    return (
        (pointer, "accent"),
        (start, "dim"),
        (sign, look),
        (right(loss, 8), "strong" if run.state == "complete" else "dim"),
        (left(f"  {text}", max(0, width - len(start) - 11), glyphs), "dim"),
    )


def _sentences(
    view: BudgetView, failures: Sequence[tuple[str, str]], notes: Sequence[str], width: int, glyphs: Glyphs
) -> Iterator[Line]:
    room = max(12, width - 4)
    verdict = view.group.verdict if view.group is not None else ()
    yield ()
    if not verdict:
        yield (("  No run has ended yet, so there is no verdict.", "dim"),)
    for sentence in verdict:
        yield from _bulleted(sentence, room, glyphs, "")
    for run, why in failures:
        yield from _bulleted(f"{run} has no result: {why}", room, glyphs, "bad")
    if notes:
        yield ()
        yield (("  notes", "strong"),)
    for note in notes:
        yield from _bulleted(note, room, glyphs, "dim")


def _bulleted(text: str, room: int, glyphs: Glyphs, look: str) -> Iterator[Line]:
    for index, line in enumerate(_wrapped(sanitise(text, limit=_SENTENCE_LETTERS), room)):
        yield ((f" {glyphs.bullet if index == 0 else ' '} {line}", look),)


def _wrapped(text: str, room: int) -> list[str]:
    return wrapped(text, max(8, room)) if text else []
