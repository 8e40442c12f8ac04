"""Lanes: rows of consecutive steps that play whole games, so that state can be carried from step to step.

In: egos, their games' lengths and the settings. Out: for every step the next chunk of each lane's game, a pure
function of (seed, step) like `plan`'s windows. What a reader gets wrong: with accumulation each forward pass of
an optimiser step has its own lanes, so a lane's next chunk is in the batch `accumulation` draws later, not in
the next one.

Who plays when. A lane plays its game from the first frame to the last, then the lane takes another. Every ego
is due at a certain rate, which makes its game come as often as the pool expects: its k-th play is due at a
random point of the k-th of equal spans of time. A free lane takes the ego that is due first, among those whose
games no other lane holds (or, where games are fewer than lanes, no more lanes than the pool expects). Where
all rates are equal that is one shuffled pass over all egos after the other. At first each game is in as many
lanes as the pool expects, each entered at a random chunk: so the shares hold from the first step on, and lanes
neither begin games nor end them together.

Chunks are cut at multiples of `chunk_length`. The last one of a game holds only a part: it is played with that
part as its probability, and padded. So few rows are spent on padding, the end of every game is learned from
some of the time, and a game takes as many chunks on average as its frames would fill.

Who plays at a step depends on all steps before it, so they are gone through once (a heap operation a game, not a
chunk) and only ever onwards. Resuming goes through them again.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

import numpy as np

from exphil_core.dataset.balance import UNIT
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.plan import PlannedBatch
from exphil_core.dataset.pool import Pool, pool_of
from exphil_core.dataset.split import Ego

_LANES = 3
"""Word of the Philox counter: see `plan`."""

KEPT_TICKS = 256
"""How far back plays are remembered: further than loader threads are ever apart."""


class LanePlan:
    """The batches of a training run that carries state. `batch_size` counts rows over all ranks."""

    def __init__(
        self,
        egos: Sequence[Ego],
        index: DatasetIndex,
        *,
        seed: int,
        batch_size: int,
        accumulation: int,
        chunk_length: int,
        horizon: int = 1,
        balance: bool = False,
        balance_temperature: float = 1.0,
        wanted: Collection[int] = (),
        mirror: float = 0.0,
    ) -> None:
        self.seed, self.batch_size, self.accumulation = seed, batch_size, accumulation
        self.chunk_length, self.horizon = chunk_length, horizon
        self.mirror = mirror
        self.pool = pool_of(
            egos,
            index,
            rows=batch_size * accumulation,
            balance=balance,
            balance_temperature=balance_temperature,
            wanted=wanted,
        )
        self._schedule = self._from_the_start()
        self._lock = threading.Lock()

    def draw(self, step: int, rank: int = 0, ranks: int = 1) -> PlannedBatch:
        """The batch of a step, or the part of it that falls to one rank of several: the rows of its lanes."""
        tick, number = divmod(step, self.accumulation)
        first = number * self.batch_size
        lanes = range(first + rank * self.batch_size // ranks, first + (rank + 1) * self.batch_size // ranks)
        with self._lock:
            if tick <= self._schedule.tick - KEPT_TICKS:
                self._schedule = self._from_the_start()
            self._schedule.advance(tick)
            plays = [self._schedule.play(lane, tick) for lane in lanes]
        chunk = tick - np.array([play.start for play in plays], np.int64)
        return PlannedBatch(
            game=self.pool.game[[play.place for play in plays]],
            slot=np.array([play.slot for play in plays], np.uint8),
            start=chunk * self.chunk_length,
            mirror=np.array([play.mirror for play in plays], np.bool_),
            # A lane's first game is entered at any chunk, with nothing to go on from.
            reset=(chunk == 0) | (tick == 0),
        )

    def _from_the_start(self) -> "_Schedule":
        return _Schedule(
            self.pool,
            random=np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, _LANES])),
            chunk_length=self.chunk_length,
            horizon=self.horizon,
            mirror=self.mirror,
        )


class _Play(NamedTuple):
    """One game in one lane. A tick is one chunk of every lane."""

    start: int
    """Tick of the game's first chunk; before 0 for a game that is entered later."""
    end: int
    """First tick of what the lane plays next."""
    place: int
    """The game's, in the pool."""
    slot: int
    mirror: bool


class _Schedule:
    """The plays of every lane up to a tick."""

    def __init__(
        self, pool: Pool, *, random: np.random.Generator, chunk_length: int, horizon: int, mirror: float
    ) -> None:
        self.tick = 0
        self._uniform = _uniforms(random)
        self._mirror = mirror
        # The last frames of a game are targets only.
        observed = np.maximum(pool.frames - horizon, 0)
        self._whole_chunks = (observed // chunk_length).tolist()
        self._part = (observed % chunk_length / chunk_length).tolist()

        chunks_a_play = np.maximum(observed / chunk_length, 1.0)
        plays_a_tick = pool.expected_sides / UNIT / chunks_a_play[:, None]
        places, slots = np.nonzero(plays_a_tick)
        self._place, self._slot = places.tolist(), slots.tolist()
        self._span = (1 / plays_a_tick[places, slots]).tolist()
        """Per ego, ticks from play to play."""
        self._played = [0] * len(places)
        self._parked: list[list[tuple[float, int]]] = [[] for _ in pool.frames]
        """Per game, its egos that may not be played, since as many lanes hold the game as may."""
        self._room = (-(-pool.expected // UNIT)).tolist()
        """Per game, how many more lanes may hold it."""

        self._plays = [[self._enter(ego)] for ego in self._first_egos(pool, random)]
        self._due = self._first_dues(chunks_a_play[places].tolist())
        """A heap of the egos that may be played."""
        heapify(self._due)
        self._ends = [(plays[0].end, lane) for lane, plays in enumerate(self._plays)]
        heapify(self._ends)

    def advance(self, tick: int) -> None:
        """Lets every lane play on until `tick`."""
        while (next_end := self._ends[0])[0] <= tick:
            now, lane = next_end
            plays = self._plays[lane]
            self._leave(plays[-1].place)
            play = self._begin(self._take(), now)
            while plays and plays[0].end <= now - KEPT_TICKS:
                del plays[0]
            plays.append(play)
            heapreplace(self._ends, (play.end, lane))
        self.tick = max(self.tick, tick)

    def play(self, lane: int, tick: int) -> _Play:
        """What the lane plays at `tick`, which is not far before the last one."""
        return next(play for play in reversed(self._plays[lane]) if play.start <= tick)

    def _begin(self, ego: int, now: int) -> _Play:
        place = self._place[ego]
        return _Play(
            now, now + self._chunks(place), place, self._slot[ego], next(self._uniform) < self._mirror
        )

    def _first_egos(self, pool: Pool, random: np.random.Generator) -> list[int]:
        """Whom the lanes play at first: each ego in as many lanes as the pool expects, rounded up or down."""
        number = np.cumsum(pool.expected_sides.ravel() > 0) - 1
        order = random.permutation(len(pool.frames))
        ends = np.cumsum(pool.expected_sides[order].ravel())
        points = random.integers(UNIT) + UNIT * np.arange(pool.rows)
        game, slot = np.divmod(np.searchsorted(ends, points, side="right"), 2)
        egos: list[int] = number[2 * order[game] + slot].tolist()
        return egos

    def _enter(self, ego: int) -> _Play:
        """A lane's first game, at a random chunk."""
        self._room[self._place[ego]] -= 1
        play = self._begin(ego, 0)
        entered = int(next(self._uniform) * play.end)
        return play._replace(start=-entered, end=play.end - entered)

    def _first_dues(self, chunks: list[float]) -> list[tuple[float, int]]:
        """When each ego is due first, as if lanes had always played: after a span where one plays it already."""
        entered = {(play.place, play.slot): -play.start for (play,) in self._plays}
        dues = []
        for ego, span in enumerate(self._span):
            since = entered.get((self._place[ego], self._slot[ego]))
            if span < chunks[ego]:
                # Several lanes play it at once.
                due = next(self._uniform) * span
            elif since is None:
                due = next(self._uniform) * (span - chunks[ego])
            else:
                due = span - since
            dues.append((due, ego))
        return dues

    def _take(self) -> int:
        """The ego that is due first, among those whose games have room."""
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
        return (self._played[ego] + next(self._uniform)) * self._span[ego]

    def _chunks(self, place: int) -> int:
        whole: int = self._whole_chunks[place]
        return whole + (next(self._uniform) < self._part[place]) if whole else 1


def _uniforms(random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.random(4096).tolist()
