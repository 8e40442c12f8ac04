"""Help: every key of the screen it was opened from, out of the bindings, and how to read that screen."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.commands import keyed_actions
from exphil_tui.screens.help import HelpScreen
from exphil_tui.services.subprocess import CompletedCommand
from exphil_tui.theme.glyphs import ASCII

SIZES = [(80, 24), (120, 40)]
Open = Callable[..., Workbench]


@pytest.fixture
def opened(tmp_path: Path, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.chdir(tmp_path)

    def open(**options: object) -> Workbench:
        return Workbench(runs_dir=Path("checkpoints"), clock=clock, **options)  # type: ignore[arg-type]

    return open


def words(app: object, part: str) -> str:
    assert isinstance(app, Workbench)
    return str(app.screen.query_one(f"#help-{part}", Static).content)


async def test_every_bound_action_of_the_screen_is_in_help(opened: Open) -> None:
    async with opened().run_test(size=SIZES[1]) as pilot:
        await pilot.pause(0.2)
        actions = keyed_actions(pilot.app.screen)
        await pilot.press("question_mark")
        keys = words(pilot.app, "keys")
        for node, found in actions:
            for action in found:
                assert action.sentence in keys, node
                for binding in action.keys:
                    assert pilot.app.get_key_display(binding) in keys
        for heading in ("Runs", "Table of runs", "All screens"):
            assert heading in keys
        assert "One row per run, newest first" in words(pilot.app, "reading")


@pytest.mark.parametrize("key", ["escape", "question_mark", "f1"])
async def test_the_keys_that_open_help_close_it(opened: Open, key: str) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        await pilot.press("f1")
        assert isinstance(pilot.app.screen, HelpScreen)
        await pilot.press(key)
        assert not isinstance(pilot.app.screen, HelpScreen)


async def test_help_scrolls_where_there_is_no_room(opened: Open) -> None:
    async with opened().run_test(size=(60, 20)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        scroll = pilot.app.screen.query_one("#help")
        await pilot.press("pagedown")
        await pilot.pause()
        assert scroll.scroll_y > 0
        await pilot.press("pageup", "up")
        await pilot.pause()
        assert scroll.scroll_y == 0


async def test_every_screen_of_the_workbench_says_how_to_read_it(
    opened: Open, make_run: Callable[..., RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))

    async def launch(arguments: Sequence[str], *, told: object = None) -> CompletedCommand:
        return CompletedCommand(code=1, output="", problems=("not here",))

    names = [make_run("finished").name, make_run("stopped").name]
    async with opened(launch=launch).run_test(size=SIZES[1]) as pilot:
        app = pilot.app
        assert isinstance(app, Workbench)
        await pilot.pause(0.3)
        for open_one in (
            lambda: app.open_run(names[0]),
            lambda: app.open_compare(names),
            app.open_new_run,
            app.open_data,
        ):
            open_one()
            await pilot.pause(0.3)
            app.open_help()
            await pilot.pause(0.1)
            assert len(words(app, "reading")) > 100, app.screen
            assert len(words(app, "keys")) > 200
            app.open_runs()
            await pilot.pause(0.1)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_help_on_runs(opened: Open, snap_compare: object, size: tuple[int, int]) -> None:
    assert snap_compare(opened(), terminal_size=size, run_before=_help)  # type: ignore[operator]


def test_picture_of_help_in_ascii(opened: Open, snap_compare: object) -> None:
    assert snap_compare(opened(glyphs=ASCII), terminal_size=SIZES[0], run_before=_help)  # type: ignore[operator]


async def _help(pilot: Pilot[None]) -> None:
    await pilot.pause(0.3)
    await pilot.press("question_mark")
    await pilot.pause(0.2)
