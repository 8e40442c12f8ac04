"""The workbench: which screen is open, and what holds on every one of them.

In: the folder of runs, a run or replay to open at once, which letters the terminal shows. Out: screens. What a
reader gets wrong: it holds no run. Whatever is open or closed here, a run is a process of its own that goes on.
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

from exphil_core.runs.commands import DEFAULT_RUNS_DIR, typed_command
from exphil_core.runs.directory import UNFINISHED
from exphil_tui.child import RunChild, run_child
from exphil_tui.commands import WorkbenchCommands
from exphil_tui.gate import AsciiOnly, PrintableOnly
from exphil_tui.glyphs import UNICODE, Glyphs
from exphil_tui.screens.runs import RunsScreen
from exphil_tui.screens.too_small import TooSmallScreen, fits
from exphil_tui.themes import DARK, THEMES, WITHOUT_COLOUR

if TYPE_CHECKING:
    from textual.app import SeverityLevel
    from textual.events import Resize

    from exphil_core.runs.summary import RunSummary

_ASCII_KEYS = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⏎": "enter", "⌫": "backspace"}
_SENTENCE_LETTERS = 400


class Workbench(App[None]):
    TITLE = "exphil"
    CSS_PATH = "app.tcss"
    COMMANDS: ClassVar = {WorkbenchCommands}
    # A mode and not `get_default_screen`: Textual loads a default screen without its styles.
    DEFAULT_MODE = "workbench"
    MODES: ClassVar = {DEFAULT_MODE: RunsScreen}
    BINDING_GROUP_TITLE = "Everywhere"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "question_mark,f1",
            "help",
            "Help",
            key_display="?",
            tooltip="Keys, and how to read the screen (also F1)",
        ),
        Binding("escape", "back", "Go back", show=False),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+p", "command_palette", "Find any command", show=False, priority=True),
        Binding("ctrl+t", "change_theme", "Choose colours", show=False),
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
        launch: RunChild | None = None,
    ) -> None:
        self.glyphs = glyphs or UNICODE
        self._gate = AsciiOnly() if self.glyphs.ascii else PrintableOnly()
        self._no_color = NoColor()
        super().__init__()
        self.runs_dir = runs_dir
        self.clock = clock
        """Seconds since 1970."""
        self.monotonic = monotonic
        """Seconds that nobody sets: what is played follows them."""
        self.launch = launch or run_child
        """Runs `exphil …` beside the workbench."""
        self._first_run, self._first_replay, self._first_checkpoint = run, replay, checkpoint
        for theme in THEMES:
            self.register_theme(theme)
        asked = os.environ.get("TEXTUAL_THEME", "")
        self.theme = asked if asked in self.available_themes else DARK.name

    def on_mount(self) -> None:
        if self._first_run is not None:
            self.open_run(self._first_run)
        if self._first_replay is not None:
            self.open_replay(self._first_replay, self._first_checkpoint)
        self._mind_size(self.size)

    # What the terminal is like.

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        if self.no_color:
            # Textual's own answer to NO_COLOR still sends colours, though grey ones.
            filters = [self._no_color if isinstance(found, Monochrome) else found for found in filters]
        return [*filters, self._gate]

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
        self._mind_size(event.size)

    def _mind_size(self, size: Size) -> None:
        if not fits(size) and not any(isinstance(found, TooSmallScreen) for found in self.screen_stack):
            self.push_screen(TooSmallScreen())

    # The screens.

    def open_run(self, name: str) -> None:
        """The run of that name, in place of another that is open; a sentence where there is none."""
        from exphil_core.errors import ExphilError
        from exphil_core.runs.directory import RunDirectory
        from exphil_tui.screens.run import RunScreen

        try:
            run = RunDirectory.find(self.runs_dir, name)
        except (ExphilError, OSError) as error:
            self.say(str(error), severity="error")
            return
        self._open(RunScreen(run))

    def open_new_run(self, replays: Path | None = None) -> None:
        """A new run, on those replays or that dataset where they are named."""
        from exphil_tui.screens.new_run import NewRunScreen

        self._open(NewRunScreen(replays=replays))

    def open_data(self) -> None:
        from exphil_tui.screens.data import DataScreen

        self._open(DataScreen())

    def open_studies(self, name: str | None = None) -> None:
        """The studies of the folder, with the cursor on that one where it is named."""
        from exphil_tui.screens.studies import StudiesScreen

        self._open(StudiesScreen(chosen=name))

    def open_compare(self, names: Sequence[str]) -> None:
        """Those runs, overlaid; a sentence where one is not there."""
        from exphil_core.errors import ExphilError
        from exphil_core.runs.directory import RunDirectory
        from exphil_tui.screens.compare import CompareScreen

        try:
            runs = [RunDirectory.find(self.runs_dir, name) for name in names]
        except (ExphilError, OSError) as error:
            self.say(str(error), severity="error")
            return
        self._open(CompareScreen(runs))

    def open_replay(self, path: Path, checkpoint: str | None = None) -> None:
        """A replay, with what the policy of that run or checkpoint would press where one is named."""
        from exphil_tui.screens.replay import ReplayScreen

        self._open(ReplayScreen(path, checkpoint=checkpoint))

    def open_watch(self, run: str) -> None:
        """What the pilot of that run plays now; a sentence where there is no such run."""
        from exphil_core.errors import ExphilError
        from exphil_core.runs.directory import RunDirectory
        from exphil_tui.screens.replay import ReplayScreen

        try:
            found = RunDirectory.find(self.runs_dir, run)
        except (ExphilError, OSError) as error:
            self.say(str(error), severity="error")
            return
        self._open(ReplayScreen(watched=found))

    @work(group="choose-replay", exclusive=True)
    async def choose_replay(self, folders: Sequence[Path] = ()) -> None:
        """Asks which replay to look into: one below those folders, or below those that are known."""
        from exphil_tui.places import expanded
        from exphil_tui.replay_list import recent_replays
        from exphil_tui.screens.choose import ChooseOne

        entries = await asyncio.to_thread(recent_replays, folders, now=self.clock())
        chosen = await self.push_screen_wait(ChooseOne("Which replay?", entries, path=""))
        if chosen is not None:
            self.open_replay(expanded(chosen))

    def open_help(self) -> None:
        """How the screen that is open is read and which keys it has."""
        from exphil_tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen | TooSmallScreen):
            self.push_screen(HelpScreen(self.screen))

    def open_runs(self) -> None:
        """Back to the first screen."""
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def _open(self, screen: Screen[None]) -> None:
        """One of each kind at most: a run opened from another screen of a run takes its place."""
        if isinstance(self.screen, TooSmallScreen):
            # It lies over what is opened, or nobody could take it away.
            self.pop_screen()
        # Popping takes effect on the stack at once; the screens are torn down later.
        kinds = [type(found) for found in self.screen_stack]
        if type(screen) in kinds:
            for _ in range(len(kinds) - kinds.index(type(screen))):
                self.pop_screen()
        self.push_screen(screen)
        self._mind_size(self.size)

    # What a person can do anywhere.

    def say(self, text: str, *, severity: "SeverityLevel" = "information") -> None:
        """A sentence in the corner, whatever strangers' words are in it."""
        from exphil_core.replays.text import sanitise

        fine = severity == "information"
        # A sign, since colour alone tells nothing; and more time for what went wrong, which is read twice.
        sign = "" if fine else f"{self.glyphs.warning} "
        self.notify(
            sign + sanitise(text, limit=_SENTENCE_LETTERS),
            severity=severity,
            markup=False,
            timeout=4.0 if fine else 12.0,
        )

    def action_help(self) -> None:
        self.open_help()

    async def action_back(self) -> None:
        if len(self.screen_stack) > 1 and not isinstance(self.screen, TooSmallScreen):
            self.pop_screen()

    async def action_quit(self) -> None:
        """Leaves the workbench; no run notices."""
        self._leave(0)

    def leave_from_thread(self, exit_code: int) -> None:
        """The same from another thread; nothing where the workbench does not run yet, or no longer."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._leave, exit_code)

    def _leave(self, exit_code: int) -> None:
        first = self.screen_stack[0] if self.screen_stack else None
        runs = first.look_now() if isinstance(first, RunsScreen) else ()
        self.exit(
            return_code=exit_code,
            message=farewell([run.name for run in runs if run.state in UNFINISHED], self.runs_dir),
        )

    @property
    def known_runs(self) -> "Sequence[RunSummary]":
        """The runs of the folder, the newest first, as they were when it was last looked at."""
        runs = self.screen_stack[0] if self.screen_stack else None
        return runs.runs if isinstance(runs, RunsScreen) else ()


def farewell(names: Sequence[str], runs_dir: Path) -> str | None:
    """What is said after the workbench is left: which runs go on without it."""
    if not names:
        return None
    if len(names) == 1:
        watch = typed_command(runs_dir, "attach", names[0])
        return f"Run {names[0]} goes on without the workbench: '{watch}' watches it again."
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    watch = typed_command(runs_dir)
    return f"{len(names)} runs go on without the workbench ({shown}): '{watch}' watches them again."
