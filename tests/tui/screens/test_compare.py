"""Runs over each other: what is drawn, what is said of it, and what a person can do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.model.run_state import TOTAL, RunState
from exphil_tui.screens.compare import CompareScreen, losses
from exphil_tui.screens.runs.screen import RunsScreen
from exphil_tui.theme.glyphs import ASCII, Glyphs
from exphil_tui.widgets.canvas.chart import Chart

MakeRun = Callable[..., RunDirectory]
SIZES = [(80, 24), (120, 40)]


@pytest.fixture
def opened(
    make_run: MakeRun, tmp_path: Path, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Workbench]:
    """A workbench in a folder of three runs, of which the second had another delay and a lower rate."""
    make_run("finished", name="quick-finished")
    other = make_run("running", name="quick-other")
    make_run("lagging", name="low_tier_unified-20260114-093000-second-try")
    _change(other, {"delay = 0": "delay = 18", "lr = 0.001": "lr = 0.0003"})
    _scale(other, 1.1)
    monkeypatch.chdir(tmp_path)

    def open(glyphs: Glyphs | None = None) -> Workbench:
        return Workbench(runs_dir=Path("checkpoints"), clock=clock, glyphs=glyphs)

    return open


NAMES = ("quick-finished", "quick-other", "low_tier_unified-20260114-093000-second-try")


async def compare(pilot: Pilot[None], *names: str) -> CompareScreen:
    assert isinstance(pilot.app, Workbench)
    pilot.app.open_compare(names or NAMES)
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    await read(pilot)
    return screen


async def read(pilot: Pilot[None]) -> None:
    """Until every run's events and presets are in, and drawn."""
    for _ in range(100):
        await pilot.pause(0.05)
        screen = pilot.app.screen
        if isinstance(screen, CompareScreen) and screen.caught_up:
            break
    await pilot.pause(0.6)


def said(screen: CompareScreen, name: str) -> str:
    return str(screen.query_one(f"#compare-{name}", Static).content)


async def test_each_run_is_a_line_with_a_letter_and_a_row(opened: Callable[..., Workbench]) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        lines = screen.query_one(Chart).plot.lines
        assert [line.mark for line in lines] == ["A", "B", "C"]
        assert len({line.colour for line in lines}) == 3
        rows = said(screen, "losses").splitlines()[1:]
        assert [row[0] for row in rows] == ["A", "B", "C"]
        assert "quick-finished" in rows[0]


async def test_v_changes_between_validation_and_training(opened: Callable[..., Workbench]) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        chart = screen.query_one(Chart)
        validations = len(chart.plot.lines[0].x)
        assert "validation" in chart.plot.title
        await pilot.press("v")
        await pilot.pause()
        assert "train" in chart.plot.title
        assert len(chart.plot.lines[0].x) > validations
        await pilot.press("v")
        await pilot.pause()
        assert "validation" in chart.plot.title


async def test_brackets_go_through_the_characters_and_come_round(opened: Callable[..., Workbench]) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        chart = screen.query_one(Chart)
        seen = []
        for _ in range(6):
            await pilot.press("right_square_bracket")
            await pilot.pause()
            seen.append(chart.plot.title.split(", ", 1)[1])
        assert seen == ["Mewtwo", "Ganondorf", "Link", "Mr. Game & Watch", "Zelda", "all characters"]
        await pilot.press("left_square_bracket")
        await pilot.pause()
        assert chart.plot.title.endswith("Zelda")


async def test_only_settings_that_differ_are_shown_and_other_delays_are_warned_of(
    opened: Callable[..., Workbench],
) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        settings = said(screen, "settings")
        assert "policy.delay" in settings
        assert "train.lr" in settings
        assert "seed" not in settings
        assert "delays differ (0 and 18 frames)" in said(screen, "cautions")


async def test_runs_with_the_same_settings_are_not_warned_of(opened: Callable[..., Workbench]) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot, NAMES[0], NAMES[2])
        assert not screen.query_one("#compare-cautions").display
        assert "settings are the same" in said(screen, "settings")


async def test_a_run_that_grows_grows_here(opened: Callable[..., Workbench], runs_dir: Path) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        path = runs_dir / NAMES[0] / "events.jsonl"
        last = [json.loads(line) for line in path.read_text().splitlines() if '"evaluated"' in line][-1]
        last["step"] += 1000
        # The evaluation of the best checkpoint, at the end of a run, is no point of the curve.
        last["loss"], last["best"] = 0.0123, False
        with path.open("a") as file:
            file.write(json.dumps(last) + "\n")
        for _ in range(60):
            await pilot.pause(0.05)
            if "0.0123" in said(screen, "losses"):
                break
        assert "0.0123" in said(screen, "losses")


async def test_a_run_deleted_underneath_is_no_error(opened: Callable[..., Workbench], runs_dir: Path) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        shutil.rmtree(runs_dir / NAMES[1])
        await pilot.pause(0.8)
        assert pilot.app.screen is screen
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_a_run_that_cannot_be_read_is_a_sentence(
    opened: Callable[..., Workbench], runs_dir: Path
) -> None:
    (runs_dir / NAMES[1] / "run.toml").write_text("v = 1\n[preset", encoding="utf-8")
    async with opened().run_test(size=(120, 40)) as pilot:
        screen = await compare(pilot)
        assert "run.toml is damaged" in said(screen, "cautions")


async def test_a_run_that_is_not_there_opens_nothing(opened: Callable[..., Workbench]) -> None:
    async with opened().run_test(size=(120, 40)) as pilot:
        assert isinstance(pilot.app, Workbench)
        pilot.app.open_compare([NAMES[0], "nothing"])
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunsScreen)


def test_a_run_without_events_has_no_losses() -> None:
    found = losses(RunState(), TOTAL)
    assert (found.step, found.train, found.validation, found.best, found.best_step) == (None,) * 5


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_validation(
    opened: Callable[..., Workbench], snap_compare: object, size: tuple[int, int]
) -> None:
    assert snap_compare(opened(), terminal_size=size, run_before=compare)  # type: ignore[operator]


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_training_of_one_character(
    opened: Callable[..., Workbench], snap_compare: object, size: tuple[int, int]
) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await compare(pilot)
        await pilot.press("v", "right_square_bracket")
        await pilot.pause(0.2)

    assert snap_compare(opened(), terminal_size=size, run_before=before)  # type: ignore[operator]


def test_picture_in_ascii(opened: Callable[..., Workbench], snap_compare: object) -> None:
    assert snap_compare(opened(ASCII), terminal_size=SIZES[0], run_before=compare)  # type: ignore[operator]


def test_picture_without_colour(
    opened: Callable[..., Workbench], snap_compare: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(opened(), terminal_size=SIZES[0], run_before=compare)  # type: ignore[operator]


def _change(run: RunDirectory, words: dict[str, str]) -> None:
    path = run.path / "run.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def _scale(run: RunDirectory, factor: float) -> None:
    """Other losses, so that the lines do not lie upon each other."""
    events = [json.loads(line) for line in run.events_path.read_text(encoding="utf-8").splitlines()]
    for event in events:
        if event["type"] in ("step", "evaluated"):
            event["loss"] *= factor
            for found in event["per_character"].values():
                found["loss"] *= factor
    run.events_path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
