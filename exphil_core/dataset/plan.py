"""Batch plan: the windows of a step's batch, as a pure function of (seed, step).

Counter-based randomness (Philox) draws a step without the earlier ones, so resuming needs one integer, and loader
threads and ranks do not change a step. `stateful_batches` plans rows that play whole games.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from exphil_core.dataset.balance import UNIT
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.sampling import SamplingTable, sampling_table
from exphil_core.dataset.split import Ego

_ROUND, _STEP = 1, 2
"""Words of the Philox counter that keep a round's random numbers apart from a step's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """The windows of a batch; arrays have one entry per row."""

    game: np.ndarray
    """int32: index into `index.games`."""
    slot: np.ndarray
    """uint8: the ego's side, 0 or 1."""
    start: np.ndarray
    """int64: frame index of the window's first frame."""
    mirror: np.ndarray
    """bool: mirrored left to right."""
    reset: np.ndarray
    """bool: the model's state is cleared before the window's first frame."""


class Plan(Protocol):
    """Interface of `BatchPlan` and of `StatefulBatchPlan`, which carries state from step to step."""

    @property
    def batch_size(self) -> int: ...

    @property
    def chunk_length(self) -> int: ...

    @property
    def horizon(self) -> int: ...

    @property
    def pool(self) -> SamplingTable: ...

    def draw(self, step: int, rank: int = 0, ranks: int = 1) -> PlannedBatch:
        """Return the batch of a step.

        Args:
            rank: return only this rank's part of the rows.
            ranks: number of ranks that share the batch.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One pass over all games: their shuffled order on the line, and the offset of each step."""

    number: int
    order: np.ndarray
    """Positions of the games in their order on the line."""
    ends: np.ndarray
    """End of each game on the line, in `UNIT`."""
    offsets: np.ndarray
    """Offset u of each step of the round, in `UNIT`."""


class BatchPlan:
    """Batches of independent windows, each from a cleared state. `batch_size` counts rows over all ranks.

    Games are drawn by systematic sampling. Every game has an expected number of windows per batch (`sampling`), at
    most one while there are as many games as rows. The games lie end to end on a line of length `batch_size`, each as
    long as its number, in an order reshuffled every round; a batch takes the games at u, u + 1, u + 2, … So the
    expected numbers hold exactly, no game occurs more often than its number rounded up, and a draw costs O(batch log
    games). The steps of a round use evenly spread u, so a round covers all games like a shuffled epoch.
    """

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
        self.pool = sampling_table(
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
        """Return the batch of a step; see `Plan.draw`."""
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
        # The generator increments the first word; the other words select the random stream.
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, number, purpose]))


def drawn_shares(plan: Plan, index: DatasetIndex, batches: int) -> dict[int, float]:
    """Return external character id → share of rows with it as the ego, over the plan's first `batches` steps."""
    rows = np.zeros((len(index.games), 2), np.int64)
    for step in range(batches):
        drawn = plan.draw(step)
        np.add.at(rows, (drawn.game, drawn.slot), 1)
    counts: dict[int, int] = {}
    for game, slot in zip(*np.nonzero(rows), strict=True):
        character = index.games[game].sides[slot].external_id
        counts[character] = counts.get(character, 0) + int(rows[game, slot])
    return {character: count / (batches * plan.batch_size) for character, count in counts.items()}
