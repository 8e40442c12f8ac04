"""Asks how a study is to go on, and shows the command that does it.

In: a `StudyCommand`. Out: the command to start, None where nothing is to happen. What a reader gets wrong: whatever
has ended is not run again, so the same command begins a study, goes on with it and adds seeds to it.
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
from exphil_tui.screens.steady import SteadyModalScreen
from exphil_tui.study_worker import StudyCommand

_LINE_LETTERS = 400


class StartStudyScreen(SteadyModalScreen[StudyCommand | None]):
    CSS_PATH = "start_study.tcss"
    BINDING_GROUP_TITLE = "Start a study"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start it", priority=True),
        Binding("f2", "toggle_quick", "The quick form or the whole"),
        Binding("escape", "dismiss(None)", "Leave all as it is"),
    ]
    HELP = """\
The worker is a process of its own, in a session of its own: it goes on when the workbench is closed.
The same command elsewhere, on this machine or on another that shares the folder, joins in the work.
Seeds: numbers with commas. Those that have ended are not run again; further ones are added."""

    def __init__(self, command: StudyCommand, *, said: str, fresh: bool) -> None:
        """`fresh`: nothing of it was run, so its form can still be chosen."""
        super().__init__()
        self._command, self._said, self._fresh = command, said, fresh

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="start-study"):
            title = sanitise(self._command.name, limit=120)
            words = "Begin " if self._fresh else "Go on with "
            yield Static(Content.assemble(words, (title, "bold")), id="start-title")
            yield Static(Content(self._said), id="start-said")
            with Horizontal(classes="start-line"):
                yield Static("seeds", classes="start-label")
                yield Input(",".join(map(str, self._command.seeds)), compact=True, id="start-seeds")
            if self._fresh:
                with Horizontal(classes="start-line"):
                    yield Static("replays", classes="start-label")
                    yield Input(placeholder="the dojo's games", compact=True, id="start-replays")
                yield Static(id="start-quick", classes="start-line")
            yield Static(id="start-command")
            yield Static(
                Content.styled(
                    "It runs in a session of its own: closing the workbench changes nothing for it.",
                    "$text-muted",
                )
            )
            form = "  F2 changes the form" * self._fresh
            yield Static(Content.styled(f"Enter starts it{form}  Esc leaves all as it is", "$text-muted"))

    def on_mount(self) -> None:
        self.query_one("#start-seeds").focus()
        self._show()

    @on(Input.Changed)
    def _show(self) -> None:
        wanted = self._wanted()
        told = self.query_one("#start-command", Static)
        if isinstance(wanted, str):
            told.update(Content.styled(wanted, "$text-warning"))
        else:
            told.update(Content.styled(f"$ {sanitise(wanted.line, limit=_LINE_LETTERS)}", "bold"))
        if self._fresh:
            title = sanitise(self._command.name if isinstance(wanted, str) else wanted.name, limit=120)
            self.query_one("#start-title", Static).update(Content.assemble("Begin ", (title, "bold")))
            quick = self._command.quick
            self.query_one("#start-quick", Static).update(
                Content.assemble(
                    ("form     ", "$text-muted"),
                    (_choice("quick", quick), "bold" if quick else "$text-muted"),
                    "  ",
                    (_choice("whole", not quick), "$text-muted" if quick else "bold"),
                )
            )

    def _wanted(self) -> StudyCommand | str:
        """What was typed, or why it is no command."""
        text = self.query_one("#start-seeds", Input).value
        try:
            seeds = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
        except ValueError:
            return "Seeds are whole numbers with commas between them, such as 0,1,2."
        if seeds and min(seeds) < 0:
            return "Seeds are numbers from 0 up."
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
        wanted = self._wanted()
        if not isinstance(wanted, str):
            self.dismiss(wanted)


def _choice(name: str, chosen: bool) -> str:
    """A sign tells which is chosen; the weight only repeats it."""
    return f"[x] {name}" if chosen else f"[ ] {name}"
