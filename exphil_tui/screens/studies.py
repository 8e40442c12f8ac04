"""The studies of a folder: what each asks, how far it is, and what came out so far.

In: the folder of runs, looked at once a second. Out: a list, the report of the study under the cursor, drawn as its
runs end, and workers that are started. What a reader gets wrong: a study is nobody's process. Its journal says what
there is, and any number of workers, here and elsewhere, write to that.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus, Resize
from textual.widgets import Footer, Static

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_tui.palette import GOOD
from exphil_tui.screens.steady import SteadyScreen
from exphil_tui.study_budget import BudgetView, budgets_of, curve_of
from exphil_tui.study_sight import STUDIES, StudySight
from exphil_tui.widgets.chart import Chart, Level, Line
from exphil_tui.widgets.page_bar import PageBar
from exphil_tui.widgets.pareto import Pareto, ParetoPoint
from exphil_tui.widgets.study_list import StudyEntry, StudyList
from exphil_tui.widgets.study_losses import StudyLosses
from exphil_tui.widgets.study_table import StudyTable
from exphil_tui.widgets.text_panel import fitted

if TYPE_CHECKING:
    from exphil_tui.app import Workbench
    from exphil_tui.study_offers import StudyOffer
    from exphil_tui.study_watch import StudyWatch
    from exphil_tui.study_worker import StartedWorker, StudyCommand

REFRESH_S = 1.0

WIDE = 110
"""Columns from which tables and pictures stand side by side."""

RESULTS, CHARACTERS, MATRIX, CURVES, LATENCY = "results", "characters", "matrix", "curves", "latency"
_PICTURES = (CURVES, LATENCY)

_CAUTION = "A lower loss does not rank play: rankings by it have turned round in games."

_BEGUN, _OFFERED = "begun ", "offered "
"""What keys of the list begin with."""

_MOST_LISTED = {True: 9, False: 4}
"""Studies in the list before it scrolls, by whether the terminal is high."""
_HIGH = 34
_LINE_LETTERS = 400


class StudiesScreen(SteadyScreen[None]):
    CSS_PATH = "studies.tcss"
    BINDING_GROUP_TITLE = "Studies"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 (declared so by Screen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view(1)", "View", tooltip="Results, characters, matrix, curves, latency"),
        Binding("left_square_bracket", "view(-1)", "View before", show=False),
        Binding("right_square_bracket", "view(1)", "Next view", show=False),
        Binding("b", "next_budget", "Budget", tooltip="The same runs, made comparable otherwise"),
        Binding("t", "toggle_time", "Frames/minutes", tooltip="Learning curves over frames or over minutes"),
        Binding("r", "start", "Start", tooltip="Begin the study, go on with it, or add seeds to it"),
        Binding("s", "stop", "Stop", tooltip="Ask its workers on this machine to save and end"),
        Binding("p", "report", "Report", tooltip="Where its report.md is, written anew where it is old"),
        Binding("tab", "app.focus_next", "List, table or chart", show=False),
        Binding("escape", "app.back", "Go back", show=False),
    ]
    HELP = """\
Above are the studies that were begun in this folder, then those that come with exphil.
"loss" is the mean over the seeds that have ended, in nats per frame, with its standard deviation. Of one seed no
spread is known, and it decides nothing. The lowest mean stands first; only the verdict says what is shown and what is
a tie. "closed" is how much of the way from the best baseline to the dojo's floor is done. "p99" is what 99 of 100
frames of play stay below; "fits" is below the 16.67 ms that a frame has.
Enter on a variant opens its run, or its seeds where it has several.
The matrix has policies in lines and the characters that they were evaluated on in columns.
Curves: dots are evaluations of every seed, the line is their mean. Latency: what is wanted lies at the bottom left;
the dotted line joins those that no other beats in both.
r starts a worker in a session of its own. Any number of them share the work, and what has ended is not run again."""

    def __init__(
        self, *, chosen: str | None = None, start: "Callable[[StudyCommand], StartedWorker] | None" = None
    ) -> None:
        """`chosen`: the name of the study that the cursor is to be on. `start`: starts a worker."""
        super().__init__()
        self._sights: tuple[StudySight, ...] = ()
        self._offers: tuple[StudyOffer, ...] = ()
        self._watch: StudyWatch | None = None
        self.looked = False
        """Whether the folder was looked at yet."""
        self._problem = ""
        self._chosen = "" if chosen is None else _BEGUN + chosen
        self._page = RESULTS
        self._budget = ""
        self._by_minutes: bool | None = None
        """None: as the budget is."""
        self._start_worker = start
        self._started: dict[str, StartedWorker] = {}
        self._shown: object = None

    @property
    def workbench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="studies-title")
        yield StudyList(id="studies-list")
        yield PageBar(id="studies-pages")
        yield Static(id="studies-about")
        with Horizontal(id="studies-body"):
            with Vertical(id="studies-left"):
                yield StudyTable(id="studies-table")
                yield StudyLosses(id="studies-losses")
            with Vertical(id="studies-right"):
                yield Chart(id="studies-chart")
                yield Pareto(id="studies-pareto")
        yield Static(id="studies-offer")
        with Vertical(id="studies-none"):
            yield Static(id="studies-none-text")
        yield Static(id="studies-caution")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        # A loss falls fast and then slowly: on a linear axis the slow part, which tells variants apart, lies flat.
        self.query_one(Chart).action_toggle_log("y")
        self.query_one(StudyList).focus()
        self._paint()
        self.set_interval(REFRESH_S, self._look)
        # Reading reports takes imports that the first picture need not wait for.
        self.call_after_refresh(self._look)

    def on_resize(self, event: Resize) -> None:
        self._repaint()

    def on_screen_resume(self) -> None:
        self._look()

    # Looking at the folder.

    def _look(self) -> None:
        top = self.app.screen
        reading = any(worker.group == "look" and worker.is_running for worker in self.workers)
        if (top is self or (top.is_modal and self.is_current)) and not reading:
            self._read()

    @work(thread=True, group="look", exit_on_error=False)
    def _read(self) -> None:
        from exphil_tui.study_offers import study_offers
        from exphil_tui.study_watch import StudyWatch

        if self._watch is None:
            self._watch = StudyWatch(self.workbench.runs_dir, clock=self.workbench.clock)
        offers = self._offers or study_offers()
        sights: Sequence[StudySight] = ()
        problem = ""
        try:
            sights = self._watch.look()
        except OSError as error:
            problem = f"{self.workbench.runs_dir / STUDIES} cannot be read: {error.strerror or error}."
        self.app.call_from_thread(self._take, tuple(sights), offers, problem)

    def _take(self, sights: tuple[StudySight, ...], offers: "tuple[StudyOffer, ...]", problem: str) -> None:
        if not self.is_attached:
            return
        self._sights, self._offers, self._problem, self.looked = sights, offers, problem, True
        for name, worker in list(self._started.items()):
            if worker.ended:
                del self._started[name]
                if worker.problem:
                    self.workbench.say(f"The worker of {name} ended: {worker.problem}", severity="error")
        self._paint()

    # What is shown.

    @property
    def sight(self) -> StudySight | None:
        """The study under the cursor, where it was begun."""
        name = self._chosen.removeprefix(_BEGUN)
        begun = self._chosen.startswith(_BEGUN)
        return next((found for found in self._sights if begun and found.name == name), None)

    @property
    def _offer(self) -> "StudyOffer | None":
        name = self._chosen.removeprefix(_OFFERED)
        offered = self._chosen.startswith(_OFFERED)
        return next((found for found in self._offers if offered and found.name == name), None)

    @property
    def _views(self) -> tuple[BudgetView, ...]:
        return budgets_of(self.sight) if self.sight is not None else ()

    def _view_of(self, views: Sequence[BudgetView]) -> BudgetView | None:
        wanted = [view for view in views if view.budget == self._budget]
        return next(iter((*wanted, *views)), None)

    def _entries(self) -> Iterator[StudyEntry]:
        for sight in self._sights:
            yield StudyEntry(
                key=_BEGUN + sight.name,
                title=sight.title,
                state=sight.state,
                done=sight.count("complete"),
                running=sight.count("running"),
                waiting=sight.count("waiting", "left"),
                failed=sight.count("failed"),
                runs=len(sight.runs),
                said=sight.problem or sight.first_sentence,
            )
        known = {sight.name for sight in self._sights}
        for name, worker in self._started.items():
            if name not in known:
                said = worker.last_line or "its worker gets the games ready"
                yield StudyEntry(key=_BEGUN + name, title=sanitise(name), state="going on", said=said)
        for offer in self._offers:
            yield StudyEntry(key=_OFFERED + offer.name, title=offer.name, state="to begin", said=offer.about)

    # Drawing.

    def _repaint(self) -> None:
        self._shown = None
        self._paint()

    def _paint(self) -> None:
        entries = tuple(self._entries())
        keys = [entry.key for entry in entries]
        if self._chosen not in keys and keys and self.looked:
            going_on = [_BEGUN + sight.name for sight in self._sights if sight.state == "going on"]
            self._chosen = next(iter((*going_on, *keys)))
        wide, high = self.size.width >= WIDE, self.size.height >= _HIGH
        state = (
            entries, self._sights, self._chosen, self._page, self._budget, self._by_minutes, self.size, self._problem,
            self.focused, self.looked,
        )  # fmt: skip
        if state == self._shown or not self.is_mounted:
            return
        self._shown = state
        self._say("#studies-title", self._title())
        self._show_parts(bool(entries))
        if not entries:
            self._say("#studies-none-text", self._none())
            return
        listed = self.query_one(StudyList)
        listed.styles.height = 2 + min(len(entries), _MOST_LISTED[high])
        listed.show(entries, self._chosen)
        views = self._views
        view = self._view_of(views)
        pages = self._pages(view, wide=wide)
        if self._page not in pages:
            self._page = RESULTS
        self._show_pages(pages, views, view)
        if self.sight is None:
            self._say("#studies-offer", self._offered())
        else:
            self._say("#studies-about", self._about(self.sight))
            self._show_study(self.sight, view, wide=wide)
        sign = self.workbench.glyphs.warning
        self._say("#studies-caution", Content(f"{sign} {_CAUTION}"))
        self.refresh_bindings()

    def _show_parts(self, anything: bool) -> None:
        begun = self.sight is not None
        for selector, there in (
            ("#studies-list", anything),
            ("#studies-pages", anything and begun),
            ("#studies-about", anything and begun),
            ("#studies-body", anything and begun),
            ("#studies-offer", anything and not begun),
            ("#studies-none", not anything),
            ("#studies-caution", anything),
        ):
            self.query_one(selector).display = there

    def _say(self, selector: str, text: Content) -> None:
        """Only what reads differently is drawn."""
        widget = self.query_one(selector, Static)
        if widget.content != text:
            widget.update(text)

    def _title(self) -> Content:
        going_on = sum(sight.state == "going on" for sight in self._sights)
        begun = f"{len(self._sights)} begun" if self._sights else "none begun yet"
        parts = [begun, *([f"{going_on} going on"] if going_on else [])] if self.looked else []
        folder = sanitise(str(self.workbench.runs_dir / STUDIES), limit=_LINE_LETTERS)
        right = ", ".join(parts) + f" in {folder}" if parts else folder
        left = "exphil  Studies"
        right = fitted(right, max(0, self.size.width - len(left) - 4), self.workbench.glyphs)
        gap = max(2, self.size.width - 2 - len(left) - len(right))
        return Content.assemble(
            ("exphil", "bold $primary"), "  Studies", " " * gap, (right, "$foreground-muted")
        )

    def _none(self) -> Content:
        if self._problem:
            return Content(sanitise(self._problem, limit=_LINE_LETTERS))
        glyphs = self.workbench.glyphs
        words = (
            "No study was begun, and none comes with this exphil." if self.looked else "Looking for studies"
        )
        return Content.styled(words if self.looked else words + glyphs.ellipsis, "$foreground-muted")

    def _pages(self, view: BudgetView | None, *, wide: bool) -> list[str]:
        pages = [RESULTS, CHARACTERS]
        if view is not None and view.crossed:
            pages.append(MATRIX)
        return pages if wide else [*pages, *_PICTURES]

    def _show_pages(self, pages: Sequence[str], views: Sequence[BudgetView], view: BudgetView | None) -> None:
        notes: list[str] = []
        if view is not None:
            number = [found.budget for found in views].index(view.budget) + 1
            of = f" ({number} of {len(views)})" if len(views) > 1 else ""
            notes = [title + of for title in view.titles]
        below = self.query_one("#studies-body")
        active = self.focused is not None and below in self.focused.ancestors
        self.query_one(PageBar).show(pages, self._page, notes=notes, active=active)

    def _about(self, sight: StudySight) -> Content:
        if sight.problem:
            sign = self.workbench.glyphs.warning
            return Content.styled(f"{sign} {sanitise(sight.problem, limit=_LINE_LETTERS)}", "$warning")
        words = "finished" if sight.state == "finished" else "nobody works on it: r goes on"
        if sight.workers:
            words = f"{sight.workers} worker{'s' * (sight.workers != 1)}"
        elif sight.state == "going on":
            words = "a run goes on without a worker"
        if left := sight.count("left"):
            words += f", {left} left"
        room = self.size.width - 2
        asked = fitted(sight.about, max(0, room - len(words) - 2), self.workbench.glyphs)
        gap = " " * max(2, room - len(asked) - len(words))
        return Content.assemble((asked, "italic"), gap, (words, "$foreground-muted"))

    def _show_study(self, sight: StudySight, view: BudgetView | None, *, wide: bool) -> None:
        beside = wide and self._page == RESULTS
        pictures = beside or self._page in _PICTURES
        self.query_one("#studies-left").display = beside or not pictures
        self.query_one("#studies-right").display = pictures
        self.query_one("#studies-right").styles.width = None if wide else "1fr"
        table, losses = self.query_one(StudyTable), self.query_one(StudyLosses)
        chart, pareto = self.query_one(Chart), self.query_one(Pareto)
        table.display, losses.display = self._page == RESULTS, self._page in (CHARACTERS, MATRIX)
        chart.display, pareto.display = beside or self._page == CURVES, beside or self._page == LATENCY
        report = sight.report
        table.show(
            view,
            notes=report.notes if report is not None else (),
            lost=tuple(report.lost.items()) if report is not None else (),
            nothing=sight.problem or "It has no runs yet.",
        )
        losses.show(
            view, crossed=self._page == MATRIX, nothing="No run has ended yet: then its losses stand here."
        )
        if chart.display:
            self._show_curves(view)
        if pareto.display:
            self._show_latency(view)

    def _show_curves(self, view: BudgetView | None) -> None:
        by_minutes = self._is_by_minutes(view)
        lines = []
        for variant in view.variants if view is not None else ():
            curve = curve_of(variant, by_minutes=by_minutes)
            if curve is not None:
                alone = len(variant.runs) == 1
                lines.append(
                    Line(
                        name=fitted(variant.title, 20, self.workbench.glyphs),
                        x=curve.x,
                        y=curve.losses,
                        smooth=None if alone else curve.mean,
                        colour=variant.mark.colour,
                        mark=variant.mark.letter,
                    )
                )
        target = view.group.target if view is not None and view.group is not None else None
        levels = [] if target is None else [Level(name="every run reached", y=target, colour=GOOD)]
        x_title = "minutes" if by_minutes else "frames"
        self.query_one(Chart).show(
            lines, levels, title="learning curves", x_title=x_title, y_title=f"nats per frame over {x_title}"
        )

    def _is_by_minutes(self, view: BudgetView | None) -> bool:
        by_budget = view is not None and view.budget == "minutes"
        return by_budget if self._by_minutes is None else self._by_minutes

    def _show_latency(self, view: BudgetView | None) -> None:
        points = []
        budget_ms = 0.0
        group = view.group if view is not None else None
        for variant in view.variants if view is not None and group is not None and group.front else ():
            if variant.row is not None and variant.row.latency is not None:
                budget_ms = variant.row.latency.budget_ms
                points.append(
                    ParetoPoint(
                        name=variant.title,
                        mark=variant.mark,
                        p99_ms=variant.row.latency.p99_ms,
                        loss=variant.row.loss.mean,
                        deviation=variant.row.loss.deviation,
                        front=variant.front,
                    )
                )
        nothing = "No latency was measured yet: a variant's is, once its first seed has ended."
        if group is not None and not group.front and any(row.latency is not None for row in group.rows):
            nothing = (
                "These variants learned other characters and are judged on other frames, so their losses have no "
                "axis in common."
            )
        self.query_one(Pareto).show(points, budget_ms=budget_ms, nothing=nothing)

    def _offered(self) -> Content:
        offer = self._offer
        if offer is None:
            started = self._started.get(self._chosen.removeprefix(_BEGUN))
            said = started.last_line if started is not None else ""
            return Content.assemble(
                ("Its worker has started, and gets the games ready.\n\n", "bold"), (said, "$foreground-muted")
            )
        full, quick = offer.full, offer.quick
        fewer = f", {quick.variants} variants" if quick.variants != full.variants else ""
        seeds = len(offer.seeds)
        parts: list[tuple[str, str]] = [
            (f"{offer.about}\n\n", "bold"),
            ("What decides it  ", "$foreground-muted"),
            (f"{offer.decides}\n\n", ""),
            ("What it runs     ", "$foreground-muted"),
            (f"{full.variants * seeds} runs: {full.variants} variants, each with {seeds} seeds\n", ""),
            ("  quick form     ", "$foreground-muted"),
            (f"{quick.budget} a run, on {quick.games} games of the dojo{fewer}\n", ""),
            ("  whole          ", "$foreground-muted"),
            (f"{full.budget} a run, on {full.games} games of the dojo\n\n", ""),
            ("r", "bold $primary"),
            ("  begins it, in the form and on the replays that you choose", ""),
        ]
        return Content.assemble(*parts)

    # What a person does.

    @on(DescendantFocus)
    @on(DescendantBlur)
    def _focus_moved(self) -> None:
        self._paint()

    @on(StudyList.StudyChosen)
    def _study_chosen(self, event: StudyList.StudyChosen) -> None:
        if event.key != self._chosen:
            self._chosen = event.key
            self.query_one(StudyTable).start()
            self._paint()

    @on(StudyList.StudyEntered)
    def _study_entered(self) -> None:
        if self.sight is None:
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
            self.workbench.say(f"{event.run} has no folder: it was not begun yet, or was deleted.")

    @on(PageBar.PageChosen)
    def _page_chosen(self, event: PageBar.PageChosen) -> None:
        self._page = event.name
        self._paint()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What makes no sense for the study under the cursor is neither offered nor done."""
        if not self.is_mounted:
            return True
        sight = self.sight
        return {
            "view": sight is not None,
            "next_budget": sight is not None and len({run.trial.budget for run in sight.runs}) > 1,
            "toggle_time": sight is not None,
            "start": bool(self._sights or self._offers),
            "stop": sight is not None and sight.workers > 0,
            "report": sight is not None and bool(sight.runs),
        }.get(action, True)

    def action_view(self, way: int) -> None:
        pages = self._pages(self._view_of(self._views), wide=self.size.width >= WIDE)
        at = pages.index(self._page) if self._page in pages else 0
        self._page = pages[(at + way) % len(pages)]
        self._paint()
        # Where the focus was may not be seen any more.
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
        if self._offer is not None or self.sight is not None:
            self._ask_how(self.sight, self._offer)

    @work(thread=True, group="ask", exclusive=True, exit_on_error=False)
    def _ask_how(self, sight: StudySight | None, offer: "StudyOffer | None") -> None:
        """In a thread, for it reads what a run learned from."""
        from exphil_tui.study_worker import StudyCommand, command_of

        runs_dir = self.workbench.runs_dir
        try:
            if sight is not None:
                command = command_of(sight, runs_dir)
            else:
                assert offer is not None
                command = StudyCommand(study=offer.name, runs_dir=runs_dir, quick=True, seeds=offer.seeds)
        except (ExphilError, OSError) as error:
            self.app.call_from_thread(self.workbench.say, str(error), severity="warning")
        else:
            self.app.call_from_thread(self._ask, command, sight, offer)

    def _ask(self, command: "StudyCommand", sight: StudySight | None, offer: "StudyOffer | None") -> None:
        from exphil_tui.screens.start_study import StartStudyScreen

        if sight is None:
            said = offer.about if offer is not None else ""
        else:
            workers = (
                f"{sight.workers} of them with a worker now" if sight.workers else "and nobody works on it"
            )
            open_runs = len(sight.runs) - sight.ended
            said = f"{open_runs} of {len(sight.runs)} runs have not ended, {workers}."
            if not open_runs:
                said = "Every run has ended: with further seeds the study is extended."
        self.app.push_screen(StartStudyScreen(command, said=said, fresh=sight is None), self._answered)

    def _answered(self, command: "StudyCommand | None") -> None:
        if command is not None:
            self._start(command)

    @work(thread=True, group="start", exit_on_error=False)
    def _start(self, command: "StudyCommand") -> None:
        from exphil_tui.study_worker import start

        try:
            worker = (self._start_worker or start)(command)
        except OSError as error:
            words = f"No worker can be started: {error.filename}: {error.strerror}."
            self.app.call_from_thread(self.workbench.say, words, severity="error")
            return
        self.app.call_from_thread(self._has_started, command, worker)

    def _has_started(self, command: "StudyCommand", worker: "StartedWorker") -> None:
        self._started[command.name] = worker
        self._chosen = _BEGUN + command.name
        self.workbench.say(f"Started, and goes on without the workbench: {command.line}")
        self._paint()
        self._look()

    @work(thread=True, group="stop", exclusive=True, exit_on_error=False)
    def action_stop(self) -> None:
        from exphil_tui.study_worker import stop

        sight = self.sight
        if sight is None:
            return
        asked = 0
        with suppress(OSError):
            asked = stop(sight.folder)
        if asked:
            words = f"{asked} worker{'s are' if asked != 1 else ' is'} asked to save and end; r goes on from there."
        else:
            words = "No worker on this machine has a run of it now."
        self.app.call_from_thread(self.workbench.say, words)

    @work(group="report", exclusive=True)
    async def action_report(self) -> None:
        """By a process of its own where it is to be written: the plots keep a core busy for seconds."""
        sight = self.sight
        if sight is None:
            return
        path = sight.folder / "report.md"
        if not sight.reported:
            self.workbench.say(f"Writing the report of {sight.title}.")
            runs_dir = str(self.workbench.runs_dir)
            ended = await self.workbench.launch(
                ["study", "report", "--runs-dir", runs_dir, "--json", "--", sight.name]
            )
            if ended.code != 0:
                self.workbench.say(ended.problem, severity="error")
                return
        self.workbench.say(f"The report is {path}, its plots are beside it.")
