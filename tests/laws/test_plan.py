"""Laws of the batch plans: pure, the same for any number of threads and ranks, honest about their shares; and
lanes play whole games in order."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from exphil_core.dataset.batches import BatchLoader
from exphil_core.dataset.index import BuildKey, DatasetIndex, GameEntry, Side
from exphil_core.dataset.lanes import KEPT_TICKS, LanePlan
from exphil_core.dataset.plan import BatchPlan, Plan, PlannedBatch
from exphil_core.dataset.shards import SHARD_FOLDER, write_shard
from exphil_core.dataset.split import select_egos, split_games
from exphil_core.dataset.store import ColumnStore
from exphil_core.replays.columns import DTYPES, GROUPS, HALF, LAYOUT, Version
from exphil_core.replays.pack import PackedGame, PackedSide

CHUNK, HORIZON = 60, 2


def _side(character: int, port: int, frames: int) -> Side:
    return Side(
        external_id=character,
        selected_external_id=character,
        frames_by_character={character: frames},
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
            sides=(_side(pair[0], 0, frames), _side(pair[1], 1, frames)),
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


Kind = Literal["windows", "lanes"]
both_kinds = pytest.mark.parametrize("kind", ["windows", "lanes"])


def _plan(
    index: DatasetIndex, kind: Kind = "windows", *, characters: tuple[int, ...] = (), **changes: object
) -> Plan:
    settings: dict = {
        "seed": 11,
        "batch_size": 32,
        "chunk_length": CHUNK,
        "horizon": HORIZON,
        "balance": False,
        "balance_temperature": 1.0,
        "mirror": 0.5,
    }
    egos = select_egos(index, range(len(index.games)), characters=characters)
    if kind == "windows":
        return BatchPlan(egos, index, **(settings | changes))
    return LanePlan(egos, index, **({"accumulation": 1} | settings | changes))


def _fields(plan: Plan, step: int, rank: int = 0, ranks: int = 1) -> dict[str, list]:
    drawn = plan.draw(step, rank, ranks)
    return {name: getattr(drawn, name).tolist() for name in PlannedBatch.__slots__}


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
                PackedSide(
                    port_index=0,
                    selected_external_id=10,
                    frames_by_character={10: game.frames},
                    type="human",
                ),
                PackedSide(
                    port_index=1, selected_external_id=2, frames_by_character={2: game.frames}, type="human"
                ),
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


def _take(
    store: ColumnStore, workers: int, count: int, first_step: int = 0, kind: Kind = "windows"
) -> list[dict]:
    plan = _plan(store.index, kind, batch_size=8)
    loader = BatchLoader(store, plan, first_step=first_step, workers=workers)
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


@both_kinds
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_batches_are_identical_for_any_number_of_loader_workers(
    store: ColumnStore, workers: int, kind: Kind
) -> None:
    _assert_same(_take(store, 0, 12, kind=kind), _take(store, workers, 12, kind=kind))


@both_kinds
def test_resuming_needs_only_the_step(store: ColumnStore, kind: Kind) -> None:
    _assert_same(_take(store, 1, 12, kind=kind)[7:], _take(store, 2, 5, first_step=7, kind=kind))


@both_kinds
def test_a_step_does_not_depend_on_what_was_drawn_before(kind: Kind) -> None:
    index = _many()
    plan, again = _plan(index, kind), _plan(index, kind)
    steps = [*range(30), 2 * KEPT_TICKS, 5 * KEPT_TICKS]
    forwards = {step: _fields(plan, step) for step in steps}
    backwards = {step: _fields(again, step) for step in reversed(steps)}
    assert forwards == backwards
    assert _fields(_plan(index, kind, seed=12), 0) != forwards[0]
    assert forwards[0] != forwards[1]


@both_kinds
@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_the_ranks_together_make_up_the_one_batch(ranks: int, kind: Kind) -> None:
    plan = _plan(_many(), kind)
    for step in (0, 9, 1234):
        whole = _fields(plan, step)
        parts = [_fields(plan, step, rank, ranks) for rank in range(ranks)]
        for name, values in whole.items():
            assert [value for part in parts for value in part[name]] == values


@both_kinds
@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("count", [32, 33, 41, 300])
def test_no_game_comes_twice_in_a_batch_while_there_are_enough(count: int, balance: bool, kind: Kind) -> None:
    plan = _plan(_many(count), kind, balance=balance)
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


@pytest.mark.parametrize(("kind", "steps"), [("windows", 600), ("lanes", 4000)])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_characters_come_as_often_as_the_shares_say(temperature: float, kind: Kind, steps: int) -> None:
    index = _many()
    plan = _plan(index, kind, balance=True, balance_temperature=temperature)
    seen: Counter[int] = Counter()
    for step in range(steps):
        drawn = plan.draw(step)
        for game, slot in zip(drawn.game, drawn.slot, strict=True):
            seen[index.games[game].sides[slot].external_id] += 1
    shares = plan.pool.shares()
    assert sum(shares.values()) == pytest.approx(1.0)
    for character, share in shares.items():
        assert seen[character] / (steps * 32) == pytest.approx(share, abs=0.012)


def test_balance_evens_the_shares_out() -> None:
    index = _many(3000)
    plain = _plan(index).pool.shares()
    even = _plan(index, balance=True).pool.shares()
    assert plain[2] > 5 * plain[6]
    assert even[2] < 1.1 * even[6]
    assert _plan(index, balance=True, balance_temperature=0.0).pool.shares() == pytest.approx(plain)


@pytest.mark.parametrize("kind", ["windows", "lanes"])
def test_a_character_with_a_twentieth_of_the_frames_gets_its_share(kind: Kind) -> None:
    """Over a thousand batches, within 2 % of it, and every rank has its part of the same batches."""
    index = _index([1000] * 2100, [(2, 20)] * 2000 + [(10, 20)] * 100)
    plan = _plan(index, kind, characters=(2, 10), balance=True)
    shares = plan.pool.shares()
    assert shares[10] == pytest.approx(1 / 3, rel=0.01)  # a tenth of 20 to 1 is the bound
    seen: Counter[int] = Counter()
    for step in range(1000):
        drawn = plan.draw(step)
        parts = [plan.draw(step, rank, 3) for rank in range(3)]
        assert np.concatenate([part.game for part in parts]).tolist() == drawn.game.tolist()
        seen.update(index.games[game].sides[0].external_id for game in drawn.game)
    for character, share in shares.items():
        assert seen[character] / sum(seen.values()) == pytest.approx(share, rel=0.02)


def test_a_weight_is_bounded_however_rare_the_character() -> None:
    """At most ten times as often as its frames alone would have it."""
    index = _index([1000] * 1000, [(2, 2)] * 998 + [(10, 2)] * 2)
    plain, even = _plan(index).pool.shares(), _plan(index, balance=True).pool.shares()
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


def test_the_frames_of_a_game_count_for_each_of_its_egos() -> None:
    assert _plan(_index([1000, 500], [(2, 10)] * 2)).pool.ego_frames == 3000


Row = dict[str, Any]


def _lane(plan: Plan, row: int, ticks: int, accumulation: int = 1) -> list[Row]:
    """What one row of the first pass of every optimiser step plays."""
    drawn = [plan.draw(tick * accumulation) for tick in range(ticks)]
    return [{name: getattr(one, name)[row].item() for name in PlannedBatch.__slots__} for one in drawn]


def _plays(lane: list[Row]) -> Iterator[list[Row]]:
    """The rows of a lane, cut where it begins a game."""
    begins = [tick for tick, row in enumerate(lane) if row["reset"]]
    for start, end in zip(begins, [*begins[1:], len(lane)], strict=True):
        yield lane[start:end]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_lane_plays_one_game_after_another_chunk_by_chunk(accumulation: int) -> None:
    index = _many()
    plan = _plan(index, "lanes", accumulation=accumulation)
    for row in (0, 31):
        first, *later, _ = _plays(_lane(plan, row, 400, accumulation))
        assert later
        for play in (first, *later):
            # One side of one game, and never another side of the mirror within it.
            assert len({(chunk["game"], chunk["slot"], chunk["mirror"]) for chunk in play}) == 1
            starts = [chunk["start"] for chunk in play]
            assert starts == list(range(starts[0], starts[0] + CHUNK * len(play), CHUNK))
            assert [chunk["reset"] for chunk in play] == [True] + [False] * (len(play) - 1)
            # Only a chunk that would hold padding is left out.
            observed = index.games[play[0]["game"]].frames - HORIZON
            assert starts[-1] < max(observed, 1)
            assert observed - (starts[-1] + CHUNK) < CHUNK
        assert all(play[0]["start"] == 0 for play in later)


def test_the_passes_of_a_step_have_lanes_of_their_own() -> None:
    plan = _plan(_many(), "lanes", accumulation=4)
    for step in range(0, 400, 4):
        games = np.concatenate([plan.draw(step + number).game for number in range(4)])
        assert len(np.unique(games)) == 128


@pytest.mark.parametrize(("count", "most"), [(1, 32), (5, 7), (16, 2), (31, 2)])
def test_lanes_share_too_few_games_as_evenly_as_can_be(count: int, most: int) -> None:
    plan = _plan(_many(count), "lanes")
    for step in range(300):
        assert max(Counter(plan.draw(step).game.tolist()).values()) <= most


def test_without_balance_every_ego_is_played_once_before_any_is_played_again() -> None:
    index = _index([300] * 50, [(2, 10)] * 50)
    plan = _plan(index, "lanes", batch_size=4)
    begun: Counter[tuple[int, int]] = Counter()
    for step in range(2000):
        drawn = plan.draw(step)
        for game, slot in zip(drawn.game[drawn.reset], drawn.slot[drawn.reset], strict=True):
            begun[int(game), int(slot)] += 1
            # The last ones of a pass may wait for a lane that holds their game's other side.
            assert max(begun.values()) - min(begun.values() if len(begun) == 100 else [0]) <= 2
    assert len(begun) == 100


def test_the_last_chunk_of_a_game_comes_as_often_as_it_is_full() -> None:
    frames = 5 * CHUNK + CHUNK // 4 + HORIZON
    plan = _plan(_index([frames] * 40, [(2, 10)] * 40), "lanes")
    lengths = [len(play) for row in range(32) for play in list(_plays(_lane(plan, row, 500)))[1:-1]]
    assert set(lengths) == {5, 6}
    assert np.mean(lengths) == pytest.approx(5.25, abs=0.02)


def test_a_game_shorter_than_a_chunk_is_played_all_the_same() -> None:
    plan = _plan(_index([20, 20, 300], [(2, 10)] * 3), "lanes", batch_size=2)
    assert {int(game) for step in range(100) for game in plan.draw(step).game} == {0, 1, 2}


def test_lanes_do_not_begin_games_together() -> None:
    plan = _plan(_index([60 * CHUNK] * 100, [(2, 10)] * 100), "lanes")
    begun = [int(plan.draw(step).reset.sum()) for step in range(1, 61)]
    assert max(begun) <= 4
    assert sum(begun) == pytest.approx(32, abs=2)


def test_half_of_the_games_of_lanes_are_mirrored() -> None:
    plan = _plan(_index([CHUNK + HORIZON] * 100, [(2, 10)] * 100), "lanes")
    assert np.mean([plan.draw(step).mirror for step in range(300)]) == pytest.approx(0.5, abs=0.02)


def test_choosing_the_other_ego_swaps_the_halves_and_nothing_else(store: ColumnStore) -> None:
    one, two = (store.window(4, 0, 80, slot) for slot in (0, 1))
    np.testing.assert_array_equal(one.frame_id, two.frame_id)
    np.testing.assert_array_equal(one.valid, two.valid)
    for group in GROUPS:
        half, rest = HALF[group], slice(2 * HALF[group], None)
        np.testing.assert_array_equal(one.columns[group][:, :half], two.columns[group][:, half : 2 * half])
        np.testing.assert_array_equal(one.columns[group][:, half : 2 * half], two.columns[group][:, :half])
        np.testing.assert_array_equal(one.columns[group][:, rest], two.columns[group][:, rest])
