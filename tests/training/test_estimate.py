"""What is said of a run before it is started, and that saying it starts nothing."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from exphil_core.cli.probe import cost_sentences, dry_run, duration, flops, sentences
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.models.policy import Policy, build_policy, slice_frames
from exphil_core.training import loop, trainer
from exphil_core.training.data import open_training_data
from exphil_core.training.duration import limits_of
from exphil_core.training.estimate import (
    SMALLEST_STEPS,
    _NullCheckpointManager,
    estimate_run,
    with_measured_speed,
)
from exphil_core.training.optim import Optimizer
from exphil_core.training.speed import training_speed
from exphil_core.training.synthetic_batch import synthetic_batch

CPU = torch.device("cpu")

Tiny = Callable[..., Preset]


def test_weights_gradients_moments_and_averages_are_counted_to_the_byte(tiny: Tiny) -> None:
    preset = tiny()
    policy = build_policy(preset)
    optimizer = Optimizer(policy, preset.train)
    sum(parameter.sum() for parameter in policy.parameters()).backward()
    gradients = sum(p.grad.nbytes for p in policy.parameters() if p.grad is not None)
    optimizer.step(step=0, progress=0.0)
    found = estimate_run(preset, None)
    assert found.parameters == sum(p.numel() for p in policy.parameters())
    assert found.memory["weights"] == sum(p.nbytes for p in policy.parameters())
    assert found.memory["gradients"] == gradients
    moments = [state[slot] for state in optimizer.state.values() for slot in ("exp_avg", "exp_avg_sq")]
    assert found.memory["optimizer"] == sum(tensor.nbytes for tensor in moments)
    assert found.memory["averages"] == sum(tensor.nbytes for tensor in optimizer.average.values())
    assert estimate_run(tiny(train={"ema_decay": 0.0}), None).memory["averages"] == 0


def test_activations_grow_with_the_batch_and_not_with_accumulation(tiny: Tiny) -> None:
    one = estimate_run(tiny(train={"batch_size": 1}), None)
    eight = estimate_run(tiny(train={"batch_size": 8}), None)
    twice = estimate_run(tiny(train={"batch_size": 8, "grad_accum_steps": 2}), None)
    assert eight.memory["activations"] == 8 * one.memory["activations"] > 0
    assert twice.memory == eight.memory
    assert twice.frames_per_step == 2 * eight.frames_per_step == 16 * one.frames_per_step


BAND_OF_MANY: dict[str, Any] = {"backbone": {"window_size": 200}, "train": {"chunk_length": 400}}
STEPS_OF: dict[str, dict[str, Any]] = {
    "attention": {},
    "a band of 200": BAND_OF_MANY,
    "interleaved": {**BAND_OF_MANY, "policy": {"prediction": "interleaved"}},
    "last": {"policy": {"prediction": "last"}},
    "gru": {"backbone": {"kind": "gru"}},
    "mamba": {"backbone": {"kind": "mamba"}},
    "scheduled sampling": {"train": {"scheduled_sampling": 0.5}},
    "focal": {"train": {"focal_gamma": 2.0, "label_smoothing": 0.1}},
}


@pytest.mark.parametrize("named", STEPS_OF)
def test_activations_are_within_a_tenth_of_what_a_step_keeps(
    named: str, tiny: Tiny, dojo_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STEPS_OF[named]
    preset = tiny(**{**case, "train": {"batch_size": 6, "max_steps": 1, **case.get("train", {})}})
    own: set[int] = set()
    kept: dict[int, int] = {}

    def built(preset: Preset) -> Policy:
        policy = build_policy(preset)
        own.update(p.untyped_storage().data_ptr() for p in policy.parameters())
        return policy

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        # Before the step's way back nothing of this is freed, so every address is one tensor's.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    monkeypatch.setattr(trainer, "build_policy", built)
    data = open_training_data(preset, dojo_dataset)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), suppress(_FirstStep):
        loop.train(
            preset, data, _NullCheckpointManager(preset), device=CPU, run_name="step", emit=_until_a_step
        )
    assert estimate_run(preset, None).memory["activations"] == pytest.approx(sum(kept.values()), rel=0.1)


class _FirstStep(Exception):
    pass


def _until_a_step(kind: str, **fields: object) -> None:
    if kind == "step":
        raise _FirstStep


def test_the_cost_of_a_frame_grows_with_the_keys_of_the_band(tiny: Tiny) -> None:
    def cost(window: int) -> float:
        backbone = {"window_size": window, "layers": 3}
        return estimate_run(tiny(backbone=backbone, train={"chunk_length": 300}), None).flops_per_frame

    def keys(window: int) -> float:
        return sum(min(frame + 1, window) for frame in range(300)) / 300

    # Each of three layers compares and mixes 32 values a key: two products, twice that on the way back.
    for short, long in ((60, 120), (120, 180), (180, 300)):
        expected = 3 * 3 * 4 * 32 * (keys(long) - keys(short))
        assert cost(long) - cost(short) == pytest.approx(expected)
        assert expected > 0


@pytest.mark.parametrize("prediction", ["dense", "interleaved"])
def test_the_cost_of_a_frame_is_what_torch_counts(prediction: str, tiny: Tiny) -> None:
    preset = tiny(
        encoder={"width": 128},
        backbone={"kind": "mlp" if prediction == "dense" else "gru", "width": 128, "layers": 3},
        policy={"prediction": prediction},
    )
    policy = build_policy(preset)
    with FlopCounterMode(display=False) as counter:
        policy.nll(synthetic_batch(2, preset.chunk_length + policy.horizon, CPU))
    # The way back takes twice as many.
    counted = 3 * counter.get_total_flops() / (2 * preset.chunk_length)
    assert estimate_run(preset, None).flops_per_frame == pytest.approx(counted, rel=0.05)


def test_scheduled_sampling_costs_a_second_way_forward(tiny: Tiny) -> None:
    plain, sampling = (
        estimate_run(tiny(train={"scheduled_sampling": share}), None).flops_per_frame for share in (0.0, 0.5)
    )
    assert sampling == pytest.approx(plain * 4 / 3)


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_play_remembers_what_the_state_of_one_game_holds(kind: str, tiny: Tiny) -> None:
    preset = tiny(backbone={"kind": kind, "layers": 2})
    policy = build_policy(preset)
    batch, state = synthetic_batch(1, 20, CPU), policy.initial_state(1)
    for t in range(20):
        _, state = policy.step_features(slice_frames(batch, t, t + 1), batch.reset[:, t], state)
    assert estimate_run(preset, None).state_bytes == sum(part.nbytes for part in state)


def test_a_player_of_a_band_remembers_keys_and_values_of_so_many_frames(tiny: Tiny) -> None:
    short, long = (
        estimate_run(tiny(backbone={"window_size": frames}), None).state_bytes for frames in (16, 32)
    )
    assert long - short == 16 * 2 * 32 * 4


DROPOUT: dict[str, dict[str, object]] = {
    "encoder": {"dropout": 0.5},
    "backbone": {"dropout": 0.5},
    "policy": {"head_dropout": 0.5},
}


@pytest.mark.parametrize("prediction", ["dense", "interleaved"])
def test_no_outlook_probe_or_measurement_touches_the_random_state(
    prediction: str, tiny: Tiny, dojo_dataset: Path
) -> None:
    preset = tiny(**{**DROPOUT, "policy": {**DROPOUT["policy"], "prediction": prediction}})
    data = open_training_data(preset, dojo_dataset)
    before = torch.get_rng_state()
    expected = estimate_run(preset, data)
    assert torch.equal(torch.get_rng_state(), before)
    with_measured_speed(expected, preset, data, device=CPU, seconds=0.01)
    assert torch.equal(torch.get_rng_state(), before)
    training_speed(preset, CPU, seconds=0.01)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(CheckpointError):
        with_measured_speed(
            expected, tiny(**DROPOUT, train={"init_from": "/nowhere"}), data, device=CPU, seconds=0.01
        )
    assert torch.equal(torch.get_rng_state(), before)


def test_a_kernel_of_cuda_is_estimated_here_and_refused_where_it_cannot_run(tiny: Tiny) -> None:
    preset = tiny(backbone={"kind": "mamba", "kernel": "fused"}, train={"device": "cpu"})
    assert estimate_run(preset, None).memory == estimate_run(tiny(backbone={"kind": "mamba"}), None).memory
    with pytest.raises(UsageError, match=r"backbone\.kernel"):
        dry_run(preset, None, probe_seconds=None, as_json=True)


def test_cost_and_memory_are_told_in_a_line_each(tiny: Tiny) -> None:
    found = replace(
        estimate_run(tiny(), None),
        flops_per_frame=11.7e6,
        frames_per_step=1000,
        memory={"activations": 2**20},
    )
    assert cost_sentences(found)[:2] == [
        "11.7 MFLOP a frame, 11.7 GFLOP a step",
        "about 1.0 MiB of memory (1.0 MiB of it activations), estimated from one window",
    ]
    assert cost_sentences(found) == sentences(found)[2:5]


@pytest.mark.parametrize(
    ("value", "text"),
    [(950, "950 FLOP"), (999.6, "1 kFLOP"), (12_300, "12.3 kFLOP"), (1e12, "1 TFLOP"), (3e18, "3e+03 PFLOP")],
)
def test_flops_have_three_figures(value: float, text: str) -> None:
    assert flops(value) == text


def test_steps_and_epochs_are_those_of_the_run(tiny: Tiny, dojo_dataset: Path) -> None:
    preset = tiny(train={"max_steps": None, "epochs": 2})
    data = open_training_data(preset, dojo_dataset)
    frames = sum(data.store.index.games[ego.game].frames for ego in data.train)
    limits = limits_of(preset.train, windows_per_epoch=frames / preset.chunk_length)
    found = estimate_run(preset, data)
    assert found.steps == found.estimated_steps == limits.steps
    assert found.estimated_epochs == pytest.approx(2, rel=0.01)
    assert found.estimated_seconds is None


def test_without_data_epochs_say_nothing_of_steps(tiny: Tiny) -> None:
    assert estimate_run(tiny(train={"max_steps": None, "epochs": 2}), None).estimated_steps is None
    assert estimate_run(tiny(train={"max_steps": 7, "epochs": 2}), None).estimated_steps is None
    assert estimate_run(tiny(train={"max_steps": 7}), None).estimated_steps == 7


def test_a_probe_takes_real_steps_for_its_time_and_the_shorter_limit_is_the_estimate(
    tiny: Tiny, dojo_dataset: Path
) -> None:
    ticks = iter(range(1_000_000))

    def clock() -> float:
        return next(ticks) * 0.01

    preset = tiny(train={"max_steps": 1000, "max_minutes": 60.0})
    data = open_training_data(preset, dojo_dataset)
    found = with_measured_speed(
        estimate_run(preset, data), preset, data, device=CPU, seconds=1.0, clock=clock
    )
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
    found = with_measured_speed(estimate_run(preset, data), preset, data, device=CPU, seconds=0.01)
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
    assert told["flops_per_step"] == told["frames_per_step"] * told["flops_per_frame"] > 0
    assert told["state_bytes"] > 0
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
