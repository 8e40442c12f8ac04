"""Asks before a run is deleted, since nothing brings it back.

In: a run. Out: True where the person said so. What a reader gets wrong: Enter alone does not delete; the answer that
loses nothing has the focus.
"""

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from exphil_core.replays.text import sanitise
from exphil_tui.screens.steady import SteadyModalScreen

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary


class DeleteRunScreen(SteadyModalScreen[bool]):
    CSS_PATH = "delete_run.tcss"
    BINDING_GROUP_TITLE = "Delete a run"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Delete"),
        Binding("n,escape", "answer(False)", "Keep"),
        Binding("left,right", "app.focus_next", "The other answer", show=False),
    ]

    def __init__(self, run: "RunSummary") -> None:
        super().__init__()
        self._run = run

    def compose(self) -> ComposeResult:
        run = self._run
        name = sanitise(run.name, limit=120)
        with Vertical(classes="dialog"):
            question = Content.assemble(
                "Delete ",
                (name, "bold"),
                "?\n\n",
                f"Its events, its checkpoints and its log go, at step {run.step:,}. Nothing brings them back.",
            )
            yield Static(question)
            with Horizontal(id="delete-answers"):
                yield Button("Keep (n)", id="keep", compact=True)
                yield Button("Delete (y)", id="delete", variant="error", compact=True)

    def on_mount(self) -> None:
        self.query_one("#keep").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "delete")

    def action_answer(self, delete: bool) -> None:
        self.dismiss(delete)
