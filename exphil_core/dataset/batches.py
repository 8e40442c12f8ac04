"""Load numpy batches: planned windows for training, whole games end to end for evaluation.

A row has `chunk_length + horizon` frames. The first `chunk_length` are observed; the target of frame t is the
controller of frame t + horizon. The ego is always in the `p0`/`n0` half.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from exphil_core.dataset.plan import Plan
from exphil_core.dataset.split import Ego
from exphil_core.dataset.store import ColumnStore, empty_rows
from exphil_core.replays.columns import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B rows of L = chunk_length + horizon frames."""

    columns: Mapping[Group, np.ndarray]
    """[B, L, len(LAYOUT[group])], the ego's half first. Padding holds the missing value."""
    frame_id: np.ndarray
    """int32 [B, L]."""
    valid: np.ndarray
    """bool [B, L]: False is padding past the end of a game."""
    reset: np.ndarray
    """bool [B, L]: the model's state is cleared before this frame."""
    ego_slot: np.ndarray
    """uint8 [B]: the ego's side in the stored game."""
    external_id: np.ndarray
    """uint8 [B]: the ego's character."""
    stage: np.ndarray
    """uint8 [B]: external stage id."""
    mirror: np.ndarray
    """bool [B]: the encoding mirrors this row; the columns here are unmirrored."""
    game: np.ndarray
    """int32 [B]: index into `index.games`."""
    start: np.ndarray
    """int32 [B]: frame index of the first frame."""


def first_rows(batch: Batch, count: int) -> Batch:
    """Return the batch's first `count` rows, or all if it has fewer."""
    found = {name: getattr(batch, name)[:count] for name in Batch.__slots__ if name != "columns"}
    return Batch(columns={group: rows[:count] for group, rows in batch.columns.items()}, **found)


def training_batch(store: ColumnStore, plan: Plan, step: int, rank: int = 0, ranks: int = 1) -> Batch:
    """Load the batch of a step.

    Args:
        rank: load only this rank's part of the rows.
        ranks: number of ranks that share the batch.
    """
    drawn = plan.draw(step, rank, ranks)
    windows = list(zip(drawn.game.tolist(), drawn.slot.tolist(), drawn.start.tolist(), strict=True))
    rows = empty_rows(len(windows), plan.chunk_length + plan.horizon)
    for row, (game, slot, start) in enumerate(windows):
        store.read(rows, row, game=game, start=start, slot=slot)
    reset = np.zeros_like(rows.valid)
    reset[:, 0] = drawn.reset
    games = store.index.games
    return Batch(
        columns=rows.columns,
        frame_id=rows.frame_id,
        valid=rows.valid,
        reset=reset,
        ego_slot=drawn.slot,
        external_id=np.array([games[game].sides[slot].external_id for game, slot, _ in windows], np.uint8),
        stage=np.array([games[game].external_stage_id for game, _, _ in windows], np.uint8),
        mirror=drawn.mirror,
        game=drawn.game,
        start=drawn.start.astype(np.int32),
    )


class BatchLoader:
    """Endless iterator over (step, Batch) of a plan, from `first_step`.

    `workers` threads prefetch batches; 0 loads them in the calling thread. The batches do not depend on `workers`. An
    error in a thread is raised at its step. `close()` ends the threads.
    """

    def __init__(
        self,
        store: ColumnStore,
        plan: Plan,
        *,
        first_step: int,
        workers: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._store, self._plan = store, plan
        self._rank, self._ranks = rank, ranks
        self._step = first_step
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches") if workers else None
        self._pending: deque[Future[Batch]] = deque()
        self._ahead = workers + 1

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        return self

    def __next__(self) -> tuple[int, Batch]:
        step = self._step
        if self._pool is None:
            batch = self._read(step)
        else:
            while len(self._pending) <= self._ahead:
                self._pending.append(self._pool.submit(self._read, step + len(self._pending)))
            batch = self._pending.popleft().result()
        self._step = step + 1
        return step, batch

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, step: int) -> Batch:
        return training_batch(self._store, self._plan, step, self._rank, self._ranks)


def stream_games(
    store: ColumnStore, egos: Sequence[Ego], *, rows: int, chunk_length: int, horizon: int
) -> Iterator[Batch]:
    """Yield whole games for evaluation, on `rows` parallel streams (fewer if there are fewer egos).

    Each row plays one ego's game from its first frame to its last, `chunk_length` observed frames per batch, then
    resets and plays the next ego's. Every frame is observed exactly once. A row without a remaining game is padding
    with the ids of its last game.
    """
    waiting = deque(egos)
    playing = [waiting.popleft() for _ in range(min(rows, len(waiting)))]
    start = [0] * len(playing)
    games = store.index.games
    while playing:
        window = empty_rows(len(playing), chunk_length + horizon)
        reset = np.zeros_like(window.valid)
        for row, ego in enumerate(playing):
            if start[row] >= games[ego.game].frames and waiting:
                ego = playing[row] = waiting.popleft()
                start[row] = 0
            store.read(window, row, game=ego.game, start=start[row], slot=ego.slot)
            reset[row, 0] = start[row] == 0
        if not window.valid.any():
            return
        yield Batch(
            columns=window.columns,
            frame_id=window.frame_id,
            valid=window.valid,
            reset=reset,
            ego_slot=np.array([ego.slot for ego in playing], np.uint8),
            external_id=np.array([games[ego.game].sides[ego.slot].external_id for ego in playing], np.uint8),
            stage=np.array([games[ego.game].external_stage_id for ego in playing], np.uint8),
            mirror=np.zeros(len(playing), np.bool_),
            game=np.array([ego.game for ego in playing], np.int32),
            start=np.array(start, np.int32),
        )
        start = [at + chunk_length for at in start]
