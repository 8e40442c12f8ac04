"""Data screen: datasets and replay folders on this machine, their contents, and building datasets.

Opening it parses no replays: replays are only counted, and contents are known only for built datasets. Dataset
contents are read in a thread because that imports pyarrow; a child process builds datasets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Input, OptionList, Static
from textual.worker import Worker, WorkerState, get_current_worker

from exphil_core.dataset.discovery import cache_root
from exphil_core.errors import ExphilError
from exphil_core.replays.folders import ReplayCount, count_replays
from exphil_tui.model.data_sources import DataSource, expanded, known_sources, shown, source_of
from exphil_tui.screens.base import WorkbenchScreen
from exphil_tui.screens.data.build_panel import BuildPanel
from exphil_tui.screens.data.source_details import (
    dataset_lines,
    exists,
    plural,
    short_detail,
    unread_lines,
    unwritten_demo_lines,
)
from exphil_tui.screens.data.source_list import SourceList

if TYPE_CHECKING:
    from exphil_core.dataset.stats import DatasetStats


class DataScreen(WorkbenchScreen[None]):
    CSS_PATH = "data.tcss"
    BINDING_GROUP_TITLE = "Data"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (declared so by Screen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "build", "Build"),
        Binding("n", "new_run", "New run"),
        Binding("o", "open_replay", "Replay", tooltip="View a replay, frame by frame"),
        Binding("slash", "type_path", "Type a path", key_display="/"),
        Binding("x", "cancel_build", "Cancel build", show=False),
        Binding("r", "reload", "Reload", show=False),
        Binding("escape", "back", "Back, or cancel a build", show=False),
    ]
    HELP = """\
Left: the datasets in the cache (newest first), the demo replays, and Slippi's folders that were not read yet.
Right: what the selected one contains. Playtime counts only sides that are imitated: played by a human, and moving.
A mark shows characters with less than an hour of it: there is little to train on.
b reads replays into a dataset, in a separate process; files that were read before and have not changed are skipped.
A cancelled build keeps what it has read. n opens a new run on the selected data.
o lists the replays of the selected data, newest first, to view one frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self._sources: list[DataSource] = []
        self._typed: list[Path] = []
        """Paths that were typed, newest first."""
        self.loaded = False
        """Whether the sources were listed yet."""
        self._counted: dict[Path, ReplayCount] = {}
        self._stats: dict[tuple[Path, float], DatasetStats | str] = {}
        """By dataset path and build time; an error sentence if it cannot be read."""
        self._select_next: Path | None = None
        """Path that the cursor moves to when the list is loaded."""

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="data-title")
        with Horizontal(id="data-body"):
            with Vertical(id="data-left"):
                yield SourceList(id="data-sources")
                with Horizontal(id="data-path-line"):
                    yield Static("Path", id="data-path-label")
                    yield Input(id="data-path", placeholder="press /", compact=True)
            with VerticalScroll(id="data-details", can_focus=True):
                yield Static(id="data-details-text")
        workbench = self.workbench
        yield BuildPanel(workbench.launch, workbench.monotonic, workbench.glyphs, id="data-build")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._list.focus()
        self._paint()
        self._list_sources()

    @property
    def _list(self) -> SourceList:
        return self.query_one(SourceList)

    @property
    def _build(self) -> BuildPanel:
        return self.query_one(BuildPanel)

    @property
    def current(self) -> DataSource | None:
        """Data source under the cursor."""
        return self._list.current

    # Reading.

    @work(thread=True, group="sources", exclusive=True, exit_on_error=False)
    def _list_sources(self) -> None:
        sources = known_sources()
        # A typed folder with a dataset is listed once, as the dataset.
        known = {source.path for source in sources}
        known |= {source.dataset.path for source in sources if source.dataset}
        for source in map(source_of, self._typed):
            if source.path not in known and (source.dataset is None or source.dataset.path not in known):
                sources.append(source)
        worker = get_current_worker()
        self.app.call_from_thread(self._sources_listed, sources)
        for source in sources:
            if source.dataset is None and source.path not in self._counted and source.written:
                counted = count_replays(source.path, stopped=lambda: worker.is_cancelled)
                if worker.is_cancelled:
                    return
                self.app.call_from_thread(self._replays_counted, source.path, counted)

    def _sources_listed(self, sources: list[DataSource]) -> None:
        if self.is_attached:
            self._sources, self.loaded = sources, True
            self._show_sources(self._select_next)

    def _replays_counted(self, path: Path, counted: ReplayCount) -> None:
        if self.is_attached:
            self._counted[path] = counted
            self._show_sources(None)

    def _show_sources(self, select: Path | None) -> None:
        """Fill the list, with the cursor on `select`, or where it was."""
        current = select or (self.current.path if self.current is not None else None)
        if self._list.show(self._sources, self._short_detail, current):
            self._select_next = None
        self._source_changed()

    def _short_detail(self, source: DataSource) -> str:
        counted = self._counted.get(source.path)
        return short_detail(source, counted, self.workbench.clock(), self.workbench.glyphs)

    @on(OptionList.OptionHighlighted)
    def _source_changed(self) -> None:
        source = self.current
        if source is not None and source.usable and _stats_key(source) not in self._stats:
            self._read_stats(source)
        self.query_one("#data-details").scroll_home(animate=False)
        self._paint()

    @work(thread=True, group="stats", exclusive=True, exit_on_error=False)
    def _read_stats(self, source: DataSource) -> None:
        from exphil_core.dataset.stats import dataset_stats

        assert source.dataset is not None
        stats: DatasetStats | str
        try:
            stats = dataset_stats(source.dataset.path)
        except (ExphilError, OSError) as error:
            stats = str(error)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._stats_read, _stats_key(source), stats)

    def _stats_read(self, key: tuple[Path, float], stats: "DatasetStats | str") -> None:
        self._stats[key] = stats
        if self.is_attached:
            self._paint()

    # Drawing.

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        self.query_one("#data-title", Static).update(self._title())
        self.query_one("#data-details-text", Static).update(Content("\n").join(self._details()))
        self.refresh_bindings()

    def _title(self) -> Content:
        count = sum(source.dataset is not None for source in self._sources)
        left, right = "exphil  Data", f"{plural(count, 'dataset')} in {shown(cache_root(), limit=60)}"
        gap = " " * max(2, self.size.width - 2 - len(left) - len(right))
        return Content.assemble(("exphil", "bold $primary"), "  Data", gap, (right, "$foreground-muted"))

    def _details(self) -> Iterator[Content]:
        source, glyphs = self.current, self.workbench.glyphs
        if source is None:
            text = "" if self.loaded else "searching" + glyphs.ellipsis
            return iter((Content.styled(text, "$foreground-muted"),))
        if not source.written:
            return unwritten_demo_lines(source)
        if not source.usable:
            return unread_lines(source, self._counted.get(source.path), self.workbench.clock(), glyphs)
        return dataset_lines(source, self._stats.get(_stats_key(source)), glyphs)

    # Actions.

    def action_reload(self) -> None:
        self._counted = {}
        self._stats = {}
        self._list_sources()

    @on(OptionList.OptionSelected)
    def action_new_run(self) -> None:
        source = self.current
        if source is None:
            return
        if source.dataset is not None and source.dataset.problem:
            self.notify(f"This dataset cannot be used: {source.dataset.problem}.", severity="warning")
        elif not self._is_empty(source):
            self._open_new_run(source.path)

    def _open_new_run(self, path: Path) -> None:
        """Use the data in the new-run form below this screen, or open a new form."""
        from exphil_tui.screens.new_run.screen import NewRunScreen

        below = self.app.screen_stack[-2]
        if isinstance(below, NewRunScreen):
            self.app.pop_screen()
            below.use_data(path)
        else:
            self.workbench.open_new_run(replays=path)

    def _is_empty(self, source: DataSource) -> bool:
        """Whether the source is known to have no replays; notify a warning if so."""
        counted = self._counted.get(source.path)
        if not source.written or source.dataset is not None or counted is None:
            return False
        if counted.replays or counted.archives:
            return False
        self.notify("There are no replays in it.", severity="warning")
        return True

    def action_open_replay(self) -> None:
        source = self.current
        if source is None or not source.written:
            folders: list[Path] = []
        elif source.dataset is not None:
            folders = [Path(path) for path in source.dataset.sources]
        else:
            folders = [source.path]
        self.workbench.choose_replay(folders)

    def action_type_path(self) -> None:
        self.query_one("#data-path").focus()

    @on(Input.Submitted)
    def _path_typed(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text:
            return
        path = expanded(text)
        if not exists(path):
            self.notify(f"{shown(path)}: no such file or folder.", severity="warning")
            return
        event.input.clear()
        self._typed = [path, *(known for known in self._typed if known != path)]
        self._select_next = path
        self._list.focus()
        self._list_sources()

    def action_build(self) -> None:
        source = self.current
        if self._build.building:
            self.notify("A build is running already; Esc cancels it.", severity="warning")
        elif source is not None and not self._is_empty(source):
            self._build.build(source, lambda: self._counted.get(source.path))
            self.refresh_bindings()

    @on(BuildPanel.Ended)
    def _build_ended(self, message: BuildPanel.Ended) -> None:
        self._select_next = self._select_next or message.path
        self._list_sources()
        self._paint()

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.notify(str(event.worker.error), severity="error")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "cancel_build":
            return self.is_mounted and self._build.building
        return True

    def action_cancel_build(self) -> None:
        self._build.cancel()

    def action_back(self) -> None:
        if self._build.building:
            self._build.cancel()
        elif self.query_one("#data-path").has_focus:
            self._list.focus()
        else:
            self.app.pop_screen()


def _stats_key(source: DataSource) -> tuple[Path, float]:
    assert source.dataset is not None
    return source.dataset.path, source.dataset.built
