"""Stateful batches: every row is a stream that plays whole games, chunk after chunk, so that state can be carried.

With gradient accumulation each forward pass of an optimiser step has its own streams: a stream's next chunk is in the
batch `grad_accum_steps` draws later, not in the next one.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

import numpy as np

from exphil_core.dataset.balance import UNIT
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.plan import PlannedBatch
from exphil_core.dataset.sampling import SamplingTable, sampling_table
from exphil_core.dataset.split import Ego

_STREAMS = 3
"""Word of the Philox counter; see `plan`."""

KEPT_TICKS = 256
"""Ticks for which past plays are kept; loader threads are never that far apart."""


class StatefulBatchPlan:
    """Batches for training with carried state: the next chunk of each stream's game.

    `batch_size` counts rows over all ranks.

    A stream plays a game from the first frame to the last, then takes the ego that is due first, among those whose
    games have room. A game has room while no other stream plays it (with fewer games than streams: while fewer
    streams play it than `sampling` expects). An ego's k-th play is due at a random point of the k-th of equal spans,
    whose length gives its game the expected rate; with equal rates that is a sequence of shuffled epochs. At step 0
    each game is in the expected number of streams, each entered at a random chunk, so the shares hold from the start
    and streams do not begin or end games together.

    Chunks are cut at multiples of `chunk_length`. The incomplete last chunk of a game is padded, and played with the
    probability that equals its filled part. So little padding is computed, every game's end is trained on sometimes,
    and a game takes as many chunks on average as its frames fill.

    A batch is a pure function of (seed, step), but depends on all steps before it: drawing a later step advances the
    schedule (one heap operation per game), and resuming replays it.
    """

    def __init__(
        self,
        egos: Sequence[Ego],
        index: DatasetIndex,
        *,
        seed: int,
        batch_size: int,
        grad_accum_steps: int,
        chunk_length: int,
        horizon: int = 1,
        balance: bool = False,
        balance_temperature: float = 1.0,
        wanted: Collection[int] = (),
        mirror: float = 0.0,
    ) -> None:
        self.seed, self.batch_size, self.grad_accum_steps = seed, batch_size, grad_accum_steps
        self.chunk_length, self.horizon = chunk_length, horizon
        self.mirror = mirror
        self.pool = sampling_table(
            egos,
            index,
            rows=batch_size * grad_accum_steps,
            balance=balance,
            balance_temperature=balance_temperature,
            wanted=wanted,
        )
        self._schedule = self._from_the_start()
        self._lock = threading.Lock()

    def draw(self, step: int, rank: int = 0, ranks: int = 1) -> PlannedBatch:
        """Return the batch of a step; see `Plan.draw`. A rank gets the rows of its streams."""
        tick, number = divmod(step, self.grad_accum_steps)
        first = number * self.batch_size
        streams = range(
            first + rank * self.batch_size // ranks, first + (rank + 1) * self.batch_size // ranks
        )
        with self._lock:
            if tick <= self._schedule.tick - KEPT_TICKS:
                self._schedule = self._from_the_start()
            self._schedule.advance(tick)
            plays = [self._schedule.play(stream, tick) for stream in streams]
        chunk = tick - np.array([play.start for play in plays], np.int64)
        return PlannedBatch(
            game=self.pool.game[[play.place for play in plays]],
            slot=np.array([play.slot for play in plays], np.uint8),
            start=chunk * self.chunk_length,
            mirror=np.array([play.mirror for play in plays], np.bool_),
            # A stream enters its first game at any chunk, without a state from before.
            reset=(chunk == 0) | (tick == 0),
        )

    def _from_the_start(self) -> "_StreamSchedule":
        return _StreamSchedule(
            self.pool,
            random=np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, _STREAMS])),
            chunk_length=self.chunk_length,
            horizon=self.horizon,
            mirror=self.mirror,
        )


class _Play(NamedTuple):
    """One game in one stream. A tick is one chunk of every stream."""

    start: int
    """Tick of the game's first chunk; negative for a game entered at a later chunk."""
    end: int
    """First tick of the stream's next game."""
    place: int
    """The game's position in the pool."""
    slot: int
    mirror: bool


class _StreamSchedule:
    """The plays of every stream up to a tick."""

    def __init__(
        self,
        pool: SamplingTable,
        *,
        random: np.random.Generator,
        chunk_length: int,
        horizon: int,
        mirror: float,
    ) -> None:
        self.tick = 0
        self._uniform = _uniforms(random)
        self._mirror = mirror
        # The last `horizon` frames of a game are targets only.
        observed = np.maximum(pool.frames - horizon, 0)
        self._whole_chunks = (observed // chunk_length).tolist()
        self._part = (observed % chunk_length / chunk_length).tolist()

        chunks_a_play = np.maximum(observed / chunk_length, 1.0)
        plays_a_tick = pool.expected_sides / UNIT / chunks_a_play[:, None]
        places, slots = np.nonzero(plays_a_tick)
        self._place, self._slot = places.tolist(), slots.tolist()
        self._span = (1 / plays_a_tick[places, slots]).tolist()
        """Per ego, mean ticks between plays."""
        self._played = [0] * len(places)
        self._parked: list[list[tuple[float, int]]] = [[] for _ in pool.frames]
        """Per game, its egos that wait because the game has no room."""
        self._room = (-(-pool.expected // UNIT)).tolist()
        """Per game, how many more streams may play it."""

        self._plays = [[self._enter(ego)] for ego in self._first_egos(pool, random)]
        self._due = self._first_dues(chunks_a_play[places].tolist())
        """Heap of (due tick, ego) of the egos that may be played."""
        heapify(self._due)
        self._ends = [(plays[0].end, stream) for stream, plays in enumerate(self._plays)]
        heapify(self._ends)

    def advance(self, tick: int) -> None:
        """Advance every stream to `tick`."""
        while (next_end := self._ends[0])[0] <= tick:
            now, stream = next_end
            plays = self._plays[stream]
            self._leave(plays[-1].place)
            play = self._begin(self._take(), now)
            while plays and plays[0].end <= now - KEPT_TICKS:
                del plays[0]
            plays.append(play)
            heapreplace(self._ends, (play.end, stream))
        self.tick = max(self.tick, tick)

    def play(self, stream: int, tick: int) -> _Play:
        """Return what the stream plays at `tick`, which must be within the last `KEPT_TICKS`."""
        return next(play for play in reversed(self._plays[stream]) if play.start <= tick)

    def _begin(self, ego: int, now: int) -> _Play:
        place = self._place[ego]
        return _Play(
            now, now + self._chunks(place), place, self._slot[ego], next(self._uniform) < self._mirror
        )

    def _first_egos(self, pool: SamplingTable, random: np.random.Generator) -> list[int]:
        """Return each stream's first ego: every ego in its expected number of streams, rounded up or down."""
        number = np.cumsum(pool.expected_sides.ravel() > 0) - 1
        order = random.permutation(len(pool.frames))
        ends = np.cumsum(pool.expected_sides[order].ravel())
        points = random.integers(UNIT) + UNIT * np.arange(pool.rows)
        game, slot = np.divmod(np.searchsorted(ends, points, side="right"), 2)
        egos: list[int] = number[2 * order[game] + slot].tolist()
        return egos

    def _enter(self, ego: int) -> _Play:
        """Start a stream's first game at a random chunk."""
        self._room[self._place[ego]] -= 1
        play = self._begin(ego, 0)
        entered = int(next(self._uniform) * play.end)
        return play._replace(start=-entered, end=play.end - entered)

    def _first_dues(self, chunks: list[float]) -> list[tuple[float, int]]:
        """Return each ego's first due tick, as if the schedule had always run.

        An ego that is playing is due one span after its start.
        """
        entered = {(play.place, play.slot): -play.start for (play,) in self._plays}
        dues = []
        for ego, span in enumerate(self._span):
            since = entered.get((self._place[ego], self._slot[ego]))
            if span < chunks[ego]:
                # Several streams play it at once.
                due = next(self._uniform) * span
            elif since is None:
                due = next(self._uniform) * (span - chunks[ego])
            else:
                due = span - since
            dues.append((due, ego))
        return dues

    def _take(self) -> int:
        """Return the ego that is due first among those whose games have room, and schedule its next play."""
        while True:
            due, ego = heappop(self._due)
            place = self._place[ego]
            if self._room[place]:
                break
            self._parked[place].append((due, ego))
        self._room[place] -= 1
        self._played[ego] += 1
        heappush(self._due, (self._due_at(ego), ego))
        return ego

    def _leave(self, place: int) -> None:
        self._room[place] += 1
        for entry in self._parked[place]:
            heappush(self._due, entry)
        self._parked[place].clear()

    def _due_at(self, ego: int) -> float:
        due: float = (self._played[ego] + next(self._uniform)) * self._span[ego]
        return due

    def _chunks(self, place: int) -> int:
        whole: int = self._whole_chunks[place]
        return whole + (next(self._uniform) < self._part[place]) if whole else 1


def _uniforms(random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.random(4096).tolist()
