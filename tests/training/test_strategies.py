"""Every strategy of training does in a run what its name says: none of them is silently ignored."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exphil_core.config.encoder import EncoderConfig
from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.players import CharacterEncoding
from exphil_core.melee.characters import by_name
from exphil_core.models.policy import Policy, Scores
from exphil_core.replays.columns import POSITION
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training import loop, trainer
from exphil_core.training.checkpoint import load_checkpoint
from exphil_core.training.data import open_training_data
from exphil_core.training.estimate import _NullCheckpointManager
from exphil_core.training.evaluate import Evaluation, evaluate
from exphil_core.worker import work

MakePreset = Callable[..., Preset]
NewRun = Callable[..., RunDirectory]
STEPS = 3

PLAIN: dict[str, object] = {"mirror_prob": 0.0, "ema_decay": 0.0, "lr": 3e-3}

STRATEGIES: dict[str, dict[str, dict[str, object]]] = {
    "characters": {"data": {"characters": ("mewtwo", "zelda")}},
    "balance": {"train": {"balance_characters": True}},
    "window": {"backbone": {"window_size": 4}},
    "last": {"policy": {"prediction": "last"}},
    "delay": {"policy": {"delay": 2}},
    "delay_range": {"policy": {"delay_range": [0, 18]}},
    "mirror": {"train": {"mirror_prob": 1.0}},
    "noise": {"train": {"noise_prob": 1.0}},
    "label smoothing": {"train": {"label_smoothing": 0.1}},
    "focal": {"train": {"focal_gamma": 2.0}},
    "press weight": {"train": {"press_weight": 5.0}},
    "action dropout": {"train": {"action_dropout": 0.3}},
    "scheduled sampling": {"train": {"scheduled_sampling": 0.3}},
    "ema": {"train": {"ema_decay": 0.9}},
}


@dataclass(slots=True)
class Learned:
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Those that would be played after the last step."""
    seen: list[TensorBatch] = field(default_factory=list)
    """The batch of every training pass, with what its targets are read from."""
    delay_range: list[Tensor | None] = field(default_factory=list)
    started: Mapping[str, Any] = field(default_factory=dict)
    """The `run_started` event."""


class _Enough(Exception):
    pass


@pytest.fixture
def learned(tiny: MakePreset, dojo_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Learned]:
    """Takes the first steps of a training: `learned(train={"mirror_prob": 1.0})`."""
    plain = Policy.forward
    found = Learned()

    def watched(self: Policy, batch: TensorBatch, state: Any = None, **settings: Any) -> Scores:
        found.seen.append(batch)
        found.delay_range.append(settings["delay_B"])
        return plain(self, batch, state, **settings)

    monkeypatch.setattr(Policy, "forward", watched)

    def hear(kind: str, **fields: Any) -> None:
        if kind == "run_started":
            found.started = fields

    def publish(step: int, weights: loop.PlayingWeights) -> None:
        if step == STEPS:
            found.weights = {name: tensor.clone() for name, tensor in weights().items()}
            raise _Enough

    def steps(**sections: dict[str, object]) -> Learned:
        nonlocal found
        found = Learned()
        train = {**PLAIN, **sections.get("train", {})}
        preset = tiny(**{**sections, "train": train}, evaluation={"every_steps": 100})
        with suppress(_Enough):
            loop.train(
                preset,
                open_training_data(preset, dojo_dataset),
                _NullCheckpointManager(preset),
                device=torch.device("cpu"),
                run_name="strategy",
                emit=hear,
                publish=publish,
            )
        return found

    return steps


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_without_a_strategy_the_same_is_learned_again(learned: Callable[..., Learned]) -> None:
    assert same(learned().weights, learned().weights)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_changes_what_is_learned(name: str, learned: Callable[..., Learned]) -> None:
    assert not same(learned().weights, learned(**STRATEGIES[name]).weights)


def column(batch: TensorBatch, name: str) -> Tensor:
    group, index = POSITION[name]
    return batch.columns[group][..., index].nan_to_num(777.0)


def reflected(values: Tensor) -> Tensor:
    return torch.where(values == 777.0, values, -values)


def test_mirrored_windows_are_the_same_windows_seen_from_the_other_side(
    learned: Callable[..., Learned],
) -> None:
    plain, all_mirrored, some = (learned(train={"mirror_prob": share}) for share in (0.0, 1.0, 0.5))
    kinds = set()
    for before, after, either in zip(plain.seen, all_mirrored.seen, some.seen, strict=True):
        # The sticks are what is aimed at, too.
        for name in ("p0.position_x", "p1.position_x", "p0.main_x"):
            assert torch.equal(column(after, name), reflected(column(before, name)))
        assert torch.equal(column(after, "p0.main_y"), column(before, "p0.main_y"))
        before_x, after_x, either_x = (column(batch, "p0.position_x") for batch in (before, after, either))
        for row in range(len(before.mirror)):
            ways = tuple(torch.equal(either_x[row], x_BT[row]) for x_BT in (before_x, after_x))
            assert ways.count(True) == 1
            kinds.add(ways)
    assert len(kinds) == 2


def test_noise_moves_what_is_seen_and_never_what_is_aimed_at(learned: Callable[..., Learned]) -> None:
    plain, noisy = learned(), learned(train={"noise_prob": 1.0, "noise_std": 0.02})
    for before, after in zip(plain.seen, noisy.seen, strict=True):
        moved = (column(after, "p0.position_x") - column(before, "p0.position_x")).abs()
        assert 0 < moved.max() < 50
        for name in ("main_x", "main_y", "c_x", "c_y", "trigger_l", "trigger_r", "buttons"):
            assert torch.equal(column(after, f"p0.{name}"), column(before, f"p0.{name}"))


def test_a_range_of_delays_is_drawn_from_for_each_window(learned: Callable[..., Learned]) -> None:
    assert learned(policy={"delay": 2}).delay_range == [None] * STEPS
    drawn = learned(policy={"delay": 2, "delay_range": [0, 18]}, train={"batch_size": 16}).delay_range
    rows = torch.cat([delay_B for delay_B in drawn if delay_B is not None])
    assert len(rows) == 16 * STEPS
    assert 0 <= rows.min() < rows.max() <= 18
    assert len(rows.unique()) > 9


def test_only_the_wanted_characters_are_imitated(learned: Callable[..., Learned]) -> None:
    wanted = {by_name(name).external_id for name in ("mewtwo", "zelda")}
    met = {
        int(ego)
        for batch in learned(data={"characters": ("mewtwo", "zelda")}).seen
        for ego in batch.external_id
    }
    assert met <= wanted


def test_balance_brings_the_shares_together_and_the_run_says_so(learned: Callable[..., Learned]) -> None:
    def spread(found: Learned) -> float:
        shares = [share["reachable"] for share in found.started["dataset"]["shares"].values()]
        return max(shares) - min(shares)

    assert spread(learned(train={"balance_characters": True})) < 0.5 * spread(learned())


def test_a_character_is_33_numbers_or_64_that_are_learned() -> None:
    one_hot, embedded = (
        CharacterEncoding(EncoderConfig(character_mode=mode)) for mode in ("one_hot", "learned")
    )
    ids = torch.arange(33, dtype=torch.uint8)
    assert torch.equal(one_hot(ids), torch.eye(33))
    assert not list(one_hot.parameters())
    assert embedded(ids).shape == (33, 64)
    assert len(embedded(ids).unique(dim=0)) == 33


def evaluations(run: RunDirectory) -> list[dict[str, Any]]:
    events = [event for event in read_events(run.events_path) if event["type"] == "evaluated"]
    return [event for event in events if "best" not in event]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has evaluations during training say these losses, and the last of them from then on."""

    def say(*values: float) -> None:
        left: Iterator[float] = chain(values, repeat(values[-1]))

        def told(*given: Any, **settings: Any) -> Evaluation:
            return replace(evaluate(*given, **settings), loss=next(left))

        monkeypatch.setattr(trainer, "evaluate", told)

    return say


def test_an_improvement_begins_the_patience_anew_and_the_best_is_kept(
    tiny: MakePreset, new_run: NewRun, losses: Callable[..., None]
) -> None:
    losses(9.0, 3.0, 2.0, 2.5, 1.5, 1.6, 1.7, 0.1)
    evaluation = {"every_steps": 2, "patience": 2, "max_frames": 500}
    run = new_run(tiny(train={"max_steps": 40}, evaluation=evaluation))
    assert work(run) == 0
    assert [event["loss"] for event in evaluations(run)] == [9.0, 3.0, 2.0, 2.5, 1.5, 1.6, 1.7]
    assert run.best_step() == 8


def test_without_patience_no_run_stops_early(
    tiny: MakePreset, new_run: NewRun, losses: Callable[..., None]
) -> None:
    losses(3.0, 1.0, 2.0)
    run = new_run(
        tiny(train={"max_steps": 12}, evaluation={"every_steps": 2, "patience": 0, "max_frames": 500})
    )
    assert work(run) == 0
    assert [event["step"] for event in evaluations(run)] == [0, 2, 4, 6, 8, 10, 12]
    assert run.best_step() == 2


def test_what_is_kept_of_a_run_with_averages_is_the_average(tiny: MakePreset, new_run: NewRun) -> None:
    runs = {
        decay: new_run(tiny(train={"max_steps": 4, "ema_decay": decay, "lr": 1e-2}), name=f"ema-{decay}")
        for decay in (0.0, 0.9)
    }
    assert [work(run) for run in runs.values()] == [0, 0]
    plain, averaged = (load_checkpoint(run.step_directory(4)) for run in runs.values())
    # Averages change nothing of what is learned, only what is played.
    for name, weight in plain.model.items():
        if f"parameter/{name}" in averaged.optimizer:
            assert torch.equal(averaged.optimizer[f"parameter/{name}"], weight)
    assert not same(plain.model, averaged.model)


def test_a_dataset_has_what_these_tests_tell_apart(dojo_dataset: Path) -> None:
    found = {side.external_id for game in DatasetIndex.open(dojo_dataset).games for side in game.sides}
    assert len(found) > 2
