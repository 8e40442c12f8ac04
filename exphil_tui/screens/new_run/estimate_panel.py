"""Estimate panel of the new-run screen: what a run costs, which characters its data has, and advice on models.

Parameters, memory and time need torch, so child processes compute them: `exphil train --dry-run`, with `--probe` for
a benchmark, and `exphil advise`. A request replaces the one before it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from textual import on, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import DataSource
from exphil_tui.model.new_run_form import ResolvedForm
from exphil_tui.screens.new_run.estimate_text import Estimate, character_lines, estimate_lines
from exphil_tui.services.subprocess import RunExphil
from exphil_tui.theme.glyphs import Glyphs

BENCHMARK_SECONDS = 5
DEBOUNCE_SECONDS = 0.4
"""Wait after the last change before an estimate starts."""

_ERROR_LIMIT = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRequest:
    estimate: tuple[str, ...]
    """Arguments of `exphil` for the dry run; empty if the form is invalid."""
    advice: tuple[str, ...]
    """Arguments of `exphil` for the advice."""


class EstimatePanel(VerticalScroll, can_focus=False):
    def __init__(self, launch: RunExphil, glyphs: Glyphs, *, id: str) -> None:
        super().__init__(id=id)
        self._launch = launch
        self._glyphs = glyphs
        self._form: ResolvedForm | None = None
        self._source: DataSource | None = None
        self._activity: Literal["", "estimating", "benchmarking"] = ""
        self._estimate: Estimate | None = None
        self._failure = ""
        """Why there is no estimate."""
        self._estimated: tuple[str, ...] = ()
        """Arguments that the estimate was made for."""
        self._debounce: Timer | None = None
        self.advice = ""
        """Headline of `exphil advise`."""
        self.advised: tuple[str, ...] = ()
        """Arguments that the advice was made for."""

    def compose(self) -> ComposeResult:
        yield Static(id="new-run-estimate-text")

    @property
    def busy(self) -> bool:
        """Whether an estimate is waiting or running."""
        return bool(self._activity)

    def show(self, form: ResolvedForm, source: DataSource | None) -> None:
        """Show the description, notes and data of a form."""
        self._form, self._source = form, source
        self._paint()

    def request(self, request: EstimateRequest) -> None:
        """Start an estimate after `DEBOUNCE_SECONDS`, unless its arguments are those of the last one."""
        if request.estimate == self._estimated and (self._estimate is not None or self._activity):
            return
        self._stop_estimate()
        self._failure = ""
        if request.estimate:
            self._activity = "estimating"
            self._debounce = self.set_timer(DEBOUNCE_SECONDS, partial(self._run_estimate, request))
        self._paint()

    def benchmark(self, request: EstimateRequest) -> None:
        """Measure speed and memory with real training steps for `BENCHMARK_SECONDS`."""
        if self._activity == "benchmarking":
            return
        if self._debounce is not None:
            self._debounce.stop()
        self._activity = "benchmarking"
        self._run_estimate(request, BENCHMARK_SECONDS)
        self._paint()

    def cancel(self) -> None:
        """Cancel estimate, benchmark and advice."""
        self._stop_estimate()
        self.workers.cancel_group(self, "advice")
        self._paint()

    def _stop_estimate(self) -> None:
        if self._debounce is not None:
            self._debounce.stop()
        self.workers.cancel_group(self, "estimate")
        self._activity = ""

    @work(group="estimate", exclusive=True, exit_on_error=False)
    async def _run_estimate(self, request: EstimateRequest, benchmark_seconds: int | None = None) -> None:
        self._estimated = request.estimate
        probe = () if benchmark_seconds is None else ("--probe", str(benchmark_seconds))
        try:
            completed = await self._launch([*request.estimate, "--dry-run", *probe, "--json"])
            self._estimate = json.loads(completed.output) if completed.code == 0 else None
            self._failure = "" if self._estimate is not None else completed.problem
        except (OSError, ValueError) as error:
            self._estimate, self._failure = None, sanitise(str(error), limit=_ERROR_LIMIT)
        self._activity = ""
        self._paint()
        # After the estimate, which is more urgent: each keeps a core busy for seconds.
        if request.advice != self.advised:
            self.advised, self.advice = request.advice, ""
            self._run_advice(request.advice)

    @work(group="advice", exclusive=True, exit_on_error=False)
    async def _run_advice(self, arguments: tuple[str, ...]) -> None:
        try:
            completed = await self._launch([*arguments, "--json"])
            self.advice = sanitise(str(json.loads(completed.output)["headline"]), limit=_ERROR_LIMIT)
        except (OSError, ValueError, KeyError, TypeError):
            # Advice is optional; 'exphil advise' shows the error.
            return
        self._paint()

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._activity = ""
            self._failure = sanitise(str(event.worker.error), limit=_ERROR_LIMIT)
            self._paint()

    def _paint(self) -> None:
        if self.is_mounted:
            self.query_one("#new-run-estimate-text", Static).update(Content("\n").join(self._lines()))

    def _lines(self) -> Iterator[Content]:
        form, glyphs = self._form, self._glyphs
        if form is None:
            return
        yield Content.styled(sanitise(form.description, limit=300), "$foreground-muted")
        for note in form.notes:
            yield Content.styled(sanitise(note, limit=300), "$text-warning")
        yield Content("")
        if form.preset is None:
            yield Content.styled("The estimate appears when all fields are valid.", "$foreground-muted")
            return
        if self._activity:
            seconds = f" for {BENCHMARK_SECONDS} s" if self._activity == "benchmarking" else ""
            yield Content.styled(f"{self._activity}{seconds}{glyphs.ellipsis}", "$text-accent")
        elif self._failure:
            for sentence in self._failure.splitlines()[-4:]:
                yield Content.styled(f"{glyphs.warning} {sentence}", "$text-error")
        stale = self._activity == "estimating"
        estimate = None if self._failure else self._estimate
        if estimate is not None:
            yield from estimate_lines(estimate, glyphs, stale=stale)
        if self._source is not None:
            yield from character_lines(self._source, None if stale else estimate)
        if self.advice:
            yield Content.assemble("\n", ("Advice ", "bold"), self.advice)
