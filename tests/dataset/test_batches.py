"""Loaders hand on what threads do and fail at, and a stream plays every game once, whole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exphil_core.dataset import batches
from exphil_core.dataset.batches import BatchLoader, stream_games, training_batch
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.plan import BatchPlan
from exphil_core.dataset.split import Ego, select_egos
from exphil_core.dataset.store import ColumnStore
from exphil_core.replays.columns import GROUPS
from tests.dataset.conftest import packed_game

Make = Callable[..., DatasetIndex]


@pytest.fixture
def store(make_dataset: Make) -> ColumnStore:
    return ColumnStore(make_dataset([packed_game(n, frames=100 + 37 * n) for n in range(5)]))


def test_a_batch_says_whose_windows_it_holds(store: ColumnStore) -> None:
    egos = select_egos(store.index, range(5))
    plan = BatchPlan(egos, store.index, seed=1, batch_size=4, chunk_length=30, horizon=3)
    batch = training_batch(store, plan, 0)
    assert batch.frame_id.shape == (4, 33)
    assert batch.reset[:, 0].all()
    assert not batch.reset[:, 1:].any()
    for row in range(4):
        game, slot, start = int(batch.game[row]), int(batch.ego_slot[row]), int(batch.start[row])
        entry = store.index.games[game]
        assert batch.external_id[row] == entry.sides[slot].external_id
        assert batch.stage[row] == entry.external_stage_id
        assert batch.frame_id[row, 0] == start - 123
        window = store.window(game, start, 33, slot)
        for group in GROUPS:
            np.testing.assert_array_equal(batch.columns[group][row], window.columns[group])


def test_what_fails_in_a_thread_is_raised_at_its_step(
    store: ColumnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(store: ColumnStore, plan: BatchPlan, step: int, rank: int, ranks: int) -> int:
        if step == 2:
            raise RuntimeError("disk on fire")
        return step

    monkeypatch.setattr(batches, "training_batch", failing)
    plan = BatchPlan(select_egos(store.index, range(5)), store.index, seed=0, batch_size=2, chunk_length=8)
    loader = BatchLoader(store, plan, first_step=0, workers=2)
    assert next(loader) == (0, 0)
    assert next(loader) == (1, 1)
    with pytest.raises(RuntimeError, match="on fire"):
        next(loader)
    loader.close()


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_a_stream_plays_every_frame_of_every_ego_once_in_order(store: ColumnStore, rows: int) -> None:
    egos = [Ego(0, 0), Ego(0, 1), Ego(3, 1), Ego(4, 0), Ego(1, 0)]
    chunk, horizon = 40, 4
    played: dict[Ego, list[np.ndarray]] = {}
    width = min(rows, len(egos))
    for batch in stream_games(store, egos, rows=rows, chunk_length=chunk, horizon=horizon):
        assert batch.frame_id.shape == (width, chunk + horizon)
        for row in range(width):
            ego = Ego(int(batch.game[row]), int(batch.ego_slot[row]))
            seen = played.setdefault(ego, [])
            if batch.valid[row].any():
                assert batch.reset[row].tolist() == [not seen] + [False] * (chunk + horizon - 1)
                follows = batch.start[row] + np.arange(chunk + horizon)
                frames = store.index.games[ego.game].frames
                np.testing.assert_array_equal(batch.valid[row], follows < frames)
            seen.append(batch.columns["f32"][row, :chunk][batch.valid[row, :chunk]])
    for ego in egos:
        whole = store.window(ego.game, 0, store.index.games[ego.game].frames, ego.slot)
        np.testing.assert_array_equal(np.concatenate(played[ego]), whole.columns["f32"])


def _anonymous_mib() -> float:
    """Memory of this process that no file backs."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells anonymous memory apart")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def test_reading_a_whole_dataset_takes_no_memory_of_its_size(make_dataset: Make) -> None:
    game = packed_game(0, frames=4000)
    index = make_dataset([replace(game, content_id=f"{number:032x}") for number in range(60)])
    egos = select_egos(index, range(60))

    def read() -> None:
        for batch in stream_games(ColumnStore(index), egos, rows=8, chunk_length=100, horizon=1):
            assert batch.valid.any()

    before = _anonymous_mib()
    read()
    # The dataset has 95 MiB; what grows is a batch or two and the allocator's own room.
    assert _anonymous_mib() - before < 20


def test_a_stream_of_nothing_is_empty(store: ColumnStore) -> None:
    assert list(stream_games(store, [], rows=4, chunk_length=10, horizon=1)) == []
