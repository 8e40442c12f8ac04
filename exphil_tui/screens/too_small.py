"""Screen shown while the terminal is too small; the screen below returns when it grows."""

from textual.app import ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.widgets import Static

from exphil_tui.screens.base import WorkbenchScreen

COLUMNS, ROWS = 60, 20


def fits(size: Size) -> bool:
    return size.width >= COLUMNS and size.height >= ROWS


class TooSmallScreen(WorkbenchScreen[None]):
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
