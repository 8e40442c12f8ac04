"""Which windows make up the batch of a step: a pure function of (seed, step).

In: egos, their games' lengths and the settings. Out: games, slots, starts and augmentations; no frame is read
here. Randomness is counter-based (Philox), so a step is drawn without the ones before it: resuming needs one
integer, and neither loader threads nor ranks change what a step holds. Windows here are alone, each from a
cleared state; `lanes` plans rows that play whole games.

How games are drawn. Every game has an expected number of windows per batch (see `pool`), at most one while there
are as many games as rows. The games are laid end to end on a line of length `batch_size`, in an order shuffled anew
each *round*, each as long as its number; the batch is whoever lies at u, u + 1, u + 2, … That is systematic
sampling: the expected numbers hold exactly, no game comes more often than its number rounded up, and a draw costs
O(batch log games).
The steps of a round use evenly spread u, so a round passes over all games as a shuffled epoch does.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from exphil_core.dataset.balance import UNIT
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.pool import Pool, pool_of
from exphil_core.dataset.split import Ego

_ROUND, _STEP = 1, 2
"""Words of the Philox counter that keep a round's random numbers apart from a step's."""


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
    reset: np.ndarray
    """bool: carried state is cleared before the window's first frame."""


class Plan(Protocol):
    """What draws batches: `BatchPlan`, or `LanePlan` where state is carried from step to step."""

    @property
    def batch_size(self) -> int: ...

    @property
    def chunk_length(self) -> int: ...

    @property
    def horizon(self) -> int: ...

    @property
    def pool(self) -> Pool: ...

    def draw(self, step: int, rank: int = 0, ranks: int = 1) -> PlannedBatch:
        """The batch of a step, or the part of it that falls to one rank of several."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    number: int
    order: np.ndarray
    """Game positions in the order in which they lie on the line."""
    ends: np.ndarray
    """Where each of them ends, in `UNIT`."""
    offsets: np.ndarray
    """u of each step of the round, in `UNIT`."""


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
        wanted: Collection[int] = (),
        mirror: float = 0.0,
    ) -> None:
        self.seed, self.batch_size = seed, batch_size
        self.chunk_length, self.horizon = chunk_length, horizon
        self.mirror = mirror
        self.pool = pool_of(
            egos,
            index,
            rows=batch_size,
            balance=balance,
            balance_temperature=balance_temperature,
            wanted=wanted,
        )
        self._expected, self._second_slot = self.pool.expected, self.pool.second_slot
        self._steps_per_round = -(-len(self.pool.game) // batch_size)
        self._round: _Round | None = None
        self._lock = threading.Lock()

    def draw(self, step: int, rank: int = 0, ranks: int = 1) -> PlannedBatch:
        """The batch of a step, or the part of it that falls to one rank of several."""
        games = self._round_of(step)
        random = self._random(_STEP, step)
        points = games.offsets[step % self._steps_per_round] + UNIT * np.arange(self.batch_size)
        place = games.order[np.searchsorted(games.ends, points, side="right")]
        slot, where, mirror = random.random((3, self.batch_size))
        starts = np.maximum(self.pool.frames[place] - (self.chunk_length + self.horizon), 0) + 1
        rows = slice(rank * self.batch_size // ranks, (rank + 1) * self.batch_size // ranks)
        return PlannedBatch(
            game=self.pool.game[place][rows],
            slot=(slot < self._second_slot[place]).astype(np.uint8)[rows],
            start=(where * starts).astype(np.int64)[rows],
            mirror=(mirror < self.mirror)[rows],
            reset=np.ones(self.batch_size, np.bool_)[rows],
        )

    def _round_of(self, step: int) -> _Round:
        number = step // self._steps_per_round
        with self._lock:
            if self._round is None or self._round.number != number:
                random = self._random(_ROUND, number)
                order = random.permutation(len(self.pool.game))
                spread = random.integers(UNIT) + random.permutation(self._steps_per_round) * (
                    UNIT // self._steps_per_round
                )
                self._round = _Round(
                    number=number,
                    order=order,
                    ends=np.cumsum(self._expected[order]),
                    offsets=spread % UNIT,
                )
            return self._round

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        # The generator counts upwards in the first word: the others name the stream.
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, number, purpose]))


def drawn_shares(plan: Plan, index: DatasetIndex, batches: int) -> dict[int, float]:
    """External character id → share of the rows of the plan's first `batches` in which it is the ego."""
    rows = np.zeros((len(index.games), 2), np.int64)
    for step in range(batches):
        drawn = plan.draw(step)
        np.add.at(rows, (drawn.game, drawn.slot), 1)
    counts: dict[int, int] = {}
    for game, slot in zip(*np.nonzero(rows), strict=True):
        character = index.games[game].sides[slot].external_id
        counts[character] = counts.get(character, 0) + int(rows[game, slot])
    return {character: count / (batches * plan.batch_size) for character, count in counts.items()}
