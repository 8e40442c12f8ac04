"""Where a policy disagrees with the human over a whole game, for the timeline and the jump keys."""

from dataclasses import dataclass

import numpy as np

from exphil_tui.model.prediction_view import Predicted, disagreements, onsets

_READ_INTERVAL_S = 0.25
"""Seconds between two reads of growing predictions, because a read covers the whole game."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Predictions of one player as read so far."""

    slot: int
    done: int
    """Frame index up to which frames were observed."""
    disagreements: np.ndarray
    """[M], ascending frame indices where the policy differs from the human."""
    onsets: np.ndarray
    """int32 [N, 2]: (frame index, slot), like `ReplayEvents`, where disagreements begin."""


class TrackReader:
    """Reads the tracks of the predictions shown, and keeps the last ones."""

    def __init__(self) -> None:
        self._tracks: Tracks | None = None
        self._read_again_at = 0.0

    def reset(self) -> None:
        """Forget the last tracks, because there are other predictions."""
        self._tracks = None

    def read(self, predicted: Predicted, slot: int, now: float) -> Tracks:
        """Return the tracks of a player, read again only if the predictions grew and the interval has passed.

        Args:
            predicted: The predictions.
            slot: The player.
            now: Monotonic seconds.
        """
        done, known = predicted.done(slot), self._tracks
        if known is not None and known.slot == slot and (known.done == done or now < self._read_again_at):
            return known
        frames = disagreements(predicted.agreement(slot)) if done else np.zeros(0, np.int32)
        starts = onsets(frames)
        self._tracks = Tracks(
            slot=slot,
            done=done,
            disagreements=frames,
            onsets=np.stack((starts, np.full_like(starts, slot)), axis=1),
        )
        self._read_again_at = now + _READ_INTERVAL_S
        return self._tracks
