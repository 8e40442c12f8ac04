"""Law: a run learns the same, bit for bit, whether its weights are saved for a pilot all the time or never."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.lock import hold
from exphil_core.models.weights import checksum, read_weights
from exphil_core.pilot import publisher
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.pilot.publisher import Publisher
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.worker import work

STEPS = 40


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Step → checksum of what was saved: after every step in which the weights before it have been written."""
    steps: dict[int, int] = {}
    write = publisher.write_weights

    def noted(path: Path, weights: Mapping[str, Tensor], *, step: int) -> int:
        steps[step] = write(path, weights, step=step)
        return steps[step]

    monkeypatch.setattr(publisher, "write_weights", noted)
    hurried = partial(Publisher, clock=lambda: 1e4 * time.monotonic())
    monkeypatch.setattr(publisher, "Publisher", hurried)
    return steps


@pytest.mark.parametrize(("kind", "ema_decay"), [("attention", 0.99), ("gru", 0.0), ("mamba", 0.99)])
def test_a_run_whose_weights_are_saved_for_a_pilot_ends_with_bitwise_the_same_weights(
    kind: str,
    ema_decay: float,
    tiny: Callable[..., Preset],
    new_run: Callable[..., RunDirectory],
    copied: dict[int, int],
) -> None:
    # Dropout and noise are on: whoever draws a random number more would be found out.
    preset = tiny(
        encoder={"dropout": 0.1},
        backbone={"kind": kind, "dropout": 0.1},
        train={"max_steps": STEPS, "noise_prob": 0.5, "ema_decay": ema_decay},
        evaluation={"every_steps": 20},
    )
    alone = new_run(preset, "alone")
    assert work(alone) == 0
    assert not copied

    watched = new_run(preset, "watched")
    pilot = PilotDirectory(watched)
    pilot.path.mkdir()
    with hold(pilot.lock_path, "the pilot"):
        assert work(watched) == 0
    assert len(copied) > STEPS / 4

    for name in ("model.safetensors", "optimizer.safetensors", "rng-0.safetensors"):
        first, second = (load_file(run.step_directory(STEPS) / name) for run in (alone, watched))
        assert first.keys() == second.keys()
        for key, tensor in first.items():
            assert tensor.equal(second[key]), f"{name}: {key} differs"
    losses = [
        [event["loss"] for event in read_events(run.events_path) if event["type"] in ("step", "evaluated")]
        for run in (alone, watched)
    ]
    assert losses[0] == losses[1]

    saved = read_weights(pilot.weights_path)
    assert saved.step == max(copied) < STEPS
    assert checksum(saved.tensors) == saved.checksum
    assert saved.tensors.keys() == load_file(alone.step_directory(STEPS) / "model.safetensors").keys()


def test_the_weights_that_a_pilot_gets_are_those_that_a_checkpoint_of_the_step_holds(
    tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory], copied: dict[int, int]
) -> None:
    """Averaged ones, where there is an average: what is evaluated and exported is what is played."""
    train = {"max_steps": 15, "ema_decay": 0.9, "checkpoint_minutes": 1e-4, "keep_checkpoints": 15}
    run = new_run(tiny(train=train))
    pilot = PilotDirectory(run)
    pilot.path.mkdir()
    with hold(pilot.lock_path, "the pilot"):
        assert work(run) == 0
    both = copied.keys() & set(run.steps())
    assert len(both) > 3
    for step in both:
        assert copied[step] == checksum(load_file(run.step_directory(step) / "model.safetensors"))
