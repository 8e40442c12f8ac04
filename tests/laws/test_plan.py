"""Laws of the batch plans: pure, the same for any number of threads and ranks, honest about their shares; and
streams play whole games in order."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from exphil_core.dataset.balance import UNIT
from exphil_core.dataset.batches import BatchLoader
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.plan import BatchPlan, Plan, PlannedBatch, drawn_shares
from exphil_core.dataset.sampling import MAX_BALANCE_FACTOR, SamplingTable, sampling_table
from exphil_core.dataset.shards import SHARD_FOLDER, write_shard
from exphil_core.dataset.split import Ego, select_egos, split_games
from exphil_core.dataset.stateful_batches import KEPT_TICKS, StatefulBatchPlan
from exphil_core.dataset.store import ColumnStore
from exphil_core.replays.columns import DTYPES, GROUPS, HALF, LAYOUT, Version
from exphil_core.replays.pack import PackedGame, PackedSide
from tests.dataset.faked import faked_index

CHUNK, HORIZON = 60, 2


def _many(count: int = 300, seed: int = 5) -> DatasetIndex:
    """Games of 40 to 4000 frames, mostly Fox, with some Mewtwo and few Link."""
    random = np.random.default_rng(seed)
    lengths = random.integers(40, 4000, count).tolist()
    picks = random.choice([2, 2, 2, 2, 2, 2, 20, 20, 10, 6], (count, 2)).tolist()
    return faked_index(lengths, [(one, two) for one, two in picks])


Kind = Literal["windows", "streams"]
both_kinds = pytest.mark.parametrize("kind", ["windows", "streams"])


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
    return StatefulBatchPlan(egos, index, **({"grad_accum_steps": 1} | settings | changes))


def _reachable(plan: Plan) -> dict[int, float]:
    return {character: share.reachable for character, share in plan.pool.shares.items()}


def _fields(plan: Plan, step: int, rank: int = 0, ranks: int = 1) -> dict[str, list]:
    drawn = plan.draw(step, rank, ranks)
    return {name: getattr(drawn, name).tolist() for name in PlannedBatch.__slots__}


@pytest.fixture
def store(tmp_path: Path) -> ColumnStore:
    """Real rows on disk: 20 games of 40 to 400 frames."""
    random = np.random.default_rng(3)
    lengths = random.integers(40, 400, 20).tolist()
    index = faked_index(lengths, [(10, 2)] * 20, tmp_path)
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


@pytest.mark.parametrize(("kind", "steps"), [("windows", 600), ("streams", 4000)])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_characters_come_as_often_as_the_shares_say(temperature: float, kind: Kind, steps: int) -> None:
    index = _many()
    plan = _plan(index, kind, balance=True, balance_temperature=temperature)
    seen: Counter[int] = Counter()
    for step in range(steps):
        drawn = plan.draw(step)
        for game, slot in zip(drawn.game, drawn.slot, strict=True):
            seen[index.games[game].sides[slot].external_id] += 1
    shares = _reachable(plan)
    assert sum(shares.values()) == pytest.approx(1.0)
    for character, share in shares.items():
        assert seen[character] / (steps * 32) == pytest.approx(share, abs=0.012)


def test_balance_evens_the_shares_out() -> None:
    index = _many(3000)
    plain = _reachable(_plan(index))
    even = _reachable(_plan(index, balance=True))
    assert plain[2] > 5 * plain[6]
    assert even[2] < 1.1 * even[6]
    assert _reachable(_plan(index, balance=True, balance_temperature=0.0)) == pytest.approx(plain)


@pytest.mark.parametrize("kind", ["windows", "streams"])
def test_a_character_with_a_twentieth_of_the_frames_gets_its_share(kind: Kind) -> None:
    """Over a thousand batches, within 2 % of it, and every rank has its part of the same batches."""
    index = faked_index([1000] * 2100, [(2, 20)] * 2000 + [(10, 20)] * 100)
    plan = _plan(index, kind, characters=(2, 10), balance=True)
    shares = _reachable(plan)
    assert shares[10] == pytest.approx(10 / 21, rel=0.01)  # ten times its share of the frames is the bound
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
    index = faked_index([1000] * 1000, [(2, 2)] * 998 + [(10, 2)] * 2)
    plain, even = _reachable(_plan(index)), _reachable(_plan(index, balance=True))
    assert even[10] / plain[10] == pytest.approx(10, rel=0.02)


ISSUE_CHARACTERS = [10] * 4 + [25] * 4 + [6] * 4 + [3] * 3 + [18]
"""Of 16 games to learn from, one has Zelda (18)."""


def _issue_games() -> DatasetIndex:
    """Sixteen games of the five low-tier characters against Fox: Zelda has 9.3 % of their frames."""
    return faked_index([6000] * 15 + [9228], [(character, 2) for character in ISSUE_CHARACTERS])


@both_kinds
@pytest.mark.parametrize(
    ("batch_size", "reached"),
    [
        (4, 0.2),
        (5, 0.2),
        (8, 1 / 8),  # one window of its one game
        (16, 1 / 16),
        (17, 0.2),  # more rows than games: each has several windows anyway
        (32, 0.2),
        (256, 0.2),
    ],
)
def test_a_rare_character_of_few_games_gets_the_share_asked_for_it(
    batch_size: int, reached: float, kind: Kind
) -> None:
    """With batches of 256 windows it was one window in 16, less than its share of the frames."""
    plan = _plan(_issue_games(), kind, characters=(3, 6, 10, 18, 25), balance=True, batch_size=batch_size)
    zelda = plan.pool.shares[18]
    assert zelda.asked == pytest.approx(0.2)
    assert zelda.reachable == pytest.approx(reached, abs=1e-6)
    others = [share.reachable for character, share in plan.pool.shares.items() if character != 18]
    if batch_size != 16:  # else Mr. Game & Watch is short of games too
        assert others == [pytest.approx((1 - reached) / 4, abs=1e-6)] * 4
    steps = 20_000 // batch_size
    near = 0.005 if kind == "windows" else 0.02
    assert drawn_shares(plan, _issue_games(), steps)[18] == pytest.approx(reached, abs=near)


def test_a_rare_character_that_nobody_asked_for_does_not_turn_balance_off() -> None:
    """Weights were bounded by the rarest of all characters, so that one short game made them all the same."""
    rare = [(11, 2)]
    wanted = [(10, 2)] * 30 + [(25, 2)] * 10 + [(18, 2)] * 5
    index = faked_index([937] + [6000] * 165, rare + wanted + [(2, 20)] * 120)
    plan = _plan(index, balance=True, wanted=(10, 18, 25))
    shares = plan.pool.shares
    # The wanted ones together keep the share of their frames, and so does each of the others.
    frames = sum(game.frames for game in index.games) * 2
    for character in (10, 18, 25):
        assert shares[character].reachable == pytest.approx(45 * 6000 / frames / 3, abs=1e-6)
    assert shares[11].reachable == pytest.approx(937 / frames, abs=1e-6)
    assert shares[2].reachable == pytest.approx((937 + 165 * 6000) / frames, abs=1e-6)
    assert shares[20].reachable == pytest.approx(120 * 6000 / frames, abs=1e-6)


def test_the_side_of_a_shared_game_is_chosen_so_that_both_get_their_shares() -> None:
    """Link's two games are against Mewtwo, who has others: they are Link's whenever he needs them."""
    index = faked_index([1000] * 10, [(6, 10)] * 2 + [(10, 2)] * 8)
    plan = _plan(index, characters=(6, 10), balance=True, batch_size=4)
    assert _reachable(plan) == {6: pytest.approx(0.5, abs=1e-6), 10: pytest.approx(0.5, abs=1e-6)}
    seen = {(int(game), int(slot)) for step in range(300) for game, slot in _drawn(plan, step)}
    assert {game for game, _ in seen} == set(range(10))
    assert not {(0, 1), (1, 1)} & seen


def _drawn(plan: Plan, step: int) -> Iterator[tuple[int, int]]:
    drawn = plan.draw(step)
    yield from zip(drawn.game, drawn.slot, strict=True)


@dataclass(frozen=True)
class Case:
    """A small dataset with settings of balance, all at random."""

    index: DatasetIndex
    egos: list[Ego]
    settings: dict[str, Any]

    def pool(self, rows: int) -> SamplingTable:
        names = ("balance", "balance_temperature", "wanted")
        return sampling_table(
            self.egos, self.index, rows=rows, **{name: self.settings[name] for name in names}
        )


def _case(seed: int) -> Case:
    """4 to 60 games of 1 to 8 characters, some against themselves, in some of which one side is no ego."""
    random = np.random.default_rng(seed)
    count = int(random.integers(4, 61))
    cast = random.choice(26, int(random.integers(1, 9)), replace=False)
    skewed = random.dirichlet(np.full(len(cast), random.choice([0.3, 1.0, 5.0])))
    pairs = cast[random.choice(len(cast), (count, 2), p=skewed)].tolist()
    lengths = np.exp(random.uniform(np.log(300), np.log(4000), count)).astype(int).tolist()
    index = faked_index(lengths, [(one, two) for one, two in pairs])
    both = float(random.choice([0.0, 0.5, 1.0]))
    egos = [
        Ego(game, slot)
        for game in range(count)
        for slot in ((0, 1) if random.random() < both else (int(random.integers(2)),))
    ]
    wanted = random.choice(cast, int(random.integers(len(cast) + 1)), replace=False).tolist()
    return Case(
        index=index,
        egos=egos,
        settings={
            "seed": seed,
            "batch_size": int(random.choice([4, 8, 16, 32, 64, 256])),
            "balance": True,
            "balance_temperature": float(random.choice([0.3, 0.7, 1.0])),
            "wanted": tuple(wanted),
            "chunk_length": CHUNK,
            "horizon": HORIZON,
        },
    )


CASES = range(20)


def _suspicion(observed: np.ndarray, shares: np.ndarray) -> float:
    """Probability of a χ² as large as that of the counts, were they drawn one by one; rare categories are one."""
    expected = shares * observed.sum()
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    if len(expected) == 1:
        return 1.0
    distance = float(((observed - expected) ** 2 / expected).sum())
    tail = torch.special.gammaincc(
        torch.tensor((len(expected) - 1) / 2, dtype=torch.float64), torch.tensor(distance / 2)
    )
    return float(tail)


def test_windows_are_drawn_in_the_shares_that_are_stated() -> None:
    """One row of one step of each round: these are independent, since a round is shuffled anew."""
    found = []
    for seed in CASES:
        case = _case(seed)
        plan = BatchPlan(case.egos, case.index, **case.settings)
        shares = _reachable(plan)
        steps = -(-len(plan.pool.game) // plan.batch_size)
        random = np.random.default_rng([seed, 1])
        counts: Counter[int] = Counter()
        for number in range(400):
            drawn = plan.draw(number * steps + int(random.integers(steps)))
            row = random.integers(plan.batch_size)
            counts[case.index.games[drawn.game[row]].sides[drawn.slot[row]].external_id] += 1
        assert counts.keys() <= shares.keys()
        found.append(_suspicion(np.array([counts[one] for one in shares]), np.array(list(shares.values()))))
    assert min(found) > 0.01 / len(found)
    # Nor are they too good to be true.
    told = [value for value in found if value < 1.0]
    assert len(told) > 10
    assert 0.3 < np.mean(told) < 0.7


def test_lanes_play_in_the_shares_that_are_stated() -> None:
    """A play of a game counts as one draw. Plays come more evenly than draws would, so that p is rather large."""
    found = []
    for seed in CASES:
        case = _case(seed)
        plan = StatefulBatchPlan(case.egos, case.index, grad_accum_steps=1, **case.settings)
        shares = _reachable(plan)
        pool = plan.pool
        chunks = np.maximum((pool.frames - HORIZON) / CHUNK, 1.0)
        plays_a_tick = float((pool.expected / UNIT / chunks).sum())
        ticks = int(max(200, 15 * len(pool.game) / plays_a_tick))
        drawn = drawn_shares(plan, case.index, ticks)
        assert drawn.keys() <= shares.keys()
        counts = np.array([drawn.get(one, 0.0) for one in shares]) * plays_a_tick * ticks
        found.append(_suspicion(counts, np.array(list(shares.values()))))
    assert min(found) > 0.01 / len(found)


def _subsets(count: int) -> Iterator[list[int]]:
    sizes = (combinations(range(count), size) for size in range(1, count + 1))
    yield from map(list, chain.from_iterable(sizes))


@dataclass(frozen=True)
class Limits:
    """What rows of each character a batch may have, said in another way: by every set of characters."""

    rows: int
    touched: dict[tuple[int, ...], float]
    """Characters → how many rows the games hold in which one of them is an ego."""
    most: np.ndarray

    def allow(self, least: np.ndarray) -> bool:
        """Whether each character can have at least so many rows. (Hall's condition; the rest goes to the others.)"""
        slack = 1e-6
        return bool(
            (least <= self.most + slack).all()
            and least.sum() <= self.rows + slack
            and all(least[list(some)].sum() <= most + slack for some, most in self.touched.items())
        )


def _limits(pool: SamplingTable) -> Limits:
    present = list(pool.shares)
    holds = np.stack([(pool.characters == character).any(axis=1) for character in present], axis=1)
    each = 1.0 if len(pool.game) >= pool.rows else np.inf
    touched = {tuple(some): float(holds[:, some].any(axis=1).sum()) * each for some in _subsets(len(present))}
    most = np.array([MAX_BALANCE_FACTOR * share.unbalanced for share in pool.shares.values()]) * pool.rows
    return Limits(rows=pool.rows, touched=touched, most=most)


def test_shares_that_are_possible_are_reached_and_others_as_nearly_as_can_be() -> None:
    reached = short = 0
    for seed in range(60):
        case = _case(seed)
        games = len({ego.game for ego in case.egos})
        for rows in {games, max(1, games // 2), case.settings["batch_size"]}:
            pool = case.pool(rows)
            limits = _limits(pool)
            asked, reachable, unbalanced = (
                np.array([getattr(share, name) for share in pool.shares.values()])
                for name in ("asked", "reachable", "unbalanced")
            )
            assert asked.sum() == pytest.approx(1)
            assert limits.allow(reachable * rows)
            assert (reachable > np.minimum(asked, unbalanced) - 1e-6).all()
            if rows <= games:
                assert pool.expected.max() <= UNIT
            assert pool.expected.min() > 0
            assert int(pool.expected.sum()) == rows * UNIT
            if limits.allow(asked * rows):
                reached += 1
                np.testing.assert_allclose(reachable, asked, rtol=0, atol=1e-6)
                continue
            short += 1
            # The character that misses most could not miss less.
            ratio = float((reachable / asked).min())
            better = np.maximum(np.minimum(asked, unbalanced), (ratio + 1e-4) * asked)
            assert not limits.allow(better * rows)
    assert reached > 50
    assert short > 50


def test_too_few_games_of_a_character_have_its_rows_evenly() -> None:
    index = faked_index([3000, 500, 3000, 3000], [(18, 2)] * 2 + [(10, 2)] * 2)
    plan = _plan(index, characters=(10, 18), balance=True, batch_size=64)
    assert plan.pool.expected.tolist() == [pytest.approx(16 * UNIT, rel=1e-6)] * 4
    for step in range(20):
        assert set(Counter(plan.draw(step).game.tolist()).values()) <= {15, 16, 17}


def test_lanes_begin_in_the_shares_that_are_stated() -> None:
    """Mewtwo's games are a twentieth of Fox's in length, so streams take twenty of them for one of Fox's."""
    index = faked_index([300] * 40 + [6000] * 40, [(10, 10)] * 40 + [(2, 2)] * 40)
    drawn = [
        drawn_shares(_plan(index, "streams", seed=seed, balance=True, batch_size=16), index, 60)[10]
        for seed in range(20)
    ]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.03)


def test_starts_cover_every_valid_frame_and_no_other() -> None:
    index = faked_index([CHUNK + HORIZON + 3, CHUNK + HORIZON, 20], [(2, 2)] * 3)
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
    assert _plan(faked_index([1000, 500], [(2, 10)] * 2)).pool.ego_frames == 3000


Row = dict[str, Any]


def _lane(plan: Plan, row: int, ticks: int, grad_accum_steps: int = 1) -> list[Row]:
    """What one row of the first pass of every optimiser step plays."""
    drawn = [plan.draw(tick * grad_accum_steps) for tick in range(ticks)]
    return [{name: getattr(one, name)[row].item() for name in PlannedBatch.__slots__} for one in drawn]


def _plays(stream: list[Row]) -> Iterator[list[Row]]:
    """The rows of a stream, cut where it begins a game."""
    begins = [tick for tick, row in enumerate(stream) if row["reset"]]
    for start, end in zip(begins, [*begins[1:], len(stream)], strict=True):
        yield stream[start:end]


@pytest.mark.parametrize("grad_accum_steps", [1, 3])
def test_a_lane_plays_one_game_after_another_chunk_by_chunk(grad_accum_steps: int) -> None:
    index = _many()
    plan = _plan(index, "streams", grad_accum_steps=grad_accum_steps)
    for row in (0, 31):
        first, *later, _ = _plays(_lane(plan, row, 400, grad_accum_steps))
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
    plan = _plan(_many(), "streams", grad_accum_steps=4)
    for step in range(0, 400, 4):
        games = np.concatenate([plan.draw(step + number).game for number in range(4)])
        assert len(np.unique(games)) == 128


@pytest.mark.parametrize(("count", "most"), [(1, 32), (5, 7), (16, 2), (31, 2)])
def test_lanes_share_too_few_games_as_evenly_as_can_be(count: int, most: int) -> None:
    plan = _plan(_many(count), "streams")
    for step in range(300):
        assert max(Counter(plan.draw(step).game.tolist()).values()) <= most


def test_without_balance_every_ego_is_played_once_before_any_is_played_again() -> None:
    index = faked_index([300] * 50, [(2, 10)] * 50)
    plan = _plan(index, "streams", batch_size=4)
    begun: Counter[tuple[int, int]] = Counter()
    for step in range(2000):
        drawn = plan.draw(step)
        for game, slot in zip(drawn.game[drawn.reset], drawn.slot[drawn.reset], strict=True):
            begun[int(game), int(slot)] += 1
            # The last ones of a pass may wait for a stream that holds their game's other side.
            assert max(begun.values()) - min(begun.values() if len(begun) == 100 else [0]) <= 2
    assert len(begun) == 100


def test_the_last_chunk_of_a_game_comes_as_often_as_it_is_full() -> None:
    frames = 5 * CHUNK + CHUNK // 4 + HORIZON
    plan = _plan(faked_index([frames] * 40, [(2, 10)] * 40), "streams")
    lengths = [len(play) for row in range(32) for play in list(_plays(_lane(plan, row, 500)))[1:-1]]
    assert set(lengths) == {5, 6}
    assert np.mean(lengths) == pytest.approx(5.25, abs=0.02)


def test_a_game_shorter_than_a_chunk_is_played_all_the_same() -> None:
    plan = _plan(faked_index([20, 20, 300], [(2, 10)] * 3), "streams", batch_size=2)
    assert {int(game) for step in range(100) for game in plan.draw(step).game} == {0, 1, 2}


def test_lanes_do_not_begin_games_together() -> None:
    plan = _plan(faked_index([60 * CHUNK] * 100, [(2, 10)] * 100), "streams")
    begun = [int(plan.draw(step).reset.sum()) for step in range(1, 61)]
    assert max(begun) <= 4
    assert sum(begun) == pytest.approx(32, abs=2)


def test_half_of_the_games_of_lanes_are_mirrored() -> None:
    plan = _plan(faked_index([CHUNK + HORIZON] * 100, [(2, 10)] * 100), "streams")
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
