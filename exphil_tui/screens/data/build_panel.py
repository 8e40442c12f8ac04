"""Build of a dataset by a child process: its progress, and its outcome.

What a cancelled build has read is kept, and not read again.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from exphil_core.replays.folders import ReplayCount
from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import DataSource
from exphil_tui.screens.data.source_details import plural
from exphil_tui.services.subprocess import CompletedCommand, RunExphil
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs

_PROGRESS = re.compile(r"(?P<done>[\d,]+) (?:of (?P<of>[\d,]+) )?(?:files|replays)")
_BAR_WIDTH = 24


class BuildPanel(Static):
    class Ended(Message):
        """A build ended or was cancelled."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path
            """The new dataset, or the source of a build that failed."""

    def __init__(self, launch: RunExphil, monotonic: Callable[[], float], glyphs: Glyphs, *, id: str) -> None:
        super().__init__(id=id)
        self._launch, self._monotonic, self._glyphs = launch, monotonic, glyphs
        self._source: DataSource | None = None
        self._counted: Callable[[], ReplayCount | None] = lambda: None
        self._progress = ""
        self._started = 0.0
        self._result: tuple[str, str] | None = None
        """Outcome of the last build, and its colour."""

    @property
    def building(self) -> bool:
        return self._source is not None

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    def build(self, source: DataSource, counted: Callable[[], ReplayCount | None]) -> None:
        """Build a dataset; `counted` returns how many replays the source has, once that is known."""
        assert not self.building
        self._source, self._counted = source, counted
        self._progress, self._result = "", None
        self._started = self._monotonic()
        self._paint()
        self._run(source)

    def cancel(self) -> None:
        self.workers.cancel_group(self, "build")

    @work(group="build", exit_on_error=False)
    async def _run(self, source: DataSource) -> None:
        path = source.path
        try:
            completed = CompletedCommand(code=0, output="", problems=())
            for arguments in _commands(source):
                completed = await self._launch([*arguments, "--json"], told=self._show_progress)
                if completed.code != 0:
                    break
            text, colour, built = self._outcome(completed)
            self._result, path = (text, colour), built or path
        except asyncio.CancelledError:
            self._result = ("cancelled: replays that were read are kept", "$text-warning")
            raise
        except OSError as error:
            self._result = (sanitise(str(error), limit=400), "$text-error")
        finally:
            self._source = None
            if self.is_mounted:
                self.post_message(self.Ended(path))
                self._paint()

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.notify(str(event.worker.error), severity="error")

    def _show_progress(self, line: str) -> None:
        self._progress = line
        self._paint()

    def _outcome(self, completed: CompletedCommand) -> tuple[str, str, Path | None]:
        """Return text and colour of the outcome, and the path of the dataset that was built."""
        warning = self._glyphs.warning
        if completed.code != 0:
            return f"{warning} " + "\n".join(completed.problem.splitlines()[-3:]), "$text-error", None
        path: Path | None = None
        try:
            report: Mapping[str, Any] = json.loads(completed.output.splitlines()[-1])
            path = Path(report["path"])
            text = self._report_text(report)
            return text, "$text-success" if report["games"] else "$text-warning", path
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{warning} the build ended without a report that can be read", "$text-warning", path

    def _report_text(self, report: Mapping[str, Any]) -> str:
        filtered, refused = sum(report["filtered"].values()), sum(report["refused"].values())
        text = (
            f"built in {fmt.duration(report['seconds'], self._glyphs)}: {plural(report['games'], 'game')}, "
            f"{report['frames']:,} frames\n{plural(report['kept'], 'file')} kept, "
            f"{plural(report['duplicates'], 'duplicate')}, {filtered:,} filtered, {refused:,} refused; "
            "n opens a new run on it"
        )
        if report["unverified"]:
            files = plural(report["unverified"], "file")
            text += f"\n{files} could not be checked; what was read of them before is kept"
        return text

    def _tick(self) -> None:
        if self.building:
            self._paint()

    def _paint(self) -> None:
        lines = list(self._lines())
        self.display = bool(lines)
        self.update(Content("\n").join(lines))

    def _lines(self) -> Iterator[Content]:
        if self._source is not None:
            seconds = fmt.duration(self._monotonic() - self._started, self._glyphs)
            yield Content.assemble(
                ("building ", "bold"),
                (self._source.title, "bold"),
                (f"  {seconds}  Esc cancel", "$foreground-muted"),
            )
            yield Content.assemble(*self._bar(), self._progress or "searching for replays")
        elif self._result is not None:
            text, colour = self._result
            for line in text.splitlines()[-5:]:
                yield Content.styled(line, colour)

    def _bar(self) -> tuple[tuple[str, str], ...]:
        """Progress bar; empty while the number of replays is unknown."""
        match = _PROGRESS.search(self._progress)
        if match is None:
            return ()
        total = int(match["of"].replace(",", "")) if match["of"] else 0
        counted = self._counted()
        if not total and counted is not None and counted.whole and not counted.archives:
            total = counted.replays
        if not total:
            return ()
        full = round(_BAR_WIDTH * min(1.0, int(match["done"].replace(",", "")) / total))
        done, rest = ("#", ".") if self._glyphs.ascii else ("━", "─")
        return ((done * full, "$primary"), (rest * (_BAR_WIDTH - full) + "  ", "$foreground-muted"))


def _commands(source: DataSource) -> list[tuple[str, ...]]:
    """Return the commands that build a dataset from a source, in order."""
    if source.kind == "dataset" and source.dataset is not None and source.dataset.sources:
        return [("data", "build", *source.dataset.sources, "--out", str(source.dataset.path.absolute()))]
    path = str(source.path.absolute())
    before = [] if source.written else [("demo", "--out", path)]
    return [*before, ("data", "build", path)]
