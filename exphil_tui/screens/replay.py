"""A replay, frame by frame: the stage, the players, their controllers, and what a policy would have pressed.

In: a file that another process parses, and a checkpoint whose predictions another process makes; or a run whose pilot
plays now. Out: pictures at the pace of a clock. What a reader gets wrong: beside what the human held in frame f
stands the prediction *for* frame f, made some frames before from what was to be seen then.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.events import Resize
from textual.timer import Timer
from textual.widgets import Footer, Input, Static

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.store import ColumnStore
from exphil_core.dataset.stored_game import stored_game
from exphil_core.errors import CheckpointError, ExphilError
from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Player
from exphil_core.replays.repair import REPAIRS
from exphil_core.replays.text import sanitise
from exphil_core.replays.viewing import read_viewed, viewing_command
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.pilot import PilotDirectory
from exphil_core.runs.predictions import PredictionFile, prediction_path
from exphil_tui import figures
from exphil_tui.broadcast import Broadcast
from exphil_tui.child import run_command
from exphil_tui.forecast import (
    Forecast,
    Predicted,
    agreement_of_last_second,
    disagreements,
    forecast_of,
    onsets,
)
from exphil_tui.moments import following, preceding
from exphil_tui.pace import pace_of
from exphil_tui.places import expanded, shown
from exphil_tui.scene import Replay, Scene
from exphil_tui.screens.choose import ChooseOne, Entry
from exphil_tui.screens.steady import SteadyScreen
from exphil_tui.transport import Transport, place_of
from exphil_tui.widgets.pad import Pad
from exphil_tui.widgets.prediction_panel import PredictionPanel
from exphil_tui.widgets.replay_header import ReplayFacts, ReplayHeader
from exphil_tui.widgets.stage import StageView
from exphil_tui.widgets.timeline import Stocks, Timeline
from exphil_tui.widgets.track import Track

if TYPE_CHECKING:
    from exphil_tui.app import Workbench

WIDE, HIGH = 110, 34
"""Cells from which on everything is shown at once."""

PLAYERS = 4

LOOK_S = 0.25
"""Between two looks at predictions that are being made."""

TRAIL = 10
"""Frames over which a stick's way is drawn."""

STALE_S = 1.0
"""From then on a pilot that says nothing is said to say nothing."""

_HELPS = "'exphil data check FILE' says more; o looks into another replay, Esc goes back."

_NO_FRAMES = np.zeros(0, np.int32)
_LETTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """What the predictions of one side are as far as they were read, for the timeline and the keys."""

    slot: int
    done: int
    disagreements: np.ndarray
    onsets: np.ndarray
    """[N, 2], as `Moments` has its frames: where the policy begins to differ."""


class ReplayScreen(SteadyScreen[None]):
    CSS_PATH = "replay.tcss"
    # Keys are the screen's; the line to type in has the focus only while it is there.
    AUTO_FOCUS = ""
    BINDING_GROUP_TITLE = "Replay"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play", key_display="space", tooltip="Play or pause"),
        Binding("left", "move(-1)", "Back", tooltip="One frame back, and stand", show=False),
        Binding("right", "move(1)", "On", tooltip="One frame on, and stand", show=False),
        Binding("shift+left", "move(-10)", "Ten frames back", show=False),
        Binding("shift+right", "move(10)", "Ten frames on", show=False),
        Binding("ctrl+left,comma", "move(-60)", "A second back", show=False),
        Binding("ctrl+right,full_stop", "move(60)", "A second on", show=False),
        Binding("left_square_bracket", "speed(-1)", "Slower", show=False),
        Binding("right_square_bracket", "speed(1)", "Faster", show=False),
        Binding("g", "jump", "Go to", tooltip="Go to a frame (-39, 1200) or a time (1:23)"),
        Binding("s", "moment('stock', 1)", "Stock", tooltip="Next loss of a stock"),
        Binding("S", "moment('stock', -1)", "Loss of a stock before", show=False),
        Binding("h", "moment('hit', 1)", "Hit", tooltip="Next hit"),
        Binding("H", "moment('hit', -1)", "Hit before", show=False),
        Binding("d", "moment('disagreement', 1)", "Differs", tooltip="Where the policy differs next"),
        Binding("D", "moment('disagreement', -1)", "Where the policy differed before", show=False),
        Binding("e", "ego", "Side", tooltip="The other player's side: whose predictions are shown"),
        Binding("p", "panel", "Predictions", tooltip="Predictions in place of the stage"),
        Binding("c", "policy", "Policy", tooltip="Choose whose predictions are shown"),
        Binding("c", "another_policy", "Show another policy's predictions", show=False),
        Binding("l", "drawn", "On the pad: the likeliest, or what was drawn", show=False),
        Binding("z", "whole", "The whole stage, or where the players are", show=False),
        Binding("o", "another", "Look into another replay", show=False),
        Binding("home", "move_to(0)", "First frame", show=False),
        Binding("end", "end", "Last frame; what is played now", show=False),
        Binding("escape", "leave", "Go back", show=False),
    ]
    HELP = """\
Space plays and pauses, the arrows go on by a frame, with Shift by ten, with Ctrl (or , and .) by sixty: a second.
A time is the game's own clock; frames are told by their ids, from -123, and the match begins at 0.
The strip at the bottom is the whole game: stocks, hits, and where the policy differs; a click goes there.
On a controller, filled is what the human held, outlined what the policy would have.
A prediction is for the frame that is shown, made from what was to be seen some frames before: as many as the policy's
delay, and one. "human" is how probable the policy held what the human did; "loss" is that in nats: lower is better.
"agrees": the likeliest is what the human did. "drawn" is what the policy would have played.
A dash is what this version of Slippi does not tell.
Following a pilot, any key that moves leaves what is live, and End goes back to it."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        checkpoint: str | None = None,
        watched: RunDirectory | None = None,
    ) -> None:
        """A replay, or with `watched` what the pilot of that run plays."""
        assert (path is None) != (watched is None)
        super().__init__()
        self._path, self._checkpoint, self._watched = path, checkpoint, watched
        self._replay: Replay | None = None
        self._transport: Transport | None = None
        self._stocks: tuple[Stocks, ...] = ()
        self._hits = _NO_FRAMES
        self._ego = 0
        self._ego_chosen = False
        self._file: PredictionFile | None = None
        self._tracks: Tracks | None = None
        self._tracks_until = 0.0
        self._policy_name = ""
        self._predicting = ""
        """How far a process is that predicts; empty where none does."""
        self._reading = True
        self._problem = ""
        """Why there is no game to see."""
        self._caution = ""
        """Why there are no predictions, or what to know of them."""
        self._drawn_by_policy = False
        self._panel = False
        self._broadcast: Broadcast | None = None
        self._live = watched is not None
        self._alive = True
        self._store: ColumnStore | None = None
        self._wanted_game = ""
        """Content id of the game that the pilot plays, once it was asked for."""
        self._pads = [Pad() for _ in range(PLAYERS)]
        self._painted: object = None
        self._pace = pace_of(os.environ)
        self._timer: Timer | None = None
        self._due = 0.0
        self._spent = 0.0

    @property
    def workbench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield ReplayHeader(id="replay-header")
        yield Static(id="replay-notice")
        with Container(id="replay-body"):
            with Container(id="replay-left"):
                yield StageView(id="replay-stage")
                with Container(id="replay-pads"):
                    yield from self._pads
            yield PredictionPanel(id="replay-prediction")
        yield Track(id="replay-track")
        yield Timeline(id="replay-timeline")
        with Horizontal(id="replay-jump"):
            yield Static("Go to", id="replay-jump-label")
            yield Input(
                id="replay-jump-place",
                placeholder="a frame such as -39, or a time such as 1:23",
                compact=True,
            )
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._arrange()
        if self._watched is not None:
            pilot = PilotDirectory(self._watched)
            self._broadcast = Broadcast(pilot, self.workbench.monotonic)
            self.run_worker(self._mind_pilot(pilot), group="pilot")
        else:
            self._open_file()
        self._due, self._spent = time.monotonic(), time.thread_time()
        self._timer = self.set_interval(self._pace.interval, self._tick)
        self.call_after_refresh(self.paint)
        self.app.theme_changed_signal.subscribe(self, self._recolour)

    def on_unmount(self) -> None:
        if self._broadcast is not None:
            self._broadcast.close()

    # What is to be seen.

    @work(group="read", exclusive=True, exit_on_error=False)
    async def _open_file(self) -> None:
        """Reads the replay, then sees to its predictions."""
        assert self._path is not None
        path = self._path
        self._reading, self._problem = True, ""
        try:
            with tempfile.TemporaryDirectory(prefix="exphil-view-") as folder:
                out = Path(folder) / "game"
                ended = await run_command(viewing_command(path, out))
                game = await asyncio.to_thread(
                    read_viewed, out, path, code=ended.code, last_words="\n".join(ended.problems)
                )
            replay = await asyncio.to_thread(Replay, game)
        except (ExphilError, OSError) as error:
            self._problem = _sentence(error)
            return
        finally:
            self._reading = False
        self._take_replay(replay)
        if self._checkpoint is not None:
            self._predict(self._checkpoint)

    def _take_replay(self, replay: Replay) -> None:
        self._replay = replay
        self._transport = Transport(frames=replay.frames, since=self.workbench.monotonic())
        losses = replay.moments.stock_losses
        self._stocks = tuple(
            Stocks(
                port=player.port_index + 1,
                start=player.start_stocks,
                losses=losses[losses[:, 1] == slot, 0].tolist(),
                gains=_gains(player),
            )
            for slot, player in enumerate(replay.game.players)
        )
        self._hits = np.unique(replay.moments.hits[:, 0])
        self._tracks = None
        if not self._ego_chosen:
            humans = [slot for slot, player in enumerate(replay.game.players) if player.type == "human"]
            self._ego = next(iter(humans), 0)
        for slot, pad in enumerate(self._pads):
            pad.display = slot < len(replay.game.players)
        self.set_class(len(replay.game.players) > 2, "-many")
        self.set_class(True, "-there")
        self._hurry()

    @work(group="predict", exclusive=True, exit_on_error=False)
    async def _predict(self, checkpoint: str) -> None:
        """Has the predictions made, or finds those that were made before; shows them as they grow."""
        assert self._replay is not None
        assert self._path is not None
        game = self._replay.game
        self._forget_predictions()
        self._checkpoint, self._policy_name = checkpoint, sanitise(Path(checkpoint).name, limit=80)
        try:
            run, step = await asyncio.to_thread(_checkpoint_of, self.workbench.runs_dir, checkpoint)
            self._policy_name = f"{sanitise(run.name, limit=80)} step {step:,}"
            path = prediction_path(run.path, game.content_id, step)
            if path.is_file():
                # Made before; whether it was made with these very weights, the command below knows.
                self._take_file(PredictionFile.open(path, content_id=game.content_id, frames=game.frames))
        except (ExphilError, OSError) as error:
            self._caution = _sentence(error)
            return
        self._predicting = "loading the policy" + self.workbench.glyphs.ellipsis
        follow = self.run_worker(self._follow_file(path), group="predict-follow", exclusive=True)
        words = [
            "predict",
            str(run.step_directory(step)),
            str(self._path),
            "--runs-dir",
            str(self.workbench.runs_dir),
        ]
        try:
            ended = await self.workbench.launch(words, told=self._hear)
            warnings = [line for line in ended.problems if line.startswith("warning: ")]
            if ended.code != 0:
                self._caution = ended.problem.splitlines()[-1]
                # Another process may be at it, for another workbench: what it makes is shown as it grows.
                found = PredictionFile.find(path, content_id=game.content_id, frames=game.frames)
                if found is not None:
                    self._take_file(found)
                return
            self._caution = warnings[-1].removeprefix("warning: ") if warnings else ""
            self._take_file(PredictionFile.open(path, content_id=game.content_id, frames=game.frames))
        except (ExphilError, OSError) as error:
            self._caution = _sentence(error)
        finally:
            follow.cancel()
            self._predicting = ""
            self._hurry()

    def _hear(self, line: str) -> None:
        if line.startswith("predict"):
            self._predicting = line

    async def _follow_file(self, path: Path) -> None:
        """Finds the file that is being written, as soon as it is there."""
        assert self._replay is not None
        game = self._replay.game
        while self._file is None:
            await asyncio.sleep(LOOK_S)
            try:
                found = PredictionFile.find(path, content_id=game.content_id, frames=game.frames)
            except (ExphilError, OSError):
                # Whoever writes it will say what there is to say.
                continue
            if found is not None:
                self._take_file(found)

    def _take_file(self, file: PredictionFile) -> None:
        self._file, self._tracks = file, None
        if not self._ego_chosen:
            known = [side.slot for side in file.meta.sides if side.known]
            if known and self._ego not in known:
                self._ego = known[0]
        self._hurry()

    def _forget_predictions(self) -> None:
        self._file, self._tracks = None, None
        self._caution = self._predicting = self._policy_name = ""

    async def _mind_pilot(self, pilot: PilotDirectory) -> None:
        """Asks now and then whether there is a pilot, in a thread: a disk may be slow."""
        while True:
            self._alive = await asyncio.to_thread(pilot.alive)
            await asyncio.sleep(STALE_S)

    @work(group="read", exclusive=True, exit_on_error=False)
    async def _open_stored(self, content_id: str) -> None:
        """The game that the pilot plays, from the dataset that its run learns from."""
        assert self._watched is not None
        try:
            replay = await asyncio.to_thread(self._stored, content_id)
        except (ExphilError, OSError) as error:
            self._problem = _sentence(error)
            return
        finally:
            self._reading = False
        self._problem = ""
        self._take_replay(replay)

    def _stored(self, content_id: str) -> Replay:
        assert self._watched is not None
        if self._store is None:
            self._store = ColumnStore(DatasetIndex.open(self._watched.dataset_path()))
        return Replay(stored_game(self._store.index, self._store, content_id))

    @property
    def _predicted(self) -> Predicted | None:
        """Where there is anything to show of a policy for this game."""
        if self._broadcast is None:
            return self._file if self._file is not None and self._ego in self._file.slots else None
        now, replay = self._broadcast.now, self._replay
        on_air = now is not None and replay is not None and now.content_id == replay.game.content_id
        return self._broadcast if on_air else None

    @property
    def _with_policy(self) -> bool:
        return self._watched is not None or self._checkpoint is not None

    # The clock.

    def _tick(self) -> None:
        """Paints when it is time, and from what that took decides how often it is time."""
        now, spent = time.monotonic(), time.thread_time()
        late, cost = now - self._due, spent - self._spent
        self._due, self._spent = now + self._pace.interval, spent
        if not self._is_seen or not self.paint():
            return
        before, self._pace = self._pace, self._pace.painted(cost=cost, late=late)
        if before.rate != self._pace.rate and self._timer is not None:
            self._timer.stop()
            self._timer = self.set_interval(self._pace.interval, self._tick)

    @property
    def _is_seen(self) -> bool:
        top = self.app.screen
        return top is self or (top.is_modal and self.is_current)

    @property
    def frame_index(self) -> int | None:
        """The frame that is shown now."""
        return None if self._transport is None else self._transport.frame_index(self.workbench.monotonic())

    # Drawing.

    def paint(self) -> bool:
        """Draws the frame of this moment. False where that is drawn already."""
        if self._broadcast is not None:
            self._follow_pilot(self._broadcast)
        if self._transport is not None:
            self._transport = self._transport.settled(self.workbench.monotonic())
        at = self.frame_index
        done = self._predicted.done(self._ego) if self._predicted is not None else None
        notice = self._notice()
        key = (at, self._transport, self._ego, done, notice, self.size, self._drawn_by_policy, self._panel)
        if key == self._painted:
            return False
        first = self._painted is None
        self._painted = key
        self._show_notice(*notice)
        if self._replay is None or at is None:
            self._show_nothing()
        else:
            self._show_frame(self._replay, at)
        if first:
            self.refresh_bindings()
        return True

    def _follow_pilot(self, broadcast: Broadcast) -> None:
        """The game and the frame that the pilot is at."""
        broadcast.look()
        now = broadcast.now
        if now is None:
            return
        if self._wanted_game != now.content_id and self._live:
            self._wanted_game = now.content_id
            self._reading = True
            self._open_stored(now.content_id)
        replay, transport = self._replay, self._transport
        if replay is None or transport is None or replay.game.content_id != now.content_id:
            return
        if not self._ego_chosen:
            self._ego = min(now.slot, len(replay.game.players) - 1)
        if self._live:
            self._transport = transport.paused(0.0).at(now.frame_index, 0.0)

    def _hurry(self) -> None:
        self._painted = None
        self.paint()

    def _notice(self) -> tuple[str, str]:
        """What to say above the picture, and its colour."""
        glyphs = self.workbench.glyphs
        if self._problem:
            helps = f". {_HELPS}" if self._watched is None else ""
            return f"{glyphs.warning} {self._problem}{helps}", "$text-error"
        if self._watched is not None:
            return self._pilot_notice(self._watched)
        if self._reading:
            return "reading the replay" + glyphs.ellipsis, "$text-muted"
        if self._caution:
            return f"{glyphs.warning} {self._caution}", "$text-warning"
        return "", ""

    def _pilot_notice(self, run: RunDirectory) -> tuple[str, str]:
        assert self._broadcast is not None
        name, glyphs = sanitise(run.name, limit=80), self.workbench.glyphs
        start = "the run's screen starts one with g"
        if self._broadcast.now is None:
            if self._alive:
                return f"waiting for the first frame of the pilot of {name}{glyphs.ellipsis}", "$text-muted"
            return f"{glyphs.warning} no pilot plays beside {name}: {start}", "$text-warning"
        if not self._alive:
            return (
                f"{glyphs.warning} the pilot has stopped: this is what it played last; {start}",
                "$text-warning",
            )
        silent = self.workbench.monotonic() - (self._broadcast.heard or 0.0)
        if silent >= STALE_S:
            since = figures.duration(silent, glyphs)
            return f"{glyphs.warning} stale: no frame of the pilot for {since}", "$text-warning"
        if self._reading:
            return "looking up the game that is played" + glyphs.ellipsis, "$text-muted"
        return "", ""

    def _show_notice(self, text: str, colour: str) -> None:
        found = self.query_one("#replay-notice", Static)
        found.display = bool(text)
        found.update(Content.styled(text, colour) if text else Content(""))

    def _show_nothing(self) -> None:
        self.query_one("#replay-header", ReplayHeader).show(ReplayFacts(title=self._who_plays()))
        self.query_one("#replay-stage", StageView).show(None)

    def _show_frame(self, replay: Replay, at: int) -> None:
        scene = replay.scene(at)
        forecast = self._forecast(at)
        predicted = self._predicted
        self.query_one("#replay-header", ReplayHeader).show(self._facts(replay, scene, forecast))
        self.query_one("#replay-stage", StageView).show(scene, ego=self._ego)
        self._show_pads(replay, scene, forecast)
        done, differs = None, _NO_FRAMES
        if predicted is not None:
            tracks = self._read_tracks(predicted)
            # A prediction is for a frame that many frames later.
            done, differs = tracks.done and tracks.done + predicted.layout.horizon, tracks.disagreements
        self.query_one("#replay-timeline", Timeline).show(
            replay.frames, at, stocks=self._stocks, hits=self._hits, disagreements=differs, predicted=done
        )
        if not self._with_policy:
            return
        agreement, probability = None, np.zeros(0, np.float32)
        if predicted is not None:
            probability = predicted.human_probability(self._ego)[: replay.frames] if done else probability
            agreement = agreement_of_last_second(predicted.agreement(self._ego), at) if done else None
        self.query_one("#replay-track", Track).show(
            probability, at=at, title="probability of what the human did"
        )
        self.query_one("#replay-prediction", PredictionPanel).show(
            forecast, agreement=agreement, why="" if forecast is not None else self._why_no_forecast(at)
        )

    def _show_pads(self, replay: Replay, scene: Scene, forecast: Forecast | None) -> None:
        leaders = {fighter.slot: fighter for fighter in scene.fighters if not fighter.follower}
        for slot, (player, pad) in enumerate(zip(replay.game.players, self._pads, strict=False)):
            policy = presses = None
            if slot == self._ego and forecast is not None:
                policy = forecast.sampled if self._drawn_by_policy else forecast.likeliest
                presses = forecast.presses
            leader = leaders.get(slot)
            title = f"P{player.port_index + 1} {leader.character if leader else replay.titles[slot]}"
            name = player.name or player.code
            pad.show(
                leader.controller if leader else None,
                policy,
                title=f"{title}  {name}" if name else title,
                presses=presses,
                trail=_trail(player, scene.frame_index),
            )

    def _facts(self, replay: Replay, scene: Scene, forecast: Forecast | None) -> ReplayFacts:
        assert self._transport is not None
        game = replay.game
        policy, look = self._policy_name, "accent"
        if self._predicting:
            policy, look = self._predicting, "dim"
        elif self._watched is not None and forecast is not None:
            policy = f"step {forecast.step:,}, weights {forecast.weights}"
        version = f"Slippi {game.version}"
        if self._watched is not None:
            about = [f"pilot of {sanitise(self._watched.name, limit=80)}", version]
        else:
            about = [version, shown(Path(cast("Path", self._path).name), limit=80)]
        if game.salvaged:
            about.insert(0, "cut short, and saved to its last whole frame")
        if game.repaired:
            about.insert(0, f"repaired: {', '.join(REPAIRS[mark] for mark in game.repaired)}")
        return ReplayFacts(
            title=self._who_plays(),
            about=tuple(about),
            playing=self._transport.playing,
            live=self._live and self._watched is not None,
            speed=self._transport.speed,
            frame_id=scene.frame_id,
            last_frame_id=int(game.frame_id[-1]),
            policy=policy,
            policy_look=look,
        )

    def _who_plays(self) -> str:
        """`Fox vs Mewtwo`; what was asked for where no game is known."""
        if self._replay is None:
            return (
                f"Pilot of {sanitise(self._watched.name, limit=80)}"
                if self._watched is not None
                else shown(Path(cast("Path", self._path).name), limit=80)
            )
        return " vs ".join(self._replay.titles)

    def _forecast(self, at: int) -> Forecast | None:
        predicted = self._predicted
        record = None if predicted is None else predicted.for_frame(self._ego, at)
        return None if predicted is None or record is None else forecast_of(record, predicted.layout)

    def _why_no_forecast(self, at: int) -> str:
        """Why there is none for this frame."""
        predicted = self._predicted
        if self._caution:
            return self._caution
        if predicted is None and self._broadcast is not None:
            return "the pilot plays another game now: End goes there"
        if predicted is None:
            return self._predicting or "this side is not predicted"
        horizon = predicted.layout.horizon
        if self._broadcast is not None:
            if self._broadcast.now is not None and self._ego != self._broadcast.now.slot:
                return "the pilot plays the other side: e goes there"
            return "the pilot has forgotten what it said of this frame, or did not play it"
        if at < horizon:
            first = "frame" if horizon == 1 else f"{horizon} frames"
            return f"nothing is said of the first {first}: a policy has to see something first"
        return "this frame is not predicted yet"

    def _read_tracks(self, predicted: Predicted) -> Tracks:
        """Anew where more was predicted, but not with every paint: they are long."""
        done, now = predicted.done(self._ego), self.workbench.monotonic()
        known = self._tracks
        same = known is not None and known.slot == self._ego
        if known is not None and same and (known.done == done or now < self._tracks_until):
            return known
        frames = disagreements(predicted.agreement(self._ego)) if done else _NO_FRAMES
        begins = onsets(frames)
        self._tracks = Tracks(
            slot=self._ego,
            done=done,
            disagreements=frames,
            onsets=np.stack((begins, np.full_like(begins, self._ego)), axis=1),
        )
        self._tracks_until = now + LOOK_S
        return self._tracks

    def _recolour(self, theme: object) -> None:
        self._painted = None

    def on_resize(self, event: Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        width, height = self.size
        self.set_class(width < WIDE or height < HIGH, "-compact")
        self.set_class(self._with_policy, "-policy")
        self.set_class(self._with_policy and self._panel, "-panel")
        self._painted = None

    # What a person does.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "panel":
            return self._with_policy and self.has_class("-compact")
        if action == "policy":
            return not self._with_policy
        if action == "another_policy":
            return self._checkpoint is not None
        if action == "drawn" or (action == "moment" and parameters[0] == "disagreement"):
            return self._with_policy
        return True

    def _move(self, transport: Transport) -> None:
        self._live = False
        self._transport = transport
        self._hurry()

    def action_play(self) -> None:
        if self._transport is not None:
            # What is live is halted, to be looked at.
            now = self.workbench.monotonic()
            self._move(self._transport if self._live else self._transport.toggled(now))

    def action_move(self, frames: int) -> None:
        if self._transport is not None:
            self._move(self._transport.moved(frames, self.workbench.monotonic()))

    def action_move_to(self, frame_index: int) -> None:
        if self._transport is not None:
            self._move(self._transport.at(frame_index, self.workbench.monotonic()))

    def action_end(self) -> None:
        """The last frame; of a pilot the one that it plays now."""
        if self._transport is None:
            return
        self._move(self._transport.at(self._transport.frames - 1, self.workbench.monotonic()))
        self._live = self._watched is not None
        self._hurry()

    def action_speed(self, steps: int) -> None:
        if self._transport is not None:
            self._move(self._transport.faster(steps, self.workbench.monotonic()))

    @on(Timeline.FrameChosen)
    def _chosen_on_timeline(self, event: Timeline.FrameChosen) -> None:
        self.action_move_to(event.frame_index)

    def action_moment(self, kind: str, direction: int) -> None:
        at = self.frame_index
        if self._replay is None or at is None:
            return
        moments = {
            "stock": (self._replay.moments.stock_losses, "loss of a stock"),
            "hit": (self._replay.moments.hits, "hit"),
            "disagreement": (self._onsets(), "disagreement"),
        }
        frames, name = moments[kind]
        found = (following if direction > 0 else preceding)(frames, at)
        if found is None:
            self.workbench.say(f"There is no {'later' if direction > 0 else 'earlier'} {name}.")
        else:
            self.action_move_to(found)

    def _onsets(self) -> np.ndarray:
        predicted = self._predicted
        return self._read_tracks(predicted).onsets if predicted is not None else np.zeros((0, 2), np.int32)

    def action_ego(self) -> None:
        if self._replay is not None:
            self._ego = (self._ego + 1) % len(self._replay.game.players)
            self._ego_chosen = True
            self._hurry()

    def action_drawn(self) -> None:
        self._drawn_by_policy = not self._drawn_by_policy
        which = "what was drawn" if self._drawn_by_policy else "the likeliest"
        self.workbench.say(f"The pad shows {which} of the policy.")
        self._hurry()

    def action_whole(self) -> None:
        stage = self.query_one("#replay-stage", StageView)
        stage.whole = not stage.whole

    def action_panel(self) -> None:
        self._panel = not self._panel
        self._arrange()
        self.call_after_refresh(self._hurry)

    def action_another_policy(self) -> None:
        self.action_policy()

    @work(group="choose")
    async def action_policy(self) -> None:
        """Asks for a run or a checkpoint, and has it predict this replay."""
        runs = [run for run in self.workbench.known_runs if run.step]
        entries = [
            Entry(
                value=run.name, title=sanitise(run.name, limit=80), detail=f"{run.state}, step {run.step:,}"
            )
            for run in runs
        ]
        chosen = await self.app.push_screen_wait(
            ChooseOne("Whose predictions?", entries, current=self._checkpoint or "", path="")
        )
        if chosen is None or self._replay is None:
            return
        # A run by its name, anything else from where the workbench runs.
        named = any(run.name == chosen for run in runs)
        self._checkpoint = chosen if named else str(expanded(chosen))
        self._arrange()
        self._predict(self._checkpoint)

    def action_another(self) -> None:
        self.workbench.choose_replay([self._path.parent] if self._path is not None else [])

    def action_jump(self) -> None:
        if self._replay is None:
            return
        self.query_one("#replay-jump").display = True
        place = self.query_one("#replay-jump-place", Input)
        place.clear()
        place.focus()

    @on(Input.Submitted, "#replay-jump-place")
    def _jumped(self, event: Input.Submitted) -> None:
        assert self._replay is not None
        found = place_of(event.value, cast("Sequence[int]", self._replay.game.frame_id))
        if isinstance(found, str):
            self.workbench.say(found, severity="warning")
            return
        self._close_jump()
        self.action_move_to(found)

    def _close_jump(self) -> None:
        self.query_one("#replay-jump").display = False
        self.set_focus(None)

    def action_leave(self) -> None:
        if self.query_one("#replay-jump").display:
            self._close_jump()
        else:
            self.app.pop_screen()


def _checkpoint_of(runs_dir: Path, name: str) -> tuple[RunDirectory, int]:
    """The run, and the step of its checkpoint that is meant: the best where only the run is named."""
    run, step = RunDirectory.find_checkpoint(runs_dir, name)
    for found in (step, run.best_step(), run.latest_step()):
        if found is not None:
            return run, found
    raise CheckpointError(f"{run.path}: there is no checkpoint yet")


def _gains(player: Player) -> list[int]:
    """Frame indices where a teammate lent a stock."""
    stocks = player.leader["stocks"].astype(np.int16)
    known = np.flatnonzero(stocks != MISSING["u8"])
    rises = np.diff(stocks[known]) > 0
    return known[1:][rises].tolist()


def _trail(player: Player, frame_index: int) -> list[tuple[float, float]]:
    """Where the main stick just was, the oldest first."""
    span = slice(max(0, frame_index - TRAIL), frame_index)
    places = np.stack((player.leader["main_x"][span], player.leader["main_y"][span]), axis=1)
    return [(x, y) for x, y in places[np.isfinite(places).all(axis=1)].tolist()]


def _sentence(error: Exception) -> str:
    return sanitise(str(error), limit=_LETTERS)
