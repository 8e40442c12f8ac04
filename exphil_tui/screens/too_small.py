"""What is shown instead of any screen where the terminal is too small for it.

In: the size of the terminal. Out: a sentence with the size found and the size needed. What a reader gets wrong: the
screen below is still there and comes back, as it was, when the terminal grows.
"""

from textual.app import ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.widgets import Static

from exphil_tui.screens.steady import SteadyScreen

COLUMNS, ROWS = 60, 20


def fits(size: Size) -> bool:
    return size.width >= COLUMNS and size.height >= ROWS


class TooSmallScreen(SteadyScreen[None]):
    CSS_PATH = "too_small.tcss"
    HELP = f"The workbench needs {COLUMNS} columns and {ROWS} rows."

    def compose(self) -> ComposeResult:
        yield Static(id="too-small")

    def on_mount(self) -> None:
        self._show()

    def on_resize(self, event: Resize) -> None:
        self._show()

    def on_screen_resume(self) -> None:
        self._show()

    def _show(self) -> None:
        if fits(self.app.size) and self.is_current:
            self.dismiss()
            return
        width, height = self.app.size
        sentence = (
            f"This terminal has {width} columns and {height} rows; the workbench needs {COLUMNS} and {ROWS}. "
            "Make it larger, or press q to quit."
        )
        self.query_one("#too-small", Static).update(Content(sentence))
