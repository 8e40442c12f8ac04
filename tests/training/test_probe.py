"""What is said of a run before it is started, and that saying it starts nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from exphil_core.cli.probe import dry_run, duration, sentences
from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError
from exphil_core.models.policy import build_policy
from exphil_core.training.data import open_training_data
from exphil_core.training.limits import limits_of
from exphil_core.training.optim import Optimizer
from exphil_core.training.probe import SMALLEST_STEPS, outlook, probed

CPU = torch.device("cpu")

Tiny = Callable[..., Preset]


def test_weights_gradients_moments_and_averages_are_counted_to_the_byte(tiny: Tiny) -> None:
    preset = tiny()
    policy = build_policy(preset)
    optimizer = Optimizer(policy, preset.train)
    sum(parameter.sum() for parameter in policy.parameters()).backward()
    gradients = sum(p.grad.nbytes for p in policy.parameters() if p.grad is not None)
    optimizer.step(step=0, progress=0.0)
    found = outlook(preset, None)
    assert found.parameters == sum(p.numel() for p in policy.parameters())
    assert found.memory["weights"] == sum(p.nbytes for p in policy.parameters())
    assert found.memory["gradients"] == gradients
    moments = [state[slot] for state in optimizer.adam.state.values() for slot in ("exp_avg", "exp_avg_sq")]
    assert found.memory["optimizer"] == sum(tensor.nbytes for tensor in moments)
    assert found.memory["averages"] == sum(tensor.nbytes for tensor in optimizer.average.values())
    assert outlook(tiny(train={"ema_decay": 0.0}), None).memory["averages"] == 0


def test_activations_grow_with_the_batch_and_not_with_accumulation(tiny: Tiny) -> None:
    one = outlook(tiny(train={"batch_size": 1}), None)
    eight = outlook(tiny(train={"batch_size": 8}), None)
    twice = outlook(tiny(train={"batch_size": 8, "accumulation": 2}), None)
    assert eight.memory["activations"] == 8 * one.memory["activations"] > 0
    assert twice.memory == eight.memory
    assert twice.frames_per_step == 2 * eight.frames_per_step == 16 * one.frames_per_step


def test_activations_are_about_what_a_whole_batch_keeps(tiny: Tiny) -> None:
    from exphil_core.training.throughput import made_up_batch

    preset = tiny(train={"batch_size": 6})
    policy = build_policy(preset).train()
    own = {p.data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nll_BTK, _, _ = policy.nll(made_up_batch(6, preset.chunk_length + policy.horizon, CPU))
        loss = nll_BTK.sum()
    assert loss.requires_grad
    assert outlook(preset, None).memory["activations"] == pytest.approx(sum(kept.values()), rel=0.25)


def test_steps_and_epochs_are_those_of_the_run(tiny: Tiny, dojo_dataset: Path) -> None:
    preset = tiny(train={"max_steps": None, "epochs": 2})
    data = open_training_data(preset, dojo_dataset)
    frames = sum(data.store.index.games[ego.game].frames for ego in data.train)
    limits = limits_of(preset.train, windows_per_epoch=frames / preset.chunk_length)
    found = outlook(preset, data)
    assert found.steps == found.estimated_steps == limits.steps
    assert found.estimated_epochs == pytest.approx(2, rel=0.01)
    assert found.estimated_seconds is None


def test_without_data_epochs_say_nothing_of_steps(tiny: Tiny) -> None:
    assert outlook(tiny(train={"max_steps": None, "epochs": 2}), None).estimated_steps is None
    assert outlook(tiny(train={"max_steps": 7, "epochs": 2}), None).estimated_steps is None
    assert outlook(tiny(train={"max_steps": 7}), None).estimated_steps == 7


def test_a_probe_takes_real_steps_for_its_time_and_the_shorter_limit_is_the_estimate(
    tiny: Tiny, dojo_dataset: Path
) -> None:
    ticks = iter(range(1_000_000))

    def clock() -> float:
        return next(ticks) * 0.01

    preset = tiny(train={"max_steps": 1000, "max_minutes": 60.0})
    data = open_training_data(preset, dojo_dataset)
    found = probed(outlook(preset, data), preset, data, device=CPU, seconds=1.0, clock=clock)
    pace = found.pace
    assert pace is not None
    assert pace.steps >= SMALLEST_STEPS
    assert pace.steps * pace.seconds_per_step == pytest.approx(1.0, abs=0.2)
    assert pace.frames_per_s == pytest.approx(found.frames_per_step / pace.seconds_per_step)
    assert (pace.device, pace.precision) == ("cpu", "fp32")
    assert found.estimated_seconds == pytest.approx(1000 * pace.seconds_per_step)
    assert found.memory_measured is not None
    told = " ".join(sentences(found))
    assert "measured over" in told
    assert "about" in told


def test_the_limits_of_a_run_do_not_end_its_probe(tiny: Tiny, dojo_dataset: Path) -> None:
    preset = tiny(train={"max_steps": 1}, evaluation={"every_steps": 1})
    data = open_training_data(preset, dojo_dataset)
    found = probed(outlook(preset, data), preset, data, device=CPU, seconds=0.01)
    assert found.pace is not None
    assert found.pace.steps >= SMALLEST_STEPS
    assert found.estimated_steps == 1


def test_json_tells_estimates_from_measurements(
    tiny: Tiny, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tiny(), dojo_dataset, probe_seconds=None, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["memory_bytes"] == sum(told["memory"].values())
    assert not told["memory_measured"]
    assert told["probe"] is None
    assert told["dataset"]["per_character"]["mewtwo"]["frames"] > 0
    assert dry_run(tiny(), dojo_dataset, probe_seconds=0.01, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["memory_measured"]
    assert told["frames_per_s"] > 0
    assert told["estimated_seconds"] == pytest.approx(told["steps"] * told["seconds_per_step"])


def test_without_data_the_preset_alone_is_told(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry_run(tiny(), None, probe_seconds=None, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dataset"] is None
    assert told["parameters"] > 0
    assert dry_run(tiny(), None, probe_seconds=None, as_json=False) == 0
    assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_probe_of_no_time_is_refused(seconds: float, tiny: Tiny, dojo_dataset: Path) -> None:
    with pytest.raises(UsageError, match="above 0"):
        dry_run(tiny(), dojo_dataset, probe_seconds=seconds, as_json=True)


def test_a_probe_without_data_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UsageError, match="--replays"):
        dry_run(tiny(), None, probe_seconds=1.0, as_json=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (200, "3 min 20 s"),
        (180, "3 min"),
        (18720, "5 h 12 min"),
        (183600, "2 d 3 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
