"""Studies screen: the studies of a folder, reread every second, their progress and results; starts workers.

A study is not a process: its state is a journal that any number of workers write to, on this machine and others.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus, Resize
from textual.widgets import Footer, Static

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_tui.model.study_budget import BudgetView, budgets_of
from exphil_tui.model.study_snapshot import STUDIES, StudySnapshot
from exphil_tui.screens.base import WorkbenchScreen
from exphil_tui.screens.studies.study_body import RESULTS, StudyBody
from exphil_tui.screens.studies.texts import (
    LINE_LETTERS,
    SHIPPED,
    STARTED,
    about_line,
    counts_text,
    empty_text,
    list_entries,
    preparing_text,
    shipped_study_text,
    start_sentence,
    stopped_sentence,
    title_line,
)
from exphil_tui.widgets.page_bar import PageBar
from exphil_tui.widgets.study_list import StudyEntry, StudyList
from exphil_tui.widgets.tables.study_table import StudyTable

if TYPE_CHECKING:
    from exphil_tui.model.shipped_studies import ShippedStudy
    from exphil_tui.services.study_watch import StudyWatch
    from exphil_tui.services.study_worker import StartedWorker, StudyCommand

REFRESH_S = 1.0

WIDE = 110
"""Terminal columns from which tables and charts are side by side."""

_CAUTION = "A lower loss does not rank play: ranks by loss have reversed in games."

_MOST_LISTED = {True: 9, False: 4}
"""List rows before it scrolls, by whether the terminal has at least `_HIGH` rows."""
_HIGH = 34


class StudiesScreen(WorkbenchScreen[None]):
    CSS_PATH = "studies.tcss"
    BINDING_GROUP_TITLE = "Studies"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 (declared so by Screen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view(1)", "View", tooltip="Results, characters, matrix, curves, latency"),
        Binding("left_square_bracket", "view(-1)", "Previous view", show=False),
        Binding("right_square_bracket", "view(1)", "Next view", show=False),
        Binding("b", "next_budget", "Budget", tooltip="Compare by frames, minutes or FLOPs"),
        Binding("t", "toggle_time", "Frames/minutes", tooltip="Learning curves over frames or over minutes"),
        Binding("r", "start", "Start", tooltip="Start or continue the study, or add seeds"),
        Binding("s", "stop", "Stop", tooltip="Ask the workers on this machine to save and stop"),
        Binding("p", "report", "Report", tooltip="Path of report.md; rewritten if outdated"),
        Binding("tab", "app.focus_next", "List, table or chart", show=False),
        Binding("escape", "app.back", "Go back", show=False),
    ]
    HELP = """\
The list has the studies started in this folder, then the studies shipped with exphil.
"loss" is the mean over the seeds that have ended, in nats per frame, with its standard deviation. One seed has no
spread and decides nothing. Variants are sorted by mean loss; the verdict says which differences are significant and
which are ties. "gap closed" is the share of the way from the best baseline to the dojo's floor. "p99" is the 99th
percentile of a frame's latency; "fits" means below a frame's 16.67 ms.
Enter on a variant opens its run; with several seeds it lists them.
The matrix has policies in rows and the characters they were evaluated on in columns.
Curves: dots are the evaluations of every seed, the line is their mean. Latency: the best variants are at the bottom
left; the dotted line is the Pareto front.
r starts a worker as a separate process. Any number of workers share a study; ended runs are not repeated."""

    def __init__(
        self, *, chosen: str | None = None, start: "Callable[[StudyCommand], StartedWorker] | None" = None
    ) -> None:
        """Create the screen.

        Args:
            chosen: Name of the study under the cursor at first.
            start: Starts a worker; by default `study_worker.start`.
        """
        super().__init__()
        self._snapshots: tuple[StudySnapshot, ...] = ()
        self._shipped_studies: tuple[ShippedStudy, ...] = ()
        self._watch: StudyWatch | None = None
        self.loaded = False
        """Whether the folder was scanned yet."""
        self._problem = ""
        self._chosen = "" if chosen is None else STARTED + chosen
        self._page = RESULTS
        self._budget = ""
        self._by_minutes: bool | None = None
        """Whether curves are over minutes; None means minutes for a budget in minutes."""
        self._start_worker = start
        self._workers: dict[str, StartedWorker] = {}
        self._shown: object = None

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="studies-title")
        yield StudyList(id="studies-list")
        yield PageBar(id="studies-pages")
        yield Static(id="studies-about")
        yield StudyBody(id="studies-body")
        yield Static(id="studies-shipped")
        with Vertical(id="studies-none"):
            yield Static(id="studies-none-text")
        yield Static(id="studies-caution")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(StudyList).focus()
        self._paint()
        self.set_interval(REFRESH_S, self._poll)
        # Reading reports needs imports that must not delay the first paint.
        self.call_after_refresh(self._poll)

    def on_resize(self, event: Resize) -> None:
        self._repaint()

    def on_screen_resume(self) -> None:
        self._poll()

    # Scanning the folder.

    def _poll(self) -> None:
        top = self.app.screen
        reading = any(worker.group == "read" and worker.is_running for worker in self.workers)
        if (top is self or (top.is_modal and self.is_current)) and not reading:
            self._read()

    @work(thread=True, group="read", exit_on_error=False)
    def _read(self) -> None:
        from exphil_tui.model.shipped_studies import shipped_studies
        from exphil_tui.services.study_watch import StudyWatch

        if self._watch is None:
            self._watch = StudyWatch(self.workbench.runs_dir, clock=self.workbench.clock)
        shipped = self._shipped_studies or shipped_studies()
        snapshots: Sequence[StudySnapshot] = ()
        problem = ""
        try:
            snapshots = self._watch.poll()
        except OSError as error:
            problem = f"{self.workbench.runs_dir / STUDIES} cannot be read: {error.strerror or error}."
        self.app.call_from_thread(self._take, tuple(snapshots), shipped, problem)

    def _take(
        self, snapshots: tuple[StudySnapshot, ...], shipped: "tuple[ShippedStudy, ...]", problem: str
    ) -> None:
        if not self.is_attached:
            return
        self._snapshots, self._shipped_studies, self._problem, self.loaded = snapshots, shipped, problem, True
        for name, worker in list(self._workers.items()):
            if worker.ended:
                del self._workers[name]
                if worker.problem:
                    self.notify(f"The worker of {name} exited: {worker.problem}", severity="error")
        self._paint()

    # Selection.

    @property
    def snapshot(self) -> StudySnapshot | None:
        """Snapshot of the study under the cursor; None if it was not started."""
        name = self._chosen.removeprefix(STARTED)
        started = self._chosen.startswith(STARTED)
        return next((found for found in self._snapshots if started and found.name == name), None)

    @property
    def _shipped_study(self) -> "ShippedStudy | None":
        name = self._chosen.removeprefix(SHIPPED)
        shipped = self._chosen.startswith(SHIPPED)
        return next((found for found in self._shipped_studies if shipped and found.name == name), None)

    @property
    def _views(self) -> tuple[BudgetView, ...]:
        return budgets_of(self.snapshot) if self.snapshot is not None else ()

    def _view_of(self, views: Sequence[BudgetView]) -> BudgetView | None:
        wanted = [view for view in views if view.budget == self._budget]
        return next(iter((*wanted, *views)), None)

    def _entries(self) -> tuple[StudyEntry, ...]:
        return tuple(list_entries(self._snapshots, self._shipped_studies, self._workers))

    # Drawing.

    def _repaint(self) -> None:
        self._shown = None
        self._paint()

    def _paint(self) -> None:
        entries = self._entries()
        keys = [entry.key for entry in entries]
        if self._chosen not in keys and keys and self.loaded:
            running = [STARTED + found.name for found in self._snapshots if found.state == "running"]
            self._chosen = next(iter((*running, *keys)))
        wide, high = self.size.width >= WIDE, self.size.height >= _HIGH
        state = (
            entries, self._snapshots, self._chosen, self._page, self._budget, self._by_minutes,
            self.size, self._problem, self.focused, self.loaded,
        )  # fmt: skip
        if state == self._shown or not self.is_mounted:
            return
        self._shown = state
        self._set_text("#studies-title", self._title())
        self._show_parts(bool(entries))
        if not entries:
            self._set_text(
                "#studies-none-text", empty_text(self._problem, self.loaded, self.workbench.glyphs)
            )
            return
        listed = self.query_one(StudyList)
        listed.styles.height = 2 + min(len(entries), _MOST_LISTED[high])
        listed.show(entries, self._chosen)
        views = self._views
        view = self._view_of(views)
        pages = StudyBody.pages(view, wide=wide)
        if self._page not in pages:
            self._page = RESULTS
        self._show_pages(pages, views, view)
        if self.snapshot is None:
            self._set_text("#studies-shipped", self._shipped_text())
        else:
            self._set_text(
                "#studies-about", about_line(self.snapshot, self.size.width - 2, self.workbench.glyphs)
            )
            self.query_one(StudyBody).show(
                self.snapshot, view, self._page, by_minutes=self._is_by_minutes(view), wide=wide
            )
        self._set_text("#studies-caution", Content(f"{self.workbench.glyphs.warning} {_CAUTION}"))
        self.refresh_bindings()

    def _show_parts(self, anything: bool) -> None:
        started = self.snapshot is not None
        for selector, there in (
            ("#studies-list", anything),
            ("#studies-pages", anything and started),
            ("#studies-about", anything and started),
            ("#studies-body", anything and started),
            ("#studies-shipped", anything and not started),
            ("#studies-none", not anything),
            ("#studies-caution", anything),
        ):
            self.query_one(selector).display = there

    def _set_text(self, selector: str, text: Content) -> None:
        """Update a text only if it changed."""
        widget = self.query_one(selector, Static)
        if widget.content != text:
            widget.update(text)

    def _title(self) -> Content:
        folder = sanitise(str(self.workbench.runs_dir / STUDIES), limit=LINE_LETTERS)
        right = f"{counts_text(self._snapshots)} in {folder}" if self.loaded else folder
        return title_line(right, self.size.width, self.workbench.glyphs)

    def _show_pages(self, pages: Sequence[str], views: Sequence[BudgetView], view: BudgetView | None) -> None:
        notes: list[str] = []
        if view is not None:
            number = [found.budget for found in views].index(view.budget) + 1
            of = f" ({number} of {len(views)})" if len(views) > 1 else ""
            notes = [title + of for title in view.titles]
        below = self.query_one("#studies-body")
        active = self.focused is not None and below in self.focused.ancestors
        self.query_one(PageBar).show(pages, self._page, notes=notes, active=active)

    def _is_by_minutes(self, view: BudgetView | None) -> bool:
        by_budget = view is not None and view.budget == "minutes"
        return by_budget if self._by_minutes is None else self._by_minutes

    def _shipped_text(self) -> Content:
        study = self._shipped_study
        if study is None:
            return preparing_text(self._workers.get(self._chosen.removeprefix(STARTED)))
        return shipped_study_text(study)

    # Actions.

    @on(DescendantFocus)
    @on(DescendantBlur)
    def _focus_moved(self) -> None:
        self._paint()

    @on(StudyList.StudyChosen)
    def _study_chosen(self, event: StudyList.StudyChosen) -> None:
        if event.key != self._chosen:
            self._chosen = event.key
            self.query_one(StudyTable).reset()
            self._paint()

    @on(StudyList.StudyEntered)
    def _study_entered(self) -> None:
        if self.snapshot is None:
            self.action_start()
        elif self.query_one(StudyTable).display:
            self.query_one(StudyTable).focus()
        else:
            self.screen.focus_next()

    @on(StudyTable.RunWanted)
    def _run_wanted(self, event: StudyTable.RunWanted) -> None:
        if (self.workbench.runs_dir / event.run / "run.toml").is_file():
            self.workbench.open_run(event.run)
        else:
            self.notify(f"{event.run} has no folder: it has not started, or was deleted.")

    @on(PageBar.PageChosen)
    def _page_chosen(self, event: PageBar.PageChosen) -> None:
        self._page = event.name
        self._paint()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable actions that do not apply to the study under the cursor."""
        if not self.is_mounted:
            return True
        snapshot = self.snapshot
        return {
            "view": snapshot is not None,
            "next_budget": snapshot is not None and len({run.trial.budget for run in snapshot.runs}) > 1,
            "toggle_time": snapshot is not None,
            "start": bool(self._snapshots or self._shipped_studies),
            "stop": snapshot is not None and snapshot.workers > 0,
            "report": snapshot is not None and bool(snapshot.runs),
        }.get(action, True)

    def action_view(self, way: int) -> None:
        pages = StudyBody.pages(self._view_of(self._views), wide=self.size.width >= WIDE)
        at = pages.index(self._page) if self._page in pages else 0
        self._page = pages[(at + way) % len(pages)]
        self._paint()
        # The focused widget may be hidden now.
        if self.focused is None or not self.focused.display or not self.focused.parent.display:  # type: ignore[union-attr]
            self.query_one(StudyList).focus()

    def action_next_budget(self) -> None:
        views = self._views
        view = self._view_of(views)
        if view is not None:
            budgets = [found.budget for found in views]
            self._budget = budgets[(budgets.index(view.budget) + 1) % len(budgets)]
            self._by_minutes = None
            self._paint()

    def action_toggle_time(self) -> None:
        self._by_minutes = not self._is_by_minutes(self._view_of(self._views))
        self._paint()

    def action_start(self) -> None:
        if self._shipped_study is not None or self.snapshot is not None:
            self._prepare_start(self.snapshot, self._shipped_study)

    @work(thread=True, group="prepare-start", exclusive=True, exit_on_error=False)
    def _prepare_start(self, snapshot: StudySnapshot | None, shipped: "ShippedStudy | None") -> None:
        """Build the command in a thread, because it reads the study's settings from disk."""
        from exphil_tui.services.study_worker import StudyCommand, command_of

        runs_dir = self.workbench.runs_dir
        try:
            if snapshot is not None:
                command = command_of(snapshot, runs_dir)
            else:
                assert shipped is not None
                command = StudyCommand(study=shipped.name, runs_dir=runs_dir, quick=True, seeds=shipped.seeds)
        except (ExphilError, OSError) as error:
            self.app.call_from_thread(self.notify, str(error), severity="warning")
        else:
            self.app.call_from_thread(self._ask_to_start, command, snapshot, shipped)

    def _ask_to_start(
        self, command: "StudyCommand", snapshot: StudySnapshot | None, shipped: "ShippedStudy | None"
    ) -> None:
        from exphil_tui.screens.studies.start_study import StartStudyScreen

        sentence = ""
        if snapshot is not None:
            sentence = start_sentence(snapshot)
        elif shipped is not None:
            sentence = shipped.about
        self.app.push_screen(
            StartStudyScreen(command, sentence=sentence, fresh=snapshot is None), self._answered
        )

    def _answered(self, command: "StudyCommand | None") -> None:
        if command is not None:
            self._start(command)

    @work(thread=True, group="start", exit_on_error=False)
    def _start(self, command: "StudyCommand") -> None:
        from exphil_tui.services.study_worker import start

        try:
            worker = (self._start_worker or start)(command)
        except OSError as error:
            words = f"Cannot start a worker: {error.filename}: {error.strerror}."
            self.app.call_from_thread(self.notify, words, severity="error")
            return
        self.app.call_from_thread(self._worker_started, command, worker)

    def _worker_started(self, command: "StudyCommand", worker: "StartedWorker") -> None:
        self._workers[command.name] = worker
        self._chosen = STARTED + command.name
        self.notify(f"Started; it keeps running without the workbench: {command.line}")
        self._paint()
        self._poll()

    @work(thread=True, group="stop", exclusive=True, exit_on_error=False)
    def action_stop(self) -> None:
        from exphil_tui.services.study_worker import stop

        snapshot = self.snapshot
        if snapshot is None:
            return
        stopping = 0
        with suppress(OSError):
            stopping = stop(snapshot.folder)
        words = stopped_sentence(stopping)
        self.app.call_from_thread(self.notify, words)

    @work(group="report", exclusive=True)
    async def action_report(self) -> None:
        """Show the path of report.md; if outdated, a child process writes it first, as plots take seconds of CPU."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        path = snapshot.folder / "report.md"
        if not snapshot.reported:
            self.notify(f"Writing the report of {snapshot.title}…")
            runs_dir = str(self.workbench.runs_dir)
            ended = await self.workbench.launch(
                ["study", "report", "--runs-dir", runs_dir, "--json", "--", snapshot.name]
            )
            if ended.code != 0:
                self.notify(ended.problem, severity="error")
                return
        self.notify(f"Report: {path}; its plots are in the same folder.")
