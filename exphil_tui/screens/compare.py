"""Compare screen: loss curves of several runs in one chart, a table of losses, and the settings that differ.

The runs are followed live. The run with the lower loss is better only if no caution is shown above the chart.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Footer, Static

from exphil_core.errors import ExphilError
from exphil_core.melee.characters import by_name, low_tier_first
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_tui.model.comparison import RunComparison, compare
from exphil_tui.model.run_state import TOTAL, RunState, reduce
from exphil_tui.model.series import Series
from exphil_tui.screens.base import WorkbenchScreen
from exphil_tui.services.follow import Follower
from exphil_tui.theme.palette import COLOURS, SeriesStyle
from exphil_tui.widgets.canvas.chart import Chart, Line
from exphil_tui.widgets.tables.run_table import shortened

PAINT_INTERVAL_S = 0.5

_MAX_CHARS = 400
_MAX_KEY_WIDTH = 28
_WIDE = 110
"""Terminal columns from which the two tables are side by side."""

_MARGIN, _GAP = 4, 4
_NUMBERS_WIDTH = 46
"""Width in cells of the loss table without the name column."""
_MIN_SETTINGS_WIDTH = 44

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Loss table row of one run, for the selected character."""

    step: float | None
    train: float | None
    """Newest smoothed training loss."""
    validation: float | None
    """Newest validation loss."""
    best: float | None
    best_step: float | None


def losses(state: RunState, key: str) -> Losses:
    train, validation = state.train.get(key, Series()), state.validation.get(key, Series())
    known = validation.y[np.isfinite(validation.y)]
    at = validation.x[np.isfinite(validation.y)]
    index = int(np.argmin(known)) if len(known) else None
    return Losses(
        step=_last(train.x),
        train=_last(train.smooth),
        validation=_last(known),
        best=None if index is None else float(known[index]),
        best_step=None if index is None else float(at[index]),
    )


class CompareScreen(WorkbenchScreen[None]):
    CSS_PATH = "compare.tcss"
    BINDING_GROUP_TITLE = "Compare"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012 (declared so by Screen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "toggle_split", "Train/validation"),
        Binding("left_square_bracket", "character(-1)", "Previous character", show=False),
        Binding("right_square_bracket", "character(1)", "Next character"),
        Binding("tab", "app.focus_next", "Next panel", show=False),
        Binding("escape", "app.back", "Go back"),
    ]
    HELP = """\
Each line is a run, marked by its letter. v switches between the loss on held-out games and the training loss.
[ and ] switch the character; "all characters" covers every frame.
A warning above the chart says when losses are not comparable: with other data, another delay or other tokens the task
differs.
"best" is the lowest validation loss of that curve, in nats per frame, and the step at which it was measured.
The table below shows only the settings that differ, with a column for each run.
Ranks by loss are not ranks by play."""

    def __init__(self, runs: Sequence[RunDirectory]) -> None:
        super().__init__()
        self._runs = tuple(runs)
        self._names = [sanitise(run.name, limit=_MAX_CHARS) for run in self._runs]
        # Letters in order: run names often start alike, so their initials would not distinguish them.
        self._marks = [
            SeriesStyle(colour=COLOURS[index % len(COLOURS)], letter=_LETTERS[index % len(_LETTERS)])
            for index in range(len(self._runs))
        ]
        self._states = [RunState() for _ in self._runs]
        self._reducing: set[int] = set()
        self._followers = [Follower(run.events_path) for run in self._runs]
        self._comparison: RunComparison | None = None
        self._problem = ""
        self._split = "validation"
        self._character = TOTAL
        self._painted: object = None

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="compare-title")
        yield Static(id="compare-cautions")
        yield Chart(id="compare-chart")
        with VerticalScroll(id="compare-tables", can_focus=True):
            yield Static(id="compare-losses")
            yield Static(id="compare-settings")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        chart = self.query_one(Chart)
        chart.focus()
        # A log axis: on a linear one the late, slowly falling part, where runs differ, looks flat.
        chart.action_toggle_log("y")
        self._read_presets()
        for index, follower in enumerate(self._followers):
            self.run_worker(follower.run(), group="follow")
            self._reduce(index)
        self.set_interval(PAINT_INTERVAL_S, self._paint)
        self._paint()

    def on_resize(self, event: Resize) -> None:
        self._painted = None
        self._paint()

    def on_screen_resume(self) -> None:
        self._paint()

    # Reading the runs.

    @property
    def caught_up(self) -> bool:
        """Whether all written events are reduced, so that the next paint shows them."""
        known = self._comparison is not None or bool(self._problem)
        return (
            known
            and not self._reducing
            and all(found.caught_up and found.queue.empty() for found in self._followers)
        )

    @work(thread=True, exit_on_error=False)
    def _read_presets(self) -> None:
        descriptions: list[Mapping[str, Any]] = []
        problem = ""
        for run in self._runs:
            try:
                descriptions.append(run.described())
            except (ExphilError, OSError) as error:
                problem = str(error)
                break
        found = None if problem else compare(descriptions)
        self.app.call_from_thread(self._show_comparison, found, problem)

    def _show_comparison(self, comparison: RunComparison | None, problem: str) -> None:
        self._comparison, self._problem = comparison, sanitise(problem, limit=_MAX_CHARS)
        self._painted = None
        self._paint()

    @work(group="reduce")
    async def _reduce(self, index: int) -> None:
        queue = self._followers[index].queue
        while True:
            batch = await queue.get()
            self._reducing.add(index)
            self._states[index] = await asyncio.to_thread(reduce, self._states[index], batch)
            self._reducing.discard(index)

    # Drawing.

    def _paint(self) -> None:
        """Redraw if anything changed since the last paint."""
        shown = ([id(state) for state in self._states], self._split, self._character)
        if not self.is_current or shown == self._painted:
            return
        self._painted = shown
        self.query_one("#compare-title", Static).update(self._title())
        self._show_cautions()
        self.query_one(Chart).show(
            [line for index in range(len(self._runs)) if (line := self._line(index)) is not None],
            title=f"{self._split} loss, {_title_of(self._character)}",
            y_title="nats per frame",
        )
        self.query_one("#compare-losses", Static).update(self._losses())
        self.query_one("#compare-settings", Static).update(self._settings())

    def _title(self) -> Content:
        right = f"{len(self._runs)} runs"
        gap = max(2, self.size.width - len("exphil  Compare") - len(right) - 2)
        return Content.assemble(
            ("exphil", "bold $primary"), "  Compare", " " * gap, (right, "$foreground-muted")
        )

    def _show_cautions(self) -> None:
        widget = self.query_one("#compare-cautions", Static)
        cautions = self._comparison.cautions if self._comparison is not None else ()
        warnings = [self._problem] if self._problem else list(cautions)
        for name, state in zip(self._names, self._states, strict=True):
            if state.problem:
                warnings.append(state.problem)
            elif state.missing:
                warnings.append(f"{name} has no events: it has not started yet, or was deleted.")
        sign = self.workbench.glyphs.warning
        widget.display = bool(warnings)
        widget.update(Content("\n").join(Content.styled(f"{sign} {line}", "$warning") for line in warnings))

    def _line(self, index: int) -> Line | None:
        curves = self._states[index].validation if self._split == "validation" else self._states[index].train
        series = curves.get(self._character)
        if series is None or not series.length:
            return None
        return Line(
            name=shortened(self._names[index], 24, self.workbench.glyphs),
            x=series.x,
            y=series.y,
            # Validations are few and not noisy, so they need no smoothing.
            smooth=None if self._split == "validation" else series.smooth,
            colour=self._marks[index].colour,
            mark=self._marks[index].letter,
        )

    def _losses(self) -> Content:
        rows = [losses(state, self._character) for state in self._states]
        room = self._name_room()
        head = f"  {'run':<{room}}{'step':>9}{'train':>9}{'valid':>9}{'best':>9}{'at':>8}"
        lines = [Content.styled(head, "$foreground-muted")]
        lowest = min((row.best for row in rows if row.best is not None), default=None)
        comparable = self._comparison is not None and self._comparison.comparable
        for name, mark, row in zip(self._names, self._marks, rows, strict=True):
            best = "bold $success" if comparable and row.best is not None and row.best == lowest else ""
            lines.append(
                Content.assemble(
                    (f"{mark.letter} ", f"bold {mark.colour}"),
                    f"{shortened(name, room, self.workbench.glyphs):<{room}}",
                    f"{self._number(row.step, 0):>9}{self._number(row.train):>9}{self._number(row.validation):>9}",
                    (f"{self._number(row.best):>9}", best),
                    f"{self._number(row.best_step, 0):>8}",
                )
            )
        return Content("\n").join(lines)

    def _settings(self) -> Content:
        if self._comparison is None:
            return Content("")
        differences = self._comparison.differences
        if not differences:
            return Content.styled("" if self._problem else "All settings are the same.", "$foreground-muted")
        glyphs = self.workbench.glyphs
        key_room = min(_MAX_KEY_WIDTH, max(len(found.key) for found in differences))
        room = max(6, (self._settings_room() - key_room) // len(self._runs) - 2)
        widest = [
            max(cell_len(found.values[index]) for found in differences) for index in range(len(self._runs))
        ]
        rooms = [max(1, min(room, width)) for width in widest]
        head = [(f"{'setting':<{key_room}}", "$foreground-muted")]
        for mark, width in zip(self._marks, rooms, strict=True):
            head.append((f"  {mark.letter:<{width}}", f"bold {mark.colour}"))
        lines = [Content.assemble(*head)]
        for found in differences:
            parts = [(f"{shortened(found.key, key_room, glyphs):<{key_room}}", "$foreground-muted")]
            for value, width in zip(found.values, rooms, strict=True):
                parts.append((f"  {shortened(value, width, glyphs):<{width}}", ""))
            lines.append(Content.assemble(*parts))
        return Content("\n").join(lines)

    def _name_room(self) -> int:
        """Width of the name column of the loss table; leaves room for the settings table if that is beside it."""
        beside = _MIN_SETTINGS_WIDTH if self.size.width >= _WIDE else 0
        return max(
            12, min(max(map(cell_len, self._names)), self.size.width - _MARGIN - _NUMBERS_WIDTH - beside)
        )

    def _settings_room(self) -> int:
        beside = self._name_room() + _NUMBERS_WIDTH + _GAP if self.size.width >= _WIDE else 0
        return self.size.width - _MARGIN - beside

    def _number(self, value: float | None, digits: int = 4) -> str:
        return self.workbench.glyphs.dash if value is None else f"{value:,.{digits}f}"

    # Actions.

    def action_toggle_split(self) -> None:
        self._split = "train" if self._split == "validation" else "validation"
        self._paint()

    def action_character(self, by: int) -> None:
        known = {key for state in self._states for key in (*state.train, *state.validation)} - {TOTAL}
        order = [TOTAL, *sorted(known, key=low_tier_first)]
        at = order.index(self._character) if self._character in order else 0
        self._character = order[(at + by) % len(order)]
        self._paint()


def _last(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def _title_of(character: str) -> str:
    if character == TOTAL:
        return "all characters"
    try:
        return by_name(character).title
    except ValueError:
        return sanitise(character)
