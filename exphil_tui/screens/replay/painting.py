"""Draws a frame into the widgets of the replay screen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from exphil_core.replays.game import Player
from exphil_tui.model.prediction_view import Predicted, PredictionView, agreement_of_last_second
from exphil_tui.model.scene import Replay, Scene
from exphil_tui.screens.replay.header import TimelineEvents
from exphil_tui.screens.replay.tracks import Tracks
from exphil_tui.widgets.canvas.controller_view import ControllerView
from exphil_tui.widgets.canvas.stage import StageView
from exphil_tui.widgets.canvas.timeline import Timeline
from exphil_tui.widgets.canvas.track import Track
from exphil_tui.widgets.prediction_panel import PredictionPanel
from exphil_tui.widgets.replay_header import ReplayFacts, ReplayHeader

_TRAIL = 10
"""Length of a stick's trail in frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """Everything that is drawn of one frame."""

    replay: Replay
    scene: Scene
    facts: ReplayFacts
    timeline: TimelineEvents
    ego: int
    """Slot of the player whose predictions are shown."""
    sampled: bool
    """Whether the controller shows the policy's sampled instead of its most likely input."""
    predicted: Predicted | None
    """Predictions for the game, if there are any."""
    prediction: PredictionView | None
    """The one for this frame, if there is one."""
    tracks: Tracks | None
    """The tracks of `predicted`."""
    why_no_prediction: str


def show_frame(
    screen: Screen[None], frame: ShownFrame, controllers: Sequence[ControllerView], *, with_policy: bool
) -> None:
    """Show a frame in all widgets; those of the policy only if `with_policy`."""
    replay, at, predicted, tracks = frame.replay, frame.scene.frame_index, frame.predicted, frame.tracks
    screen.query_one("#replay-header", ReplayHeader).show(frame.facts)
    screen.query_one("#replay-stage", StageView).show(frame.scene, ego=frame.ego)
    _show_controllers(controllers, frame)
    done, differs = None, np.zeros(0, np.int32)
    if predicted is not None and tracks is not None:
        # A prediction is for the frame `horizon` frames after the observed one.
        done, differs = tracks.done and tracks.done + predicted.layout.horizon, tracks.disagreements
    screen.query_one("#replay-timeline", Timeline).show(
        replay.frames,
        at,
        stocks=frame.timeline.stocks,
        hits=frame.timeline.hits,
        disagreements=differs,
        predicted=done,
    )
    if not with_policy:
        return
    agreement, probability = None, np.zeros(0, np.float32)
    if predicted is not None and done:
        probability = predicted.human_probability(frame.ego)[: replay.frames]
        agreement = agreement_of_last_second(predicted.agreement(frame.ego), at)
    screen.query_one("#replay-track", Track).show(
        probability, at=at, title="probability of the human's input"
    )
    screen.query_one("#replay-prediction", PredictionPanel).show(
        frame.prediction, agreement=agreement, why=frame.why_no_prediction
    )


def show_notice(screen: Screen[None], text: str, colour: str) -> None:
    found = screen.query_one("#replay-notice", Static)
    found.display = bool(text)
    found.update(Content.styled(text, colour) if text else Content(""))


def show_no_frame(screen: Screen[None], title: str) -> None:
    screen.query_one("#replay-header", ReplayHeader).show(ReplayFacts(title=title))
    screen.query_one("#replay-stage", StageView).show(None)


def _show_controllers(controllers: Sequence[ControllerView], frame: ShownFrame) -> None:
    """Show each player's input, and the policy's beside that of the ego."""
    replay, scene, prediction = frame.replay, frame.scene, frame.prediction
    leaders = {fighter.slot: fighter for fighter in scene.fighters if not fighter.follower}
    for slot, (player, controller) in enumerate(zip(replay.game.players, controllers, strict=False)):
        policy = presses = None
        if slot == frame.ego and prediction is not None:
            policy = prediction.sampled if frame.sampled else prediction.likeliest
            presses = prediction.presses
        leader = leaders.get(slot)
        title = f"P{player.port_index + 1} {leader.character if leader else replay.titles[slot]}"
        name = player.name or player.code
        controller.show(
            leader.controller if leader else None,
            policy,
            title=f"{title}  {name}" if name else title,
            presses=presses,
            trail=_stick_trail(player, scene.frame_index),
        )


def _stick_trail(player: Player, frame_index: int) -> list[tuple[float, float]]:
    """Return the main stick positions of the last `_TRAIL` frames, oldest first."""
    span = slice(max(0, frame_index - _TRAIL), frame_index)
    positions = np.stack((player.leader["main_x"][span], player.leader["main_y"][span]), axis=1)
    return [(x, y) for x, y in positions[np.isfinite(positions).all(axis=1)].tolist()]
