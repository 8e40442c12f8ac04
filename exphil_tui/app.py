"""The Textual app of the workbench: opens screens, and handles what they share (quit, help, themes, notices).

It owns no run: runs are separate processes and keep running when the app exits.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter, Monochrome, NoColor
from textual.geometry import Size
from textual.screen import Screen

from exphil_core.runs.commands import DEFAULT_RUNS_DIR, shell_command
from exphil_core.runs.directory import UNFINISHED
from exphil_tui.commands import WorkbenchCommands
from exphil_tui.screens.runs.screen import RunsScreen
from exphil_tui.screens.too_small import TooSmallScreen, fits
from exphil_tui.services.subprocess import RunExphil, run_exphil
from exphil_tui.theme.glyphs import UNICODE, Glyphs
from exphil_tui.theme.output_filter import AsciiOnly, PrintableOnly
from exphil_tui.theme.themes import DARK, THEMES, WITHOUT_COLOUR

if TYPE_CHECKING:
    from textual.events import Resize
    from textual.notifications import SeverityLevel

    from exphil_core.runs.summary import RunSummary

_ASCII_KEYS = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⏎": "enter", "⌫": "backspace"}
_MESSAGE_LIMIT = 400


class Workbench(App[None]):
    TITLE = "exphil"
    CSS_PATH = "app.tcss"
    COMMANDS: ClassVar = {WorkbenchCommands}
    # A mode and not `get_default_screen`: Textual loads a default screen without its styles.
    DEFAULT_MODE = "workbench"
    MODES: ClassVar = {DEFAULT_MODE: RunsScreen}
    BINDING_GROUP_TITLE = "All screens"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "question_mark,f1",
            "help",
            "Help",
            key_display="?",
            tooltip="Keys and help for this screen (also F1)",
        ),
        Binding("escape", "back", "Back", show=False),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+p", "command_palette", "Command palette", show=False, priority=True),
        Binding("ctrl+t", "change_theme", "Change theme", show=False),
    ]

    def __init__(
        self,
        *,
        runs_dir: Path = DEFAULT_RUNS_DIR,
        run: str | None = None,
        replay: Path | None = None,
        checkpoint: str | None = None,
        glyphs: Glyphs | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        launch: RunExphil | None = None,
    ) -> None:
        self.glyphs = glyphs or UNICODE
        self._output_filter = AsciiOnly() if self.glyphs.ascii else PrintableOnly()
        self._no_color = NoColor()
        super().__init__()
        self.runs_dir = runs_dir
        self.clock = clock
        """Seconds since 1970."""
        self.monotonic = monotonic
        """Monotonic seconds; drives playback."""
        self.launch = launch or run_exphil
        """Runs an `exphil …` command as a child process."""
        self._first_run, self._first_replay, self._first_checkpoint = run, replay, checkpoint
        for theme in THEMES:
            self.register_theme(theme)
        theme_name = os.environ.get("TEXTUAL_THEME", "")
        self.theme = theme_name if theme_name in self.available_themes else DARK.name

    def on_mount(self) -> None:
        if self._first_run is not None:
            self.open_run(self._first_run)
        if self._first_replay is not None:
            self.open_replay(self._first_replay, self._first_checkpoint)
        self._check_size(self.size)

    # Terminal capabilities.

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        if self.no_color:
            # Textual's own filter for NO_COLOR still sends colours, though grey ones.
            filters = [self._no_color if isinstance(found, Monochrome) else found for found in filters]
        return [*filters, self._output_filter]

    def get_css_variables(self) -> dict[str, str]:
        variables = super().get_css_variables()
        return {**variables, **WITHOUT_COLOUR} if self.no_color else variables

    def get_key_display(self, binding: Binding) -> str:
        shown = super().get_key_display(binding)
        if self.glyphs.ascii:
            for letter, word in _ASCII_KEYS.items():
                shown = shown.replace(letter, word)
        return shown

    def on_resize(self, event: "Resize") -> None:
        self._check_size(event.size)

    def _check_size(self, size: Size) -> None:
        if not fits(size) and not any(isinstance(found, TooSmallScreen) for found in self.screen_stack):
            self.push_screen(TooSmallScreen())

    # Opening screens.

    def open_run(self, name: str) -> None:
        """Open the screen of a run, replacing the one of another run; notify an error if it is not found."""
        from exphil_core.errors import ExphilError
        from exphil_core.runs.directory import RunDirectory
        from exphil_tui.screens.run.screen import RunScreen

        try:
            run = RunDirectory.find(self.runs_dir, name)
        except (ExphilError, OSError) as error:
            self.notify(str(error), severity="error")
            return
        self._open(RunScreen(run))

    def open_new_run(self, replays: Path | None = None) -> None:
        """Open the new-run form, with `replays` (a dataset or replays) filled in if given."""
        from exphil_tui.screens.new_run.screen import NewRunScreen

        self._open(NewRunScreen(replays=replays))

    def open_data(self) -> None:
        from exphil_tui.screens.data.screen import DataScreen

        self._open(DataScreen())

    def open_studies(self, name: str | None = None) -> None:
        """Open the studies of `runs_dir`, with the cursor on study `name` if given."""
        from exphil_tui.screens.studies.screen import StudiesScreen

        self._open(StudiesScreen(chosen=name))

    def open_compare(self, names: Sequence[str]) -> None:
        """Open the comparison of the named runs; notify an error if one is not found."""
        from exphil_core.errors import ExphilError
        from exphil_core.runs.directory import RunDirectory
        from exphil_tui.screens.compare import CompareScreen

        try:
            runs = [RunDirectory.find(self.runs_dir, name) for name in names]
        except (ExphilError, OSError) as error:
            self.notify(str(error), severity="error")
            return
        self._open(CompareScreen(runs))

    def open_replay(self, path: Path, checkpoint: str | None = None) -> None:
        """Open a replay, with the predictions of the run or checkpoint if one is named."""
        from exphil_tui.screens.replay.screen import ReplayScreen

        self._open(ReplayScreen(path, checkpoint=checkpoint))

    def open_watch(self, run: str) -> None:
        """Watch live what the pilot of a run plays; notify an error if the run is not found."""
        from exphil_core.errors import ExphilError
        from exphil_core.runs.directory import RunDirectory
        from exphil_tui.screens.replay.screen import ReplayScreen

        try:
            found = RunDirectory.find(self.runs_dir, run)
        except (ExphilError, OSError) as error:
            self.notify(str(error), severity="error")
            return
        self._open(ReplayScreen(watched=found))

    @work(group="choose-replay", exclusive=True)
    async def choose_replay(self, folders: Sequence[Path] = ()) -> None:
        """Ask which replay to open, from below `folders` or, by default, the known replay folders."""
        from exphil_tui.model.data_sources import expanded
        from exphil_tui.screens.choose import ChooseOne
        from exphil_tui.screens.replay_list import recent_replays

        entries = await asyncio.to_thread(recent_replays, folders, now=self.clock())
        chosen = await self.push_screen_wait(ChooseOne("Choose a replay", entries, path=""))
        if chosen is not None:
            self.open_replay(expanded(chosen))

    def open_help(self) -> None:
        """Open help for the current screen: its keys and how to read it."""
        from exphil_tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen | TooSmallScreen):
            self.push_screen(HelpScreen(self.screen))

    def open_runs(self) -> None:
        """Close all screens above the list of runs."""
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def _open(self, screen: Screen[None]) -> None:
        """Push a screen, first popping down to and including one of the same class: at most one of each is open."""
        if isinstance(self.screen, TooSmallScreen):
            # It must stay on top, or it could not be closed; `_check_size` pushes it again.
            self.pop_screen()
        # Popping takes effect on the stack at once; the screens are torn down later.
        kinds = [type(found) for found in self.screen_stack]
        if type(screen) in kinds:
            for _ in range(len(kinds) - kinds.index(type(screen))):
                self.pop_screen()
        self.push_screen(screen)
        self._check_size(self.size)

    # Actions available on every screen.

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: "SeverityLevel" = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a notification, sanitised and never parsed as markup: it may hold text from files.

        Warnings and errors get a sign, since colour alone must not carry meaning, and more time to be read.
        """
        from exphil_core.replays.text import sanitise

        quiet = severity == "information"
        sign = "" if quiet else f"{self.glyphs.warning} "
        super().notify(
            sign + sanitise(message, limit=_MESSAGE_LIMIT),
            title=title,
            severity=severity,
            timeout=timeout or (4.0 if quiet else 12.0),
            markup=False,
        )

    def action_help_quit(self) -> None:
        """Answer Ctrl+C. Textual's own answer is written in markup, which `notify` shows as it is."""
        self.notify("Press q to quit.")

    def action_help(self) -> None:
        self.open_help()

    async def action_back(self) -> None:
        if len(self.screen_stack) > 1 and not isinstance(self.screen, TooSmallScreen):
            self.pop_screen()

    async def action_quit(self) -> None:
        """Exit the workbench; runs keep running."""
        self._exit_with_message(0)

    def exit_from_thread(self, exit_code: int) -> None:
        """Exit the workbench from another thread; does nothing before it runs or after it has ended."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._exit_with_message, exit_code)

    def _exit_with_message(self, exit_code: int) -> None:
        screen = self.screen_stack[0] if self.screen_stack else None
        runs = screen.refresh_now() if isinstance(screen, RunsScreen) else ()
        self.exit(
            return_code=exit_code,
            message=exit_message([run.name for run in runs if run.state in UNFINISHED], self.runs_dir),
        )

    @property
    def known_runs(self) -> "Sequence[RunSummary]":
        """Runs of `runs_dir`, newest first, as of the last scan."""
        screen = self.screen_stack[0] if self.screen_stack else None
        return screen.runs if isinstance(screen, RunsScreen) else ()


def exit_message(names: Sequence[str], runs_dir: Path) -> str | None:
    """Return the message printed after exit, naming the runs that keep running; None if there are none."""
    if not names:
        return None
    if len(names) == 1:
        attach = shell_command(runs_dir, "attach", names[0])
        return f"Run {names[0]} is still running; '{attach}' opens it again."
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    command = shell_command(runs_dir)
    return f"{len(names)} runs are still running ({shown}); '{command}' opens the workbench again."
