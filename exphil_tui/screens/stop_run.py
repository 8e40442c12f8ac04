"""Asks what is meant by stopping: the run, or only watching it.

In: the name of a run. Out: "stop", "detach", or None where nothing is to happen. What a reader gets wrong: leaving
the screen never stops a run; this is the one place where one is stopped, and it saves a checkpoint first.
"""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Static

from exphil_core.replays.text import sanitise
from exphil_tui.screens.steady import SteadyModalScreen

Answer = Literal["stop", "detach"]


class StopRunScreen(SteadyModalScreen[Answer | None]):
    CSS_PATH = "stop_run.tcss"
    BINDING_GROUP_TITLE = "Stop a run"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "answer('stop')", "Stop and save"),
        Binding("d", "answer('detach')", "Leave it running and go back"),
        Binding("c,escape", "answer('')", "Cancel"),
        Binding("down,right", "app.focus_next", "Next answer", show=False),
        Binding("up,left", "app.focus_previous", "Answer before", show=False),
    ]
    HELP = """\
Stop and save: the run writes a checkpoint at its next step and ends; r goes on from there later.
Leave it running: only this screen closes. The run is a process of its own and goes on.
Cancel: nothing happens."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def compose(self) -> ComposeResult:
        name = sanitise(self._name, limit=120)
        with Vertical(classes="dialog"):
            yield Static(Content.assemble("Stop ", (name, "bold"), "?"), id="stop-question")
            yield Button(Content("s  Stop and save: it can be resumed"), id="stop", compact=True)
            yield Button(Content("d  Leave it running and go back"), id="detach", compact=True)
            yield Button(Content("c  Cancel"), id="cancel", compact=True)

    def on_mount(self) -> None:
        # The answer that changes nothing has the focus.
        self.query_one("#cancel").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id or "")

    def action_answer(self, answer: str) -> None:
        self.dismiss("stop" if answer == "stop" else "detach" if answer == "detach" else None)
