"""Base classes of all screens: typed access to the workbench, and a fix for fast terminal resizes.

After two resizes in quick succession, Textual 8.2.8 sends stacked screens different sizes. They then lay each other
out in an endless loop and draw nothing, so every screen here uses the app's current size instead.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from textual.geometry import Size
from textual.screen import ModalScreen, Screen

from exphil_tui.services.subprocess import RunExphil
from exphil_tui.theme.glyphs import Glyphs

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary

Result = TypeVar("Result")

FULL_WIDTH, FULL_HEIGHT = 110, 34
"""Terminal columns and rows from which the run and replay screens show everything at once."""


class WorkbenchApp(Protocol):
    """What screens use of the app. `exphil_tui.app.Workbench` implements it; screens do not import the app."""

    glyphs: Glyphs
    runs_dir: Path
    clock: Callable[[], float]
    """Seconds since 1970."""
    monotonic: Callable[[], float]
    """Monotonic seconds; drives playback."""
    launch: RunExphil
    """Runs an `exphil …` command as a child process."""

    @property
    def known_runs(self) -> "Sequence[RunSummary]": ...

    def open_run(self, name: str) -> None: ...

    def open_new_run(self, replays: Path | None = None) -> None: ...

    def open_data(self) -> None: ...

    def open_studies(self, name: str | None = None) -> None: ...

    def open_compare(self, names: Sequence[str]) -> None: ...

    def open_watch(self, run: str) -> None: ...

    def choose_replay(self, folders: Sequence[Path] = ()) -> Any: ...


class WorkbenchScreen(Screen[Result]):
    """Base class of full screens."""

    @property
    def workbench(self) -> WorkbenchApp:
        return cast(WorkbenchApp, self.app)

    @property
    def is_shown(self) -> bool:
        """Whether the screen is on top, or only dialogs are above it."""
        top = self.app.screen
        return top is self or (top.is_modal and self.is_current)

    def _screen_resized(self, size: Size) -> None:
        super()._screen_resized(self.app.size)


class WorkbenchModalScreen(ModalScreen[Result]):
    """Base class of dialogs over another screen."""

    @property
    def workbench(self) -> WorkbenchApp:
        return cast(WorkbenchApp, self.app)

    def _screen_resized(self, size: Size) -> None:
        super()._screen_resized(self.app.size)
