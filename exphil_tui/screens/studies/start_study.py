"""Dialog to start a study worker: seeds, replays, quick mode, and the command; returns it, None if cancelled.

Ended runs are not run again, so the same command starts a study, continues it and adds seeds.
"""

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from exphil_core.replays.text import sanitise
from exphil_tui.screens.base import WorkbenchModalScreen
from exphil_tui.services.study_worker import StudyCommand

_LINE_LETTERS = 400


class StartStudyScreen(WorkbenchModalScreen[StudyCommand | None]):
    CSS_PATH = "start_study.tcss"
    BINDING_GROUP_TITLE = "Start a study"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start", priority=True),
        Binding("f2", "toggle_quick", "Quick or full mode"),
        Binding("escape", "dismiss(None)", "Cancel"),
    ]
    HELP = """\
The worker is a separate process: it keeps running when the workbench is closed.
The same command elsewhere, on this machine or on another that shares the folder, starts another worker.
Seeds: numbers with commas. Ended runs are not repeated; new seeds are added."""

    def __init__(self, command: StudyCommand, *, sentence: str, fresh: bool) -> None:
        """Create the dialog.

        Args:
            command: Command to start from.
            sentence: Sentence about the study, below the title.
            fresh: The study was not started yet, so replays and quick mode can still be chosen.
        """
        super().__init__()
        self._command, self._sentence, self._fresh = command, sentence, fresh

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="start-study"):
            title = sanitise(self._command.name, limit=120)
            words = "Start " if self._fresh else "Continue "
            yield Static(Content.assemble(words, (title, "bold")), id="start-title")
            yield Static(Content(self._sentence), id="start-sentence")
            with Horizontal(classes="start-line"):
                yield Static("seeds", classes="start-label")
                yield Input(",".join(map(str, self._command.seeds)), compact=True, id="start-seeds")
            if self._fresh:
                with Horizontal(classes="start-line"):
                    yield Static("replays", classes="start-label")
                    yield Input(placeholder="dojo games", compact=True, id="start-replays")
                yield Static(id="start-quick", classes="start-line")
            yield Static(id="start-command")
            yield Static(
                Content.styled(
                    "The worker is a separate process: it keeps running when the workbench is closed.",
                    "$text-muted",
                )
            )
            keys = ("Enter start", *(("F2 mode",) if self._fresh else ()), "Esc cancel")
            between = f" {self.workbench.glyphs.bullet} "
            yield Static(Content.styled(between.join(keys), "$text-muted"))

    def on_mount(self) -> None:
        self.query_one("#start-seeds").focus()
        self._show()

    @on(Input.Changed)
    def _show(self) -> None:
        command_or_error = self._command_or_error()
        command = self.query_one("#start-command", Static)
        if isinstance(command_or_error, str):
            command.update(Content.styled(command_or_error, "$text-warning"))
        else:
            command.update(
                Content.styled(f"$ {sanitise(command_or_error.line, limit=_LINE_LETTERS)}", "bold")
            )
        if self._fresh:
            title = sanitise(
                self._command.name if isinstance(command_or_error, str) else command_or_error.name, limit=120
            )
            self.query_one("#start-title", Static).update(Content.assemble("Start ", (title, "bold")))
            quick = self._command.quick
            self.query_one("#start-quick", Static).update(
                Content.assemble(
                    ("mode     ", "$text-muted"),
                    (_choice("quick", quick), "bold" if quick else "$text-muted"),
                    "  ",
                    (_choice("full", not quick), "$text-muted" if quick else "bold"),
                )
            )

    def _command_or_error(self) -> StudyCommand | str:
        """Return the command for the typed values, or an error sentence."""
        text = self.query_one("#start-seeds", Input).value
        try:
            seeds = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
        except ValueError:
            return "Seeds: expected whole numbers separated by commas, such as 0,1,2."
        if seeds and min(seeds) < 0:
            return "Seeds: expected numbers of at least 0."
        replays = self._command.replays
        if self._fresh:
            path = self.query_one("#start-replays", Input).value.strip()
            replays = (path,) if path else ()
        return replace(self._command, seeds=seeds, replays=replays)

    def action_toggle_quick(self) -> None:
        if self._fresh:
            self._command = replace(self._command, quick=not self._command.quick)
            self._show()

    def action_start(self) -> None:
        command_or_error = self._command_or_error()
        if not isinstance(command_or_error, str):
            self.dismiss(command_or_error)


def _choice(name: str, chosen: bool) -> str:
    """Format a choice with an [x] mark; bold must not be the only difference."""
    return f"[x] {name}" if chosen else f"[ ] {name}"
