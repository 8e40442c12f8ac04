"""The screen of studies: what it shows of each, what a person can do, and what hostile folders do to it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.model.shipped_studies import ShippedStudy, StudySize
from exphil_tui.screens.run.screen import RunScreen
from exphil_tui.screens.runs.screen import RunsScreen
from exphil_tui.screens.studies.screen import StudiesScreen
from exphil_tui.screens.studies.start_study import StartStudyScreen
from exphil_tui.services.study_worker import StudyCommand
from exphil_tui.theme.glyphs import ASCII, Glyphs
from exphil_tui.widgets.canvas.chart import Chart
from exphil_tui.widgets.canvas.pareto import Pareto
from exphil_tui.widgets.page_bar import PageBar
from exphil_tui.widgets.study_list import StudyList
from exphil_tui.widgets.tables.study_losses import StudyLosses
from exphil_tui.widgets.tables.study_table import StudyTable
from exphil_tui.widgets.text_panel import TextPanel, plain
from tests.tui.machine import StandIn, refusal
from tests.tui.made_study import (
    StudyMaker,
    cross_evaluated,
    finished_with_ties,
    measured,
    of_one_seed,
    running,
)

SHIPPED = (
    ShippedStudy(
        name="context_length",
        about="Does looking further back than a second help?",
        decides="The loss with a band of 120, 180 or 300 frames against 60, per character.",
        seeds=(0, 1, 2),
        full=StudySize(variants=4, games=300, budget="12,000,000 frames"),
        quick=StudySize(variants=4, games=60, budget="720,000 frames"),
    ),
    ShippedStudy(
        name="multi_vs_single",
        about="One policy for five characters, or one for each?",
        decides="The loss on a character's held-out games.",
        seeds=(0, 1, 2),
        full=StudySize(variants=7, games=300, budget="4,000,000 frames"),
        quick=StudySize(variants=7, games=60, budget="240,000 frames"),
    ),
)
"""In place of those that come with exphil, whose files may change."""

MakeRun = Callable[..., RunDirectory]
Open = Callable[..., Workbench]
SMALL, LARGE = (80, 24), (120, 40)
SIZES = [SMALL, LARGE]


@pytest.fixture
def opened(
    tmp_path: Path, clock: Callable[[], float], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """A workbench on the folder `checkpoints` of the test's own, as pictures show it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exphil_tui.model.shipped_studies.shipped_studies", lambda: SHIPPED)

    def open(glyphs: Glyphs | None = None) -> Workbench:
        return Workbench(runs_dir=Path("checkpoints"), clock=clock, glyphs=glyphs, launch=stand_in)

    return open


@pytest.fixture
def run_of(make_run: MakeRun) -> Callable[[str], RunDirectory]:
    return lambda name: make_run("running", name=name)


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def studies(pilot: Pilot[None], name: str | None = None, *, start: object = None) -> StudiesScreen:
    assert isinstance(pilot.app, Workbench)
    if start is None:
        pilot.app.open_studies(name)
    else:
        pilot.app.push_screen(StudiesScreen(chosen=name, start=start))  # type: ignore[arg-type]
    screen = await _until(
        pilot, lambda: isinstance(pilot.app.screen, StudiesScreen) and pilot.app.screen.loaded
    )
    await pilot.pause()
    assert isinstance(screen, StudiesScreen)
    return screen


async def _until(pilot: Pilot[None], holds: Callable[[], bool]) -> object:
    for _ in range(200):
        await pilot.pause(0.05)
        if holds():
            break
    assert holds()
    return pilot.app.screen


async def _press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


def said(screen: StudiesScreen, name: str) -> str:
    return str(screen.query_one(f"#studies-{name}", Static).content)


def shown(screen: StudiesScreen, kind: type[TextPanel]) -> str:
    panel = screen.query_one(kind)
    found = panel.picture(panel.size.width, panel.glyphs)
    return plain((*found.head, *found.lines))


def notices(pilot: Pilot[None]) -> str:
    return " ".join(notice.message for notice in pilot.app._notifications)


# What is shown.


async def test_shipped_studies_are_listed_where_none_was_started(opened: Open) -> None:
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert "no studies started" in said(screen, "title")
        assert "context_length" in shown(screen, StudyList)
        assert "Does looking further back" in said(screen, "shipped")
        assert "quick mode" in said(screen, "shipped")


async def test_every_study_has_its_counts_and_the_first_sentence_of_its_verdict(
    opened: Open, runs_dir: Path, run_of: Callable[[str], RunDirectory], held: ExitStack
) -> None:
    _, claim = running(runs_dir, run_of)
    held.callback(claim.release)
    of_one_seed(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        lines = {line.split()[1]: line for line in shown(screen, StudyList).splitlines()[1:]}
        assert lines["backbones-quick"].split()[2:6] == ["9/9", "–", "–", "–"]
        assert "Every variant has one seed only" in lines["backbones-quick"]
        assert lines["context_length-quick"].split()[2:6] == ["4/12", "1", "6", "1"]


async def test_the_running_study_is_under_the_cursor_first(
    opened: Open, runs_dir: Path, run_of: Callable[[str], RunDirectory], held: ExitStack
) -> None:
    _, claim = running(runs_dir, run_of)
    held.callback(claim.release)
    of_one_seed(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert screen.snapshot is not None
        assert screen.snapshot.name == "context_length-quick"
        assert "1 worker" in said(screen, "about")


async def test_the_table_has_spread_latency_and_verdict(opened: Open, runs_dir: Path) -> None:
    finished_with_ties(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        text = shown(screen, StudyTable)
        row = next(line for line in text.splitlines() if "w180" in line)
        assert row.split()[:11] == [
            "›C",
            "w180",
            "3",
            "0.5198",
            "±",
            "0.0024",
            "65",
            "%",
            "3.10",
            "fits",
            "▸",
        ]
        assert "w300 and w180 tie:" in text
        assert "A lower loss does not rank play" in text


async def test_one_seed_is_marked_as_such(opened: Open, runs_dir: Path) -> None:
    of_one_seed(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        text = shown(await studies(pilot), StudyTable)
        assert "0.5193 one seed" in text
        assert "±" not in text.split("Every variant")[0]
        assert "too slow" in text


@pytest.mark.parametrize("page", ["results", "characters", "curves", "latency"])
async def test_that_the_loss_does_not_rank_play_stands_on_every_page(
    opened: Open, runs_dir: Path, page: str
) -> None:
    finished_with_ties(runs_dir)
    async with opened().run_test(size=SMALL) as pilot:
        screen = await studies(pilot)
        screen.post_message(PageBar.PageChosen(page))
        await pilot.pause()
        caution = screen.query_one("#studies-caution")
        assert caution.display
        assert caution.region.height == 1
        assert "does not rank play" in said(screen, "caution")


async def test_v_goes_through_the_pages_and_comes_round(opened: Open, runs_dir: Path) -> None:
    cross_evaluated(runs_dir)
    async with opened().run_test(size=SMALL) as pilot:
        screen = await studies(pilot)
        seen = []
        for _ in range(5):
            seen.append(
                [
                    kind.__name__
                    for kind in (StudyTable, StudyLosses, Chart, Pareto)
                    if screen.query_one(kind).region
                ]
            )
            await _press(pilot, "v")
        assert seen == [["StudyTable"], ["StudyLosses"], ["StudyLosses"], ["Chart"], ["Pareto"]]
        assert screen.query_one(StudyTable).region
        await _press(pilot, "left_square_bracket")
        assert screen.query_one(Pareto).region


async def test_a_wide_screen_has_table_and_pictures_side_by_side(opened: Open, runs_dir: Path) -> None:
    finished_with_ties(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert all(screen.query_one(kind).region for kind in (StudyTable, Chart, Pareto))
        assert [line.mark for line in screen.query_one(Chart).plot.lines] == ["C", "D", "B", "A"]
        await pilot.resize_terminal(*SMALL)
        await pilot.pause()
        assert not screen.query_one(Chart).region
        assert screen.query_one(StudyTable).region


async def test_losses_per_character_and_the_matrix(opened: Open, runs_dir: Path) -> None:
    cross_evaluated(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        await _press(pilot, "v")
        own = next(line for line in shown(screen, StudyLosses).splitlines() if "mewtwo" in line)
        assert own.count("–") == 4
        await _press(pilot, "v")
        matrix = shown(screen, StudyLosses)
        rows = [line.split()[1] for line in matrix.splitlines()[1:7]]
        assert rows == ["mewtwo", "ganondorf", "link", "gameandwatch", "zelda", "unified"]
        assert matrix.splitlines()[1].count("*") == 1
        assert matrix.splitlines()[6].count("*") == 5


async def test_losses_of_other_characters_are_not_drawn_on_one_axis(opened: Open, runs_dir: Path) -> None:
    cross_evaluated(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        pareto = screen.query_one(Pareto)
        text = "".join(chr(code) for code in pareto.picture(60, 12).codes().ravel())
        assert "cannot share an axis" in " ".join(text.split())


async def test_b_changes_the_budget_and_the_axis_with_it(opened: Open, runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "attention_vs_mamba")
    made.wants("attention", "mamba", seeds=[0])
    made.wants("attention-minutes", "mamba-minutes", seeds=[0], budget="minutes")
    for variant, loss in (
        ("attention", 0.5),
        ("mamba", 0.51),
        ("attention-minutes", 0.52),
        ("mamba-minutes", 0.49),
    ):
        made.ends(variant, 0, measured(loss))
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert screen.query_one(Chart).plot.x_title == "frames"
        await _press(pilot, "b")
        assert screen.query_one(Chart).plot.x_title == "minutes"
        assert "mamba-minutes" in shown(screen, StudyTable)
        await _press(pilot, "t")
        assert screen.query_one(Chart).plot.x_title == "frames"
        await _press(pilot, "b")
        assert "mamba-minutes" not in shown(screen, StudyTable)


async def test_a_run_that_ends_is_drawn(opened: Open, runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "context_length-quick")
    made.wants("w60", "w120", seeds=[0])
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert "No run has ended yet" in shown(screen, StudyTable)
        made.ends("w60", 0, measured(0.5123))
        await _until(pilot, lambda: "0.5123 one seed" in shown(screen, StudyTable))
        assert "1/2" in shown(screen, StudyList)


async def test_a_new_study_comes_into_the_list_and_the_cursor_stays(opened: Open, runs_dir: Path) -> None:
    finished_with_ties(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        of_one_seed(runs_dir)
        await _until(pilot, lambda: "backbones-quick" in shown(screen, StudyList))
        assert screen.snapshot is not None
        assert screen.snapshot.name == "context_length-quick"


# What a person does.


async def test_the_palette_and_a_key_open_it(opened: Open, runs_dir: Path) -> None:
    finished_with_ties(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        await pilot.pause()
        await pilot.press("t")
        await _until(pilot, lambda: isinstance(pilot.app.screen, StudiesScreen))
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_enter_goes_from_the_list_to_the_table_and_unfolds_a_variant(
    opened: Open, runs_dir: Path
) -> None:
    finished_with_ties(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        await _press(pilot, "enter")
        assert screen.query_one(StudyTable).has_focus
        assert "seed 0" not in shown(screen, StudyTable)
        await _press(pilot, "enter")
        assert "context_length-quick.w180.2" in shown(screen, StudyTable)
        await _press(pilot, "down", "up", "enter")
        assert "seed 0" not in shown(screen, StudyTable)


async def test_enter_on_a_seed_opens_its_run(
    opened: Open, runs_dir: Path, run_of: Callable[[str], RunDirectory], held: ExitStack
) -> None:
    made, claim = running(runs_dir, run_of)
    held.callback(claim.release)
    async with opened().run_test(size=LARGE) as pilot:
        await studies(pilot)
        await _press(pilot, "enter", "enter", "down", "down", "enter")
        screen = await _until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        assert isinstance(screen, RunScreen)
        assert screen.run_directory.name == made.run("w180", 1)


async def test_a_variant_of_one_run_opens_at_once_and_says_where_that_is_gone(
    opened: Open, runs_dir: Path, make_run: MakeRun
) -> None:
    made = of_one_seed(runs_dir)
    make_run("finished", name=made.run("jamba", 0))
    async with opened().run_test(size=LARGE) as pilot:
        await studies(pilot)
        await _press(pilot, "enter", "enter")
        assert "transformer_xl.0 has no folder" in notices(pilot)
        await _press(pilot, "down", "enter")
        await _until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))


class Worker:
    """In place of a process."""

    def __init__(self) -> None:
        self.ended, self.problem, self.last_line = False, "", "playing the dojo's games: 3 of 60"


async def test_r_begins_a_study_with_the_command_that_it_shows(opened: Open, runs_dir: Path) -> None:
    started: list[StudyCommand] = []

    def start(command: StudyCommand) -> Worker:
        started.append(command)
        return Worker()

    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot, start=start)
        await _press(pilot, "r")
        await _until(pilot, lambda: isinstance(pilot.app.screen, StartStudyScreen))
        command = pilot.app.screen.query_one("#start-command", Static)
        line = "exphil study run context_length --quick --seeds 0,1,2 --runs-dir checkpoints"
        assert line in str(command.content)
        await _press(pilot, "f2")
        assert "--quick" not in str(command.content)
        pilot.app.screen.query_one("#start-seeds", Input).value = "0, x"
        await pilot.pause()
        assert "whole numbers" in str(command.content)
        await _press(pilot, "enter")
        assert isinstance(pilot.app.screen, StartStudyScreen)
        pilot.app.screen.query_one("#start-seeds", Input).value = "3,4"
        pilot.app.screen.query_one("#start-replays", Input).value = "my replays"
        await pilot.pause()
        await _press(pilot, "enter")
        await _until(pilot, lambda: bool(started))
        assert started[0].line == (
            "exphil study run context_length --replays 'my replays' --seeds 3,4 --runs-dir checkpoints"
        )
        await _until(pilot, lambda: "context_length-replays" in shown(screen, StudyList))
        assert "playing the dojo's games" in said(screen, "shipped")
        assert started[0].line in notices(pilot)


async def test_r_continues_a_study_with_its_seeds(opened: Open, runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "context_length-quick")
    made.wants("w60", seeds=[0, 3])
    started: list[StudyCommand] = []
    worker = Worker()

    def start(command: StudyCommand) -> Worker:
        started.append(command)
        return worker

    async with opened().run_test(size=LARGE) as pilot:
        await studies(pilot, start=start)
        await _press(pilot, "r")
        await _until(pilot, lambda: isinstance(pilot.app.screen, StartStudyScreen))
        await _press(pilot, "enter")
        await _until(pilot, lambda: bool(started))
        assert started[0].arguments == (
            "study", "run", "context_length", "--quick", "--seeds", "0,3", "--runs-dir", "checkpoints"
        )  # fmt: skip
        worker.ended, worker.problem = True, "no usable side plays link"
        await _until(pilot, lambda: "no usable side plays link" in notices(pilot))


async def test_escape_starts_nothing(opened: Open, runs_dir: Path) -> None:
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot, start=lambda command: pytest.fail("it was started"))
        await _press(pilot, "r")
        await _until(pilot, lambda: isinstance(pilot.app.screen, StartStudyScreen))
        await _press(pilot, "escape")
        assert pilot.app.screen is screen


async def test_a_study_of_an_unknown_file_says_how_to_continue_it(opened: Open, runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "my_own")
    made.wants("a", seeds=[0])
    async with opened().run_test(size=LARGE) as pilot:
        await studies(pilot)
        await _press(pilot, "r")
        await _until(pilot, lambda: "exphil study run FILE --name my_own" in notices(pilot))


async def test_s_stops_the_workers_of_this_machine(
    opened: Open, runs_dir: Path, run_of: Callable[[str], RunDirectory], held: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, claim = running(runs_dir, run_of)
    held.callback(claim.release)
    stopped: list[Path] = []
    monkeypatch.setattr("exphil_tui.services.study_worker.stop", lambda folder: stopped.append(folder) or 1)
    async with opened().run_test(size=LARGE) as pilot:
        await studies(pilot)
        await _press(pilot, "s")
        await _until(pilot, lambda: "Asked 1 worker to save and stop" in notices(pilot))
        assert [folder.name for folder in stopped] == ["context_length-quick"]


async def test_p_shows_where_the_report_is_and_has_it_written_where_it_is_old(
    opened: Open, runs_dir: Path, stand_in: StandIn
) -> None:
    made = finished_with_ties(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        await _press(pilot, "p")
        await _until(pilot, lambda: "report.md" in notices(pilot))
        command = ("study", "report", "--runs-dir", "checkpoints", "--json", "--", made.name)
        assert stand_in.calls == [command]
        (made.storage.folder / "report.md").write_text("# report")
        await _until(pilot, lambda: screen.snapshot is not None and screen.snapshot.reported)
        await _press(pilot, "p")
        assert stand_in.calls == [command]


async def test_a_report_that_cannot_be_written_says_why(
    opened: Open, runs_dir: Path, stand_in: StandIn
) -> None:
    finished_with_ties(runs_dir)
    stand_in.answers["report"] = refusal("the disk is full")
    async with opened().run_test(size=LARGE) as pilot:
        await studies(pilot)
        await _press(pilot, "p")
        await _until(pilot, lambda: "the disk is full" in notices(pilot))


# What breaks.


async def test_a_study_deleted_underneath_leaves_the_list(opened: Open, runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    of_one_seed(runs_dir)
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot, made.name)
        await _press(pilot, "enter", "enter")
        shutil.rmtree(made.storage.folder)
        await _until(pilot, lambda: made.name not in shown(screen, StudyList))
        assert screen.snapshot is not None
        assert screen.snapshot.name == "backbones-quick"
        await _press(pilot, "v", "down", "up", "enter", "tab", "enter")


async def test_a_damaged_journal_is_a_sentence(opened: Open, runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    with made.journal.open("a") as file:
        file.write("no JSON\n" + json.dumps({"op_code": 8, "trial_id": 3}) + "\n" + '{"op_code": 4')
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert "Ignored 1 unreadable line in its journal.log" in said(screen, "about")
        assert "w180" in shown(screen, StudyTable)


async def test_a_journal_of_nothing_is_a_study_without_runs(opened: Open, runs_dir: Path) -> None:
    folder = runs_dir / "studies" / "void"
    folder.mkdir(parents=True)
    (folder / "journal.log").write_bytes(b"\0\xff\n")
    async with opened().run_test(size=LARGE) as pilot:
        screen = await studies(pilot)
        assert "unreadable line" in said(screen, "about")
        await _press(pilot, "v", "v", "enter", "enter", "down", "b", "t", "p")
        assert pilot.app.screen is screen


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_are_shown_without_harm(
    opened: Open, runs_dir: Path, size: tuple[int, int]
) -> None:
    evil = "[red]\x1b[2J\u202e" + "wide字" * 20
    made = StudyMaker(runs_dir, evil, about=evil + "\nsecond line", decides=evil)
    made.wants("first", "second", seeds=[0, 1])
    made.ends("first", 0, measured(0.5))
    made.fails("second", 0, f"[bold]{evil}")
    text = made.journal.read_text()
    for name, other in (("first", "[/]"), ("second", "\x1b]0;x\x07字字")):
        text = text.replace(name, json.dumps(other)[1:-1])
    made.journal.write_text(text)
    async with opened().run_test(size=size) as pilot:
        screen = await studies(pilot)
        await _press(pilot, "enter", "enter", "down", "down", "v", "v", "v", "r")
        for kind in (StudyList, StudyTable, StudyLosses):
            text = shown(screen, kind)
            assert "\x1b" not in text
            assert "\u202e" not in text
        assert "[/]" in shown(screen, StudyTable)
        assert screen.loaded


# Pictures.


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_none_yet(opened: Open, snap_compare: object, size: tuple[int, int]) -> None:
    assert snap_compare(opened(), terminal_size=size, run_before=studies)  # type: ignore[operator]


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_running_study(
    opened: Open, runs_dir: Path, run_of: Callable[[str], RunDirectory], held: ExitStack, snap_compare: object,
    size: tuple[int, int],
) -> None:  # fmt: skip
    _, claim = running(runs_dir, run_of)
    held.callback(claim.release)

    async def before(pilot: Pilot[None]) -> None:
        await studies(pilot)
        await _press(pilot, "enter", "down", "enter")

    assert snap_compare(opened(), terminal_size=size, run_before=before)  # type: ignore[operator]


@pytest.mark.parametrize("page", ["results", "characters", "curves", "latency"])
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_ties(
    opened: Open, runs_dir: Path, snap_compare: object, size: tuple[int, int], page: str
) -> None:
    if size == LARGE and page in ("curves", "latency"):
        pytest.skip("they stand beside the results there")
    finished_with_ties(runs_dir)
    of_one_seed(runs_dir)

    async def before(pilot: Pilot[None]) -> None:
        screen = await studies(pilot, "context_length-quick")
        screen.post_message(PageBar.PageChosen(page))
        await pilot.pause()

    assert snap_compare(opened(), terminal_size=size, run_before=before)  # type: ignore[operator]


@pytest.mark.parametrize("look", ["colour", "no-color", "ascii"])
@pytest.mark.parametrize("page", ["results", "latency"])
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_one_seed(
    opened: Open, runs_dir: Path, snap_compare: object, size: tuple[int, int], page: str, look: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if size == LARGE and page == "latency":
        pytest.skip("it stands beside the results there")
    of_one_seed(runs_dir)
    if look == "no-color":
        monkeypatch.setenv("NO_COLOR", "1")

    async def before(pilot: Pilot[None]) -> None:
        screen = await studies(pilot)
        screen.post_message(PageBar.PageChosen(page))
        await pilot.pause()

    workbench = opened(ASCII if look == "ascii" else None)
    assert snap_compare(workbench, terminal_size=size, run_before=before)  # type: ignore[operator]


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_the_matrix(
    opened: Open, runs_dir: Path, snap_compare: object, size: tuple[int, int]
) -> None:
    cross_evaluated(runs_dir)

    async def before(pilot: Pilot[None]) -> None:
        await studies(pilot)
        await _press(pilot, "v", "v")

    assert snap_compare(opened(), terminal_size=size, run_before=before)  # type: ignore[operator]


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_the_question_how_to_start(
    opened: Open, snap_compare: object, size: tuple[int, int]
) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await studies(pilot)
        await _press(pilot, "r")
        await _until(pilot, lambda: isinstance(pilot.app.screen, StartStudyScreen))
        pilot.app.screen.query_one("#start-seeds", Input).cursor_blink = False

    assert snap_compare(opened(), terminal_size=size, run_before=before)  # type: ignore[operator]
