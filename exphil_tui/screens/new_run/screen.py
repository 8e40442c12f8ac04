"""New-run screen: a form, its cost estimate, and the equivalent command, which Start runs.

Settings are validated in this process, so errors appear at once. The estimate needs torch, so a child process makes
it and it appears later.
"""

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.widgets import Button, Footer, Input, Select, Static
from textual.worker import Worker, WorkerState

from exphil_core.errors import DataError, ExphilError
from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import DataSource, default_source, known_sources, source_of
from exphil_tui.model.new_run_form import (
    FALLBACK_FIELD,
    NewRunForm,
    ResolvedForm,
    Value,
    advise_arguments,
    command_line,
    list_preset_entries,
    resolve_form,
)
from exphil_tui.screens.base import WorkbenchScreen
from exphil_tui.screens.new_run.estimate_panel import BENCHMARK_SECONDS, EstimatePanel, EstimateRequest
from exphil_tui.screens.new_run.form_fields import LABELS, OTHER, NewRunFields, hint_of
from exphil_tui.screens.new_run.pickers import character_picker, preset_picker, source_picker
from exphil_tui.services.subprocess import CompletedCommand
from exphil_tui.widgets.form import FieldRow, PickerField

INITIAL_OVERRIDES = {"pilot": "auto"}
"""A pilot shows whether the policy is fast enough to play."""

_STATUS_LIMIT = 300


class NewRunScreen(WorkbenchScreen[None]):
    CSS_PATH = "new_run.tcss"
    BINDING_GROUP_TITLE = "New run"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start"),
        Binding("t,f6", "benchmark", "Benchmark", key_display="t"),
        Binding("y,f7", "copy", "Copy command", key_display="y"),
        Binding("u", "reset", "Reset to the preset", show=False),
        Binding("a,f8", "advice", "Advice", show=False, key_display="a"),
        Binding("d", "data", "Data", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("escape", "back", "Back, or cancel a start", show=False),
    ]
    HELP = f"""\
Settings are on the left, what the run costs is on the right, the equivalent command is below.
Fields have the preset's values until you change them; a mark before the label shows a change, u undoes all of them.
Pilot is already on: the policy plays beside training, to show whether it is fast enough. u turns it off, too.
Up and down move between fields, left and right change a choice, Enter opens the list.
Enter on Start starts the run. A run is a separate process: it continues when you leave.
The estimate needs no training; t takes real training steps for {BENCHMARK_SECONDS} s and measures speed and memory.
Advice is the model that fits 60 FPS here, for this data and device: a shows it if it is off the screen, and
'exphil advise' explains it."""

    def __init__(self, replays: Path | None = None) -> None:
        """Create the form, with the data field set to `replays` if given."""
        super().__init__()
        self._initial_replays = replays
        self.form = NewRunForm(overrides=INITIAL_OVERRIDES)
        self.source: DataSource | None = None
        """Data source of `form.replays`; None if the preset's own are used."""
        self._sources: list[DataSource] = []
        self._sources_listed = asyncio.Event()
        self._resolved: ResolvedForm | None = None
        self._refused: dict[str, str] = {}
        """Field → why the last start was refused; cleared by any change."""
        self._status = ""

    def compose(self) -> ComposeResult:
        yield Static(Content.assemble(("exphil", "bold $primary"), "  New run"), classes="title")
        with Horizontal(id="new-run-body"):
            yield NewRunFields(id="new-run-form")
            yield EstimatePanel(self.workbench.launch, self.workbench.glyphs, id="new-run-estimate")
        with Vertical(id="new-run-below"):
            yield Static(id="new-run-hint", markup=False)
            with VerticalScroll(id="new-run-command-box", can_focus=False):
                yield Static(id="new-run-command", markup=False)
            with Horizontal(id="new-run-end"):
                yield Button("Start", id="new-run-start", compact=True)
                yield Static(id="new-run-status", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.form = replace(self.form, runs_dir=self.workbench.runs_dir)
        self.query_one("#new-run-start").focus()
        self._form_changed(show=True)
        self._list_sources()

    def on_screen_resume(self) -> None:
        # The Data screen may have built a dataset meanwhile.
        if self._sources_listed.is_set():
            self._list_sources()

    @property
    def _fields(self) -> NewRunFields:
        return self.query_one(NewRunFields)

    @property
    def estimate(self) -> EstimatePanel:
        return self.query_one(EstimatePanel)

    # Training data.

    @work(thread=True, group="sources", exclusive=True, exit_on_error=False)
    def _list_sources(self) -> None:
        sources = known_sources()
        initial = source_of(self._initial_replays) if self._initial_replays is not None else None
        self.app.call_from_thread(self._sources_found, sources, initial)

    def _sources_found(self, sources: list[DataSource], initial: DataSource | None) -> None:
        if not self.is_attached:
            return
        first = not self._sources_listed.is_set()
        self._sources = sources
        self._sources_listed.set()
        if first and self.source is None and not self.form.replays:
            self._choose_source(initial or default_source(sources))
        elif self.source is not None:
            path = self.source.path
            self.source = next((source for source in sources if source.path == path), self.source)
            self._form_changed(show=False)

    def use_data(self, path: Path) -> None:
        """Set the data field to a dataset or replays; other fields stay."""
        self._choose_source(source_of(path))

    def _choose_source(self, source: DataSource) -> None:
        self.source = source
        self.form = replace(self.form, replays=str(source.path))
        self._form_changed(show=True)

    @property
    def source_title(self) -> str:
        """Text of the data field."""
        if self.source is None:
            ellipsis = self.workbench.glyphs.ellipsis
            return "as in the preset" if self._sources_listed.is_set() else f"searching{ellipsis}"
        return self.source.title if self.source.written else f"{self.source.title} (written at start)"

    # The form.

    def _form_changed(self, *, show: bool) -> None:
        """Resolve the form again after a change; `show` also rewrites the fields."""
        self._refused = {}
        unwritten_demo = self.source is not None and not self.source.written
        self._resolved = resolve_form(
            self.form,
            exists=(lambda path: True) if unwritten_demo else _exists,
            name_problem=partial(_name_problem, self.form.runs_dir),
        )
        if show:
            self._fields.show_values(self.form, self._resolved.values, self.source_title)
        self._show_problems()
        self._paint()
        self.estimate.show(self._resolved, self.source)
        self.estimate.request(self._estimate_request())

    def _problems(self) -> dict[str, str]:
        assert self._resolved is not None
        return {**self._resolved.problems, **self._refused}

    def _show_problems(self) -> None:
        assert self._resolved is not None
        self._fields.show_problems(self._problems(), self._resolved.differs, self.workbench.glyphs)

    def _set_value(self, name: str, value: Value) -> None:
        if self._resolved is None or self._resolved.values.get(name) != value:
            self.form = self.form.with_override(name, value)
            self._form_changed(show=False)

    @on(PickerField.Opened, "#preset")
    def _pick_preset(self) -> None:
        try:
            presets, problems = list_preset_entries()
        except ExphilError as error:
            self.notify(str(error), severity="error")
            return
        for sentence in problems:
            self.notify(sentence, severity="warning")
        self.app.push_screen(preset_picker(presets, self.form.preset), self._preset_picked)

    def _preset_picked(self, name: str | None) -> None:
        if name is not None:
            self.form = replace(self.form, preset=name)
            self._form_changed(show=True)

    @on(PickerField.Opened, "#replays")
    def _pick_source(self) -> None:
        self.app.push_screen(source_picker(self._sources, self.form.replays), self._source_picked)

    def _source_picked(self, path: str | None) -> None:
        if path is None:
            return
        listed = next((source for source in self._sources if str(source.path) == path), None)
        self._choose_source(listed or source_of(Path(path).expanduser()))

    @on(PickerField.Opened, "#characters")
    def _pick_characters(self) -> None:
        assert self._resolved is not None
        current = self._resolved.values.get("characters", ())
        picker = character_picker(self.source, current if isinstance(current, tuple) else ())
        self.app.push_screen(picker, self._characters_picked)

    def _characters_picked(self, names: tuple[str, ...] | None) -> None:
        if names is not None:
            self._set_value("characters", names)
            self._fields.show_value("characters", names)

    @on(Select.Changed)
    def _choice_changed(self, event: Select.Changed) -> None:
        name, value = str(event.select.id), str(event.value)
        if event.value != event.select.value:
            # A stale message, from before a preset rewrote the field.
            return
        if name == "window":
            typed = self._fields.input_of("window-typed")
            typed.display = value == OTHER
            if value == OTHER:
                typed.focus()
                return
            with self.prevent(Input.Changed):
                typed.value = value
        self._set_value(name, value == "yes" if name == "balance" else value)

    @on(Input.Changed)
    def _text_changed(self, event: Input.Changed) -> None:
        name = str(event.input.id)
        if name == "name":
            self.form = replace(self.form, name=event.value.strip())
            self._form_changed(show=False)
        else:
            self._set_value("window" if name == "window-typed" else name, event.value)

    @on(Input.Submitted)
    def _text_submitted(self) -> None:
        self.focus_next()

    @on(DescendantFocus)
    def _focus_changed(self, event: DescendantFocus) -> None:
        focused = next(
            (node for node in event.widget.ancestors_with_self if isinstance(node, FieldRow)), None
        )
        for row in self.query(FieldRow):
            row.set_class(row is focused, "-focused")
        hint = hint_of(focused.field, self._resolved) if focused is not None and self._resolved else ""
        self.query_one("#new-run-hint", Static).update(hint or "Equivalent command:")

    # Estimate.

    def _estimate_request(self) -> EstimateRequest:
        """Return the commands of estimate and advice; no estimate if the settings are invalid or data is unknown yet.

        Replays without a dataset are left out, because the dry run would build one.
        """
        if self._resolved is None or self._resolved.preset is None or not self._sources_listed.is_set():
            return EstimateRequest(estimate=(), advice=())
        form = replace(self.form, name="")
        if self.source is not None and not self.source.usable:
            form = replace(form, replays="")
        return EstimateRequest(
            estimate=resolve_form(form).arguments,
            advice=advise_arguments(form, self._resolved.values.get("device", "auto")),
        )

    def action_benchmark(self) -> None:
        request = self._estimate_request()
        if not request.estimate:
            self.notify("Fix the highlighted fields first.", severity="warning")
        elif self.source is None or not self.source.usable:
            self.notify(
                "A benchmark needs a dataset: press d and build one, or start the run.", severity="warning"
            )
        else:
            self.estimate.benchmark(request)

    # Drawing.

    def _paint(self) -> None:
        if not self.is_mounted or self._resolved is None:
            return
        self.query_one("#new-run-command", Static).update(self.command)
        self.query_one("#new-run-status", Static).update(self._status or self._readiness())
        self.query_one("#new-run-start", Button).label = Content("Starting" if self._starting else "Start")

    def _readiness(self) -> str:
        """Say what Start will do, or what keeps it from starting."""
        problems = self._problems()
        if problems:
            fields = "field" if len(problems) == 1 else "fields"
            return f"{len(problems)} {fields} to fix: {', '.join(LABELS[name] for name in problems)}"
        if self.source is None and not self._sources_listed.is_set():
            return "searching for data"
        if self.source is not None and not self.source.written:
            return "Enter writes the demo replays, reads them, and starts the run"
        if self.source is not None and not self.source.usable:
            return "Enter reads the replays first, then starts the run"
        return "Enter starts the run; it continues when you leave"

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """Commands that Start runs, in order."""
        assert self._resolved is not None
        before: list[tuple[str, ...]] = []
        if self.source is not None and not self.source.written:
            before.append(("demo", "--out", str(self.source.path)))
        return [*before, self._resolved.start_arguments]

    @property
    def command(self) -> str:
        """The commands as one shell line."""
        return command_line(*self.commands)

    def _show_status(self, text: str) -> None:
        self._status = text
        if self.is_mounted:
            self.query_one("#new-run-status", Static).update(text)

    # Starting.

    @property
    def _starting(self) -> bool:
        return any(worker.group == "start" and not worker.is_finished for worker in self.workers)

    @on(Button.Pressed, "#new-run-start")
    def action_start(self) -> None:
        if not self._starting:
            self._start()

    @work(group="start", exit_on_error=False)
    async def _start(self) -> None:
        self._status = "searching for data"
        await self._sources_listed.wait()
        assert self._resolved is not None
        if self._resolved.problems:
            self._fields.focus_field(next(iter(self._resolved.problems)))
            self._status = ""
            self._paint()
            return
        self.estimate.cancel()
        self._show_status("starting" + self.workbench.glyphs.ellipsis)
        try:
            for arguments in self.commands:
                completed = await self.workbench.launch([*arguments, "--json"], told=self._show_status)
                if completed.code != 0:
                    self._show_refusal(completed)
                    return
            name = json.loads(completed.output.splitlines()[-1])["run"]
        except asyncio.CancelledError:
            self._show_status("cancelled: no run was started; replays that were read are kept")
            raise
        except OSError as error:
            self._show_status(sanitise(str(error), limit=_STATUS_LIMIT))
            return
        except (ValueError, KeyError, IndexError, TypeError):
            self._show_status("the command did not name the run that it started; see the list of runs")
            return
        self._open_run(str(name))

    def _show_refusal(self, completed: CompletedCommand) -> None:
        """Show the error of a refused start, at its field if that is known."""
        sentence = completed.problem
        field = FALLBACK_FIELD
        if completed.code == DataError.exit_code:
            field = "replays"
        elif sentence.startswith(("run name", "run '")):
            field = "name"
        self._status = ""
        self._refused = {field: "\n".join(sentence.splitlines()[-3:])}
        self._show_problems()
        self._paint()
        self._fields.focus_field(field)

    def _open_run(self, name: str) -> None:
        self._status = ""
        if self.is_current:
            self.app.pop_screen()
            self.workbench.open_run(name)
        else:
            self.notify(f"Run {name} has started.")
            self._paint()

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "start":
            self._paint()
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._show_status(sanitise(str(event.worker.error), limit=_STATUS_LIMIT))

    # Other actions.

    def action_advice(self) -> None:
        command = command_line(self.estimate.advised) if self.estimate.advised else "exphil advise"
        self.notify(f"{self.estimate.advice or 'No advice yet.'} Details: {command}")

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.command)
        self.notify("Command copied, if the terminal supports it; it is also shown below the form.")

    def action_reset(self) -> None:
        """Reset all fields to the preset; data and name stay."""
        self.form = replace(self.form, overrides={})
        self._form_changed(show=True)

    def action_data(self) -> None:
        self.workbench.open_data()

    def action_back(self) -> None:
        if self._starting:
            self.workers.cancel_group(self, "start")
        else:
            self.app.pop_screen()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _name_problem(runs_dir: Path, name: str) -> str | None:
    from exphil_core.runs.directory import name_problem

    return name_problem(runs_dir, name)
