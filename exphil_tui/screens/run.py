"""One run: its curves, its characters, how it fares, and the commands to it.

In: a run directory. Out: a screen that follows its events, and files in its `control/`. What a reader gets wrong:
nothing here is the run. A command is sent and then waited for: what the screen says has happened is what an event of
the run says, never what a key asked for.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widgets import Footer

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_core.runs import control, launcher
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.records import CommandSeen
from exphil_tui import figures
from exphil_tui.follow import Follower
from exphil_tui.palette import BAD, GOOD, Mark, marks
from exphil_tui.pilots import CORES, SLOWED, PilotProcess, PilotSight, PilotWatch
from exphil_tui.screens.steady import SteadyScreen
from exphil_tui.screens.stop_run import Answer, StopRunScreen
from exphil_tui.series import Series
from exphil_tui.standing import RESUMABLE, standing
from exphil_tui.state import TOTAL, RunState, reduce
from exphil_tui.watch import Sight, look
from exphil_tui.widgets.character_table import (
    EVERYBODY,
    CharacterTable,
    best_baseline,
    character_names,
    character_rows,
    title_of,
)
from exphil_tui.widgets.chart import Chart, Level, Line
from exphil_tui.widgets.gauge import Gauge, PilotDoing, Reading, reading
from exphil_tui.widgets.head_table import HeadTable, head_names, head_rows
from exphil_tui.widgets.press_rates import PressRates, collapses, press_rates
from exphil_tui.widgets.run_header import RunFacts, RunHeader
from exphil_tui.widgets.run_log import RunLog
from exphil_tui.widgets.run_notice import Notice, RunNotice
from exphil_tui.widgets.text_panel import TextPanel
from exphil_tui.widgets.vitals import VitalsLine, VitalsPanel, vitals

if TYPE_CHECKING:
    from exphil_tui.app import Workbench

PAINT_S, LOOK_S = 0.1, 1.0

GAUGE_S = 0.25
"""Between two looks at a pilot that plays."""

REST = 40
"""Times as long as it took to draw, it is then not drawn: so that drawing takes a small share of a core, however much
there is to draw. What a person waits for does not wait for that."""

SHORTEST_REST_S, LONGEST_REST_S = 0.5, 2.0
"""Nobody reads numbers that change more often than twice a second."""

WIDE, HIGH = 110, 34
"""Cells from which on every panel is shown at once."""

PATIENCE_S = 2.0
"""From then on it is said how long a command has been waiting for its answer."""

LATE = 1.25
"""Times the usual steps between two validations, from which on one is overdue."""

_SAID = {"pause": "pause", "resume": "go on", "checkpoint": "checkpoint", "stop": "stop"}
_DONE = {
    "pause": "The run is paused.",
    "resume": "The run goes on.",
    "checkpoint": "A checkpoint is saved.",
    "stop": "The run stops.",
}
_ERROR_LETTERS = 400
_TOTAL_NAME = "total"
"""Gives the curve over all characters its letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A command of ours that was not answered yet."""

    command: str
    at: float
    """On the workbench's monotonic clock."""
    received: bool = False


class RunScreen(SteadyScreen[None]):
    CSS_PATH = "run.tcss"
    BINDING_GROUP_TITLE = "Run"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", tooltip="The run waits, and its process keeps its memory"),
        Binding("p", "go_on", "Go on", tooltip="A paused run goes on"),
        Binding("k", "save_checkpoint", "Checkpoint", tooltip="Save a checkpoint now"),
        Binding("s", "stop_run", "Stop", tooltip="Stop and save, or leave it running"),
        Binding("r", "resume_run", "Resume", tooltip="Go on from the newest checkpoint"),
        Binding("v", "toggle_validation", "Train/validation"),
        Binding("h", "toggle_heads", "Per head", show=False),
        Binding(
            "l", "toggle_whole('log')", "Log", show=False, tooltip="The log on the whole screen, and back"
        ),
        Binding(
            "g",
            "toggle_pilot",
            "Gauge on or off",
            show=False,
            tooltip=f"Start or end a pilot: it plays at 60 Hz beside the run, for about {CORES} of a core",
        ),
        Binding(
            "f",
            "toggle_whole('gauge')",
            "Gauge on the whole screen",
            show=False,
            tooltip="The gauge on the whole screen, with a histogram, and back",
        ),
        Binding(
            "w",
            "watch_pilot",
            "Watch it play",
            show=False,
            tooltip="The game that the pilot plays, and what the policy presses in it",
        ),
        Binding("tab", "next_panel(1)", "Panel"),
        Binding("shift+tab", "next_panel(-1)", "Panel before", show=False),
        # Where these make no sense now, the key still says why.
        Binding("p", "refuse('pause')", show=False),
        Binding("k", "refuse('checkpoint')", show=False),
        Binding("s", "refuse('stop')", show=False),
        Binding("r", "refuse('resume')", show=False),
        # The chart's keys, wherever the focus is.
        Binding("plus,equals_sign", "chart('zoom(1)')", show=False),
        Binding("minus", "chart('zoom(-1)')", show=False),
        Binding("left", "chart('move(-1)')", show=False),
        Binding("right", "chart('move(1)')", show=False),
        Binding("end", "chart('show_newest')", show=False),
        Binding("0", "chart('show_everything')", show=False),
        Binding("y", "chart(\"toggle_log('y')\")", show=False),
        Binding("x", "chart(\"toggle_log('x')\")", show=False),
        Binding("m", "chart('toggle_cursor')", show=False),
    ]
    HELP = """\
The chart shows the loss in nats per frame: lower is better. Bright lines are smoothed over recent steps, dim dots are
what was measured. Dashed lines are the best baseline and, on games whose players are known, the floor.
"change" is since the validation before (validation) or since the newest validation (training).
"marginal", "repeat" and "markov" are what a policy reaches that knows only how often each input occurs, that repeats
the last one, or that knows what follows the last one. "closed" is how much of the way from the best of them to the
floor is done.
"buttons": how often the policy holds each one, against the human; a bar to the middle is as often.
"data wait" is the share of the time in which the training waited for data.
"gauge": how long the policy takes for a frame while a pilot plays with its newest weights. The bar reaches to the
p95, the notch is the p50, and the line that stands still is the 16.67 ms that a frame has. Below it the last ten
seconds by their slowest frames, with a mark over what missed its deadline. "in time" is a p99 below the budget and at
most one deadline in a hundred missed.
Panels: Tab goes from one to the next; the arrows choose a character, whose buttons are then shown.
Leaving this screen changes nothing for the run, and ends a pilot that was started here. s asks whether to stop the
run."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self.run_directory = run
        self.state = RunState()
        self.sight: Sight | None = None
        """None until the directory was looked at."""
        self.validation = False
        """Whether the curves are those of the validation."""
        self.heads = False
        """Whether there is a line for each head instead of each character."""
        self._problem = ""
        """Why the directory cannot be looked at."""
        self._follower = Follower(run.events_path)
        self._kind: tuple[str, ...] = ()
        """What the run is by its preset; its events say more."""
        self._sent: dict[str, Sent] = {}
        self._starting = False
        self.pilot = PilotSight()
        self._pilot_watch = PilotWatch(run)
        self._pilot = PilotProcess(run)
        self._pilot_doing = PilotDoing()
        self._panel = 0
        self._whole: Literal["", "log", "gauge"] = ""
        """The panel that has the whole screen."""
        self._drawn: RunState | None = None
        self._drawn_urgent: tuple[object, ...] = ()
        self._rest_until = 0.0
        self._cores = os.cpu_count() or 1

    @property
    def workbench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield RunHeader(id="run-header")
        yield RunNotice(id="run-notice")
        with Vertical(id="run-body"):
            yield Chart(id="run-chart")
            with Horizontal(id="run-panels"):
                with Vertical(id="run-left"):
                    yield CharacterTable(id="run-table")
                    yield HeadTable(id="run-heads")
                    yield Gauge(id="run-gauge")
                    yield RunLog(id="run-log")
                with Vertical(id="run-right"):
                    yield PressRates(id="run-buttons")
                    yield VitalsPanel(id="run-machine")
            yield VitalsLine(id="run-vitals")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._arrange()
        chart = self.query_one(Chart)
        # A loss falls from fifteen to a half: on a linear axis its end is a flat line.
        chart.action_toggle_log("y")
        chart.focus()
        self.run_worker(self._follow(), group="follow")
        # Looking at the directory takes imports that the first picture need not wait for.
        self.call_after_refresh(self.run_worker, self._watch(), group="watch")
        self.call_after_refresh(self.run_worker, self._watch_pilot(), group="watch")
        # At once too: the first picture is not to wait for a timer.
        self.call_after_refresh(self.paint)
        self.set_interval(PAINT_S, self.paint)
        self.app.theme_changed_signal.subscribe(self, self._recolour)

    # What is known of the run.

    async def _follow(self) -> None:
        """Takes every event into the state; what is drawn of it, and when, is the painter's."""
        self.run_worker(self._follower.run(), group="tail")
        while True:
            batch = await self._follower.queue.get()
            # In a thread: of a long history it takes a while, and a state that is being drawn never changes.
            self.state = await asyncio.to_thread(reduce, self.state, batch)
            self._take_answers(batch.records)

    async def _watch(self) -> None:
        """Looks at the directory once a second, in a thread: a disk may be slow."""
        self._kind = await asyncio.to_thread(_kind, self.run_directory)
        while True:
            try:
                sight = await asyncio.to_thread(look, self.run_directory)
            except OSError as error:
                self._problem = f"{self.run_directory.path} cannot be read: {error.strerror}"
            else:
                self._problem = ""
                self._take_sight(sight)
            await asyncio.sleep(LOOK_S)

    async def _watch_pilot(self) -> None:
        """Looks at the pilot in a thread, and draws what it measures by itself: that is read while it moves."""
        while True:
            with suppress(OSError):
                self.pilot = await asyncio.to_thread(self._pilot_watch.look)
            if self._is_seen:
                self._show_gauge()
            await asyncio.sleep(GAUGE_S if self.pilot.alive or self._pilot_doing.ours else LOOK_S)

    def _take_sight(self, sight: Sight) -> None:
        self.sight = sight
        if not sight.alive and not self._starting:
            self._sent.clear()

    def _take_answers(self, records: Iterable[object]) -> None:
        for record in records:
            if not isinstance(record, CommandSeen) or record.id not in self._sent:
                continue
            sent = self._sent[record.id]
            if record.state == "received":
                self._sent[record.id] = Sent(command=sent.command, at=sent.at, received=True)
                continue
            del self._sent[record.id]
            if record.state == "done":
                self.workbench.say(_DONE[sent.command])
            else:
                why = record.reason or "it gave no reason"
                self.workbench.say(f"The run refused to {_SAID[sent.command]}: {why}", severity="warning")

    @property
    def standing(self) -> str:
        """The word for how the run stands: the directory's, and of a live run what its events say sooner."""
        if self.sight is None:
            return ""
        if self.sight.state in ("running", "paused") and not self.state.finished:
            return "paused" if self.state.paused else "running"
        return self.sight.state

    # Drawing.

    def paint(self) -> None:
        """Draws what changed. Does nothing in the background, nor for a state that is drawn already.

        What a person waits for is drawn at once; numbers that run on are drawn as often as they can be read.
        """
        if not self._is_seen:
            return
        now = time.monotonic()
        urgent = self._urgent()
        if urgent == self._drawn_urgent and (self.state is self._drawn or now < self._rest_until):
            return
        if urgent[:3] != self._drawn_urgent[:3]:
            self.refresh_bindings()
        self._drawn, self._drawn_urgent = self.state, urgent
        self._show_all()
        took = time.monotonic() - now
        self._rest_until = now + took + min(LONGEST_REST_S, max(SHORTEST_REST_S, REST * took))

    @property
    def _is_seen(self) -> bool:
        top = self.app.screen
        return top is self or (top.is_modal and self.is_current)

    def _urgent(self) -> tuple[object, ...]:
        """What is drawn at once where it differs; the first three decide which keys there are."""
        commands = self._doing()
        shown = (self.validation, self.heads, self.size, self._problem, self.state.problem)
        return (self.standing, self._will_pause, self._starting, commands, self.sight, *shown)

    def _hurry(self) -> None:
        """Draws at once what a person asked for."""
        self._drawn_urgent = ()
        self.paint()

    def _show_all(self) -> None:
        state = self.state
        self.query_one(RunHeader).show(self._facts())
        self.query_one(RunNotice).show(self._notices(), printed_lines=3 if self._compact else 0)
        shown = marks((*character_names(state), _TOTAL_NAME))
        foreground = self.app.theme_variables.get("foreground", "#FFFFFF")
        shown[TOTAL] = Mark(colour=foreground, letter=shown.pop(_TOTAL_NAME).letter)
        parts = marks(head_names(state))
        self._show_chart(parts if self.heads else shown)
        notes, look = self._validation_notes()
        if self.heads:
            self.query_one(HeadTable).show(
                head_rows(state, parts, validation=self.validation),
                validation=self.validation,
                notes=notes,
                note_look=look,
            )
        else:
            self.query_one(CharacterTable).show(
                character_rows(state, shown, validation=self.validation),
                validation=self.validation,
                notes=notes,
                note_look=look,
            )
        self._show_buttons()
        found = vitals(state, cores=self._cores, over=self.sight is not None and not self.sight.alive)
        self.query_one(VitalsPanel).show(found)
        self.query_one(VitalsLine).show(found)
        self._show_gauge()
        bad = state.bad_lines
        self.query_one(RunLog).show(
            state.log,
            self.sight.printed if self.sight else (),
            note=f"{bad:,} unreadable line{'s' * (bad != 1)} skipped" if bad else "",
        )

    def _show_chart(self, shown: Mapping[str, Mark]) -> None:
        state = self.state
        if self.heads:
            curves = state.validation_heads if self.validation else state.train_heads
        else:
            curves = state.validation if self.validation else state.train
        what = "validation loss" if self.validation else "training loss"
        self.query_one(Chart).show(
            [
                self._line(name, mark, curves[name])
                # All characters together lie below each of them.
                for name, mark in sorted(shown.items(), key=lambda item: item[0] != TOTAL)
                if name in curves and curves[name].length and not (name == TOTAL and len(shown) == 2)
            ],
            () if self.heads else self._levels(),
            title=f"{what} {'per head' if self.heads else 'per character'}",
            x_title="step",
            y_title="nats per frame",
        )

    def _line(self, name: str, mark: Mark, series: Series) -> Line:
        return Line(
            name=sanitise(name) if self.heads else title_of(name),
            x=series.x,
            y=series.y,
            smooth=None if self.validation else series.smooth,
            colour=mark.colour,
            mark=mark.letter,
        )

    def _levels(self) -> list[Level]:
        """The best baseline and the floor, over all characters."""
        marks_of_all = {TOTAL: Mark(colour="", letter="")} | {
            name: Mark(colour="", letter="") for name in character_names(self.state)
        }
        rows = character_rows(self.state, marks_of_all, validation=True)
        if not rows:
            return []
        best, floor = best_baseline(rows[-1].baselines), rows[-1].floor
        levels = [Level(name=best[0], y=best[1], colour=BAD)] if best else []
        return levels + ([Level(name="floor", y=floor, colour=GOOD)] if floor is not None else [])

    def _show_buttons(self) -> None:
        name = self.query_one(CharacterTable).chosen
        evaluated = self.state.evaluated
        who = EVERYBODY if name == TOTAL else title_of(name)
        self.query_one(PressRates).show(
            press_rates(evaluated, name),
            collapses(evaluated),
            notes=(who,) if evaluated is None else (f"{who}, step {evaluated.step:,}", who),
        )

    def _show_gauge(self) -> None:
        self.query_one(Gauge).show(self._reading())

    def _reading(self) -> Reading:
        """What the pilot's own file tells; where there is none, what the run passed on."""
        return reading(
            self.pilot,
            self.state,
            doing=self._pilot_doing,
            run_alive=self.sight is not None and self.sight.alive,
            now=self.workbench.clock(),
            glyphs=self.workbench.glyphs,
        )

    def _facts(self) -> RunFacts:
        state, glyphs = self.state, self.workbench.glyphs
        started, step = state.started, state.step
        kind = self._kind
        if started is not None:
            kind = (
                sanitise(started.preset),
                sanitise(started.backbone),
                f"window {started.window_size}",
                f"{figures.count(started.parameters, glyphs)} parameters",
                " ".join(text for text in (sanitise(started.device), sanitise(started.precision)) if text),
            )
        reached = step.step if step is not None else None
        if state.finished is not None and state.finished.step is not None:
            reached = max(reached or 0, state.finished.step)
        alive = self.sight is not None and self.sight.alive
        caught_up = self._follower.caught_up or not state.events
        return RunFacts(
            name=sanitise(self.run_directory.name, limit=100),
            state=self.standing,
            doing=self._doing() or ("" if caught_up else f"reading, {state.events:,} events"),
            kind=kind,
            step=reached,
            steps=started.steps if started is not None else None,
            progress=1.0 if self.standing == "done" else step.progress if step is not None else None,
            eta_s=step.eta_s if step is not None and alive else None,
            best_loss=state.best_loss,
            best_step=state.best_step,
        )

    def _doing(self) -> str:
        if self._starting:
            return "starting its process"
        for sent in self._sent.values():
            waited = self.workbench.monotonic() - sent.at
            how = "received" if sent.received else "sent"
            return f"{sent.command} {how}" + (f", {waited:.0f} s ago" if waited >= PATIENCE_S else "")
        if self.state.pending:
            return f"{sanitise(self.state.pending[0])} received"
        return ""

    def _validation_notes(self) -> tuple[tuple[str, ...], str]:
        """Of which step the validation is, and how long ago that was; a warning where it is overdue."""
        newest, step, before = self.state.evaluated, self.state.step, self.state.previous_evaluated
        if newest is None:
            return ("no validation yet",), "dim"
        ago = max(0, step.step - newest.step) if step is not None else 0
        then = f"step {newest.step:,}" + (f", {ago:,} step{'s' * (ago != 1)} ago" if ago else "")
        usual = newest.step - before.step if before is not None and before.step < newest.step else newest.step
        if ago > LATE * usual and usual > 0:
            late = f"{self.workbench.glyphs.warning} {then}"
            return (f"{self.workbench.glyphs.warning} validation of {then}", late), "warn"
        return (f"validation of {then}", f"validation: {then}", then), "dim"

    def _notices(self) -> list[Notice]:
        glyphs, sight, state = self.workbench.glyphs, self.sight, self.state
        found: list[Notice] = []
        for problem in (self._problem, state.problem):
            if problem:
                sentence = sanitise(problem, limit=_ERROR_LETTERS)
                found.append(Notice(sign=glyphs.warning, sentence=sentence, look="warn"))
        if sight is None or self._starting:
            return found
        sign = standing(sight.state).sign_in(glyphs)
        resume = "r starts it again."
        if sight.latest_step is not None:
            resume = f"r resumes it from step {sight.latest_step:,}."
        elif sight.state in RESUMABLE:
            resume = "r starts it again from the beginning: there is no checkpoint yet."
        match sight.state:
            case "gone":
                path = sanitise(str(self.run_directory.path), limit=_ERROR_LETTERS)
                sentence = f"This run was deleted or moved: {path}. What was read of it is still shown."
                found.append(Notice(sign=sign, sentence=sentence, look="bad"))
            case "crashed":
                last = ""
                if sight.heartbeat is not None:
                    last = f"; it was last heard of at {datetime.fromtimestamp(sight.heartbeat):%H:%M:%S}"
                sentence = f"This run crashed: its process ended without a word{last}. {resume}"
                found.append(Notice(sign=sign, sentence=sentence, look="bad", printed=sight.printed))
            case "failed" | "diverged":
                errors = [line.text for line in state.log if line.kind == "error"]
                why = sanitise(errors[-1], limit=_ERROR_LETTERS) if errors else "it gave no reason"
                sentence = f"This run ended with an error: {why.rstrip('.')}. {resume}"
                printed = () if errors else sight.printed
                found.append(Notice(sign=sign, sentence=sentence, look="bad", printed=printed))
            case "stopped" | "preempted":
                asked = "was stopped" if sight.state == "stopped" else "was asked by the machine to end"
                found.append(Notice(sign=sign, sentence=f"This run {asked}. {resume}", look=""))
            case "new":
                sentence = "This run was made, but never started: r starts it."
                found.append(Notice(sign=sign, sentence=sentence, look=""))
            case "starting" if state.step is None:
                sentence = "Loading data and initialising the model…"
                if state.log and state.log[-1].kind == "preparing":
                    sentence = state.log[-1].text
                found.append(Notice(sign=sign, sentence=sentence, look=""))
        return found

    # Panels.

    @property
    def _compact(self) -> bool:
        return self.has_class("-compact")

    @property
    def _panels(self) -> list[TextPanel]:
        table: TextPanel = self.query_one(HeadTable) if self.heads else self.query_one(CharacterTable)
        rest = (Gauge, PressRates, VitalsPanel, RunLog)
        return [table, *(self.query_one(kind) for kind in rest)]

    @property
    def _one(self) -> TextPanel | None:
        """The panel that has the whole screen."""
        if not self._whole:
            return None
        return self.query_one(RunLog) if self._whole == "log" else self.query_one(Gauge)

    def on_resize(self, event: Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        """Which panels are shown: all of them, or one where there is no room for more."""
        compact = self.size.width < WIDE or self.size.height < HIGH
        self.set_class(compact, "-compact")
        panels = self._panels
        names = tuple(panel.TITLE for panel in panels)
        self.set_class(self._one is not None, "-whole")
        one = self._one or panels[self._panel]
        alone = compact or self._one is not None
        other: TextPanel = self.query_one(CharacterTable) if self.heads else self.query_one(HeadTable)
        for panel in (*panels, other):
            panel.display = panel in panels and (panel is one or not alone)
            tabs = names if compact and not self._whole else ()
            if panel.tabs != tabs:
                panel.tabs = tabs
                panel.rebuild()
        for side in ("#run-left", "#run-right"):
            box = self.query_one(side)
            box.display = any(child.display for child in box.children)

    def action_next_panel(self, way: int) -> None:
        """The chart and the panels in turn; where only one panel has room, the panels in turn."""
        panels = self._panels
        if self._whole:
            return
        if self._compact:
            self._panel = (self._panel + way) % len(panels)
            self._arrange()
            panels[self._panel].focus()
            return
        order = [self.query_one(Chart), *panels]
        at = order.index(self.focused) if self.focused in order else 0
        order[(at + way) % len(order)].focus()

    @on(TextPanel.TabChosen)
    def _tab_chosen(self, message: TextPanel.TabChosen) -> None:
        self._panel = message.index
        self._arrange()
        self._panels[self._panel].focus()

    @on(CharacterTable.CharacterChosen)
    def _character_chosen(self) -> None:
        self._show_buttons()

    def action_toggle_validation(self) -> None:
        self.validation = not self.validation
        self._hurry()

    def action_toggle_heads(self) -> None:
        self.heads = not self.heads
        self._arrange()
        self._hurry()

    def action_toggle_whole(self, panel: Literal["log", "gauge"]) -> None:
        """That panel in place of everything else, and back."""
        self._whole = "" if self._whole == panel else panel
        self._arrange()
        (self._one or self.query_one(Chart)).focus()

    async def action_chart(self, action: str) -> None:
        await self.app.run_action(action, self.query_one(Chart))

    def on_screen_resume(self) -> None:
        self._hurry()

    def _recolour(self, theme: object) -> None:
        for panel in self.query(TextPanel):
            panel.rebuild()
        self._hurry()

    # Commands.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What makes no sense for the run as it stands is not offered; its key then says why."""
        going_on = self.sight is not None and self.sight.alive
        resumable = self.sight is not None and self.sight.state in RESUMABLE and not self._starting
        match action:
            case "pause":
                return going_on and not self._will_pause
            case "go_on":
                return going_on and self._will_pause
            case "save_checkpoint" | "stop_run":
                return going_on
            case "resume_run":
                return resumable
            case "refuse":
                return not (resumable if parameters[0] == "resume" else going_on)
        return True

    def action_toggle_pilot(self) -> None:
        """Ends the pilot that plays, whoever started it; starts one where none does."""
        if self._pilot_doing.ours:
            self._pilot.end()
            self._pilot_doing = PilotDoing(ours=True, ending=True)
            self.workbench.say("The pilot ends.")
        elif self.pilot.alive:
            self._end_other_pilot()
        else:
            self._start_pilot()

    def action_watch_pilot(self) -> None:
        if not (self._pilot_doing.ours or self.pilot.alive):
            self._start_pilot()
        self.workbench.open_watch(self.run_directory.name)

    def _start_pilot(self) -> None:
        self._pilot_doing = PilotDoing(ours=True)
        self._show_gauge()
        cost = f"takes about {CORES} of a core"
        started = self.state.started
        beside = self.standing == "running" and started is not None and started.device == "cpu"
        self.workbench.say(
            f"A pilot starts: it plays beside the run at 60 Hz and {cost}. g ends it; so does leaving."
            + (f" {SLOWED}" if beside else "")
        )
        self._play()

    @property
    def _will_pause(self) -> bool:
        """Whether the run is paused once it has taken the commands that are on their way."""
        waiting = [sent.command for sent in self._sent.values() if sent.command in ("pause", "resume")]
        return waiting[-1] == "pause" if waiting else self.standing == "paused"

    def action_refuse(self, command: str) -> None:
        state = self.standing
        if command == "resume":
            sentence = "The run goes on already."
            if state == "done":
                sentence = "The run is finished: a new one can learn for longer."
            elif state in ("gone", "unreadable"):
                sentence = "There is nothing to resume: the run was deleted or cannot be read."
        else:
            sentence = f"There is nothing to {command}: no process is behind this run ({state})."
        self.workbench.say(sentence, severity="warning")

    def action_pause(self) -> None:
        self._send("pause")

    def action_go_on(self) -> None:
        self._send("resume")

    def action_save_checkpoint(self) -> None:
        self._send("checkpoint")

    def action_stop_run(self) -> None:
        self.app.push_screen(StopRunScreen(self.run_directory.name), self._stop_answered)

    def _stop_answered(self, answer: Answer | None) -> None:
        if answer == "stop":
            self._send("stop")
        elif answer == "detach":
            self.dismiss()
            self.workbench.say(f"{self.run_directory.name} goes on.")

    def action_resume_run(self) -> None:
        self._starting = True
        self.refresh_bindings()
        self._hurry()
        self._start()

    @work(group="command", exit_on_error=False)
    async def _send(self, command: str) -> None:
        at = self.workbench.monotonic()
        problem, id = await _tried(lambda: control.send(self.run_directory, command))
        if problem:
            self.workbench.say(problem, severity="error")
        elif id:
            self._sent[cast(str, id)] = Sent(command=command, at=at)
            self.workbench.say(f"{_SAID[command].capitalize()} sent: the run answers between two steps.")
        else:
            self.workbench.say("The run was asked to stop by a signal: its folder takes no commands.")
        self._hurry()

    @work(group="pilot", exit_on_error=False)
    async def _play(self) -> None:
        try:
            problem = sanitise(await self._pilot.play(), limit=_ERROR_LETTERS)
        finally:
            self._pilot_doing = PilotDoing()
        if problem:
            self._pilot_doing = PilotDoing(problem=problem)
            self.workbench.say(problem, severity="error")

    @work(group="command", exit_on_error=False)
    async def _end_other_pilot(self) -> None:
        """The run's own, or one that was started elsewhere."""
        if await asyncio.to_thread(self._pilot_watch.directory.stop):
            self.workbench.say("The pilot ends. It was not started here: it may have served others, too.")
        else:
            self.workbench.say("The pilot plays on another machine: it ends there.", severity="warning")

    @work(group="command", exit_on_error=False)
    async def _start(self) -> None:
        try:
            problem, _ = await _tried(lambda: launcher.start(self.run_directory))
            if problem:
                self.workbench.say(problem, severity="error")
            else:
                self.workbench.say(f"{self.run_directory.name} goes on.")
            self._take_sight(await asyncio.to_thread(look, self.run_directory))
        finally:
            self._starting = False
            self.refresh_bindings()
            self._hurry()


def _kind(run: RunDirectory) -> tuple[str, ...]:
    """Preset, backbone and window, where they can be read."""
    try:
        preset = run.preset()
    except (ExphilError, OSError):
        return ()
    return sanitise(preset.name), preset.backbone.kind, f"window {preset.backbone.window_size}"


async def _tried(act: Callable[[], object]) -> tuple[str, object]:
    """What went wrong, in a sentence, or nothing; and what `act` gave. In a thread."""
    try:
        return "", await asyncio.to_thread(act)
    except (ExphilError, OSError) as error:
        return str(error) or type(error).__name__, None
