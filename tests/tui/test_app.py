"""The workbench itself: its screens, what holds on all of them, and what a person is told when it is left."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.app import App
from textual.color import Color

from exphil_core.runs.directory import RunDirectory
from exphil_tui import cli
from exphil_tui.app import Workbench, exit_message
from exphil_tui.commands import keyed_actions
from exphil_tui.screens.help import HelpScreen
from exphil_tui.screens.run.screen import RunScreen
from exphil_tui.screens.runs.screen import RunsScreen
from exphil_tui.screens.too_small import TooSmallScreen
from exphil_tui.theme.glyphs import ASCII

SIZE = (80, 24)


@pytest.fixture
def workbench(runs_dir: Path, clock: Callable[[], float]) -> Workbench:
    return Workbench(runs_dir=runs_dir, clock=clock)


def text_of(app: App[None]) -> str:
    """What the terminal shows, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def test_it_opens_on_the_runs_and_escape_leaves_only_what_was_opened(workbench: Workbench) -> None:
    async with workbench.run_test(size=SIZE) as pilot:
        assert isinstance(workbench.screen, RunsScreen)
        await pilot.press("question_mark")
        assert isinstance(workbench.screen, HelpScreen)
        await pilot.press("escape")
        assert isinstance(workbench.screen, RunsScreen)
        await pilot.press("escape", "escape")
        assert isinstance(workbench.screen, RunsScreen)


async def test_a_run_that_is_not_there_is_a_sentence(runs_dir: Path) -> None:
    app = Workbench(runs_dir=runs_dir, run="quikc")
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)
        assert "no run 'quikc'" in text_of(app)


async def test_too_small_a_terminal_is_told_its_size_and_gets_its_screen_back(workbench: Workbench) -> None:
    async with workbench.run_test(size=SIZE) as pilot:
        await pilot.press("question_mark")
        await pilot.resize_terminal(59, 24)
        await pilot.pause()
        assert isinstance(workbench.screen, TooSmallScreen)
        assert "59 columns and 24 rows" in " ".join(text_of(workbench).split())
        await pilot.press("escape", "question_mark")
        assert isinstance(workbench.screen, TooSmallScreen)
        await pilot.resize_terminal(30, 10)
        await pilot.pause()
        assert "30 columns and 10 rows" in " ".join(text_of(workbench).split())
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert isinstance(workbench.screen, HelpScreen)
        assert len(workbench.screen_stack) == 2


async def test_a_terminal_that_is_too_small_from_the_start_is_told_so(workbench: Workbench) -> None:
    async with workbench.run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        assert isinstance(workbench.screen, TooSmallScreen)
        await pilot.press("q")
    assert workbench.return_code == 0


async def test_the_palette_covers_every_action_of_the_screen_and_opens_every_screen(
    workbench: Workbench,
) -> None:
    async with workbench.run_test(size=(120, 60)) as pilot:
        await pilot.pause(0.5)
        wanted = {
            found.description
            for _, actions in keyed_actions(workbench.screen)
            for found in actions
            if found.possible and found.action != "command_palette"
        }
        await pilot.press("ctrl+p")
        await pilot.pause(0.5)
        offered = {
            str(option.prompt).split("\n")[0]
            for option in workbench.screen.query_one("CommandList").options  # type: ignore[attr-defined]
        }
        assert wanted <= offered
        assert {"New run", "Data", "Help", "Quit", "Change theme"} <= offered
        assert any(name.startswith("Runs") for name in offered)


async def test_an_action_of_the_palette_is_done_on_the_screen_below(workbench: Workbench) -> None:
    async with workbench.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+p", *"help")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await pilot.pause(0.3)
        assert isinstance(workbench.screen, HelpScreen)


async def test_the_palette_opens_any_run_by_name_and_it_takes_the_place_of_the_one_before(
    workbench: Workbench, make_run: Callable[..., RunDirectory]
) -> None:
    names = [make_run("finished", name="first").name, make_run("stopped", name="second").name]
    async with workbench.run_test(size=SIZE) as pilot:
        await pilot.pause(0.5)
        for name in names:
            await pilot.press("ctrl+p", *f"open run {name}")
            await pilot.pause(0.5)
            await pilot.press("enter")
            await pilot.pause(0.5)
            assert isinstance(workbench.screen, RunScreen)
            assert name in text_of(workbench)
        assert len(workbench.screen_stack) == 2
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(workbench.screen, RunsScreen)


@pytest.mark.parametrize("theme", ["exphil-dark", "exphil-light", "exphil-contrast"])
async def test_text_of_our_themes_can_be_read(workbench: Workbench, theme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) on the background, of the muted text too."""
    async with workbench.run_test(size=SIZE):
        workbench.theme = theme
        colours = workbench.get_css_variables()
        background = Color.parse(colours["background"])
        for name in ("foreground", "foreground-muted", "primary", "success", "warning", "error", "accent"):
            assert contrast(background + Color.parse(colours[name]), background) >= 4.5, name


async def test_where_there_is_no_colour_none_is_sent(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Workbench(runs_dir=runs_dir)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.3)
        styles = [
            segment.style
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None
        ]
        assert styles
        for style in styles:
            for colour in (style.color, style.bgcolor):
                assert colour is None or colour.is_default


async def test_an_ascii_terminal_gets_ascii_alone(runs_dir: Path) -> None:
    app = Workbench(runs_dir=runs_dir, glyphs=ASCII)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        app.notify("Ganondörf … ‘quoted’ 音")
        await pilot.pause(0.3)
        assert text_of(app).isascii()
        await pilot.press("question_mark")
        assert text_of(app).isascii()
        await pilot.press("escape", "ctrl+p")
        await pilot.pause(0.5)
        assert text_of(app).isascii()


async def test_a_hostile_sentence_is_shown_as_plain_text(workbench: Workbench) -> None:
    async with workbench.run_test(size=SIZE, notifications=True) as pilot:
        workbench.notify("run \x1b[2J[/][bold]x[/bold] \u202e" + "9" * 10_000, severity="error")
        await pilot.pause()
        shown = text_of(workbench)
        assert "[bold]x[/bold]" in "".join(shown.split())
        assert all(line.isprintable() for line in shown.split("\n"))


async def test_ctrl_c_says_how_to_quit(workbench: Workbench) -> None:
    async with workbench.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert "Press q to quit." in text_of(workbench)


def test_the_exit_message_names_the_runs_still_running() -> None:
    assert exit_message([], Path("checkpoints")) is None
    assert "exphil attach quick" in (exit_message(["quick"], Path("checkpoints")) or "")
    many = exit_message(["a", "b", "c", "d", "e"], Path("checkpoints")) or ""
    assert "5 runs" in many
    assert "2 more" in many


@pytest.mark.parametrize("module", ["exphil_tui", "exphil_tui.cli"])
def test_without_a_terminal_it_is_a_sentence_and_exit_code_2(module: str) -> None:
    start = ["-m", module] if module == "exphil_tui" else ["-c", "from exphil_tui.cli import main; main()"]
    done = subprocess.run([sys.executable, *start], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_cannot_move_its_cursor_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert cli.open_workbench(Path("checkpoints"), None) == 2
    assert "TERM" in capsys.readouterr().err


def test_a_command_can_open_the_workbench_through_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    from exphil_core.cli import main as commands

    monkeypatch.setattr(commands, "workbench", None)
    monkeypatch.setattr(sys, "argv", ["exphil", "--version"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert commands.workbench is cli.open_workbench


def contrast(one: Color, other: Color) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: Color) -> float:
        parts = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
