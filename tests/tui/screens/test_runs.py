"""The screen of all runs: what a person sees of each, and what each key does."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from exphil_core.dataset.discovery import demo_folder
from exphil_core.errors import UsageError
from exphil_core.runs import control, launcher
from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.screens.compare import CompareScreen
from exphil_tui.screens.delete_run import DeleteRunScreen
from exphil_tui.screens.runs.screen import RunsScreen
from exphil_tui.screens.stop_run import StopRunScreen
from exphil_tui.services.subprocess import CompletedCommand
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.tables.run_table import RunTable, columns_for, count, shortened

MakeRun = Callable[..., RunDirectory]
Open = Callable[..., Workbench]
SIZES = [(80, 24), (120, 40)]

STATES = (
    "finished",
    "stopped",
    "failed",
    "crashed",
    "diverged",
    "preempted",
    "paused",
    "running",
    "new",
    "unreadable",
    "starting",
)


@pytest.fixture
def opened(tmp_path: Path, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the workbench on `checkpoints` of a folder of its own, so that pictures hold no path that changes."""
    monkeypatch.chdir(tmp_path)

    def open(**options: object) -> Workbench:
        return Workbench(runs_dir=Path("checkpoints"), clock=clock, **options)  # type: ignore[arg-type]

    return open


@pytest.fixture
def every_state(make_run: MakeRun) -> None:
    for state in STATES:
        make_run(state)


async def read(pilot: Pilot[None]) -> RunsScreen:
    """Until the folder was looked at."""
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    for _ in range(100):
        await pilot.pause(0.02)
        if screen.loaded:
            break
    await pilot.pause()
    return screen


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    for _ in range(150):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come to hold within three seconds")


async def go_to(pilot: Pilot[None], name: str) -> RunsScreen:
    """With the cursor on that run."""
    screen = await read(pilot)
    table = screen.query_one(RunTable)
    await pilot.press("home")
    for _ in range(len(screen.runs)):
        if table.name_under_cursor == name:
            break
        await pilot.press("down")
    assert table.name_under_cursor == name
    return screen


def about(screen: RunsScreen) -> str:
    return str(screen.query_one("#runs-details-text", Static).content)


def told(app: object) -> list[str]:
    assert isinstance(app, Workbench)
    return [found.message for found in app._notifications]


async def test_an_empty_folder_says_how_a_first_run_is_made(opened: Open) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await read(pilot)
        words = str(screen.query_one("#runs-none-text", Static).content)
        assert "No runs yet" in words
        for key in ("n ", "Enter", "w ", "d ", "?"):
            assert key in words
        assert not screen.query_one(RunTable).display


@pytest.mark.usefixtures("every_state")
async def test_every_run_is_a_row_with_its_state_in_words_and_a_sign(opened: Open) -> None:
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await read(pilot)
        table = screen.query_one(RunTable)
        assert table.row_count == len(STATES)
        found = {run.name: str(table.get_cell(run.name, "state")) for run in screen.runs}
        for state in STATES:
            sign, word = found[f"quick-{state}"].split(" ", 1)
            assert word == {"finished": "done"}.get(state, state)
            assert len(sign) == 1


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("size", [(60, 20), (80, 24), (100, 30), (120, 40), (200, 50)])
async def test_columns_that_matter_stay_at_every_width(opened: Open, size: tuple[int, int]) -> None:
    async with opened().run_test(size=size) as pilot:
        screen = await read(pilot)
        table = screen.query_one(RunTable)
        keys = {column.value for column in table.columns}
        assert {"state", "name", "step", "best", "losses", "age"} <= keys
        assert sum(column.width for column in table.columns.values()) <= size[0] - 2
        if size[0] >= 80:
            assert {"backbone", "window"} <= keys
        if size[0] >= 110:
            assert "preset" in keys


@pytest.mark.usefixtures("every_state")
async def test_an_unreadable_run_is_listed_with_its_problem(opened: Open) -> None:
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await go_to(pilot, "quick-unreadable")
        assert "run.toml is damaged" in about(screen)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunsScreen)
        assert any("run.toml is damaged" in words for words in told(pilot.app))


@pytest.mark.usefixtures("every_state")
async def test_a_crashed_run_shows_the_end_of_its_log_and_offers_to_resume(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(run: RunDirectory) -> int:
        started.append(run.name)
        return 1

    monkeypatch.setattr(launcher, "start", start)
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await go_to(pilot, "quick-crashed")
        assert "r resumes" in about(screen)
        await until(pilot, lambda: "OutOfMemoryError" in about(screen))
        await pilot.press("r")
        await until(pilot, lambda: started == ["quick-crashed"])


@pytest.mark.usefixtures("every_state")
async def test_only_actions_that_apply_to_a_run_are_enabled(opened: Open) -> None:
    expected = {
        "quick-running": {"pause", "stop"},
        "quick-paused": {"pause", "stop"},
        "quick-starting": {"stop"},
        "quick-finished": {"delete"},
        "quick-stopped": {"resume_training", "delete"},
        "quick-crashed": {"resume_training", "delete"},
        "quick-unreadable": {"delete"},
    }
    async with opened().run_test(size=SIZES[1]) as pilot:
        for name, actions in expected.items():
            screen = await go_to(pilot, name)
            offered = {
                action
                for action in ("pause", "stop", "delete", "resume_training")
                if screen.check_action(action, ())
            }
            assert offered == actions, name
            shown = [found for found in screen.active_bindings.values() if found.binding.show]
            assert len({found.binding.action for found in shown}) <= 7


@pytest.mark.parametrize(
    ("state", "key", "command"),
    [("running", "p", "pause"), ("paused", "p", "resume"), ("running", "s", "stop")],
)
async def test_keys_send_commands_to_the_run_under_the_cursor(
    opened: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, state: str, key: str, command: str
) -> None:
    sent: list[tuple[str, str]] = []

    def send(run: RunDirectory, wanted: str) -> str:
        sent.append((run.name, wanted))
        return "1"

    monkeypatch.setattr(control, "send", send)
    make_run("finished")
    make_run(state)
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        await go_to(pilot, f"quick-{state}")
        await pilot.press(key)
        if command == "stop":
            await pilot.pause()
            assert isinstance(pilot.app.screen, StopRunScreen)
            assert sent == []
            await pilot.press("s")
        await until(pilot, lambda: sent == [(f"quick-{state}", command)])
        await until(pilot, lambda: any(f"quick-{state}: asked" in words for words in told(pilot.app)))


async def test_a_command_that_comes_too_late_is_an_error_sentence(
    opened: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(run: RunDirectory, wanted: str) -> str:
        raise UsageError(f"run {run.name} is over: nothing to pause")

    monkeypatch.setattr(control, "send", send)
    run = make_run("running")
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        await go_to(pilot, run.name)
        await pilot.press("p")
        await until(pilot, lambda: f"⚠ run {run.name} is over: nothing to pause" in told(pilot.app))


async def test_deleting_asks_first_and_the_answer_that_keeps_has_the_focus(
    opened: Open, make_run: MakeRun
) -> None:
    run = make_run("finished")
    async with opened().run_test(size=SIZES[0]) as pilot:
        for answer in ("escape", "n", "enter"):
            await go_to(pilot, run.name)
            await pilot.press("x")
            await pilot.pause()
            assert isinstance(pilot.app.screen, DeleteRunScreen)
            await pilot.press(answer)
            await pilot.pause()
            assert isinstance(pilot.app.screen, RunsScreen)
            assert run.path.exists()
        await pilot.press("x")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: not run.path.exists())
        screen = await read(pilot)
        await until(pilot, lambda: not screen.runs)


async def test_selected_runs_are_compared_and_a_single_one_is_refused(
    opened: Open, make_run: MakeRun
) -> None:
    names = [make_run(state).name for state in ("finished", "stopped", "crashed")]
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await go_to(pilot, screen_first(await read(pilot)))
        await pilot.press("c")
        await until(pilot, lambda: any("Select at least two runs" in words for words in told(pilot.app)))
        await pilot.press("space", "space")
        assert "2 selected" in str(screen.query_one("#runs-title", Static).content)
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(pilot.app.screen, CompareScreen)
        await pilot.press("escape")
        await pilot.press("home", "space")
        assert "1 selected" in str(screen.query_one("#runs-title", Static).content)
    assert len(names) == 3


def screen_first(screen: RunsScreen) -> str:
    return screen.runs[0].name


async def test_enter_opens_the_run_and_escape_comes_back(opened: Open, make_run: MakeRun) -> None:
    from exphil_tui.screens.run.screen import RunScreen

    run = make_run("finished")
    async with opened().run_test(size=SIZES[0]) as pilot:
        await go_to(pilot, run.name)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_a_new_run_comes_on_top_and_the_cursor_stays_on_its_run(
    opened: Open, make_run: MakeRun
) -> None:
    for index in range(30):
        make_run("finished", name=f"quick-{index:02}")
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await read(pilot)
        table = screen.query_one(RunTable)
        await pilot.press(*["down"] * 20)
        name, scroll = table.name_under_cursor, table.scroll_y
        assert scroll > 0
        make_run("new", name="another")
        await until(pilot, lambda: len(screen.runs) == 31)
        await pilot.pause(0.1)
        assert table.name_under_cursor == name
        assert table.scroll_y == scroll + 1


async def test_only_changed_cells_are_redrawn(
    opened: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("running")
    make_run("finished")
    changed: list[tuple[str, str]] = []
    update = RunTable.update_cell

    def note(table: RunTable, row: str, column: str, value: object) -> None:
        changed.append((row, column))
        update(table, row, column, value)  # type: ignore[arg-type]

    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await read(pilot)
        monkeypatch.setattr(RunTable, "update_cell", note)
        path = run.path / "status.json"
        status = json.loads(path.read_bytes())
        path.write_text(json.dumps({**status, "step": status["step"] + 7}), encoding="utf-8")
        await until(pilot, lambda: bool(changed))
        assert set(changed) == {(run.name, "step")}
        assert screen.is_current


async def test_a_run_deleted_underneath_leaves_the_list(opened: Open, make_run: MakeRun) -> None:
    run = make_run("finished")
    make_run("stopped")
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await go_to(pilot, run.name)
        shutil.rmtree(run.path)
        await pilot.press("enter")
        await until(pilot, lambda: len(screen.runs) == 1)


async def test_demo_replays_are_written_by_a_child_and_once(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path))
    asked: list[Sequence[str]] = []

    async def launch(arguments: Sequence[str], *, told: object = None) -> CompletedCommand:
        asked.append(arguments)
        demo_folder().mkdir(parents=True)
        return CompletedCommand(code=0, output="", problems=())

    async with opened(launch=launch).run_test(size=SIZES[0], notifications=True) as pilot:
        await read(pilot)
        await pilot.press("w")
        await until(pilot, lambda: any("Demo replays are in" in words for words in told(pilot.app)))
        await pilot.press("w")
        await until(pilot, lambda: any("already" in words for words in told(pilot.app)))
    assert asked == [["demo", "--out", str(demo_folder())]]


async def test_quitting_names_the_runs_still_running(
    opened: Open, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("running")
    make_run("finished")
    app = opened()
    async with app.run_test(size=SIZES[0]) as pilot:
        await read(pilot)
        await pilot.press("q")
    assert app.return_code == 0
    assert "Run quick-running is still running" in " ".join(capsys.readouterr().err.split())


async def test_hostile_names_and_problems_are_shown_as_plain_text(opened: Open, runs_dir: Path) -> None:
    for name in ("[bold]x[", "a\x1b[2Jb", "left\u202eright", "long" * 50):
        (runs_dir / name).mkdir(parents=True)
        (runs_dir / name / "run.toml").write_text("v = 1\n[preset", encoding="utf-8")
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await read(pilot)
        assert len(screen.runs) == 4
        await pilot.press("down", "enter", "down", "enter", "down", "enter")
        await pilot.pause(0.2)
        shown = [strip.text for strip in pilot.app.screen._compositor.render_strips()]
        assert all(line.isprintable() for line in shown)
        assert any("[bold]x[" in line for line in shown)


def test_figures_fit_their_column() -> None:
    for number in (0, 999_999, 12_345_678, 10**10, 10**15):
        assert len(count(number, 7)) <= 7
    assert count(1234, 7) == "1,234"


def test_a_shortened_name_keeps_both_ends() -> None:
    assert shortened("quick", 8, UNICODE) == "quick"
    assert shortened("quick-20260115-093000", 11, UNICODE) == "quick…93000"
    assert shortened("quick-20260115-093000", 2, ASCII) == "qu"


def test_columns_never_take_more_than_there_is() -> None:
    for width in range(58, 240):
        assert sum(column.width + 1 for column in columns_for(width)) <= width


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_no_runs(opened: Open, snap_compare: object, size: tuple[int, int]) -> None:
    assert snap_compare(opened(), terminal_size=size, run_before=_read)  # type: ignore[operator]


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_runs_in_every_state(opened: Open, snap_compare: object, size: tuple[int, int]) -> None:
    assert snap_compare(opened(), terminal_size=size, run_before=_on_crashed)  # type: ignore[operator]


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_picture_without_colour(
    opened: Open, snap_compare: object, monkeypatch: pytest.MonkeyPatch, glyphs: Glyphs
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(opened(glyphs=glyphs), terminal_size=SIZES[0], run_before=_on_crashed)  # type: ignore[operator]


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("theme", ["exphil-light", "exphil-contrast"])
def test_picture_in_other_colours(opened: Open, snap_compare: object, theme: str) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await _on_crashed(pilot)
        pilot.app.theme = theme
        await pilot.pause(0.2)

    assert snap_compare(opened(), terminal_size=SIZES[0], run_before=before)  # type: ignore[operator]


def test_picture_of_the_question_before_deleting(
    opened: Open, make_run: MakeRun, snap_compare: object
) -> None:
    make_run("finished")

    async def before(pilot: Pilot[None]) -> None:
        await go_to(pilot, "quick-finished")
        await pilot.press("x")
        await pilot.pause(0.2)

    assert snap_compare(opened(), terminal_size=SIZES[0], run_before=before)  # type: ignore[operator]


def test_picture_of_too_small_a_terminal(opened: Open, snap_compare: object) -> None:
    assert snap_compare(opened(), terminal_size=(50, 15), run_before=_read)  # type: ignore[operator]


async def _read(pilot: Pilot[None]) -> None:
    await read(pilot)
    await pilot.pause(0.1)


async def _on_crashed(pilot: Pilot[None]) -> None:
    """The cursor on the crashed run, the end of its log read."""
    screen = await go_to(pilot, "quick-crashed")
    await until(pilot, lambda: "OutOfMemoryError" in about(screen))
    await pilot.press("space")
    await go_to(pilot, "quick-crashed")
    await until(pilot, lambda: "OutOfMemoryError" in about(screen))
    await pilot.pause(0.1)
