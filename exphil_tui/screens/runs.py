"""The runs of a folder: how each stands, and what can be done with it.

In: the folder, looked at once a second. Out: a table, a few words about the run under the cursor, and commands to
runs. What a reader gets wrong: what is shown is up to a second old, so a command may come too late; the core then
says why, and that sentence is shown.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

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
from exphil_tui.messages import RunsRead
from exphil_tui.screens.steady import SteadyScreen
from exphil_tui.standing import RESUMABLE, standing
from exphil_tui.widgets.run_table import RunTable, age_of, shortened

if TYPE_CHECKING:
    from exphil_core.runs.directory import RunDirectory
    from exphil_core.runs.summary import RunList, RunSummary
    from exphil_tui.app import Workbench

REFRESH_S = 1.0

_ONE_RUN = ("pause", "resume_training", "stop", "delete")
_LOG_LINES = 3
_LINE_LETTERS = 300


class RunsScreen(SteadyScreen[None]):
    CSS_PATH = "runs.tcss"
    BINDING_GROUP_TITLE = "Runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new_run", "New run"),
        Binding("space", "mark", "Mark for comparing", show=False),
        Binding("c", "compare", "Compare"),
        Binding("p", "pause", "Pause or go on"),
        Binding("r", "resume_training", "Resume"),
        Binding("s", "stop", "Stop"),
        Binding("x", "delete", "Delete"),
        Binding("d", "data", "Data", show=False),
        Binding("t", "studies", "Studies", show=False, tooltip="Studies: variants compared"),
        Binding("w", "write_demo", "Write demo replays"),
    ]
    HELP = """\
One row is one run, the newest first, looked at once a second.
The sign and the word say how it stands. "win" is how many frames it looks back on.
"best" is the lowest validation loss so far, in nats per frame: lower is better, and only runs on the same data
with the same delay compare.
"curve" is the logarithm of the training loss over its recent steps.
"age" is how long ago the run was last heard of.
Below the table stands what is known of the run under the cursor and what can be done with it.
A run is a process of its own: leaving the workbench, or losing it, changes nothing for it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: Sequence[RunSummary] = ()
        """As they were when the folder was last looked at."""
        self._marked: frozenset[str] = frozenset()
        self._list: RunList | None = None
        self.looked = False
        """Whether the folder was looked at yet."""
        self._problem = ""
        self._log_of: tuple[str, str, int] | None = None
        self._log: tuple[str, ...] = ()
        self._offered: list[bool | None] = []

    @property
    def workbench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="runs-title")
        yield RunTable(self.workbench.glyphs, id="runs-table")
        with Center(id="runs-none"):
            yield Static(id="runs-none-text")
        with Vertical(id="runs-about"):
            yield Static(id="runs-about-text")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._paint()
        self.set_interval(REFRESH_S, self._look)
        # Reading runs takes imports that the first picture need not wait for.
        self.call_after_refresh(self._look)
        self.app.theme_changed_signal.subscribe(self, self._recolour)

    def on_screen_resume(self) -> None:
        self._look()

    def on_resize(self, event: Resize) -> None:
        self._paint()

    # Looking at the folder.

    def _look(self) -> None:
        reading = any(worker.group == "look" and worker.is_running for worker in self.workers)
        # To Textual a screen below another one is current too; but only what lies under a dialog is seen.
        top = self.app.screen
        if (top is self or (top.is_modal and self.is_current)) and not reading:
            self._read()

    def look_now(self) -> "Sequence[RunSummary]":
        """The runs as they are at this moment; as they were last where they cannot be read."""
        if self._list is not None:
            with suppress(ExphilError, OSError):
                return self._list.refresh()
        return self.runs

    @work(thread=True, group="look", exit_on_error=False)
    def _read(self) -> None:
        from exphil_core.runs.summary import RunList

        try:
            if self._list is None:
                self._list = RunList(self.workbench.runs_dir, clock=self.workbench.clock)
            message = RunsRead(self._list.refresh())
        except (ExphilError, OSError) as error:
            message = RunsRead((), problem=str(error))
        self.post_message(message)

    @on(RunsRead)
    def _take(self, message: RunsRead) -> None:
        self.runs, self._problem, self.looked = message.runs, message.problem, True
        self._marked &= {run.name for run in self.runs}
        self._paint()

    # Drawing.

    def _paint(self) -> None:
        table = self.query_one(RunTable)
        had = table.display
        table.display = bool(self.runs)
        self.query_one("#runs-none").display = not self.runs
        self.query_one("#runs-about").display = bool(self.runs)
        self._show("#runs-title", self._title())
        if self.runs:
            table.show(self.runs, self._marked, width=max(20, self.size.width - 2))
            if not had and self.focused is None:
                table.focus()
            self._about()
        else:
            self._show("#runs-none-text", self._none())
        self._offer()

    def _show(self, selector: str, text: Content) -> None:
        """Only what reads differently is drawn."""
        widget = self.query_one(selector, Static)
        if str(widget.content) != str(text):
            widget.update(text)

    def _title(self) -> Content:
        going_on = sum(run.state in UNFINISHED for run in self.runs)
        parts = [f"{len(self.runs)} run{'s' * (len(self.runs) != 1)}"] if self.looked else []
        if going_on:
            parts.append(f"{going_on} going on")
        if self._marked:
            parts.append(f"{len(self._marked)} marked")
        folder = sanitise(str(self.workbench.runs_dir), limit=400)
        right = ", ".join(parts) + f" in {folder}" if parts else folder
        left = "exphil  Runs"
        room = self.size.width - len(left) - 4
        if len(right) > room > 0:
            right = right[: room - 1] + self.workbench.glyphs.ellipsis
        gap = max(2, self.size.width - 2 - len(left) - len(right))
        return Content.assemble(
            ("exphil", "bold $primary"), "  Runs", " " * gap, (right, "$foreground-muted")
        )

    def _none(self) -> Content:
        if self._problem:
            return Content(sanitise(self._problem, limit=_LINE_LETTERS))
        if not self.looked:
            return Content.styled("Looking for runs" + self.workbench.glyphs.ellipsis, "$foreground-muted")
        folder = sanitise(str(self.workbench.runs_dir), limit=60)
        return Content.assemble(
            ("No run yet", "bold"),
            (f" in {folder}\n\n", "$foreground-muted"),
            "A first one takes a few keys and a few minutes:\n\n",
            _key("n", "a new run: the preset quick on demo replays is chosen"),
            _key("Enter", "starts it, and opens it"),
            "\nOr, to look around first:\n\n",
            _key("w", "write demo replays, with bots that play"),
            _key("d", "find your own Slippi replays"),
            _key("t", "studies: settings compared, over seeds"),
            _key("?", "keys, and how to read this"),
        )

    def _about(self) -> None:
        """The run under the cursor, in words."""
        run = self._current()
        if run is None:
            return
        self._wish_for_log(run)
        stands = standing(run.state)
        glyphs = self.workbench.glyphs
        facts = [
            sanitise(run.preset, limit=40),
            sanitise(run.backbone, limit=20),
            "" if run.window_size is None else f"window {run.window_size}",
            f"step {run.step:,}",
            "" if run.best_loss is None else f"best {run.best_loss:.4f}{_at(run.best_step)}",
        ]
        age = age_of(run, 6)
        heard = "heard of just now" if age == "now" else f"heard of {age} ago"
        room = max(10, self.size.width - len(run.state) - len(heard) - 8)
        lines = [
            Content.assemble(
                (
                    f"{stands.sign_in(glyphs)} {shortened(sanitise(run.name, limit=400), room, glyphs)}",
                    "bold",
                ),
                (f"  {sanitise(run.state, limit=20)}, {heard}", "$foreground-muted"),
            )
        ]
        if not run.problem:
            facts_line = f" {glyphs.bullet} ".join(fact for fact in facts if fact)
            lines.append(Content.styled(facts_line, "$foreground-muted"))
        lines.append(Content(sanitise(run.problem, limit=_LINE_LETTERS) or stands.sentence))
        if run.state in ("crashed", "failed"):
            lines += [Content.styled(line, "$foreground-muted") for line in self._log]
        self._show("#runs-about-text", Content("\n").join(lines))

    def _wish_for_log(self, run: "RunSummary") -> None:
        """The end of what the process of a run printed that ended badly: often the reason."""
        key = (run.name, run.state, run.step)
        if key == self._log_of:
            return
        self._log_of, self._log = key, ()
        if run.state in ("crashed", "failed"):
            self._read_log(run)

    @work(thread=True, group="log", exclusive=True, exit_on_error=False)
    def _read_log(self, run: "RunSummary") -> None:
        from exphil_core.runs.log_end import last_lines

        try:
            lines = last_lines(run.path / "worker.log", _LOG_LINES)
        except (ExphilError, OSError) as error:
            lines = [str(error)]
        self.app.call_from_thread(
            self._take_log, run, tuple(sanitise(line, limit=_LINE_LETTERS) for line in lines)
        )

    def _take_log(self, run: "RunSummary", lines: tuple[str, ...]) -> None:
        if self._log_of is not None and self._log_of[0] == run.name:
            self._log = lines
            self._about()

    def _recolour(self, theme: object) -> None:
        self.query_one(RunTable).forget_colours()
        self._paint()

    # What a person does.

    def _current(self) -> "RunSummary | None":
        name = self.query_one(RunTable).name_under_cursor
        return next((run for run in self.runs if run.name == name), None)

    @on(RunTable.RowHighlighted)
    def _moved(self) -> None:
        self._about()
        self._offer()

    def _offer(self) -> None:
        """The keys of the footer, drawn only where others make sense than before."""
        offered = [self.check_action(action, ()) for action in (*_ONE_RUN, "mark", "write_demo")]
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    @on(RunTable.RowSelected)
    def _chosen(self) -> None:
        run = self._current()
        if run is None:
            return
        if run.state == "unreadable":
            self.workbench.say(run.problem, severity="error")
        else:
            self.workbench.open_run(run.name)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What makes no sense for the run under the cursor is neither offered nor done."""
        if action == "write_demo":
            return self.looked and not self.runs
        if action in ("mark", "compare"):
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

    def action_mark(self) -> None:
        run = self._current()
        if run is not None:
            self._marked ^= {run.name}
            self._paint()
            self.query_one(RunTable).action_cursor_down()

    def action_compare(self) -> None:
        """The marked runs; with one marked, that and the one under the cursor."""
        run = self._current()
        wanted = self._marked | ({run.name} if run is not None and len(self._marked) == 1 else set())
        names = [found.name for found in self.runs if found.name in wanted and found.state != "unreadable"]
        if len(names) < 2:
            self.workbench.say("Mark the runs to compare with the space bar, two at least, then press c.")
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
            self._act(f"{run.name} is deleted.", lambda directory: directory.delete(), run)

    def action_resume_training(self) -> None:
        run = self._current()
        if run is None:
            return
        from exphil_core.runs import launcher

        self.workbench.say(f"Starting the process of {run.name}.")
        self._act(f"{run.name} goes on.", launcher.start, run)

    def _command(self, run: "RunSummary", command: str) -> None:
        from exphil_core.runs import control

        said = {
            "pause": "is asked to pause",
            "resume": "is asked to go on",
            "stop": "is asked to save and stop",
        }
        self._act(f"{run.name} {said[command]}.", lambda directory: control.send(directory, command), run)

    @work(thread=True, group="act", exit_on_error=False)
    def _act(self, done: str, act: "Callable[[RunDirectory], object]", run: "RunSummary") -> None:
        """Does it outside the event loop, and says how it went."""
        from exphil_core.runs.directory import RunDirectory

        try:
            act(RunDirectory.open(run.path))
        except (ExphilError, OSError) as error:
            self.app.call_from_thread(self.workbench.say, str(error), severity="error")
        else:
            self.app.call_from_thread(self.workbench.say, done)
        self.app.call_from_thread(self._look)

    @work(group="demo", exclusive=True)
    async def action_write_demo(self) -> None:
        """By a process of its own: it keeps a core busy for seconds."""
        from exphil_core.dataset.catalog import demo_folder

        folder = demo_folder()
        if folder.exists():
            self.workbench.say(f"There are demo replays already, in {folder}: n starts a run on them.")
            return
        self.workbench.say(f"Writing demo replays into {folder}.")
        ended = await self.workbench.launch(["demo", "--out", str(folder)])
        if ended.code == 0:
            self.workbench.say(f"Demo replays are in {folder}: n starts a run on them.")
        else:
            self.workbench.say(ended.problem, severity="error")


def _key(key: str, does: str) -> Content:
    return Content.assemble((f"{key:>7}", "bold $primary"), f"  {does}\n")


def _at(step: int | None) -> str:
    return "" if step is None else f" at {step:,}"
