"""Sentences of the replay screen: notices above the stage, and why a frame has no prediction."""

from exphil_tui.model.prediction_view import Predicted
from exphil_tui.screens.replay.predictions import ReplayPredictions
from exphil_tui.screens.replay.watched_pilot import WatchedPilot
from exphil_tui.services.pilot_feed import PilotFeed
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs

STALE_S = 1.0
"""Seconds without a pilot frame from which the screen says "stale"."""

_FILE_HINT = "'exphil data check FILE' shows details; o opens another replay, Esc goes back."
_PILOT_HINT = "g on the run's screen starts one"

ReplayNotice = tuple[str, str]
"""Text and its colour; both empty if there is no notice."""

NO_NOTICE: ReplayNotice = ("", "")


def file_notice(
    predictions: ReplayPredictions, problem: str, *, loading: bool, glyphs: Glyphs
) -> ReplayNotice:
    """Return the notice for a replay file.

    Args:
        predictions: Its predictions.
        problem: Why the replay cannot be shown.
        loading: Whether the replay is being parsed.
        glyphs: Signs of the terminal.
    """
    if problem:
        return f"{glyphs.warning} {problem}. {_FILE_HINT}", "$text-error"
    if loading:
        return "Loading the replay…", "$text-muted"
    if predictions.warning:
        return f"{glyphs.warning} {predictions.warning}", "$text-warning"
    return NO_NOTICE


def pilot_notice(
    pilot: WatchedPilot, problem: str, *, loading: bool, now: float, glyphs: Glyphs
) -> ReplayNotice:
    """Return the notice for a watched pilot.

    Args:
        pilot: The pilot.
        problem: Why its game cannot be shown.
        loading: Whether its game is being loaded.
        now: Monotonic seconds.
        glyphs: Signs of the terminal.
    """
    if problem:
        return f"{glyphs.warning} {problem}", "$text-error"
    if pilot.alive and pilot.feed.loading is not None:
        return f"Loading step {pilot.feed.loading:,}…", "$text-muted"
    if pilot.feed.newest is None:
        if pilot.alive:
            return f"Waiting for the first frame from the pilot of {pilot.run_name}…", "$text-muted"
        return f"{glyphs.warning} No pilot is running for {pilot.run_name}: {_PILOT_HINT}", "$text-warning"
    if not pilot.alive:
        text = f"{glyphs.warning} The pilot has stopped; these are its last frames: {_PILOT_HINT}"
        return text, "$text-warning"
    silent = now - (pilot.feed.last_update or 0.0)
    if silent >= STALE_S:
        since = fmt.duration(silent, glyphs)
        return f"{glyphs.warning} Stale: no frame from the pilot for {since}", "$text-warning"
    if loading:
        return "Loading the pilot's game…", "$text-muted"
    return NO_NOTICE


def why_not_predicted(predicted: Predicted | None, predictions: ReplayPredictions, frame_index: int) -> str:
    """Return why a frame of a replay file has no prediction; `predicted` are those of the player shown."""
    if predictions.warning:
        return predictions.warning
    if predicted is None:
        return predictions.progress or "no predictions for this player"
    horizon = predicted.layout.horizon
    if frame_index < horizon:
        first = "frame" if horizon == 1 else f"{horizon} frames"
        return f"no prediction for the first {first}: the policy has not observed any frame yet"
    return "this frame is not predicted yet"


def why_pilot_did_not_predict(predicted: Predicted | None, feed: PilotFeed, slot: int) -> str:
    """Return why a frame of a watched pilot has no prediction; `slot` is the player shown."""
    if predicted is None:
        return "the pilot is playing another game: End goes there"
    if feed.newest is not None and slot != feed.newest.slot:
        return "the pilot plays as the other player: e switches to it"
    return "the pilot did not play this frame, or no longer keeps its prediction"
