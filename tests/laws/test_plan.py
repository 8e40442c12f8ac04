"""Laws of the batch plan: pure, the same for any number of threads and ranks, honest about its shares."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from exphil_core.dataset.batches import BatchLoader
from exphil_core.dataset.index import BuildKey, DatasetIndex, GameEntry, Side
from exphil_core.dataset.plan import BatchPlan
from exphil_core.dataset.shards import SHARD_FOLDER, write_shard
from exphil_core.dataset.split import select_egos, split_games
from exphil_core.dataset.store import ColumnStore
from exphil_core.replays.columns import DTYPES, GROUPS, HALF, LAYOUT, Version
from exphil_core.replays.pack import PackedGame, PackedSide

CHUNK, HORIZON = 60, 2


def _side(character: int, port: int) -> Side:
    return Side(
        external_id=character,
        port_index=port,
        type="human",
        human=True,
        active=True,
        plausible=True,
        activity=0.5,
    )


def _index(
    lengths: list[int], characters: list[tuple[int, int]], path: Path = Path("nowhere")
) -> DatasetIndex:
    starts = np.cumsum([0, *lengths])
    games = [
        GameEntry(
            content_id=f"{number:032x}",
            shard="all.safetensors",
            row_start=int(starts[number]),
            frames=frames,
            external_stage_id=32,
            version="3.16.0",
            sides=(_side(pair[0], 0), _side(pair[1], 1)),
            salvaged=False,
            source="",
        )
        for number, (frames, pair) in enumerate(zip(lengths, characters, strict=True))
    ]
    return DatasetIndex(path=path, key=BuildKey(parser_version="", options=""), games=tuple(games))


def _many(count: int = 300, seed: int = 5) -> DatasetIndex:
    """Games of 40 to 4000 frames, mostly Fox, with some Mewtwo and few Link."""
    random = np.random.default_rng(seed)
    lengths = random.integers(40, 4000, count).tolist()
    picks = random.choice([2, 2, 2, 2, 2, 2, 20, 20, 10, 6], (count, 2)).tolist()
    return _index(lengths, [(one, two) for one, two in picks])


def _plan(index: DatasetIndex, **changes: object) -> BatchPlan:
    settings: dict = {
        "seed": 11,
        "batch_size": 32,
        "chunk_length": CHUNK,
        "horizon": HORIZON,
        "balance": False,
        "balance_temperature": 1.0,
        "mirror": 0.5,
    }
    return BatchPlan(select_egos(index, range(len(index.games))), index, **(settings | changes))


def _fields(plan: BatchPlan, step: int, rank: int = 0, ranks: int = 1) -> dict[str, list]:
    drawn = plan.draw(step, rank, ranks)
    return {name: getattr(drawn, name).tolist() for name in ("game", "slot", "start", "mirror")}


@pytest.fixture
def store(tmp_path: Path) -> ColumnStore:
    """Real rows on disk: 20 games of 40 to 400 frames."""
    random = np.random.default_rng(3)
    lengths = random.integers(40, 400, 20).tolist()
    index = _index(lengths, [(10, 2)] * 20, tmp_path)
    games = [
        PackedGame(
            content_id=game.content_id,
            version=Version(3, 16),
            external_stage_id=32,
            end_method=None,
            salvaged=False,
            rollback_rows=0,
            sides=(
                PackedSide(port_index=0, external_id=10, type="human"),
                PackedSide(port_index=1, external_id=2, type="human"),
            ),
            frame_id=np.arange(-123, game.frames - 123, dtype=np.int32),
            groups={
                group: (random.random((game.frames, len(LAYOUT[group]))) * 250).astype(DTYPES[group])
                for group in GROUPS
            },
        )
        for game in index.games
    ]
    (tmp_path / SHARD_FOLDER).mkdir()
    write_shard(tmp_path / SHARD_FOLDER / "all.safetensors", games)
    return ColumnStore(index)


def _take(store: ColumnStore, workers: int, count: int, first_step: int = 0) -> list[dict]:
    loader = BatchLoader(store, _plan(store.index, batch_size=8), first_step=first_step, workers=workers)
    taken = []
    for step, batch in loader:
        fields = {name: getattr(batch, name) for name in type(batch).__slots__ if name != "columns"}
        columns: dict[str, object] = dict(batch.columns.items())
        taken.append({"step": step} | fields | columns)
        if len(taken) == count:
            break
    loader.close()
    return taken


def _assert_same(one: list[dict], two: list[dict]) -> None:
    assert len(one) == len(two)
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_identical_for_any_number_of_loader_workers(store: ColumnStore, workers: int) -> None:
    _assert_same(_take(store, 0, 12), _take(store, workers, 12))


def test_resuming_needs_only_the_step(store: ColumnStore) -> None:
    _assert_same(_take(store, 1, 12)[7:], _take(store, 2, 5, first_step=7))


def test_a_step_does_not_depend_on_what_was_drawn_before() -> None:
    index = _many()
    plan, again = _plan(index), _plan(index)
    forwards = {step: _fields(plan, step) for step in range(30)}
    backwards = {step: _fields(again, step) for step in reversed(range(30))}
    assert forwards == backwards
    assert _fields(_plan(index, seed=12), 0) != forwards[0]
    assert forwards[0] != forwards[1]


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_the_ranks_together_make_up_the_one_batch(ranks: int) -> None:
    plan = _plan(_many())
    for step in (0, 9, 1234):
        whole = _fields(plan, step)
        parts = [_fields(plan, step, rank, ranks) for rank in range(ranks)]
        for name, values in whole.items():
            assert [value for part in parts for value in part[name]] == values


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("count", [32, 33, 41, 300])
def test_no_game_comes_twice_in_a_batch_while_there_are_enough(count: int, balance: bool) -> None:
    plan = _plan(_many(count), balance=balance)
    for step in range(200):
        games = plan.draw(step).game
        assert len(games) == 32
        assert len(np.unique(games)) == 32


@pytest.mark.parametrize(("count", "expected"), [(1, {32}), (5, {6, 7}), (16, {2}), (31, {1, 2})])
def test_too_few_games_are_spread_evenly(count: int, expected: set[int]) -> None:
    plan = _plan(_many(count))
    for step in range(50):
        windows = Counter(plan.draw(step).game.tolist())
        assert len(windows) == count
        assert set(windows.values()) == expected


def test_no_game_is_in_training_and_validation() -> None:
    index = _many()
    split = split_games(index, validation_share=0.2, seed=0)
    settings: dict = {"seed": 1, "batch_size": 16, "chunk_length": CHUNK}
    drawn = [
        {
            int(game)
            for step in range(100)
            for game in BatchPlan(select_egos(index, games), index, **settings).draw(step).game
        }
        for games in (split.train, split.validation)
    ]
    assert drawn[0]
    assert drawn[1]
    assert not drawn[0] & drawn[1]


def test_games_are_drawn_in_proportion_to_their_frames() -> None:
    index = _many(200)
    plan = _plan(index, batch_size=8)
    steps = 4000
    counts = np.zeros(200)
    for step in range(steps):
        np.add.at(counts, plan.draw(step).game, 1)
    frames = np.array([game.frames for game in index.games])
    np.testing.assert_allclose(counts / (8 * steps), frames / frames.sum(), rtol=0.15, atol=4e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_characters_come_as_often_as_the_shares_say(temperature: float) -> None:
    index = _many()
    plan = _plan(index, balance=True, balance_temperature=temperature)
    seen: Counter[int] = Counter()
    for step in range(600):
        drawn = plan.draw(step)
        for game, slot in zip(drawn.game, drawn.slot, strict=True):
            seen[index.games[game].sides[slot].external_id] += 1
    shares = plan.shares()
    assert sum(shares.values()) == pytest.approx(1.0)
    for character, share in shares.items():
        assert seen[character] / (600 * 32) == pytest.approx(share, abs=0.012)


def test_balance_evens_the_shares_out() -> None:
    index = _many(3000)
    plain = _plan(index).shares()
    even = _plan(index, balance=True).shares()
    assert plain[2] > 5 * plain[6]
    assert even[2] < 1.1 * even[6]
    assert _plan(index, balance=True, balance_temperature=0.0).shares() == pytest.approx(plain)


def test_a_weight_is_bounded_however_rare_the_character() -> None:
    """At most ten times as often as its frames alone would have it."""
    index = _index([1000] * 1000, [(2, 2)] * 998 + [(10, 2)] * 2)
    plain, even = _plan(index).shares(), _plan(index, balance=True).shares()
    assert even[10] / plain[10] == pytest.approx(10, rel=0.02)


def test_starts_cover_every_valid_frame_and_no_other() -> None:
    index = _index([CHUNK + HORIZON + 3, CHUNK + HORIZON, 20], [(2, 2)] * 3)
    plan = _plan(index, batch_size=3)
    starts: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for step in range(300):
        drawn = plan.draw(step)
        for game, start in zip(drawn.game, drawn.start, strict=True):
            starts[int(game)].add(int(start))
    assert starts == {0: {0, 1, 2, 3}, 1: {0}, 2: {0}}


def test_mirroring_comes_at_its_rate() -> None:
    plan = _plan(_many())
    drawn = [plan.draw(step) for step in range(300)]
    assert np.mean([one.mirror for one in drawn]) == pytest.approx(0.5, abs=0.02)
    assert not _plan(_many(), mirror=0.0).draw(0).mirror.any()


def test_an_epoch_is_as_many_windows_as_the_frames_fill_once() -> None:
    index = _index([1000, 500], [(2, 10)] * 2)
    plan = _plan(index, batch_size=4)
    assert plan.ego_frames == 3000
    assert plan.steps_per_epoch == -(-3000 // (4 * CHUNK))


def test_choosing_the_other_ego_swaps_the_halves_and_nothing_else(store: ColumnStore) -> None:
    one, two = (store.window(4, 0, 80, slot) for slot in (0, 1))
    np.testing.assert_array_equal(one.frame_id, two.frame_id)
    np.testing.assert_array_equal(one.valid, two.valid)
    for group in GROUPS:
        half, rest = HALF[group], slice(2 * HALF[group], None)
        np.testing.assert_array_equal(one.columns[group][:, :half], two.columns[group][:, half : 2 * half])
        np.testing.assert_array_equal(one.columns[group][:, half : 2 * half], two.columns[group][:, :half])
        np.testing.assert_array_equal(one.columns[group][:, rest], two.columns[group][:, rest])
