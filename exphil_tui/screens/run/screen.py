"""Run screen: live loss curves, per-character table, gauge, log, and commands to the run.

Commands are files in the run's `control/` folder. The screen reports a command as done only when an event of the run
confirms it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.widgets import Footer

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_core.runs import control, launcher
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.records import CommandSeen
from exphil_tui.model.run_snapshot import RunSnapshot, read_snapshot
from exphil_tui.model.run_state import RunState, reduce
from exphil_tui.model.run_status import RESUMABLE
from exphil_tui.screens.base import FULL_HEIGHT, FULL_WIDTH, WorkbenchScreen
from exphil_tui.screens.run.bindings import RUN_BINDINGS, RUN_HELP
from exphil_tui.screens.run.commands import SentCommands, refusal_sentence, sent_sentence
from exphil_tui.screens.run.header import preset_summary, run_facts
from exphil_tui.screens.run.loss_chart import ChartMode, character_styles, head_styles, show_losses
from exphil_tui.screens.run.notices import problem_notice, status_notice
from exphil_tui.screens.run.panels import FullScreenPanel, RunPanels
from exphil_tui.screens.run.pilot_control import PilotControl, start_sentence
from exphil_tui.screens.run.repaint import RepaintThrottle
from exphil_tui.screens.stop_run import Answer, StopRunScreen
from exphil_tui.services.follow import Follower
from exphil_tui.widgets.canvas.chart import Chart
from exphil_tui.widgets.run_header import RunHeader
from exphil_tui.widgets.run_notice import RunNotice, RunNoticePanel
from exphil_tui.widgets.system_stats import SystemStatsLine
from exphil_tui.widgets.text_panel import TextPanel

PAINT_INTERVAL_S, POLL_INTERVAL_S = 0.1, 1.0

GAUGE_INTERVAL_S = 0.25
"""Interval in seconds for polling a playing pilot."""


class RunScreen(WorkbenchScreen[None]):
    CSS_PATH = "run.tcss"
    BINDING_GROUP_TITLE = "Run"
    BINDINGS: ClassVar[list[BindingType]] = RUN_BINDINGS
    HELP = RUN_HELP

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self.run_directory = run
        self.state = RunState()
        self.snapshot: RunSnapshot | None = None
        """Snapshot of the directory; None until the first read."""
        self.pilot = PilotControl(run)
        self._panels = RunPanels(id="run-panels")
        self._mode = ChartMode()
        self._problem = ""
        """Why the directory cannot be read."""
        self._follower = Follower(run.events_path)
        self._preset: tuple[str, ...] = ()
        self._sent = SentCommands(lambda: self.workbench.monotonic())
        self._starting = False
        """Whether the run's process is being started from here."""
        self._throttle = RepaintThrottle(time.monotonic)
        self._enabled: object = None
        """What decided which keys are enabled, at the last repaint."""

    def compose(self) -> ComposeResult:
        yield RunHeader(id="run-header")
        yield RunNoticePanel(id="run-notice")
        with Vertical(id="run-body"):
            yield Chart(id="run-chart")
            yield self._panels
            yield SystemStatsLine(id="run-system-stats")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._update_layout()
        chart = self.query_one(Chart)
        # A log axis: loss falls from about 15 to 0.5 nats, so on a linear one its end looks flat.
        chart.action_toggle_log("y")
        chart.focus()
        self.run_worker(self._follow(), group="follow")
        # Reading the directory needs imports that must not delay the first paint.
        self.call_after_refresh(self.run_worker, self._poll_directory(), group="poll")
        self.call_after_refresh(self.run_worker, self._poll_pilot(), group="poll")
        # The first paint must not wait for the timer.
        self.call_after_refresh(self.paint)
        self.set_interval(PAINT_INTERVAL_S, self.paint)
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    # Reading the run.

    async def _follow(self) -> None:
        """Reduce every event into the state; `paint` draws it."""
        self.run_worker(self._follower.run(), group="tail")
        while True:
            batch = await self._follower.queue.get()
            # In a thread, because a long event file takes a while; safe, because states are immutable.
            self.state = await asyncio.to_thread(reduce, self.state, batch)
            self._take_answers(batch.records)

    async def _poll_directory(self) -> None:
        """Read the directory every `POLL_INTERVAL_S`, in a thread because the disk may be slow."""
        self._preset = await asyncio.to_thread(preset_summary, self.run_directory)
        while True:
            try:
                snapshot = await asyncio.to_thread(read_snapshot, self.run_directory)
            except OSError as error:
                self._problem = f"{self.run_directory.path} cannot be read: {error.strerror}"
            else:
                self._problem = ""
                self._take_snapshot(snapshot)
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _poll_pilot(self) -> None:
        """Redraw the gauge independently of `paint`, which may pause longer."""
        while True:
            await self.pilot.poll()
            if self.is_shown:
                self._show_gauge()
            playing = self.pilot.alive or self.pilot.ours
            await asyncio.sleep(GAUGE_INTERVAL_S if playing else POLL_INTERVAL_S)

    def _take_snapshot(self, snapshot: RunSnapshot) -> None:
        self.snapshot = snapshot
        if not snapshot.alive and not self._starting:
            self._sent.clear()

    def _take_answers(self, records: Iterable[object]) -> None:
        for record in records:
            if isinstance(record, CommandSeen) and (answer := self._sent.answer(record)) is not None:
                self.notify(answer.sentence, severity="warning" if answer.refused else "information")

    @property
    def run_status(self) -> str:
        """State of the run: from the directory, except paused or running, which events report sooner."""
        if self.snapshot is None:
            return ""
        if self.snapshot.state in ("running", "paused") and not self.state.finished:
            return "paused" if self.state.paused else "running"
        return self.snapshot.state

    @property
    def _alive(self) -> bool:
        return self.snapshot is not None and self.snapshot.alive

    @property
    def _will_pause(self) -> bool:
        """Whether the run will be paused after the commands sent so far."""
        return self._sent.will_pause(paused=self.run_status == "paused")

    # Drawing.

    def paint(self) -> None:
        """Redraw if visible and changed: urgent changes at once, training numbers as the throttle allows."""
        if not self.is_shown:
            return
        enabled = (self.run_status, self._will_pause, self._starting)
        shown = (self._mode, self.size, self._problem, self.state.problem)
        urgent = (*enabled, self._activity(), self.snapshot, *shown)
        if not self._throttle.is_due(self.state, urgent):
            return
        if enabled != self._enabled:
            self.refresh_bindings()
        self._enabled = enabled
        self._throttle.paint(self.state, urgent, self._show_all)

    def repaint_now(self) -> None:
        """Redraw now, in response to input."""
        self._throttle.reset()
        self.paint()

    def _show_all(self) -> None:
        state, glyphs = self.state, self.workbench.glyphs
        caught_up = self._follower.caught_up or not state.events
        facts = run_facts(
            state,
            name=self.run_directory.name,
            status=self.run_status,
            alive=self._alive,
            activity=self._activity() or ("" if caught_up else f"reading, {state.events:,} events"),
            preset=self._preset,
            glyphs=glyphs,
        )
        self.query_one(RunHeader).show(facts)
        printed_lines = 3 if self.has_class("-compact") else 0
        self.query_one(RunNoticePanel).show(self._notices(), printed_lines=printed_lines)
        if self._mode.heads:
            styles = head_styles(state)
        else:
            styles = character_styles(state, self.app.theme_variables.get("foreground", "#FFFFFF"))
        show_losses(self.query_one(Chart), state, styles, self._mode)
        stats = self._panels.show(
            state, self.snapshot, styles=styles, validation=self._mode.validation, glyphs=glyphs
        )
        self.query_one(SystemStatsLine).show(stats)
        self._show_gauge()

    def _show_gauge(self) -> None:
        workbench = self.workbench
        reading = self.pilot.reading(
            self.state, run_alive=self._alive, now=workbench.clock(), glyphs=workbench.glyphs
        )
        self._panels.show_gauge(reading)

    def _activity(self) -> str:
        """Return the command in progress; empty if there is none."""
        if self._starting:
            return "starting"
        pending = f"{sanitise(self.state.pending[0])} received" if self.state.pending else ""
        return self._sent.progress() or pending

    def _notices(self) -> list[RunNotice]:
        glyphs = self.workbench.glyphs
        problems = (self._problem, self.state.problem)
        notices = [problem_notice(problem, glyphs) for problem in problems if problem]
        if self.snapshot is not None and not self._starting:
            found = status_notice(self.snapshot, self.state, path=self.run_directory.path, glyphs=glyphs)
            notices += [found] if found is not None else []
        return notices

    # Panels.

    def on_resize(self, event: Resize) -> None:
        self._update_layout()

    def _update_layout(self) -> None:
        """Show all panels, or only one if there is no room for more."""
        panels = self._panels
        compact = self.size.width < FULL_WIDTH or self.size.height < FULL_HEIGHT
        self.set_class(compact, "-compact")
        self.set_class(panels.full_screen_panel is not None, "-full-screen")
        panels.set_compact(compact)

    def action_next_panel(self, direction: int) -> None:
        """Move the focus through chart and panels, or switch the panel if only one has room."""
        panels = self._panels
        if panels.full_screen_panel is not None:
            return
        if self.has_class("-compact"):
            panels.select_next(direction)
            return
        order = [self.query_one(Chart), *panels.panels]
        at = order.index(self.focused) if self.focused in order else 0
        order[(at + direction) % len(order)].focus()

    def action_toggle_validation(self) -> None:
        self._mode = replace(self._mode, validation=not self._mode.validation)
        self.repaint_now()

    def action_toggle_heads(self) -> None:
        self._mode = replace(self._mode, heads=not self._mode.heads)
        self._panels.show_heads(self._mode.heads)
        self.repaint_now()

    def action_toggle_full_screen(self, panel: FullScreenPanel) -> None:
        """Toggle a panel between its place and the whole screen."""
        panels = self._panels
        panels.toggle_full_screen(panel)
        self._update_layout()
        (panels.full_screen_panel or self.query_one(Chart)).focus()

    async def action_chart(self, action: str) -> None:
        await self.app.run_action(action, self.query_one(Chart))

    def on_screen_resume(self) -> None:
        self.repaint_now()

    def _theme_changed(self, theme: object) -> None:
        for panel in self.query(TextPanel):
            panel.rebuild()
        self.repaint_now()

    # Commands.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable actions that do not apply to the run's state; `refuse` then explains why."""
        resumable = self.snapshot is not None and self.snapshot.state in RESUMABLE and not self._starting
        match action:
            case "pause":
                return self._alive and not self._will_pause
            case "unpause":
                return self._alive and self._will_pause
            case "save_checkpoint" | "stop_run":
                return self._alive
            case "resume_run":
                return resumable
            case "refuse":
                return not (resumable if parameters[0] == "resume" else self._alive)
        return True

    def action_refuse(self, command: str) -> None:
        self.notify(refusal_sentence(command, self.run_status), severity="warning")

    def action_pause(self) -> None:
        self._send("pause")

    def action_unpause(self) -> None:
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
            self.notify(f"{self.run_directory.name} keeps running.")

    @work(group="command", exit_on_error=False)
    async def _send(self, command: str) -> None:
        at = self.workbench.monotonic()
        problem, id = await _try(lambda: control.send(self.run_directory, command))
        if problem:
            self.notify(problem, severity="error")
        else:
            if id:
                self._sent.add(cast(str, id), command, at=at)
            self.notify(sent_sentence(command, cast(str, id)))
        self.repaint_now()

    def action_resume_run(self) -> None:
        self._starting = True
        self.refresh_bindings()
        self.repaint_now()
        self._start()

    @work(group="command", exit_on_error=False)
    async def _start(self) -> None:
        try:
            problem, _ = await _try(lambda: launcher.start(self.run_directory))
            if problem:
                self.notify(problem, severity="error")
            else:
                self.notify(f"{self.run_directory.name} is running.")
            self._take_snapshot(await asyncio.to_thread(read_snapshot, self.run_directory))
        finally:
            self._starting = False
            self.refresh_bindings()
            self.repaint_now()

    # Pilot.

    def action_toggle_pilot(self) -> None:
        """Stop the running pilot, also one started elsewhere; start one if there is none."""
        if self.pilot.ours:
            self.pilot.end()
            self.notify("The pilot is stopping.")
        elif self.pilot.alive:
            self._end_other_pilot()
        else:
            self._start_pilot()

    def action_watch_pilot(self) -> None:
        if not (self.pilot.ours or self.pilot.alive):
            self._start_pilot()
        self.workbench.open_watch(self.run_directory.name)

    def _start_pilot(self) -> None:
        self.pilot.mark_started()
        self._show_gauge()
        started = self.state.started
        on_cpu = self.run_status == "running" and started is not None and started.device == "cpu"
        self.notify(start_sentence(trains_on_cpu=on_cpu))
        self._play()

    @work(group="pilot", exit_on_error=False)
    async def _play(self) -> None:
        if problem := await self.pilot.play():
            self.notify(problem, severity="error")

    @work(group="command", exit_on_error=False)
    async def _end_other_pilot(self) -> None:
        """Stop a pilot that was started by the run or elsewhere."""
        if await self.pilot.end_other():
            self.notify("The pilot is stopping. It was not started here and may have served others, too.")
        else:
            self.notify("The pilot runs on another machine: stop it there.", severity="warning")


async def _try(act: Callable[[], object]) -> tuple[str, object]:
    """Call `act` in a thread; return (error sentence or "", its result)."""
    try:
        return "", await asyncio.to_thread(act)
    except (ExphilError, OSError) as error:
        return str(error) or type(error).__name__, None
