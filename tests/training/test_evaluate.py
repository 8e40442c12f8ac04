"""Evaluation: how games are shown to a policy, and that play is what was evaluated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import select_egos
from exphil_core.dataset.store import ColumnStore
from exphil_core.errors import UsageError
from exphil_core.models.policy import Policy, build_policy
from exphil_core.training.baselines import Baselines, fit_baselines
from exphil_core.training.evaluate import Evaluation, Regime, SideResult, evaluate, regime_of

MakePreset = Callable[..., Preset]


def policy_of(preset: Preset) -> Policy:
    torch.manual_seed(0)
    policy = build_policy(preset)
    for parameter in policy.head.components[0].parameters():
        parameter.data.mul_(3)  # a head that has learned something is less forgiving than a fresh one
    return policy


def baselines_of(policy: Policy) -> Baselines:
    some = torch.zeros(10, len(policy.codec.components), dtype=torch.int64)
    return fit_baselines(policy.codec, [(some, some)])


@pytest.fixture
def store(dojo_dataset: Path) -> ColumnStore:
    """Four games of which only the first frames are there: stepping takes its time."""
    index = DatasetIndex.open(dojo_dataset)
    games = tuple(replace(game, frames=560 + 20 * n) for n, game in enumerate(index.games[:4]))
    return ColumnStore(replace(index, games=games))


def evaluated(policy: Policy, store: ColumnStore, regime: Regime, *, chunk_length: int = 32) -> Evaluation:
    return evaluate(
        policy,
        store,
        select_egos(store.index, range(4), include_idle=True)[:5],
        baselines_of(policy),
        rows=3,
        device=torch.device("cpu"),
        regime=regime,
        chunk_length=chunk_length,
    )


def assert_same(one: Evaluation, two: Evaluation) -> None:
    assert one.frames == two.frames
    assert one.loss == pytest.approx(two.loss, abs=1e-5)
    assert one.heads == pytest.approx(two.heads, abs=1e-5)
    assert one.copycat == pytest.approx(two.copycat, abs=1e-5)
    for name, result in one.per_character.items():
        assert result.loss == pytest.approx(two.per_character[name].loss, abs=1e-5)


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_a_game_stepped_frame_by_frame_costs_what_its_chunks_cost(
    kind: str, tiny: MakePreset, store: ColumnStore
) -> None:
    preset = tiny(backbone={"kind": kind}, policy={"delay": 1})
    policy = policy_of(preset)
    assert_same(evaluated(policy, store, "stepped"), evaluated(policy, store, "carried"))


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_windows_remember_nothing_of_the_windows_before(
    kind: str, tiny: MakePreset, store: ColumnStore
) -> None:
    preset = tiny(backbone={"kind": kind})
    policy = policy_of(preset)
    carried = evaluated(policy, store, "carried")
    short = evaluated(policy, store, "windows")
    assert short.frames == carried.frames
    # By character, since differences of either sign cancel in the total of a policy that has learned nothing.
    differences = [
        abs(result.loss - carried.per_character[name].loss) for name, result in short.per_character.items()
    ]
    assert max(differences) > 1e-4
    longest = max(game.frames for game in store.index.games)
    assert_same(evaluated(policy, store, "windows", chunk_length=longest), carried)


def test_without_memory_all_regimes_cost_the_same(tiny: MakePreset, store: ColumnStore) -> None:
    preset = tiny(backbone={"kind": "mlp"})
    policy = policy_of(preset)
    carried = evaluated(policy, store, "carried")
    for regime in ("windows", "stepped"):
        assert_same(evaluated(policy, store, regime), carried)


def test_an_unknown_regime_names_the_nearest() -> None:
    assert regime_of("stepped") == "stepped"
    with pytest.raises(UsageError, match="did you mean 'windows'"):
        regime_of("window")


class Guesses:
    """Baselines in which *repeat* costs as much as a side changes its inputs, and the others always the same."""

    def __init__(self, others: float) -> None:
        self.others = others

    def to(self, device: torch.device) -> "Guesses":
        return self

    def nll(self, name: str, tokens: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return (tokens != previous).float() if name == "repeat" else torch.full(tokens.shape, self.others)


def test_sides_whose_best_baseline_is_repeat_are_told(tiny: MakePreset, store: ColumnStore) -> None:
    policy = policy_of(tiny(backbone={"kind": "gru"}))

    def told(others: float) -> tuple[SideResult, ...]:
        egos = select_egos(store.index, range(4), include_idle=True)[:5]
        guesses = cast(Baselines, Guesses(others))
        return evaluate(policy, store, egos, guesses, rows=3, device=torch.device("cpu")).repeat_is_best

    everybody = told(100.0)
    assert len(everybody) == 5
    assert [side.frames for side in everybody] == sorted((side.frames for side in everybody), reverse=True)
    costs = sorted(side.baselines["repeat"] for side in everybody)
    found = told((costs[1] + costs[2]) / 2 / len(policy.codec.components))
    assert {side.baselines["repeat"] for side in found} == set(costs[:2])
    named = {(game.content_id, side.port_index + 1) for game in store.index.games for side in game.sides}
    assert all((side.content_id, side.port) in named for side in found)
    assert told(0.0) == ()
