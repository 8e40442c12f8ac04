"""A replay, looked at: the transport under a clock moved by hand, what a policy says, what a pilot plays."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.events import Resize
from textual.geometry import Size
from textual.pilot import Pilot
from textual.widgets import Input, Static

from exphil_core.dojo.demo import write_match
from exphil_core.dojo.match import plan_match
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.replays.game import Game
from exphil_core.replays.isolation import sandbox
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.predictions import PredictionRing, prediction_path
from exphil_tui.app import Workbench
from exphil_tui.screens.choose import ChooseOne
from exphil_tui.screens.data.screen import DataScreen
from exphil_tui.screens.replay import loading
from exphil_tui.screens.replay.screen import ReplayScreen
from exphil_tui.screens.too_small import TooSmallScreen
from exphil_tui.theme.glyphs import ASCII
from exphil_tui.widgets.canvas.controller_view import ControllerView
from exphil_tui.widgets.canvas.stage import StageView
from exphil_tui.widgets.canvas.timeline import Timeline
from exphil_tui.widgets.prediction_panel import PredictionPanel
from exphil_tui.widgets.replay_header import ReplayHeader
from exphil_tui.widgets.text_panel import plain
from tests.tui import predicted
from tests.tui.machine import StandIn, answer, refusal

SIZES = [(80, 24), (120, 40)]
MakeRun = Callable[..., RunDirectory]


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole match of the dojo."""
    return write_match(tmp_path_factory.mktemp("match"), plan_match(11, 0))


@pytest.fixture
def dojo(match: Path, tmp_path: Path) -> Path:
    """One replay of the dojo, by a short name."""
    return shutil.copy(match, tmp_path / "dojo.slp")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No player has a name: what is drawn of real replays is kept."""
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.delenv("SSH_TTY", raising=False)

    def read(*arguments: Any, **options: Any) -> Game:
        game = sandbox.read_result(*arguments, **options)
        players = tuple(dataclasses.replace(player, name="", code="") for player in game.players)
        return dataclasses.replace(game, players=players)

    monkeypatch.setattr(loading, "read_result", read)


Open = Callable[..., Workbench]


@pytest.fixture
def opened(
    runs_dir: Path, hand: Hand, clock: Callable[[], float], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Open:
    def open(replay: Path | None = None, **options: Any) -> Workbench:
        return Workbench(
            runs_dir=runs_dir, replay=replay, clock=clock, monotonic=hand, launch=stand_in, **options
        )

    return open


def _has_file(pilot: Pilot[None]) -> bool:
    screen = pilot.app.screen
    return isinstance(screen, ReplayScreen) and screen._predictions.file is not None


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 20.0) -> None:
    for _ in range(round(seconds / 0.02)):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come to hold in time")


async def ready(pilot: Pilot[None]) -> ReplayScreen:
    """The screen with its game read, and its predictions asked for and in."""
    await until(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ReplayScreen)
    await until(pilot, lambda: not any(worker.group in ("read", "predict") for worker in screen.workers))
    screen.paint()
    await pilot.pause()
    return screen


def header(screen: ReplayScreen) -> str:
    return plain(screen.query_one(ReplayHeader)._picture.lines)


def panel(screen: ReplayScreen) -> str:
    found = screen.query_one(PredictionPanel)._picture
    return plain((*found.head, *found.lines))


def notice(screen: ReplayScreen) -> str:
    found = screen.query_one("#replay-notice", Static)
    return str(found.render()) if found.display else ""


def told(pilot: Pilot[None]) -> str:
    return " ".join(found.message for found in pilot.app._notifications)


def frame_id(screen: ReplayScreen) -> int:
    assert screen.frame_index is not None
    assert screen._replay is not None
    return int(screen._replay.game.frame_id[screen.frame_index])


def policy_of(make_run: MakeRun, stand_in: StandIn, path: Path, **options: Any) -> RunDirectory:
    """A run with a checkpoint; its predictions of that replay are there when `exphil predict` has been run."""
    run = make_run("finished", name="quick")
    step = run.best_step()
    assert step is not None
    game = sandbox.load_game(path)

    def predict(words: tuple[str, ...]) -> None:
        if words[0] == "predict":
            predicted.write(prediction_path(run.path, game.content_id, step), game, step=step, **options)

    stand_in.then = predict
    stand_in.answers["predict"] = answer({})
    return run


# The transport.


async def test_it_opens_on_the_first_frame_and_stands(opened: Open, dojo: Path, hand: Hand) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        hand.now += 5
        screen.paint()
        assert frame_id(screen) == -123
        assert "frame -123 of" in header(screen)
        assert not notice(screen)


async def test_space_plays_at_the_pace_of_the_clock_and_pauses(opened: Open, dojo: Path, hand: Hand) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("space")
        for seconds in (0.5, 0.5, 2.0, 0.1):
            before = screen.frame_index or 0
            hand.now += seconds
            screen.paint()
            assert screen.frame_index == before + round(60 * seconds)
        assert "▶ ×1 " in header(screen)
        await pilot.press("space")
        stands = screen.frame_index
        hand.now += 10
        screen.paint()
        assert screen.frame_index == stands


@pytest.mark.parametrize(
    ("key", "frames"),
    [
        ("right", 1),
        ("left", -1),
        ("shift+right", 10),
        ("shift+left", -10),
        ("ctrl+right", 60),
        ("ctrl+left", -60),
        ("full_stop", 60),
        ("comma", -60),
    ],
)
async def test_keys_go_on_and_back(opened: Open, dojo: Path, hand: Hand, key: str, frames: int) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        screen.action_move_to(500)
        await pilot.press(key)
        assert screen.frame_index == 500 + frames


async def test_nothing_goes_beyond_the_ends(opened: Open, dojo: Path) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("left", "ctrl+left")
        assert screen.frame_index == 0
        await pilot.press("end", "right", "ctrl+right")
        assert screen._replay is not None
        assert screen.frame_index == screen._replay.frames - 1
        await pilot.press("home")
        assert screen.frame_index == 0


async def test_brackets_change_the_speed(opened: Open, dojo: Path, hand: Hand) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("left_square_bracket", "left_square_bracket", "left_square_bracket", "space")
        assert "×¼" in header(screen)
        hand.now += 4
        screen.paint()
        assert screen.frame_index == 60
        await pilot.press(*["right_square_bracket"] * 9)
        assert "×4" in header(screen)
        hand.now += 1
        screen.paint()
        assert screen.frame_index == 300


async def test_playing_ends_at_the_last_frame(opened: Open, dojo: Path, hand: Hand) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("end", "shift+left", "space")
        hand.now += 60
        screen.paint()
        assert screen._replay is not None
        assert screen.frame_index == screen._replay.frames - 1
        assert "‖" in header(screen)
        await pilot.press("space")
        assert screen.frame_index == 0


@pytest.mark.parametrize(("typed", "wanted"), [("-39", -39), ("600", 600), ("0:05", 300)])
async def test_g_goes_to_a_frame_or_a_time(opened: Open, dojo: Path, typed: str, wanted: int) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("g")
        assert screen.query_one("#replay-jump-place", Input).has_focus
        screen.query_one("#replay-jump-place", Input).value = typed
        await pilot.press("enter")
        assert frame_id(screen) == wanted
        assert not screen.query_one("#replay-jump").display
        # Keys are the screen's again.
        await pilot.press("right")
        assert frame_id(screen) == wanted + 1


async def test_a_place_that_is_not_there_is_a_sentence_and_the_line_stays(opened: Open, dojo: Path) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("g", *"99999", "enter")
        assert "this game goes from frame -123" in told(pilot)
        assert screen.query_one("#replay-jump").display
        await pilot.press("escape")
        assert not screen.query_one("#replay-jump").display
        assert pilot.app.screen is screen
        assert frame_id(screen) == -123


@pytest.mark.parametrize(("key", "back", "which"), [("s", "S", "stock_losses"), ("h", "H", "hits")])
async def test_keys_go_from_moment_to_moment(
    opened: Open, dojo: Path, key: str, back: str, which: str
) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert screen._replay is not None
        frames = list(dict.fromkeys(getattr(screen._replay.events, which)[:, 0].tolist()))
        assert len(frames) >= 2
        for frame in frames[:3]:
            await pilot.press(key)
            assert screen.frame_index == frame
        for frame in reversed(frames[: min(3, len(frames)) - 1]):
            await pilot.press(back)
            assert screen.frame_index == frame
        await pilot.press("home", back)
        assert "There is no earlier" in told(pilot)
        assert screen.frame_index == 0


async def test_a_click_on_the_timeline_goes_there(opened: Open, dojo: Path) -> None:
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.click(Timeline, offset=(40, 1))
        assert screen._replay is not None
        assert abs((screen.frame_index or 0) / screen._replay.frames - 0.5) < 0.1


async def test_escape_leads_back_and_help_and_palette_have_every_key(opened: Open, dojo: Path) -> None:
    async with opened(dojo).run_test(size=(120, 60)) as pilot:
        await ready(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        help = str(pilot.app.screen.query_one("#help-keys", Static).render())
        for words in ("Play or pause", "Ten frames forward", "One second back", "Slower", "stock loss"):
            assert words in help
        await pilot.press("escape", "escape")
        assert not isinstance(pilot.app.screen, ReplayScreen)


async def test_begun_in_too_small_a_terminal_it_is_there_when_the_terminal_grows(
    opened: Open, dojo: Path
) -> None:
    async with opened(dojo).run_test(size=(50, 15)) as pilot:
        assert isinstance(pilot.app.screen, TooSmallScreen)
        await pilot.resize_terminal(*SIZES[0])
        screen = await ready(pilot)
        assert frame_id(screen) == -123
        await pilot.resize_terminal(50, 15)
        await pilot.pause()
        assert isinstance(pilot.app.screen, TooSmallScreen)
        await pilot.resize_terminal(*SIZES[1])
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_it_is_laid_out_for_the_terminal_as_it_is_and_not_as_it_was(opened: Open, dojo: Path) -> None:
    async with opened(dojo).run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        for size in (Size(50, 15), Size(80, 24), Size(60, 20)):
            screen.post_message(Resize(size, size))
            await pilot.pause(0.05)
            assert screen.size == SIZES[1]


# What a policy says.


async def test_a_policys_predictions_are_made_beside_and_shown_beside_the_frame_they_are_for(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    run = policy_of(make_run, stand_in, dojo)
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        (call,) = stand_in.of("predict")
        assert call[1:3] == (str(run.step_directory(run.best_step() or 0)), str(dojo))
        assert "no prediction for the first 3 frames" in panel(screen).replace("\n ", "")
        for frame in (3, 777, 1500):
            screen.action_move_to(frame)
            prediction = screen._prediction(frame)
            assert prediction is not None
            assert prediction.observed == frame - predicted.HORIZON
            human = prediction.components[0].human
            assert human is not None
            text = panel(screen)
            assert f"human   {human.label}" in text
            assert f"{prediction.nats:.3f}" in text
        assert f"step {run.best_step():,}" in str(screen.query_one(PredictionPanel)._picture.notes)


async def test_d_goes_to_where_the_policy_differs_and_d_is_no_key_without_one(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    policy_of(make_run, stand_in, dojo)
    async with opened(dojo).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("d")
        assert screen.frame_index == 0
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        agreement = (
            screen._predictions.file.agreement(screen._ego)
            if screen._predictions.file is not None
            else np.zeros(0)
        )
        differs = agreement < 1
        begins = np.flatnonzero(differs & ~np.roll(differs, 1))
        for frame in begins[:3]:
            await pilot.press("d")
            assert screen.frame_index == frame
        await pilot.press("D")
        assert screen.frame_index == begins[1]


async def test_e_shows_the_other_side(opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn) -> None:
    policy_of(make_run, stand_in, dojo)
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        screen.action_move_to(900)
        pads = list(screen.query(ControllerView))
        before = screen._ego
        shown = screen._prediction(900)
        await pilot.press("e")
        assert screen._ego == 1 - before
        assert screen._prediction(900) != shown
        await pilot.press("e")
        assert screen._ego == before
        assert [pad.display for pad in pads] == [True, True, False, False]


async def test_the_side_that_the_policy_learned_from_is_shown_first(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    policy_of(make_run, stand_in, dojo, known=(1,))
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert screen._ego == 1


async def test_predictions_are_shown_while_they_grow(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn, hand: Hand
) -> None:
    run = make_run("finished", name="quick")
    game = sandbox.load_game(dojo)
    path = prediction_path(run.path, game.content_id, run.best_step() or 0)
    file = predicted.begin(path, game, until=1000)
    stand_in.waits = {"predict"}
    stand_in.said = {"predict": (f"predicted 1000 of {game.frames}",)}
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        await until(pilot, lambda: _has_file(pilot))
        screen = pilot.app.screen
        assert isinstance(screen, ReplayScreen)
        screen.action_move_to(1000)
        assert screen._prediction(1000) is not None
        assert f"predicted 1000 of {game.frames}" in header(screen)
        screen.action_move_to(1500)
        assert "this frame is not predicted yet" in panel(screen)
        for slot in range(2):
            file.write(slot, 1000, predicted.records(game, slot)[1000:])
        hand.now += 1
        screen.paint()
        assert screen._prediction(1500) is not None
        assert "not predicted" not in panel(screen)
        await pilot.press("escape")
        await until(pilot, lambda: bool(stand_in.broken_off))


async def test_predictions_made_before_are_shown_at_once(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    run = make_run("finished", name="quick")
    game = sandbox.load_game(dojo)
    predicted.write(prediction_path(run.path, game.content_id, run.best_step() or 0), game)
    stand_in.waits = {"predict"}
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        await until(pilot, lambda: _has_file(pilot))
        screen = pilot.app.screen
        assert isinstance(screen, ReplayScreen)
        screen.action_move_to(500)
        assert screen._prediction(500) is not None


async def test_predictions_that_another_process_is_at_are_shown_as_they_grow(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    run = make_run("finished", name="quick")
    game = sandbox.load_game(dojo)
    file = predicted.begin(prediction_path(run.path, game.content_id, run.best_step() or 0), game, until=800)
    stand_in.answers["predict"] = refusal(
        "it is being written by another process: wait for it, or stop it first"
    )
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        assert "being written by another process" in notice(screen)
        assert screen._prediction(700) is not None
        assert screen._prediction(900) is None
        for slot in range(2):
            file.write(slot, 800, predicted.records(game, slot)[800:])
        assert screen._prediction(900) is not None


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("run quick: its checkpoint is of schema version 9, this exphil reads version 1; train it again", 5),
        ("game.slp: four players; predictions are made where two play", 3),
    ],
)
async def test_a_checkpoint_that_cannot_predict_is_a_sentence_and_the_game_is_there(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn, sentence: str, code: int
) -> None:
    make_run("finished", name="quick")
    stand_in.answers["predict"] = refusal(sentence, code)
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        assert sentence in " ".join(notice(screen).split())
        screen.action_move_to(600)
        assert screen.query_one(StageView)._scene is not None
        assert screen.query_one(StageView)._scene.frame_index == 600  # type: ignore[union-attr]


async def test_a_replay_without_the_policys_character_is_predicted_with_a_caution(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    policy_of(make_run, stand_in, dojo, known=())
    caution = "the policy was trained on Link only, who is not in this game"
    stand_in.answers["predict"] = dataclasses.replace(answer({}), problems=(f"warning: {caution}",))
    async with opened(dojo, checkpoint="quick").run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        assert caution in notice(screen)
        screen.action_move_to(600)
        assert screen._prediction(600) is not None


async def test_an_unknown_run_is_a_sentence_with_the_nearest_and_the_game_is_there(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    make_run("finished", name="quick")
    async with opened(dojo, checkpoint="quikc").run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        assert "did you mean 'quick'?" in notice(screen)
        assert screen.query_one(StageView)._scene is not None
        assert not stand_in.of("predict")


async def test_a_policy_is_chosen_from_within(
    opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    policy_of(make_run, stand_in, dojo)
    async with opened(dojo).run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        await until(pilot, lambda: bool(pilot.app.known_runs))  # type: ignore[attr-defined]
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChooseOne))
        await pilot.press("enter")
        await until(pilot, lambda: screen._predictions.file is not None)
        await until(pilot, lambda: screen.query_one(PredictionPanel).display)


# Bad files.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not start as a Slippi replay does"),
        (b"This is no replay at all, it is a text.", "does not start as a Slippi replay does"),
        (None, "the file does not exist"),
    ],
)
async def test_what_is_no_replay_is_a_sentence_in_the_pane(
    opened: Open, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "odd.slp"
    if content is not None:
        path.write_bytes(content)
    async with opened(path).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert words in " ".join(notice(screen).split())
        assert "odd.slp" in header(screen)
        # No key is a trap where there is nothing to see.
        keys = ("space", "left", "g", "s", "H", "d", "e", "home", "end", "right_square_bracket", "l", "z")
        await pilot.press(*keys)
        assert isinstance(pilot.app.screen, ReplayScreen)


async def test_a_truncated_replay_is_shown_to_its_last_whole_frame(
    opened: Open, dojo: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.slp"
    data = dojo.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    async with opened(cut).run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        assert screen._replay is not None
        assert screen._replay.game.salvaged
        assert "truncated" in header(screen)
        await pilot.press("end")
        assert screen.frame_index == screen._replay.frames - 1


@pytest.mark.parametrize("name", ["bttdk", "corrupt", "incomplete", "unknown_event", "corrupt_game_1"])
async def test_real_broken_replays_are_sentences_or_games(opened: Open, replays: Path, name: str) -> None:
    async with opened(replays / "broken" / f"{name}.slp").run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert bool(notice(screen)) != (screen._replay is not None)


# From inside the workbench.


async def test_the_palette_and_the_data_screen_open_a_replay(
    opened: Open, dojo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dojo.parent)
    monkeypatch.setenv("EXPHIL_CACHE", str(dojo.parent / "cache"))
    folder = dojo.parent / "demo"
    folder.mkdir()
    shutil.copy(dojo, folder / "dojo_1.slp")
    async with opened().run_test(size=SIZES[0]) as pilot:
        await pilot.pause(0.1)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        data = pilot.app.screen
        assert isinstance(data, DataScreen)
        await until(pilot, lambda: data.loaded)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChooseOne))
        await pilot.press("enter")
        screen = await ready(pilot)
        assert screen._replay is not None
        await pilot.press("escape")
        await pilot.press("ctrl+p")
        await pilot.press(*"view one frame")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChooseOne))


# What a pilot plays.


@pytest.fixture
def watched(new_run: Callable[..., RunDirectory], tiny: Callable[..., Any]) -> RunDirectory:
    return new_run(tiny(), "watched")


def stored(run: RunDirectory, number: int) -> Game:
    from exphil_core.dataset.index import DatasetIndex
    from exphil_core.dataset.store import ColumnStore
    from exphil_core.dataset.stored_game import stored_game

    index = DatasetIndex.open(run.dataset_path())
    return stored_game(index, ColumnStore(index), index.games[number].content_id)


def ring_of(run: RunDirectory) -> PredictionRing:
    pilot = PilotDirectory(run)
    pilot.path.mkdir(exist_ok=True)
    return PredictionRing.create(pilot.frames_path, predicted.LAYOUT, {})


def play(ring: PredictionRing, game: Game, slot: int, frames: Sequence[int]) -> None:
    every = predicted.records(game, slot)
    for frame in frames:
        ring.append(every[frame : frame + 1].copy())


async def watch(pilot: Pilot[None], run: RunDirectory) -> ReplayScreen:
    app = pilot.app
    assert isinstance(app, Workbench)
    app.runs_dir = run.path.parent
    app.open_watch(run.name)
    await until(pilot, lambda: isinstance(app.screen, ReplayScreen))
    screen = app.screen
    assert isinstance(screen, ReplayScreen)
    await until(pilot, lambda: screen.is_mounted)
    return screen


@pytest.fixture
def pilot_alive(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether a pilot is alive; a test changes the one value."""
    there = [True]
    monkeypatch.setattr(PilotDirectory, "alive", lambda self: there[0])
    return there


async def test_what_the_pilot_plays_is_followed_from_frame_to_frame_and_from_game_to_game(
    opened: Open, watched: RunDirectory, pilot_alive: list[bool], hand: Hand
) -> None:
    first, second = stored(watched, 0), stored(watched, 1)
    ring = ring_of(watched)
    play(ring, first, 1, range(300))
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: screen.frame_index == 299)
        assert screen._ego == 1
        assert "live" in header(screen)
        assert "step 1,200, weights 12345678" in header(screen)
        prediction = screen._prediction(299)
        assert prediction is not None
        assert prediction.observed == 299 - predicted.HORIZON
        play(ring, first, 1, range(300, 360))
        await until(pilot, lambda: screen.frame_index == 359)
        play(ring, second, 0, range(30))
        await until(pilot, lambda: screen.frame_index == 29)
        assert screen._ego == 0
        assert screen._replay is not None
        assert screen._replay.game.content_id == second.content_id


async def test_a_key_that_moves_leaves_what_is_live_and_end_goes_back(
    opened: Open, watched: RunDirectory, pilot_alive: list[bool]
) -> None:
    game = stored(watched, 0)
    ring = ring_of(watched)
    play(ring, game, 0, range(200))
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: screen.frame_index == 199)
        await pilot.press("shift+left")
        assert screen.frame_index == 189
        assert "live" not in header(screen)
        play(ring, game, 0, range(200, 250))
        screen.paint()
        assert screen.frame_index == 189
        await pilot.press("end")
        assert screen.frame_index == 249
        assert "live" in header(screen)
        await pilot.press("space")
        play(ring, game, 0, range(250, 260))
        screen.paint()
        assert screen.frame_index == 249


async def test_a_pilot_that_falls_silent_or_ends_is_said_to_and_the_last_frame_stays(
    opened: Open, watched: RunDirectory, pilot_alive: list[bool], hand: Hand
) -> None:
    game = stored(watched, 0)
    ring = ring_of(watched)
    play(ring, game, 0, range(200))
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: screen.frame_index == 199)
        hand.now += 3
        screen.paint()
        assert "Stale: no frame from the pilot for 3 s" in notice(screen)
        assert screen.frame_index == 199
        pilot_alive[0] = False
        assert screen._pilot is not None
        screen._pilot.alive = False
        screen.paint()
        assert "The pilot has stopped" in notice(screen)
        assert screen._prediction(199) is not None


async def test_without_a_pilot_it_says_how_one_is_started_and_shows_one_that_comes(
    opened: Open, watched: RunDirectory, pilot_alive: list[bool], hand: Hand
) -> None:
    pilot_alive[0] = False
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: "No pilot is running for watched" in notice(screen))
        game = stored(watched, 0)
        pilot_alive[0] = True
        play(ring_of(watched), game, 0, range(10))
        hand.now += 1
        await until(pilot, lambda: screen.frame_index == 9)


async def test_a_new_ring_in_the_place_of_the_old_one_is_followed(
    opened: Open, watched: RunDirectory, pilot_alive: list[bool], hand: Hand
) -> None:
    game = stored(watched, 0)
    play(ring_of(watched), game, 0, range(100))
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: screen.frame_index == 99)
        play(ring_of(watched), game, 0, range(5))
        hand.now += 1
        await until(pilot, lambda: screen.frame_index == 4)


async def test_a_run_that_is_deleted_while_it_is_watched_leaves_its_last_frame(
    opened: Open, watched: RunDirectory, pilot_alive: list[bool], hand: Hand
) -> None:
    play(ring_of(watched), stored(watched, 0), 0, range(100))
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: screen.frame_index == 99)
        shutil.rmtree(watched.path)
        pilot_alive[0] = False
        assert screen._pilot is not None
        screen._pilot.alive = False
        hand.now += 2
        await pilot.press("left")
        await until(pilot, lambda: "The pilot has stopped" in notice(screen))
        assert screen.frame_index == 98
        assert "the pilot did not play this frame" in panel(screen)


async def test_watching_a_run_that_is_not_there_is_a_sentence(opened: Open) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        app = pilot.app
        assert isinstance(app, Workbench)
        app.open_watch("nobody")
        await pilot.pause()
        assert "no run 'nobody'" in told(pilot)
        assert not isinstance(app.screen, ReplayScreen)


# Pictures.


def pictured(
    snap_compare: Callable[..., bool], app: Workbench, size: tuple[int, int], *keys: str, at: int = 1200
) -> bool:
    async def before(pilot: Pilot[None]) -> None:
        screen = await ready(pilot)
        assert screen._replay is None or at < screen._replay.frames
        screen.action_move_to(at)
        await pilot.press(*keys)
        await pilot.pause(0.1)

    return snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_dojo_game(
    snap_compare: Callable[..., bool], opened: Open, dojo: Path, size: tuple[int, int]
) -> None:
    assert pictured(snap_compare, opened(dojo), size)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_dojo_game_with_a_policy(
    snap_compare: Callable[..., bool],
    opened: Open,
    dojo: Path,
    make_run: MakeRun,
    stand_in: StandIn,
    size: tuple[int, int],
) -> None:
    policy_of(make_run, stand_in, dojo)
    assert pictured(snap_compare, opened(dojo, checkpoint="quick"), size)


def test_picture_of_predictions_in_place_of_the_stage(
    snap_compare: Callable[..., bool], opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    policy_of(make_run, stand_in, dojo)
    assert pictured(snap_compare, opened(dojo, checkpoint="quick"), SIZES[0], "p")


def test_picture_in_ascii(
    snap_compare: Callable[..., bool], opened: Open, dojo: Path, make_run: MakeRun, stand_in: StandIn
) -> None:
    policy_of(make_run, stand_in, dojo)
    assert pictured(snap_compare, opened(dojo, checkpoint="quick", glyphs=ASCII), SIZES[1])


def test_picture_of_what_is_no_replay(
    snap_compare: Callable[..., bool], opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("odd.slp")
    path.write_bytes(b"This is no replay at all.")
    assert pictured(snap_compare, opened(path), SIZES[0])


REAL = {
    "mewtwo": "games/fox_vs_mewtwo_ps_v3.19.1.slp",
    "climbers": "games/ics_vs_falco_dl_v3.12.0.slp",
    "old": "games/zelda_vs_ics_ys_v0.1.0.slp",
    "four": "odd/falcon_vs_ganon_vs_falcon_vs_marth_bf_v1.2.0.slp",
    "three": "odd/falco_vs_fox_vs_marth_ys_v3.13.0.slp",
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", REAL)
def test_picture_of_a_real_game(
    snap_compare: Callable[..., bool], opened: Open, replays: Path, name: str, size: tuple[int, int]
) -> None:
    assert pictured(snap_compare, opened(replays / REAL[name]), size, at=130 if name == "three" else 1200)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_real_game_with_a_policy(
    snap_compare: Callable[..., bool],
    opened: Open,
    replays: Path,
    make_run: MakeRun,
    stand_in: StandIn,
    size: tuple[int, int],
) -> None:
    path = replays / REAL["mewtwo"]
    policy_of(make_run, stand_in, path)
    assert pictured(snap_compare, opened(path, checkpoint="quick"), size)


def test_picture_of_a_pilot_that_is_watched(
    snap_compare: Callable[..., bool],
    opened: Open,
    watched: RunDirectory,
    pilot_alive: list[bool],
) -> None:
    play(ring_of(watched), stored(watched, 0), 0, range(600, 1200))

    async def before(pilot: Pilot[None]) -> None:
        screen = await watch(pilot, watched)
        await until(pilot, lambda: screen.frame_index == 1199)
        await pilot.pause(0.1)

    assert snap_compare(opened(), terminal_size=SIZES[1], run_before=before)
