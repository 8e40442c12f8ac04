"""Which windows make up the batch of a step: a pure function of (seed, step).

In: egos, their games' lengths and the settings. Out: games, slots, starts and augmentations; no frame is read
here. Randomness is counter-based (Philox), so a step is drawn without the ones before it: resuming needs one
integer, and neither loader threads nor ranks change what a step holds.

How games are drawn. Every game has an expected number of windows per batch, proportional to its weight but
bounded so that no game comes twice while there are enough of them (and as evenly as possible where not). The
games are laid end to end on a line of length `batch_size`, in an order shuffled anew each *round*, each as
long as its number; the batch is whoever lies at u, u + 1, u + 2, … That is systematic sampling: the expected
numbers hold exactly, nobody comes more often than its number rounded up, and a draw costs O(batch log games).
The steps of a round use evenly spread u, so a round passes over all games as a shuffled epoch does.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.errors import DataError

_ROUND, _STEP = 1, 2
"""Words of the Philox counter that keep a round's random numbers apart from a step's."""

_UNIT = 1 << 32
"""One expected window as an integer: sums are exact, so no rounding error lets a game come twice."""

BALANCE_LIMITS = (0.1, 10.0)
"""Bounds of a character's balance weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """One entry a row."""

    game: np.ndarray
    """int32: index into `index.games`."""
    slot: np.ndarray
    """uint8: which side is the ego."""
    start: np.ndarray
    """int64: frame index at which the window begins."""
    mirror: np.ndarray
    """bool: reflected left-right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    number: int
    order: np.ndarray
    """Game positions in the order in which they lie on the line."""
    ends: np.ndarray
    """Where each of them ends, in `_UNIT`."""
    offsets: np.ndarray
    """u of each step of the round, in `_UNIT`."""


class BatchPlan:
    """The batches of a training run. `batch_size` counts rows over all ranks."""

    def __init__(
        self,
        egos: Sequence[Ego],
        index: DatasetIndex,
        *,
        seed: int,
        batch_size: int,
        chunk_length: int,
        horizon: int = 1,
        balance: bool = False,
        balance_temperature: float = 1.0,
        mirror: float = 0.0,
    ) -> None:
        if not egos:
            raise DataError(
                f"{index.path}: no side of its {len(index.games)} games can be imitated with these settings; "
                "expected at least one (see `exphil data stats`, and the presets' data section)"
            )
        self.seed, self.batch_size = seed, batch_size
        self.chunk_length, self.horizon = chunk_length, horizon
        self.mirror = mirror

        self._games = np.unique(np.array([ego.game for ego in egos], np.int32))
        self._frames = np.array([index.games[game].frames for game in self._games], np.int64)
        position = {int(game): place for place, game in enumerate(self._games)}
        characters = np.full((len(self._games), 2), -1, np.int64)
        for ego in egos:
            characters[position[ego.game], ego.slot] = index.games[ego.game].sides[ego.slot].external_id
        self._characters = characters
        ego_frames = np.where(characters >= 0, self._frames[:, None], 0)
        weights = ego_frames.astype(np.float64)
        if balance:
            weights *= _balance_weights(characters, ego_frames, balance_temperature)
        self._second_slot = weights[:, 1] / weights.sum(axis=1)
        """Probability that the ego is the player of slot 1, per game."""
        self._expected = _expected_windows(weights.sum(axis=1), batch_size)
        self.ego_frames = int(ego_frames.sum())
        self.steps_per_epoch = -(-self.ego_frames // (batch_size * chunk_length))
        self._steps_per_round = -(-len(self._games) // batch_size)
        self._round: _Round | None = None
        self._lock = threading.Lock()

    def shares(self) -> dict[int, float]:
        """External character id → expected share of the windows in which it is the ego."""
        per_game = self._expected / (self.batch_size * _UNIT)
        slots = np.stack([1 - self._second_slot, self._second_slot], axis=1) * per_game[:, None]
        return {
            int(character): float(slots[self._characters == character].sum())
            for character in np.unique(self._characters[self._characters >= 0])
        }

    def draw(self, step: int, rank: int = 0, ranks: int = 1) -> PlannedBatch:
        """The batch of a step, or the part of it that falls to one rank of several."""
        games = self._round_of(step)
        random = self._random(_STEP, step)
        points = games.offsets[step % self._steps_per_round] + _UNIT * np.arange(self.batch_size)
        place = games.order[np.searchsorted(games.ends, points, side="right")]
        slot, where, mirror = random.random((3, self.batch_size))
        starts = np.maximum(self._frames[place] - (self.chunk_length + self.horizon), 0) + 1
        rows = slice(rank * self.batch_size // ranks, (rank + 1) * self.batch_size // ranks)
        return PlannedBatch(
            game=self._games[place][rows],
            slot=(slot < self._second_slot[place]).astype(np.uint8)[rows],
            start=(where * starts).astype(np.int64)[rows],
            mirror=(mirror < self.mirror)[rows],
        )

    def _round_of(self, step: int) -> _Round:
        number = step // self._steps_per_round
        with self._lock:
            if self._round is None or self._round.number != number:
                random = self._random(_ROUND, number)
                order = random.permutation(len(self._games))
                spread = random.integers(_UNIT) + random.permutation(self._steps_per_round) * (
                    _UNIT // self._steps_per_round
                )
                self._round = _Round(
                    number=number,
                    order=order,
                    ends=np.cumsum(self._expected[order]),
                    offsets=spread % _UNIT,
                )
            return self._round

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        # The generator counts upwards in the first word: the others name the stream.
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, number, purpose]))


def _balance_weights(characters: np.ndarray, frames: np.ndarray, temperature: float) -> np.ndarray:
    """(rarest / count) ** temperature of each ego's character, count being its ego frames. [G, 2]"""
    present = np.unique(characters[characters >= 0])
    counts = np.array([frames[characters == character].sum() for character in present], np.float64)
    weights = np.clip((counts.min() / counts) ** temperature, *BALANCE_LIMITS)
    return np.where(characters >= 0, weights[np.searchsorted(present, characters) % len(present)], 0.0)


def _expected_windows(weights: np.ndarray, batch_size: int) -> np.ndarray:
    """Windows per batch of each game, in `_UNIT`: proportional to `weights` within what evenness allows.

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
    units = np.floor(np.clip(weights * below, low, high) * _UNIT).astype(np.int64)
    # What rounding down left over goes to whoever still has room, a little to each.
    missing = batch_size * _UNIT - int(units.sum())
    while missing:
        room = high * _UNIT - units
        open_games = np.flatnonzero(room > 0)
        gift = np.minimum(room[open_games], -(-missing // len(open_games)))
        gift = np.diff(np.minimum(np.cumsum(gift), missing), prepend=0)
        units[open_games] += gift
        missing -= int(gift.sum())
    return units
