"""The games that rows are drawn from, and how often each is to come.

In: egos, their games' lengths and the settings of balance. Out: a `Pool`: per game the expected number of rows
among all that are drawn at once. What a reader gets wrong: that number is proportional to a game's weight only
within what evenness allows, at most one row a game while there are enough games.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.errors import DataError

UNIT = 1 << 32
"""One expected window as an integer: sums are exact, so no rounding error lets a game come twice."""

BALANCE_LIMITS = (0.1, 10.0)
"""Bounds of a character's balance weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The games that rows are drawn from, and how often each is to come. One entry a game."""

    game: np.ndarray
    """int32: index into `index.games`."""
    frames: np.ndarray
    """int64."""
    characters: np.ndarray
    """int64 [G, 2]: external id of the side where it may be the ego, else -1."""
    second_slot: np.ndarray
    """Probability that the ego is the player of slot 1."""
    expected: np.ndarray
    """int64: expected rows among `rows`, in `UNIT`."""
    rows: int

    @property
    def ego_frames(self) -> int:
        """Frames of every ego's game, a game counted for each of its egos."""
        return int(np.where(self.characters >= 0, self.frames[:, None], 0).sum())

    def shares(self) -> dict[int, float]:
        """External character id → expected share of the rows in which it is the ego."""
        per_game = self.expected / (self.rows * UNIT)
        slots = np.stack([1 - self.second_slot, self.second_slot], axis=1) * per_game[:, None]
        return {
            int(character): float(slots[self.characters == character].sum())
            for character in np.unique(self.characters[self.characters >= 0])
        }


def pool_of(
    egos: Sequence[Ego], index: DatasetIndex, *, rows: int, balance: bool, balance_temperature: float
) -> Pool:
    """The pool of `egos`, for `rows` rows at a time. DataError where there is no ego."""
    if not egos:
        raise DataError(
            f"{index.path}: no side of its {len(index.games)} games can be imitated with these settings; "
            "expected at least one (see `exphil data stats`, and the presets' data section)"
        )
    games = np.unique(np.array([ego.game for ego in egos], np.int32))
    frames = np.array([index.games[game].frames for game in games], np.int64)
    position = {int(game): place for place, game in enumerate(games)}
    characters = np.full((len(games), 2), -1, np.int64)
    for ego in egos:
        characters[position[ego.game], ego.slot] = index.games[ego.game].sides[ego.slot].external_id
    ego_frames = np.where(characters >= 0, frames[:, None], 0)
    weights = ego_frames.astype(np.float64)
    if balance:
        weights *= _balance_weights(characters, ego_frames, balance_temperature)
    return Pool(
        game=games,
        frames=frames,
        characters=characters,
        second_slot=weights[:, 1] / weights.sum(axis=1),
        expected=_expected_windows(weights.sum(axis=1), rows),
        rows=rows,
    )


def _balance_weights(characters: np.ndarray, frames: np.ndarray, temperature: float) -> np.ndarray:
    """(rarest / count) ** temperature of each ego's character, count being its ego frames. [G, 2]"""
    present = np.unique(characters[characters >= 0])
    counts = np.array([frames[characters == character].sum() for character in present], np.float64)
    weights = np.clip((counts.min() / counts) ** temperature, *BALANCE_LIMITS)
    return np.where(characters >= 0, weights[np.searchsorted(present, characters) % len(present)], 0.0)


def _expected_windows(weights: np.ndarray, batch_size: int) -> np.ndarray:
    """Windows per batch of each game, in `UNIT`: proportional to `weights` within what evenness allows.

    At most one where games are enough; else each game has the batch's even share, rounded down or up.
    """
    low = batch_size // len(weights)
    high = -(-batch_size // len(weights))
    below, above = 0.0, high / weights.min()
    for _ in range(200):
        middle = (below + above) / 2
        if np.clip(weights * middle, low, high).sum() > batch_size:
            above = middle
        else:
            below = middle
    units = np.floor(np.clip(weights * below, low, high) * UNIT).astype(np.int64)
    # What rounding down left over goes to whoever still has room, a little to each.
    missing = batch_size * UNIT - int(units.sum())
    while missing:
        room = high * UNIT - units
        open_games = np.flatnonzero(room > 0)
        gift = np.minimum(room[open_games], -(-missing // len(open_games)))
        gift = np.diff(np.minimum(np.cumsum(gift), missing), prepend=0)
        units[open_games] += gift
        missing -= int(gift.sum())
    return units
