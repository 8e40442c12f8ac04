"""Values of a loaded replay for the replay screen's header and timeline."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Player
from exphil_core.replays.repair import REPAIRS
from exphil_tui.model.data_sources import shown
from exphil_tui.model.playback import Playback
from exphil_tui.model.prediction_view import PredictionView
from exphil_tui.model.scene import Replay, Scene
from exphil_tui.screens.replay.predictions import ReplayPredictions
from exphil_tui.screens.replay.watched_pilot import WatchedPilot
from exphil_tui.widgets.canvas.timeline import Stocks
from exphil_tui.widgets.replay_header import ReplayFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEvents:
    """Stocks and hits of a whole game."""

    stocks: tuple[Stocks, ...]
    hits: np.ndarray
    """[N], ascending frame indices."""


def timeline_events(replay: Replay) -> TimelineEvents:
    losses = replay.events.stock_losses
    stocks = tuple(
        Stocks(
            port=player.port_index + 1,
            start=player.start_stocks,
            losses=losses[losses[:, 1] == slot, 0].tolist(),
            gains=_stock_gains(player),
        )
        for slot, player in enumerate(replay.game.players)
    )
    return TimelineEvents(stocks=stocks, hits=np.unique(replay.events.hits[:, 0]))


def first_human(replay: Replay) -> int:
    """Return the slot of the first human player; 0 if there is none."""
    humans = [slot for slot, player in enumerate(replay.game.players) if player.type == "human"]
    return next(iter(humans), 0)


def source_title(source: Path | WatchedPilot) -> str:
    """Return the title while no game is loaded: the name of the file or of the pilot's run."""
    return shown(Path(source.name), limit=80) if isinstance(source, Path) else f"Pilot of {source.run_name}"


def replay_facts(
    replay: Replay,
    scene: Scene,
    playback: Playback,
    *,
    source: Path | WatchedPilot,
    prediction: PredictionView | None,
    predictions: ReplayPredictions,
) -> ReplayFacts:
    """Return the header's values for a frame.

    Args:
        replay: The game.
        scene: The frame.
        playback: The playback position.
        source: The replay file, or the pilot that is watched.
        prediction: The prediction for the frame, if there is one.
        predictions: Predictions of the replay file.
    """
    policy, look = predictions.policy_name, "accent"
    if predictions.progress:
        policy, look = predictions.progress, "dim"
    elif isinstance(source, WatchedPilot) and prediction is not None:
        policy = f"step {prediction.step:,}, weights {prediction.weights}"
        if source.feed.missed:
            policy += f", missed {source.feed.missed:,}, skipped {source.feed.skipped:,}"
    return ReplayFacts(
        title=" vs ".join(replay.titles),
        about=_notes(replay, source),
        playing=playback.playing,
        live=isinstance(source, WatchedPilot) and source.live,
        speed=playback.speed,
        frame_id=scene.frame_id,
        last_frame_id=int(replay.game.frame_id[-1]),
        policy=policy,
        policy_look=look,
    )


def _notes(replay: Replay, source: Path | WatchedPilot) -> tuple[str, ...]:
    """Return what the header says about the game, most important first."""
    game, version = replay.game, f"Slippi {replay.game.version}"
    title = source_title(source)
    notes = [version, title] if isinstance(source, Path) else [f"pilot of {source.run_name}", version]
    if game.salvaged:
        notes.insert(0, "truncated: read to the last complete frame")
    if game.repaired:
        notes.insert(0, f"repaired: {', '.join(REPAIRS[mark] for mark in game.repaired)}")
    return tuple(notes)


def _stock_gains(player: Player) -> list[int]:
    """Return the frame indices where the player received a teammate's stock."""
    stocks = player.leader["stocks"].astype(np.int16)
    known = np.flatnonzero(stocks != MISSING["u8"])
    rises = np.diff(stocks[known]) > 0
    frames: list[int] = known[1:][rises].tolist()
    return frames
