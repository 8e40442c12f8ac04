"""The variants of a study under one budget, mean and spread over the seeds, how their runs stand; below, the verdict.

In: a `BudgetView` and what to keep in mind. Out: a table whose cursor is on a variant or on one of its runs; Enter
unfolds a variant's seeds, and on a run asks for it (`RunWanted`). What a reader gets wrong: a mean without ± is of
one seed, and decides nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from exphil_core.replays.text import sanitise
from exphil_tui import figures
from exphil_tui.glyphs import Glyphs
from exphil_tui.study_budget import BudgetView, VariantView
from exphil_tui.study_sight import StudyRun
from exphil_tui.widgets.text_panel import Line, Part, Picture, TextPanel, left, right, wrapped

if TYPE_CHECKING:
    from textual.events import Click

_SENTENCE_LETTERS = 600

_WIDTHS = {
    "seeds": 6, "loss": 17, "closed": 8, "p99": 8, "60 FPS": 10, "frames": 8, "min": 7, "frames/s": 10, "params": 8,
    "now": 12,
}  # fmt: skip
_EXPENDABLE = ("params", "frames/s", "frames", "min", "closed", "60 FPS")
"""What goes where there is no room, the least needed first."""
_NAME_MOST, _NAME_LEAST = 22, 8

_SIGNS = {
    "running": ("●", ">", "good"),
    "left": ("!", "!", "warn"),
    "failed": ("✗", "x", "bad"),
    "waiting": ("○", "o", "dim"),
    "complete": ("✓", "+", "good"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What a line of the table stands for."""

    variant: str
    run: str = ""
    """Empty: the variant itself."""


class StudyTable(TextPanel):
    BINDING_GROUP_TITLE = "Variants"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "Line above", show=False),
        Binding("down", "choose(1)", "Line below", show=False),
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
        self._lost: tuple[tuple[str, str], ...] = ()
        self._unfolded: frozenset[str] = frozenset()
        self._place: _Place | None = None
        self._nothing = ""

    def show(
        self, view: BudgetView | None, *, notes: Sequence[str], lost: Sequence[tuple[str, str]], nothing: str
    ) -> None:
        """`lost`: runs without a result, and why. `nothing`: what to say where there is no view."""
        if view is None or self._view is None or view.budget != self._view.budget:
            self._place = None
        self._view, self._notes, self._lost, self._nothing = view, tuple(notes), tuple(lost), nothing
        places = self._places()
        if self._place not in places:
            same = [p for p in places if self._place is not None and p.variant == self._place.variant]
            self._place = next(iter((*same, *places)), None)
        self.update()

    def start(self) -> None:
        """Of another study: from its top, folded."""
        self._unfolded, self._place, self._view = frozenset(), None, None
        self.scroll_home(animate=False)

    def action_choose(self, way: int) -> None:
        """To the next line; from the last one on, the verdict below comes into view."""
        places = self._places()
        if self._place not in places:
            self.scroll_relative(y=way, animate=False)
            return
        at = places.index(self._place)
        top, room = self.scroll_offset.y, max(1, self.size.height - 1)
        if (way > 0 and at == len(places) - 1) or (way < 0 and at < top):
            self.scroll_relative(y=way, animate=False)
            return
        at = min(len(places) - 1, max(0, at + way))
        self._place = places[at]
        self.update()
        if not top <= at < top + room:
            self.scroll_to(y=at if at < top else at - room + 1, animate=False)

    def action_open(self) -> None:
        if self._view is None or self._place is None:
            return
        if self._place.run:
            self.post_message(self.RunWanted(self._place.run))
            return
        variant = next(found for found in self._view.variants if found.name == self._place.variant)
        if len(variant.runs) == 1:
            self.post_message(self.RunWanted(variant.runs[0].trial.run))
        else:
            self._unfolded ^= {variant.name}
            self.update()

    def on_click(self, event: "Click") -> None:
        index, places = self.line_at(event.y), self._places()
        if index is None or index >= len(places):
            return
        if self._place == places[index]:
            self.action_open()
        else:
            self._place = places[index]
            self.update()

    def _places(self) -> list[_Place]:
        """Of the lines that the cursor goes to, in order; they come before all others."""
        found = []
        for variant in self._view.variants if self._view is not None else ():
            found.append(_Place(variant=variant.name))
            if variant.name in self._unfolded:
                found += [_Place(variant=variant.name, run=run.trial.run) for run in variant.runs]
        return found

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        view = self._view
        if view is None:
            return Picture(
                lines=tuple(((f"  {text}", "dim"),) for text in _wrapped(self._nothing, width - 4))
            )
        columns, name = _columns(view, width)
        places = self._places()
        return Picture(
            head=(_heading(columns, name, glyphs),),
            lines=(
                *self._rows(view, columns, name, width, glyphs),
                *_sentences(view, self._lost, self._notes, width, glyphs),
            ),
            chosen=places.index(self._place) if self._place in places else None,
        )

    def _rows(
        self, view: BudgetView, columns: Sequence[str], name: int, width: int, glyphs: Glyphs
    ) -> Iterator[Line]:
        for variant in view.variants:
            here = self._place is not None and self._place.variant == variant.name and not self._place.run
            fold = "" if len(variant.runs) == 1 else _fold(variant.name in self._unfolded, glyphs)
            pointer = (">" if glyphs.ascii else "›") if here else " "
            yield (
                (pointer, "accent"),
                (variant.mark.letter, variant.mark.colour),
                (left(f" {variant.title}", name + 1, glyphs), "strong"),
                *(_cell(column, variant, glyphs) for column in columns),
                (f" {fold}", "dim"),
            )
            if variant.name in self._unfolded:
                for run in variant.runs:
                    at = self._place is not None and self._place.run == run.trial.run
                    yield _run_line(run, width, glyphs, pointer=(">" if glyphs.ascii else "›") if at else " ")


def _columns(view: BudgetView, width: int) -> tuple[list[str], int]:
    """Which columns there are, and the room for names."""
    rows = [variant.row for variant in view.variants if variant.row is not None]
    there = [name for name in _WIDTHS if name != "now" or any(_is_open(v) for v in view.variants)]
    if not any(row.closed is not None for row in rows):
        there.remove("closed")
    longest = max((len(variant.title) for variant in view.variants), default=0)
    wanted = min(_NAME_MOST, max(_NAME_LEAST, longest))
    for expendable in _EXPENDABLE:
        if _taken(there) + wanted <= width:
            break
        if expendable in there:
            there.remove(expendable)
    return there, max(_NAME_LEAST, min(max(longest, _NAME_LEAST), width - _taken(there)))


def _taken(columns: Sequence[str]) -> int:
    # The cursor, the letter, a blank, and the sign of folding at the end.
    return 5 + sum(_WIDTHS[column] for column in columns)


def _is_open(variant: VariantView) -> bool:
    return any(run.state != "complete" for run in variant.runs)


def _heading(columns: Sequence[str], name: int, glyphs: Glyphs) -> Line:
    titles = {"p99": "p99 ms", "now": "now"}
    return (
        (left("   variant", name + 3, glyphs), "dim"),
        *(
            ("  " + left(titles.get(column, column), _WIDTHS[column] - 2, glyphs), "dim")
            if column in ("60 FPS", "now")
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
        case "now":
            text, look = _now(variant, glyphs)
            return "  " + left(text, width - 2, glyphs), look
        case "p99" if latency is not None:
            return right(figures.milliseconds(latency.p99_ms, glyphs), width), ""
        case "60 FPS":
            if latency is None:
                return "  " + left(glyphs.dash, width - 2, glyphs), "dim"
            look = {"fits": "good", "late": "warn"}.get(latency.fit, "bad")
            return "  " + left(latency.fit, width - 2, glyphs), look
        case "closed" if row is not None and row.closed is not None:
            return right(f"{100 * row.closed:.0f} %", width), ""
        case "frames" if row is not None:
            return right(figures.count(row.frames, glyphs), width), "dim"
        case "min" if row is not None:
            return right(f"{row.seconds / 60:.1f}", width), "dim"
        case "frames/s" if row is not None:
            return right(figures.count(row.frames_per_s, glyphs), width), "dim"
        case "params" if row is not None:
            return right(figures.count(row.parameters, glyphs), width), "dim"
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


def _fold(open: bool, glyphs: Glyphs) -> str:
    return ("-" if open else "+") if glyphs.ascii else ("▾" if open else "▸")


def _sign(state: str, glyphs: Glyphs) -> tuple[str, str]:
    sign, ascii_sign, look = _SIGNS.get(state, ("?", "?", ""))
    return (ascii_sign if glyphs.ascii else sign), look


def _now(variant: VariantView, glyphs: Glyphs) -> Part:
    """The most urgent of what its runs do."""
    states = [run.state for run in variant.runs]
    for state in ("running", "left", "failed", "waiting"):
        if state in states:
            sign, look = _sign(state, glyphs)
            if state == "running":
                furthest = max(run.progress or 0.0 for run in variant.runs if run.state == state)
                return f"{sign} {100 * furthest:.0f} %", look
            words = {"left": "left", "failed": f"{states.count(state)} failed", "waiting": "waits"}
            return f"{sign} {words[state]}", look
    return "", ""


def _run_line(run: StudyRun, width: int, glyphs: Glyphs, *, pointer: str) -> Line:
    sign, look = _sign(run.state, glyphs)
    loss = glyphs.dash if run.loss is None else f"{run.loss:.4f}"
    done = "" if run.progress is None else f"{100 * run.progress:.0f} %"
    words = {
        "running": f"runs, {done or 'starting'}",
        "left": "begun, and nobody works on it",
        "waiting": "waits",
        "failed": sanitise(run.trial.why, limit=_SENTENCE_LETTERS) or "failed",
        "complete": "",
    }.get(run.state, run.state)
    said = words or sanitise(run.trial.run, limit=120)
    start = f"    seed {run.trial.seed:<4} "
    return (
        (pointer, "accent"),
        (start, "dim"),
        (sign, look),
        (right(loss, 8), "strong" if run.state == "complete" else "dim"),
        (left(f"  {said}", max(0, width - len(start) - 11), glyphs), "dim"),
    )


def _sentences(
    view: BudgetView, lost: Sequence[tuple[str, str]], notes: Sequence[str], width: int, glyphs: Glyphs
) -> Iterator[Line]:
    room = max(12, width - 4)
    verdict = view.group.verdict if view.group is not None else ()
    yield ()
    if not verdict:
        yield (("  No run has ended yet, so there is no verdict.", "dim"),)
    for sentence in verdict:
        yield from _bulleted(sentence, room, glyphs, "")
    for run, why in lost:
        yield from _bulleted(f"{run} has no result: {why}", room, glyphs, "bad")
    if notes:
        yield ()
        yield (("  to keep in mind", "strong"),)
    for note in notes:
        yield from _bulleted(note, room, glyphs, "dim")


def _bulleted(text: str, room: int, glyphs: Glyphs, look: str) -> Iterator[Line]:
    for index, line in enumerate(_wrapped(sanitise(text, limit=_SENTENCE_LETTERS), room)):
        yield ((f" {glyphs.bullet if index == 0 else ' '} {line}", look),)


def _wrapped(text: str, room: int) -> list[str]:
    return wrapped(text, max(8, room)) if text else []
