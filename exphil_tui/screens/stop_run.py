"""Dialog of the stop key: returns "stop" (save a checkpoint and end), "detach" (keep running), None if cancelled.

Closing a screen never stops a run.
"""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Static

from exphil_core.replays.text import sanitise
from exphil_tui.screens.base import WorkbenchModalScreen

Answer = Literal["stop", "detach"]


class StopRunScreen(WorkbenchModalScreen[Answer | None]):
    CSS_PATH = "stop_run.tcss"
    BINDING_GROUP_TITLE = "Stop a run"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "answer('stop')", "Stop and save"),
        Binding("d", "answer('detach')", "Keep running and go back"),
        Binding("c,escape", "answer('')", "Cancel"),
        Binding("down,right", "app.focus_next", "Next button", show=False),
        Binding("up,left", "app.focus_previous", "Previous button", show=False),
    ]
    HELP = """\
Stop and save: the run writes a checkpoint after the current step and ends; r resumes it later.
Keep running: only this screen closes. The run is a separate process and continues.
Cancel: nothing changes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def compose(self) -> ComposeResult:
        name = sanitise(self._name, limit=120)
        with Vertical(classes="dialog"):
            yield Static(Content.assemble("Stop ", (name, "bold"), "?"), id="stop-question")
            yield Button(Content("s  Stop and save; it can be resumed"), id="stop", compact=True)
            yield Button(Content("d  Keep running and go back"), id="detach", compact=True)
            yield Button(Content("c  Cancel"), id="cancel", compact=True)

    def on_mount(self) -> None:
        # Focus the answer that changes nothing.
        self.query_one("#cancel").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id or "")

    def action_answer(self, answer: str) -> None:
        self.dismiss("stop" if answer == "stop" else "detach" if answer == "detach" else None)
