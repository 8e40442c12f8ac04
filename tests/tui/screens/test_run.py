"""The screen of one run: what it shows in every state, and what its keys do."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from exphil_core.errors import UsageError
from exphil_core.runs import control, launcher
from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.screens.run.screen import RunScreen
from exphil_tui.screens.runs.screen import RunsScreen
from exphil_tui.screens.stop_run import StopRunScreen
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.canvas.chart import Chart
from exphil_tui.widgets.run_log import RunLog
from exphil_tui.widgets.tables.character_table import CharacterTable
from exphil_tui.widgets.text_panel import TextPanel

from ..conftest import MakeRun

SMALL, LARGE = (80, 24), (120, 40)
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

Compare = Callable[..., bool]
Open = Callable[..., Workbench]


@pytest.fixture
def workbench(
    runs_dir: Path, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Workbench]:
    """Makes a workbench on the fixtures' folder, with their clock, on a machine of eight cores."""
    monkeypatch.setattr("exphil_tui.screens.run.panels.os.cpu_count", lambda: 8)

    def make(run: RunDirectory, *, glyphs: Glyphs = UNICODE) -> Workbench:
        return Workbench(runs_dir=runs_dir, run=run.name, glyphs=glyphs, clock=clock)

    return make


def screen_of(pilot: Pilot[None]) -> RunScreen:
    found = [screen for screen in pilot.app.screen_stack if isinstance(screen, RunScreen)]
    assert found, "no run is open"
    return found[0]


async def until(claim: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Waits until the claim holds; fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


async def settled(pilot: Pilot[None]) -> RunScreen:
    """The screen, once it has read and drawn all that is on disk."""
    await until(lambda: any(isinstance(screen, RunScreen) for screen in pilot.app.screen_stack))
    screen = screen_of(pilot)
    path = screen.run_directory.events_path
    lines = path.read_bytes().count(b"\n") if path.exists() else 0
    await until(lambda: screen.snapshot is not None and screen.state.events >= lines)
    await pilot.pause()
    screen.on_screen_resume()
    await pilot.pause()
    return screen


def seen(screen: Screen[object]) -> str:
    """The letters on the screen."""
    return "\n".join(strip.text for strip in screen._compositor.render_strips())


def said(pilot: Pilot[None]) -> str:
    """What the corner said last, without the sign before bad news."""
    messages = [notification.message for notification in pilot.app._notifications]
    return messages[-1].lstrip("⚠✗! ") if messages else ""


def append(run: RunDirectory, **fields: object) -> None:
    """One more event of the run."""
    seq = run.events_path.read_bytes().count(b"\n")
    event = {"v": 1, "seq": seq, "ts": "2026-01-15T12:00:00.000Z", **fields}
    with run.events_path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def commands(run: RunDirectory) -> list[tuple[str, str]]:
    """(id, command) of what waits in the run's folder, in order of sending."""
    paths = sorted((run.path / "control").glob("*.json"))
    return [(path.stem, json.loads(path.read_text())["command"]) for path in paths]


# Pictures.


@SIZES
@pytest.mark.parametrize(
    "state", ["new", "starting", "running", "lagging", "paused", "crashed", "stopped", "finished", "failed"]
)
def test_every_state_looks_as_it_did(
    state: str, size: tuple[int, int], make_run: MakeRun, workbench: Open, snap_compare: Compare
) -> None:
    assert snap_compare(workbench(make_run(state)), run_before=settled, terminal_size=size)


def pressing(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def press(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()

    return press


@SIZES
@pytest.mark.parametrize(
    "keys",
    [("v",), ("h",), ("h", "v"), ("l",), ("s",), ("tab",), ("tab", "up", "up")],
    ids=["validation", "heads", "validation-heads", "log", "stop", "tab", "character"],
)
def test_every_view_looks_as_it_did(
    keys: tuple[str, ...],
    size: tuple[int, int],
    make_run: MakeRun,
    workbench: Open,
    snap_compare: Compare,
) -> None:
    assert snap_compare(workbench(make_run("running")), run_before=pressing(*keys), terminal_size=size)


@pytest.mark.parametrize("tabs", [2, 3, 4], ids=["buttons", "machine", "log"])
def test_a_small_terminal_shows_one_panel_at_a_time(
    tabs: int, make_run: MakeRun, workbench: Open, snap_compare: Compare
) -> None:
    app = workbench(make_run("running"))
    assert snap_compare(app, run_before=pressing(*["tab"] * tabs), terminal_size=SMALL)


@SIZES
def test_without_colour_it_looks_as_it_did(
    size: tuple[int, int],
    make_run: MakeRun,
    workbench: Open,
    snap_compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(workbench(make_run("lagging")), run_before=settled, terminal_size=size)


@SIZES
def test_in_ascii_it_looks_as_it_did(
    size: tuple[int, int], make_run: MakeRun, workbench: Open, snap_compare: Compare
) -> None:
    app = workbench(make_run("crashed"), glyphs=ASCII)
    assert snap_compare(app, run_before=settled, terminal_size=size)


async def test_in_ascii_no_other_letter_reaches_the_terminal(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running"), glyphs=ASCII).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        for panel in screen.query(TextPanel):
            text = "".join(panel.render_line(y).text for y in range(panel.size.height))
            assert text.isascii(), text


# What it says.


@SIZES
async def test_it_says_how_far_the_run_is(size: tuple[int, int], make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=size) as pilot:
        text = seen(await settled(pilot))
        for words in (
            "quick-running",
            "● running",
            "quick • attention • window 60 • 554k parameters",
            "78 %",
            "step 1,120",
            "20 s left",
            "best validation 0.467 at step 994",
            "data wait",
            "cpu",
            "1.2 GB",
            "Mr. Game & Watch",
            "all characters",
            "markov",
            "step 994, 126 steps ago",
        ):
            assert words in text, words


async def test_the_low_tier_comes_first_in_its_order(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=SMALL) as pilot:
        text = seen(await settled(pilot))
        places = [text.index(name) for name in ("Mewtwo", "Ganondorf", "Link", "Mr. Game & Watch", "Zelda")]
        assert places == sorted(places)


async def test_a_validation_that_is_overdue_is_called_so(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("lagging")).run_test(size=LARGE) as pilot:
        assert "⚠ validation of step 558, 782 steps ago" in seen(await settled(pilot))


@SIZES
async def test_a_killed_process_is_seen_within_five_seconds(
    size: tuple[int, int], make_run: MakeRun, workbench: Open
) -> None:
    run = make_run("crashed")
    with ExitStack() as process:
        process.enter_context(run.lock())
        async with workbench(run).run_test(size=size) as pilot:
            screen = await settled(pilot)
            assert screen.run_status == "running"
            process.close()
            begun = time.monotonic()
            await until(lambda: "This run crashed" in seen(screen) and "r Resume" in seen(screen))
            assert time.monotonic() - begun < 5
            text = seen(screen)
            assert "torch.OutOfMemoryError: CUDA out of memory" in text
            assert "r resumes it from step 994" in " ".join(text.split())


async def test_a_deleted_run_is_a_sentence(make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        shutil.rmtree(run.path)
        await until(lambda: "This run was deleted or moved" in seen(screen))
        assert "Mewtwo" in seen(screen)
        await pilot.press("p")
        assert said(pilot) == "Cannot pause: this run has no process (gone)."


async def test_unreadable_lines_are_counted_and_shown(make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        with run.events_path.open("ab") as file:
            file.write(b"\x00\xff not an event\n{\n")
        await until(lambda: "2 unreadable lines skipped" in seen(screen))


async def test_new_events_are_drawn_without_a_key(make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        append(run, type="warning", code="slow", message="the disk [/red] is slow \x1b[2J today")
        await until(lambda: "the disk [/red] is slow" in seen(screen))
        assert "\x1b[2J" not in seen(screen)


async def test_in_the_background_it_does_not_paint(
    make_run: MakeRun, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        pilot.app.push_screen(Screen())
        await pilot.pause()
        painted: list[int] = []
        monkeypatch.setattr(screen, "_show_all", lambda: painted.append(1))
        events = screen.state.events
        append(run, type="warning", code="slow", message="slow")
        await until(lambda: screen.state.events > events)
        await asyncio.sleep(0.3)
        assert not painted
        pilot.app.pop_screen()
        await pilot.pause()
        assert painted


async def test_what_did_not_change_is_not_drawn_again(
    make_run: MakeRun, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workbench(make_run("finished")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        painted: list[int] = []
        monkeypatch.setattr(screen, "_show_all", lambda: painted.append(1))
        await asyncio.sleep(1.5)
        assert not painted


# Commands.


@pytest.mark.parametrize(
    ("state", "key", "command", "done"),
    [
        ("running", "p", "pause", "The run is paused."),
        ("paused", "p", "resume", "The run continues."),
        ("running", "k", "checkpoint", "A checkpoint is saved."),
        ("paused", "k", "checkpoint", "A checkpoint is saved."),
    ],
)
async def test_a_command_is_sent_and_its_answer_waited_for(
    state: str, key: str, command: str, done: str, make_run: MakeRun, workbench: Open
) -> None:
    run = make_run(state)
    async with workbench(run).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        await pilot.press(key)
        await until(lambda: commands(run))
        [(id, sent)] = commands(run)
        assert sent == command
        await until(lambda: f"{command} sent" in seen(screen))
        assert "sent: the run answers after the current step" in said(pilot)
        append(run, type="command", command=command, id=id, state="received")
        await until(lambda: f"{command} received" in seen(screen))
        append(run, type="command", command=command, id=id, state="done")
        await until(lambda: said(pilot) == done)
        await until(lambda: f"{command} received" not in seen(screen))
        if command != "checkpoint":
            await until(lambda: screen.run_status == ("paused" if command == "pause" else "running"))


async def test_a_refusal_is_shown_with_its_reason(make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await settled(pilot)
        await pilot.press("k")
        await until(lambda: commands(run))
        append(
            run,
            type="command",
            command="checkpoint",
            id=commands(run)[0][0],
            state="refused",
            reason="no [/room]",
        )
        await until(lambda: said(pilot) == "The run refused to save a checkpoint: no [/room]")


async def test_a_folder_that_takes_no_command_is_a_sentence(
    make_run: MakeRun, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: RunDirectory, command: str) -> str:
        raise UsageError(
            f"run {run.name}: the command cannot be left in its folder [/x]: Read-only file system"
        )

    run = make_run("running")
    monkeypatch.setattr(control, "send", refuse)
    async with workbench(run).run_test(size=LARGE) as pilot:
        await settled(pilot)
        await pilot.press("p")
        await until(lambda: "[/x]: Read-only file system" in said(pilot))


async def test_stopping_asks_and_saves(make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("s")
        assert isinstance(pilot.app.screen, StopRunScreen)
        assert not commands(run)
        await pilot.press("s")
        await until(lambda: [command for _, command in commands(run)] == ["stop"])
        assert isinstance(pilot.app.screen, RunScreen)


@pytest.mark.parametrize("keys", [("escape",), ("c",), ("enter",)])
async def test_stopping_can_be_cancelled(keys: tuple[str, ...], make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=SMALL) as pilot:
        screen = await settled(pilot)
        await pilot.press("s", *keys)
        await pilot.pause(0.1)
        assert pilot.app.screen is screen
        assert not commands(run)


async def test_detaching_leaves_the_run_alone_and_goes_back(make_run: MakeRun, workbench: Open) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("s", "d")
        await until(lambda: isinstance(pilot.app.screen, RunsScreen))
        assert not commands(run)
        assert said(pilot) == "quick-running keeps running."


@pytest.mark.parametrize("state", ["crashed", "stopped", "preempted", "failed", "new"])
async def test_a_run_without_a_process_is_started_again(
    state: str, make_run: MakeRun, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(run: RunDirectory) -> int:
        started.append(run.name)
        return 1

    monkeypatch.setattr(launcher, "start", start)
    async with workbench(make_run(state)).run_test(size=LARGE) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await until(lambda: said(pilot) == f"quick-{state} is running.")
        assert started == [f"quick-{state}"]


async def test_a_start_that_fails_is_a_sentence(
    make_run: MakeRun, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(run: RunDirectory) -> int:
        raise UsageError(f"run {run.name} did not start: its process ended at once with exit code 1 ([/])")

    monkeypatch.setattr(launcher, "start", start)
    async with workbench(make_run("crashed")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        await pilot.press("r")
        await until(lambda: "exit code 1 ([/])" in said(pilot))
        await until(lambda: "This run crashed" in seen(screen))


@pytest.mark.parametrize(
    ("state", "key", "sentence"),
    [
        ("finished", "p", "Cannot pause: this run has no process (done)."),
        ("finished", "k", "Cannot save a checkpoint: this run has no process (done)."),
        ("finished", "s", "Cannot stop: this run has no process (done)."),
        ("finished", "r", "The run is finished; start a new run to train for longer."),
        ("running", "r", "The run is already running."),
    ],
)
async def test_a_key_that_makes_no_sense_says_why(
    state: str, key: str, sentence: str, make_run: MakeRun, workbench: Open
) -> None:
    async with workbench(make_run(state)).run_test(size=LARGE) as pilot:
        await settled(pilot)
        await pilot.press(key)
        assert said(pilot) == sentence


# Views.


async def test_v_turns_to_the_validation_and_back(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        assert "training loss per character" in seen(screen)
        await pilot.press("v")
        assert "validation loss per character" in seen(screen)
        await pilot.press("v")
        assert "training loss per character" in seen(screen)


async def test_h_turns_to_the_heads_and_back(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        await pilot.press("h")
        text = seen(screen)
        assert "training loss per head" in text
        assert "triggers" in text
        assert "Mewtwo" not in text
        await pilot.press("h")
        assert "Mewtwo" in seen(screen)


@SIZES
async def test_l_gives_the_log_the_whole_screen(
    size: tuple[int, int], make_run: MakeRun, workbench: Open
) -> None:
    async with workbench(make_run("running")).run_test(size=size) as pilot:
        screen = await settled(pilot)
        await pilot.press("l")
        assert screen.query_one(RunLog).size.height >= size[1] - 6
        assert screen.focused is screen.query_one(RunLog)
        await pilot.press("l")
        assert screen.query_one(RunLog).size.height < size[1] - 6


async def test_tab_goes_through_all_panels_where_all_are_shown(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        ids = []
        for _ in range(6):
            await pilot.press("tab")
            assert screen.focused is not None
            ids.append(screen.focused.id)
        assert ids == ["run-table", "run-gauge", "run-buttons", "run-machine", "run-log", "run-chart"]
        await pilot.press("shift+tab")
        assert screen.focused is screen.query_one(RunLog)


async def test_tab_changes_the_panel_where_one_is_shown(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=SMALL) as pilot:
        screen = await settled(pilot)
        titled = []
        for _ in range(5):
            await pilot.press("tab")
            [shown] = [panel for panel in screen.query(TextPanel) if panel.TITLE and panel.display]
            titled.append(shown.TITLE)
        assert titled == ["gauge", "buttons", "machine", "log", "characters"]


async def test_a_click_on_a_panel_s_name_shows_it(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=SMALL) as pilot:
        screen = await settled(pilot)
        table = screen.query_one(CharacterTable)
        await pilot.click(table, offset=(32, 0))
        await until(lambda: not table.display)
        assert screen.query_one("#run-machine").display


async def test_a_character_is_chosen_with_the_arrows_and_its_buttons_shown(
    make_run: MakeRun, workbench: Open
) -> None:
    async with workbench(make_run("running")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        assert screen.query_one(CharacterTable).chosen == "all"
        await pilot.press("tab", "up")
        assert screen.query_one(CharacterTable).chosen == "zelda"
        await until(lambda: "─ Zelda" in seen(screen))
        await pilot.press("up", "up", "up", "up", "up", "up")
        assert screen.query_one(CharacterTable).chosen == "mewtwo"


async def test_the_chart_s_keys_work_wherever_the_focus_is(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=LARGE) as pilot:
        screen = await settled(pilot)
        chart = screen.query_one(Chart)
        await pilot.press("tab")
        assert screen.focused is not chart
        assert chart.plot.log_y
        await pilot.press("y")
        assert not chart.plot.log_y
        await pilot.press("plus")
        assert chart.plot.view.span is not None
        await pilot.press("0")
        assert chart.plot.view.span is None
        await pilot.press("m")
        assert chart.plot.cursor is not None


async def test_growing_the_terminal_shows_every_panel(make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run("running")).run_test(size=SMALL) as pilot:
        screen = await settled(pilot)
        await pilot.resize_terminal(*LARGE)
        await pilot.pause(0.2)
        assert all(panel.display for panel in screen.query(TextPanel) if panel.TITLE not in ("heads", ""))
        await pilot.resize_terminal(*SMALL)
        await pilot.pause(0.2)
        assert sum(panel.display for panel in screen.query(TextPanel) if panel.TITLE) == 1


@pytest.mark.parametrize("state", ["running", "paused", "crashed", "finished", "new"])
async def test_the_footer_shows_at_most_seven_keys(state: str, make_run: MakeRun, workbench: Open) -> None:
    async with workbench(make_run(state)).run_test(size=SMALL) as pilot:
        screen = await settled(pilot)
        shown = {found.binding.action for found in screen.active_bindings.values() if found.binding.show}
        assert len(shown) <= 7
