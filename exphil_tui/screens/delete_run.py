"""Confirmation dialog before deleting a run; returns True to delete.

"Keep" has the focus, so Enter alone does not delete.
"""

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from exphil_core.replays.text import sanitise
from exphil_tui.screens.base import WorkbenchModalScreen

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary


class DeleteRunScreen(WorkbenchModalScreen[bool]):
    CSS_PATH = "delete_run.tcss"
    BINDING_GROUP_TITLE = "Delete a run"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Delete"),
        Binding("n,escape", "answer(False)", "Keep"),
        Binding("left,right", "app.focus_next", "Other button", show=False),
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
                f"Its events, checkpoints and log are deleted, at step {run.step:,}. This cannot be undone.",
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
