"""Replay screen: stage, players, controllers and a policy's predictions, frame by frame; also watches a live pilot.

Child processes parse the replay and make the predictions. Inputs of frame f are shown with the prediction *for* frame
f, which was made `horizon` frames earlier.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.events import Resize
from textual.widgets import Footer, Input, Static

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.predictions import PredictionFile
from exphil_tui.model.frame_rate import initial_frame_rate
from exphil_tui.model.playback import Playback, parse_frame
from exphil_tui.model.prediction_view import Predicted, PredictionView, prediction_view
from exphil_tui.model.replay_events import next_event_frame, previous_event_frame
from exphil_tui.model.scene import Replay
from exphil_tui.screens.base import FULL_HEIGHT, FULL_WIDTH, WorkbenchScreen
from exphil_tui.screens.replay.bindings import REPLAY_BINDINGS, REPLAY_HELP
from exphil_tui.screens.replay.header import (
    TimelineEvents,
    first_human,
    replay_facts,
    source_title,
    timeline_events,
)
from exphil_tui.screens.replay.jump_bar import JumpBar
from exphil_tui.screens.replay.loading import load_replay_file
from exphil_tui.screens.replay.notices import (
    ReplayNotice,
    file_notice,
    pilot_notice,
    why_not_predicted,
    why_pilot_did_not_predict,
)
from exphil_tui.screens.replay.painting import ShownFrame, show_frame, show_no_frame, show_notice
from exphil_tui.screens.replay.playback_control import PlaybackControl
from exphil_tui.screens.replay.policy_choice import chosen_checkpoint, policy_dialog
from exphil_tui.screens.replay.predictions import ReplayPredictions
from exphil_tui.screens.replay.repaint_timer import RepaintTimer
from exphil_tui.screens.replay.tracks import TrackReader, Tracks
from exphil_tui.screens.replay.watched_pilot import WatchedPilot
from exphil_tui.widgets.canvas.controller_view import ControllerView
from exphil_tui.widgets.canvas.stage import StageView
from exphil_tui.widgets.canvas.timeline import Timeline
from exphil_tui.widgets.canvas.track import Track
from exphil_tui.widgets.prediction_panel import PredictionPanel
from exphil_tui.widgets.replay_header import ReplayHeader

MAX_PLAYERS = 4

_MAX_CHARS = 400


class ReplayScreen(WorkbenchScreen[None]):
    CSS_PATH = "replay.tcss"
    # The screen handles keys; the jump input has the focus only while it is open.
    AUTO_FOCUS = ""
    BINDING_GROUP_TITLE = "Replay"
    BINDINGS: ClassVar[list[BindingType]] = REPLAY_BINDINGS
    HELP = REPLAY_HELP

    def __init__(
        self,
        path: Path | None = None,
        *,
        checkpoint: str | None = None,
        watched: RunDirectory | None = None,
    ) -> None:
        """Create the screen for a replay file or a live pilot.

        Args:
            path: The replay; exactly one of `path` and `watched`.
            checkpoint: Run or checkpoint whose predictions are shown with the replay.
            watched: Run whose pilot is watched.
        """
        assert (path is None) != (watched is None)
        super().__init__()
        self._path, self._checkpoint = path, checkpoint
        self._pilot = WatchedPilot(watched, lambda: self.workbench.monotonic()) if watched else None
        self._replay: Replay | None = None
        self._playback = PlaybackControl(lambda: self.workbench.monotonic(), self._pilot)
        self._timeline: TimelineEvents | None = None
        self._ego = 0
        """Slot of the player whose predictions are shown."""
        self._ego_chosen = False
        self._predictions = ReplayPredictions(self._predictions_opened)
        self._tracks = TrackReader()
        self._loading = True
        self._problem = ""
        """Why no game can be shown."""
        self._sampled = False
        """Whether the controller shows the policy's sampled instead of its most likely input."""
        self._panel = False
        self._controllers = [ControllerView() for _ in range(MAX_PLAYERS)]
        self._painted: object = None

    def compose(self) -> ComposeResult:
        yield ReplayHeader(id="replay-header")
        yield Static(id="replay-notice")
        with Container(id="replay-body"):
            with Container(id="replay-left"):
                yield StageView(id="replay-stage")
                with Container(id="replay-pads"):
                    yield from self._controllers
            yield PredictionPanel(id="replay-prediction")
        yield Track(id="replay-track")
        yield Timeline(id="replay-timeline")
        yield JumpBar(id="replay-jump")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._update_layout()
        if self._pilot is not None:
            self.run_worker(self._pilot.poll_alive(), group="pilot")
        else:
            self._load_file()
        RepaintTimer(self._paint_if_shown, self.set_interval, initial_frame_rate(os.environ))
        self.call_after_refresh(self.paint)
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    def on_unmount(self) -> None:
        if self._pilot is not None:
            self._pilot.close()

    # Loading games and predictions.

    @work(group="read", exclusive=True, exit_on_error=False)
    async def _load_file(self) -> None:
        """Load the replay, then start its predictions."""
        assert self._path is not None
        self._loading, self._problem = True, ""
        try:
            replay = await load_replay_file(self._path)
        except (ExphilError, OSError) as error:
            self._problem = sanitise(str(error), limit=_MAX_CHARS)
            return
        finally:
            self._loading = False
        self._show_replay(replay)
        if self._checkpoint is not None:
            self._predict(self._checkpoint)

    @work(group="read", exclusive=True, exit_on_error=False)
    async def _load_pilot_game(self, content_id: str) -> None:
        """Load the pilot's game from the run's dataset."""
        assert self._pilot is not None
        try:
            replay = await asyncio.to_thread(self._pilot.games.load, content_id)
        except (ExphilError, OSError) as error:
            self._problem = sanitise(str(error), limit=_MAX_CHARS)
            return
        finally:
            self._loading = False
        self._problem = ""
        self._show_replay(replay)

    def _show_replay(self, replay: Replay) -> None:
        self._replay = replay
        self._playback.load(replay.frames)
        self._timeline = timeline_events(replay)
        self._tracks.reset()
        if not self._ego_chosen:
            self._ego = first_human(replay)
        for slot, view in enumerate(self._controllers):
            view.display = slot < len(replay.game.players)
        self.set_class(len(replay.game.players) > 2, "-many")
        self.set_class(True, "-there")
        self.repaint_now()

    @work(group="predict", exclusive=True, exit_on_error=False)
    async def _predict(self, checkpoint: str) -> None:
        assert self._replay is not None
        assert self._path is not None
        self._checkpoint = checkpoint
        self._tracks.reset()
        workbench = self.workbench
        try:
            await self._predictions.load(
                checkpoint, self._path, self._replay.game, workbench.launch, workbench.runs_dir
            )
        finally:
            self.repaint_now()

    def _predictions_opened(self, file: PredictionFile) -> None:
        self._tracks.reset()
        if not self._ego_chosen:
            known = [side.slot for side in file.meta.sides if side.known]
            if known and self._ego not in known:
                self._ego = known[0]
        self.repaint_now()

    @property
    def _source(self) -> Path | WatchedPilot:
        return self._path or cast(WatchedPilot, self._pilot)

    @property
    def _predicted(self) -> Predicted | None:
        """Predictions for the shown game, from the file or the pilot; None if there are none."""
        if self._pilot is None:
            file = self._predictions.file
            return file if file is not None and self._ego in file.slots else None
        newest, replay = self._pilot.feed.newest, self._replay
        shown = newest is not None and replay is not None and newest.content_id == replay.game.content_id
        return self._pilot.feed if shown else None

    def _prediction(self, frame_index: int) -> PredictionView | None:
        predicted = self._predicted
        record = None if predicted is None else predicted.for_frame(self._ego, frame_index)
        return None if predicted is None or record is None else prediction_view(record, predicted.layout)

    @property
    def _with_policy(self) -> bool:
        return self._pilot is not None or self._checkpoint is not None

    @property
    def frame_index(self) -> int | None:
        """Index of the frame shown now."""
        return self._playback.frame_index

    # Drawing.

    def _paint_if_shown(self) -> bool:
        return self.is_shown and self.paint()

    def paint(self) -> bool:
        """Draw the current frame; return False if it is already drawn."""
        if self._pilot is not None:
            self._follow(self._pilot)
        self._playback.pause_at_end()
        at, playback = self.frame_index, self._playback.playback
        done = self._predicted.done(self._ego) if self._predicted is not None else None
        notice = self._notice()
        key = (at, playback, self._ego, done, notice, self.size, self._sampled, self._panel)
        if key == self._painted:
            return False
        first = self._painted is None
        self._painted = key
        show_notice(self, *notice)
        if self._replay is None or playback is None or at is None:
            show_no_frame(self, source_title(self._source))
        else:
            self._show_frame(self._replay, playback, at)
        if first:
            self.refresh_bindings()
        return True

    def repaint_now(self) -> None:
        self._painted = None
        self.paint()

    def _follow(self, pilot: WatchedPilot) -> None:
        """Move to the pilot's current game and frame."""
        pilot.feed.poll()
        newest = pilot.feed.newest
        if newest is None:
            return
        if (content_id := pilot.game_to_load()) is not None:
            self._loading = True
            self._load_pilot_game(content_id)
        replay = self._replay
        if replay is None or replay.game.content_id != newest.content_id:
            return
        if not self._ego_chosen:
            self._ego = min(newest.slot, len(replay.game.players) - 1)
        self._playback.follow(newest.frame_index)

    def _notice(self) -> ReplayNotice:
        now, glyphs = self.workbench.monotonic(), self.workbench.glyphs
        if self._pilot is not None:
            return pilot_notice(self._pilot, self._problem, loading=self._loading, now=now, glyphs=glyphs)
        return file_notice(self._predictions, self._problem, loading=self._loading, glyphs=glyphs)

    def _show_frame(self, replay: Replay, playback: Playback, at: int) -> None:
        assert self._timeline is not None
        scene, predicted, prediction = replay.scene(at), self._predicted, self._prediction(at)
        facts = replay_facts(
            replay,
            scene,
            playback,
            source=self._source,
            prediction=prediction,
            predictions=self._predictions,
        )
        frame = ShownFrame(
            replay=replay,
            scene=scene,
            facts=facts,
            timeline=self._timeline,
            ego=self._ego,
            sampled=self._sampled,
            predicted=predicted,
            prediction=prediction,
            tracks=None if predicted is None else self._read_tracks(predicted),
            why_no_prediction="" if prediction is not None else self._why_no_prediction(at),
        )
        show_frame(self, frame, self._controllers, with_policy=self._with_policy)

    def _why_no_prediction(self, at: int) -> str:
        if self._pilot is not None:
            return why_pilot_did_not_predict(self._predicted, self._pilot.feed, self._ego)
        return why_not_predicted(self._predicted, self._predictions, at)

    def _read_tracks(self, predicted: Predicted) -> Tracks:
        return self._tracks.read(predicted, self._ego, self.workbench.monotonic())

    def _theme_changed(self, theme: object) -> None:
        self._painted = None

    def on_resize(self, event: Resize) -> None:
        self._update_layout()

    def _update_layout(self) -> None:
        width, height = self.size
        self.set_class(width < FULL_WIDTH or height < FULL_HEIGHT, "-compact")
        self.set_class(self._with_policy, "-policy")
        self.set_class(self._with_policy and self._panel, "-panel")
        self._painted = None

    # Moving.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "panel":
            return self._with_policy and self.has_class("-compact")
        if action == "policy":
            return not self._with_policy
        if action == "another_policy":
            return self._checkpoint is not None
        if action == "sampled" or (action == "event" and parameters[0] == "disagreement"):
            return self._with_policy
        return True

    def action_play(self) -> None:
        self._playback.toggle()
        self.repaint_now()

    def action_move(self, frames: int) -> None:
        self._playback.step(frames)
        self.repaint_now()

    def action_move_to(self, frame_index: int) -> None:
        self._playback.seek(frame_index)
        self.repaint_now()

    def action_end(self) -> None:
        self._playback.seek_end()
        self.repaint_now()

    def action_speed(self, steps: int) -> None:
        self._playback.change_speed(steps)
        self.repaint_now()

    @on(Timeline.FrameChosen)
    def _timeline_clicked(self, event: Timeline.FrameChosen) -> None:
        self.action_move_to(event.frame_index)

    def action_event(self, kind: str, direction: int) -> None:
        """Go to the next or previous event of a kind."""
        at = self.frame_index
        if self._replay is None or at is None:
            return
        events = {
            "stock": (self._replay.events.stock_losses, "stock loss"),
            "hit": (self._replay.events.hits, "hit"),
            "disagreement": (self._disagreements(), "disagreement"),
        }
        frames, name = events[kind]
        found = (next_event_frame if direction > 0 else previous_event_frame)(frames, at)
        if found is None:
            self.notify(f"There is no {'later' if direction > 0 else 'earlier'} {name}.")
        else:
            self.action_move_to(found)

    def _disagreements(self) -> np.ndarray:
        predicted = self._predicted
        return np.zeros((0, 2), np.int32) if predicted is None else self._read_tracks(predicted).onsets

    def action_jump(self) -> None:
        if self._replay is not None:
            self.query_one(JumpBar).open()

    @on(Input.Submitted, "#replay-jump-place")
    def _jump_submitted(self, event: Input.Submitted) -> None:
        assert self._replay is not None
        found = parse_frame(event.value, cast("Sequence[int]", self._replay.game.frame_id))
        if isinstance(found, str):
            self.notify(found, severity="warning")
            return
        self.query_one(JumpBar).close()
        self.action_move_to(found)

    # What is shown.

    def action_ego(self) -> None:
        if self._replay is not None:
            self._ego = (self._ego + 1) % len(self._replay.game.players)
            self._ego_chosen = True
            self.repaint_now()

    def action_sampled(self) -> None:
        self._sampled = not self._sampled
        which = "sampled" if self._sampled else "most likely"
        self.notify(f"The controller shows the policy's {which} input.")
        self.repaint_now()

    def action_whole(self) -> None:
        stage = self.query_one("#replay-stage", StageView)
        stage.whole = not stage.whole

    def action_panel(self) -> None:
        self._panel = not self._panel
        self._update_layout()
        self.call_after_refresh(self.repaint_now)

    def action_another_policy(self) -> None:
        self.action_policy()

    @work(group="choose")
    async def action_policy(self) -> None:
        """Ask for a run or checkpoint, and predict this replay with it."""
        runs = self.workbench.known_runs
        chosen = await self.app.push_screen_wait(policy_dialog(runs, self._checkpoint))
        if chosen is None or self._replay is None:
            return
        self._checkpoint = chosen_checkpoint(chosen, runs)
        self._update_layout()
        self._predict(self._checkpoint)

    def action_another(self) -> None:
        self.workbench.choose_replay([self._path.parent] if self._path is not None else [])

    def action_leave(self) -> None:
        jump = self.query_one(JumpBar)
        if jump.display:
            jump.close()
        else:
            self.app.pop_screen()
