"""Runs screen, the first screen: a table of the runs in a folder, reread every second, and commands to them.

The table is up to a second old, so a command can come too late; the error is then shown.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Footer, Static

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import UNFINISHED
from exphil_tui.model.run_status import RESUMABLE
from exphil_tui.screens.base import WorkbenchScreen
from exphil_tui.screens.runs.run_details import LINE_LIMIT, counts_of, no_runs, run_details, title_line
from exphil_tui.widgets.messages import RunsRead
from exphil_tui.widgets.tables.run_table import RunTable

if TYPE_CHECKING:
    from exphil_core.runs.directory import RunDirectory
    from exphil_core.runs.summary import RunList, RunSummary

REFRESH_S = 1.0

_ONE_RUN = ("pause", "resume_training", "stop", "delete")
_LOG_LINES = 3
_STATES_WITH_LOG = ("crashed", "failed")


class RunsScreen(WorkbenchScreen[None]):
    CSS_PATH = "runs.tcss"
    BINDING_GROUP_TITLE = "Runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new_run", "New run"),
        Binding("space", "select", "Select to compare", show=False),
        Binding("c", "compare", "Compare"),
        Binding("p", "pause", "Pause/continue"),
        Binding("r", "resume_training", "Resume"),
        Binding("s", "stop", "Stop"),
        Binding("x", "delete", "Delete"),
        Binding("d", "data", "Data", show=False),
        Binding(
            "t", "studies", "Studies", show=False, tooltip="Studies: compare settings over several seeds"
        ),
        Binding("w", "write_demo", "Write demo replays"),
    ]
    HELP = """\
One row per run, newest first, updated every second.
The sign and the word show the state. "win" is the context window in frames.
"best" is the lowest validation loss so far, in nats per frame: lower is better. Compare it only between runs on the
same data with the same delay.
"curve" is the logarithm of the training loss over recent steps.
"age" is the time since the last update.
Below the table are details of the run under the cursor, and what you can do with it.
A run is a separate process: leaving the workbench, or losing it, does not affect it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: Sequence[RunSummary] = ()
        """Runs as of the last scan of the folder."""
        self._selected: frozenset[str] = frozenset()
        """Names of the runs to compare."""
        self._list: RunList | None = None
        self.loaded = False
        """Whether the folder was scanned yet."""
        self._problem = ""
        self._log_of: tuple[str, str, int] | None = None
        self._log: tuple[str, ...] = ()
        self._enabled: list[bool | None] = []

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="runs-title")
        yield RunTable(self.workbench.glyphs, id="runs-table")
        with Center(id="runs-none"):
            yield Static(id="runs-none-text")
        with Vertical(id="runs-details"):
            yield Static(id="runs-details-text")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._paint()
        self.set_interval(REFRESH_S, self._poll)
        # Reading runs needs imports that must not delay the first paint.
        self.call_after_refresh(self._poll)
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    def on_screen_resume(self) -> None:
        self._poll()

    def on_resize(self, event: Resize) -> None:
        self._paint()

    # Scanning the folder.

    def _poll(self) -> None:
        reading = any(worker.group == "scan" and worker.is_running for worker in self.workers)
        # `is_current` is also true below another screen, but this one is visible only below a dialog.
        top = self.app.screen
        if (top is self or (top.is_modal and self.is_current)) and not reading:
            self._scan()

    def refresh_now(self) -> "Sequence[RunSummary]":
        """Rescan the folder now; return the last known runs if it cannot be read."""
        if self._list is not None:
            with suppress(ExphilError, OSError):
                return self._list.refresh()
        return self.runs

    @work(thread=True, group="scan", exit_on_error=False)
    def _scan(self) -> None:
        from exphil_core.runs.summary import RunList

        try:
            if self._list is None:
                self._list = RunList(self.workbench.runs_dir, clock=self.workbench.clock)
            message = RunsRead(self._list.refresh())
        except (ExphilError, OSError) as error:
            message = RunsRead((), problem=str(error))
        self.post_message(message)

    @on(RunsRead)
    def _runs_read(self, message: RunsRead) -> None:
        self.runs, self._problem, self.loaded = message.runs, message.problem, True
        self._selected &= {run.name for run in self.runs}
        self._paint()

    # Drawing.

    def _paint(self) -> None:
        table = self.query_one(RunTable)
        was_shown = table.display
        table.display = bool(self.runs)
        self.query_one("#runs-none").display = not self.runs
        self.query_one("#runs-details").display = bool(self.runs)
        self._show("#runs-title", self._title())
        if self.runs:
            table.show(self.runs, self._selected, width=max(20, self.size.width - 2))
            if not was_shown and self.focused is None:
                table.focus()
            self._show_details()
        else:
            self._show("#runs-none-text", self._empty_text())
        self._update_footer()

    def _show(self, selector: str, text: Content) -> None:
        """Update a text only if it changed."""
        widget = self.query_one(selector, Static)
        if str(widget.content) != str(text):
            widget.update(text)

    def _title(self) -> Content:
        counts = counts_of(self.runs, len(self._selected)) if self.loaded else []
        return title_line(counts, self.workbench.runs_dir, self.size.width, self.workbench.glyphs)

    def _empty_text(self) -> Content:
        if self._problem:
            return Content(sanitise(self._problem, limit=LINE_LIMIT))
        if not self.loaded:
            return Content.styled("Loading runs" + self.workbench.glyphs.ellipsis, "$foreground-muted")
        return no_runs(self.workbench.runs_dir)

    def _show_details(self) -> None:
        run = self._current()
        if run is not None:
            self._request_log(run)
            log = self._log if run.state in _STATES_WITH_LOG else ()
            details = run_details(run, log, self.size.width, self.workbench.glyphs)
            self._show("#runs-details-text", details)

    def _request_log(self, run: "RunSummary") -> None:
        """Request the end of `worker.log` of a crashed or failed run: it often has the reason."""
        key = (run.name, run.state, run.step)
        if key == self._log_of:
            return
        self._log_of, self._log = key, ()
        if run.state in _STATES_WITH_LOG:
            self._read_log(run)

    @work(thread=True, group="log", exclusive=True, exit_on_error=False)
    def _read_log(self, run: "RunSummary") -> None:
        from exphil_core.runs.log_tail import last_lines

        try:
            lines = last_lines(run.path / "worker.log", _LOG_LINES)
        except (ExphilError, OSError) as error:
            lines = [str(error)]
        self.app.call_from_thread(
            self._log_read, run, tuple(sanitise(line, limit=LINE_LIMIT) for line in lines)
        )

    def _log_read(self, run: "RunSummary", lines: tuple[str, ...]) -> None:
        if self._log_of is not None and self._log_of[0] == run.name:
            self._log = lines
            self._show_details()

    def _theme_changed(self, theme: object) -> None:
        self.query_one(RunTable).forget_colours()
        self._paint()

    # Actions.

    def _current(self) -> "RunSummary | None":
        name = self.query_one(RunTable).name_under_cursor
        return next((run for run in self.runs if run.name == name), None)

    @on(RunTable.RowHighlighted)
    def _cursor_moved(self) -> None:
        self._show_details()
        self._update_footer()

    def _update_footer(self) -> None:
        """Redraw the footer keys if the enabled actions changed."""
        enabled = [self.check_action(action, ()) for action in (*_ONE_RUN, "select", "write_demo")]
        if enabled != self._enabled:
            self._enabled = enabled
            self.refresh_bindings()

    @on(RunTable.RowSelected)
    def _row_chosen(self) -> None:
        run = self._current()
        if run is None:
            return
        if run.state == "unreadable":
            self.notify(run.problem, severity="error")
        else:
            self.workbench.open_run(run.name)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable actions that do not apply to the run under the cursor."""
        if action == "write_demo":
            return self.loaded and not self.runs
        if action in ("select", "compare"):
            return bool(self.runs)
        if action not in _ONE_RUN:
            return True
        run = self._current() if self.is_mounted else None
        if run is None:
            return False
        return {
            "pause": run.state in ("running", "paused"),
            "stop": run.state in UNFINISHED,
            "resume_training": run.state in RESUMABLE,
            "delete": run.state not in UNFINISHED,
        }[action]

    def action_new_run(self) -> None:
        self.workbench.open_new_run()

    def action_data(self) -> None:
        self.workbench.open_data()

    def action_studies(self) -> None:
        self.workbench.open_studies()

    def action_select(self) -> None:
        run = self._current()
        if run is not None:
            self._selected ^= {run.name}
            self._paint()
            self.query_one(RunTable).action_cursor_down()

    def action_compare(self) -> None:
        """Compare the selected runs; with only one selected, that run and the one under the cursor."""
        run = self._current()
        wanted = self._selected | ({run.name} if run is not None and len(self._selected) == 1 else set())
        names = [found.name for found in self.runs if found.name in wanted and found.state != "unreadable"]
        if len(names) < 2:
            self.notify("Select at least two runs with Space, then press c.")
        else:
            self.workbench.open_compare(names)

    def action_pause(self) -> None:
        run = self._current()
        if run is not None:
            self._command(run, "resume" if run.state == "paused" else "pause")

    def action_stop(self) -> None:
        from exphil_tui.screens.stop_run import StopRunScreen

        run = self._current()
        if run is not None:
            self.app.push_screen(StopRunScreen(run.name), partial(self._stop_answered, run))

    def _stop_answered(self, run: "RunSummary", answer: str | None) -> None:
        if answer == "stop":
            self._command(run, "stop")

    def action_delete(self) -> None:
        from exphil_tui.screens.delete_run import DeleteRunScreen

        run = self._current()
        if run is not None:
            self.app.push_screen(DeleteRunScreen(run), partial(self._delete_answered, run))

    def _delete_answered(self, run: "RunSummary", delete: bool | None) -> None:
        if delete:
            self._act(f"{run.name}: deleted.", lambda directory: directory.delete(), run)

    def action_resume_training(self) -> None:
        run = self._current()
        if run is None:
            return
        from exphil_core.runs import launcher

        self.notify(f"Starting {run.name}.")
        self._act(f"{run.name} is running.", launcher.start, run)

    def _command(self, run: "RunSummary", command: str) -> None:
        from exphil_core.runs import control

        requested = {"pause": "pause", "resume": "continue", "stop": "save and stop"}[command]
        self._act(
            f"{run.name}: asked to {requested}.", lambda directory: control.send(directory, command), run
        )

    @work(thread=True, group="command", exit_on_error=False)
    def _act(self, done: str, act: "Callable[[RunDirectory], object]", run: "RunSummary") -> None:
        """Run `act` on a run directory in a thread, and notify the result."""
        from exphil_core.runs.directory import RunDirectory

        try:
            act(RunDirectory.open(run.path))
        except (ExphilError, OSError) as error:
            self.app.call_from_thread(self.notify, str(error), severity="error")
        else:
            self.app.call_from_thread(self.notify, done)
        self.app.call_from_thread(self._poll)

    @work(group="demo", exclusive=True)
    async def action_write_demo(self) -> None:
        """Write demo replays, in a child process because it keeps a core busy for seconds."""
        from exphil_core.dataset.discovery import demo_folder

        folder = demo_folder()
        if folder.exists():
            self.notify(f"Demo replays exist in {folder} already; n starts a run on them.")
            return
        self.notify(f"Writing demo replays to {folder}.")
        ended = await self.workbench.launch(["demo", "--out", str(folder)])
        if ended.code == 0:
            self.notify(f"Demo replays are in {folder}; n starts a run on them.")
        else:
            self.notify(ended.problem, severity="error")
