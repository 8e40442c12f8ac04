"""Input line at the bottom of the replay screen that asks for a frame or a time."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static


class JumpBar(Horizontal):
    def compose(self) -> ComposeResult:
        yield Static("Go to", id="replay-jump-label")
        yield Input(
            id="replay-jump-place", placeholder="a frame such as -39, or a time such as 1:23", compact=True
        )

    def open(self) -> None:
        self.display = True
        place = self.query_one(Input)
        place.clear()
        place.focus()

    def close(self) -> None:
        """Hide the line, and give the keys back to the screen."""
        self.display = False
        self.screen.set_focus(None)
