"""The frames of a game that one looks for: where somebody loses a stock, and where somebody is hit.

In: a `Game`. Out: frame indices with the slot of the player that it happened to. Index arithmetic only; worked out
once a game, so that a key press is a search in a short array.
"""

from dataclasses import dataclass

import numpy as np

from exphil_core.replays.game import Game


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    stock_losses: np.ndarray
    """int32 [N, 2]: (frame index, slot of the player whose stocks fell), in order of time."""
    hits: np.ndarray
    """int32 [M, 2]: (frame index, slot of the player who was hit), in order of time."""


def find_moments(game: Game) -> Moments:
    raise NotImplementedError


def following(moments: np.ndarray, frame_index: int) -> int | None:
    """The first frame of `moments` [N, 2] after `frame_index`, or None."""
    raise NotImplementedError


def preceding(moments: np.ndarray, frame_index: int) -> int | None:
    """The last frame of `moments` [N, 2] before `frame_index`, or None."""
    raise NotImplementedError
