"""Fit a preset to its data, this machine and its time limit: size, schedule, and whose sides are trained on.

A run is fitted once, when it is created. run.toml keeps the values and the reasons, and a resume measures
nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exphil_core.config.loader import Resolved
from exphil_core.config.preset import Preset
from exphil_core.config.schedule import (
    FEW_FRAMES,
    batch_without_repeats,
    dropout,
    ema_decay,
    epochs,
    evaluation_minutes,
    learning_rate,
    pick_size,
    warmup_steps,
    weight_decay,
)
from exphil_core.config.sizes import AUTO, SizeName
from exphil_core.training.data import TrainingData, open_training_data
from exphil_core.training.device import choose_device
from exphil_core.training.duration import limits_of
from exphil_core.training.evaluate import COPYCAT_FRAMES

SPEED_SECONDS = 2.0
"""Measuring time for each size."""

FORWARD_SPEED = 3.0
"""Evaluation frames per training frame in the same time; evaluation has no backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPreset:
    """A fitted preset, with the reasons for its values."""

    preset: Preset
    """Every automatic value is resolved."""
    reasons: tuple[str, ...]
    """One sentence for each value that was picked."""
    seconds: float | None
    """Expected training time at most; None where speed was not measured."""


Speed = Callable[[Preset], float]
"""Training frames per second of a preset on this machine."""


def fit(resolved: Resolved, dataset: Path, *, speed: Speed | None = None) -> FittedPreset:
    """Resolve the automatic values of a preset for a dataset.

    Args:
        speed: returns training frames per second of a preset; None measures on the preset's device.

    Raises:
        DataError: as `open_training_data`.
        UsageError: the device or kernel is not available.
    """
    data = open_training_data(resolved.preset, dataset)
    reasons = []
    preset = resolved.preset
    if preset.data.train_on_all_characters == AUTO:
        on_all, reason = _trained_on(preset, data)
        reasons += [reason] if reason else []
        resolved = resolved.setting("data.train_on_all_characters", on_all)
        preset = resolved.preset
    if preset.size is None:
        return FittedPreset(preset=preset, reasons=tuple(reasons), seconds=None)
    measured: dict[str, float] = {}

    def frames_per_s(name: SizeName) -> float:
        if name not in measured:
            measured[name] = (speed or _speed_here)(resolved.at_size(name))
        return measured[name]

    frames = sum(data.store.index.games[ego.game].frames for ego in data.train)
    games = len({ego.game for ego in data.train})
    name: SizeName
    if preset.size == "auto":
        picked = pick_size(
            frames=frames,
            minutes=_limit_minutes(resolved),
            steps_per_minute=lambda name: (
                60 * frames_per_s(name) / _frames_a_step(_at(resolved, name, games, frames))
            ),
        )
        name = picked.size
        reasons.insert(0, picked.reason)
    else:
        name = preset.size
        reasons.insert(0, f"size {name}: as asked")
    sized = _at(resolved, name, games, frames)
    expected = _expected(sized, data, frames, frames_per_s(name))
    fitted = resolved.at_size(
        name,
        {
            **_batch_and_epochs(resolved.at_size(name), games, frames),
            **_schedule(sized, data, frames, expected),
        },
    )
    reasons.append(_said(fitted, games, frames, expected, frames_per_s(name)))
    return FittedPreset(preset=fitted, reasons=tuple(reasons), seconds=expected.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    steps: int
    seconds: float
    evaluation_seconds: float


def _speed_here(preset: Preset) -> float:
    from exphil_core.training.speed import training_speed

    return training_speed(preset, choose_device(preset.train.device), seconds=SPEED_SECONDS)


def _trained_on(preset: Preset, data: TrainingData) -> tuple[bool, str]:
    """Return whether every side is trained on, and the reason; the reason is empty where there is no choice."""
    if not preset.data.characters:
        return False, ""
    comparison = "fewer than" if data.all_characters else "no fewer than"
    whose = "all characters" if data.all_characters else "the wanted characters alone"
    return data.all_characters, (
        f"trained on {whose}: the wanted ones have {data.wanted_frames:,} training frames, {comparison} "
        f"{FEW_FRAMES:,} (data.train_on_all_characters)"
    )


def _limit_minutes(resolved: Resolved) -> float | None:
    """Return the run's explicit time limit; None without one."""
    if "train.max_minutes" not in resolved.explicit:
        return None
    return resolved.preset.train.max_minutes


def _frames_a_step(preset: Preset) -> int:
    return preset.train.batch_size * preset.train.grad_accum_steps * preset.chunk_length


def _batch_and_epochs(preset: Preset, games: int, frames: int) -> dict[str, object]:
    batch_size, grad_accum_steps = batch_without_repeats(
        preset.train.batch_size, preset.train.grad_accum_steps, games
    )
    found: dict[str, object] = {"train.batch_size": batch_size, "train.grad_accum_steps": grad_accum_steps}
    if preset.train.epochs is not None:
        found["train.epochs"] = epochs(preset.train.epochs, frames)
    return found


def _at(resolved: Resolved, name: SizeName, games: int, frames: int) -> Preset:
    """Return the preset at a size, with a batch that the games can fill and epochs for the frames."""
    return resolved.at_size(name, _batch_and_epochs(resolved.at_size(name), games, frames))


def _expected(preset: Preset, data: TrainingData, frames: int, frames_per_s: float) -> _Expected:
    limits = limits_of(preset.train, windows_per_epoch=frames / preset.chunk_length)
    seconds_per_step = _frames_a_step(preset) / frames_per_s
    candidates = []
    if limits.steps is not None:
        candidates.append(limits.steps * seconds_per_step)
    if limits.seconds is not None:
        candidates.append(limits.seconds)
    seconds = min(candidates)
    held_out = sum(data.store.index.games[ego.game].frames for ego in data.validation)
    evaluated = min(held_out, preset.evaluation.max_frames or held_out)
    return _Expected(
        steps=max(1, round(seconds / seconds_per_step)),
        seconds=seconds,
        evaluation_seconds=(evaluated + min(evaluated, COPYCAT_FRAMES)) / (FORWARD_SPEED * frames_per_s),
    )


def _schedule(preset: Preset, data: TrainingData, frames: int, expected: _Expected) -> dict[str, object]:
    train = preset.train
    seen = float(expected.steps) * _frames_a_step(preset)
    return {
        "train.warmup_steps": warmup_steps(train.warmup_steps, expected.steps),
        "train.lr": learning_rate(train.lr, frames),
        "train.ema_decay": ema_decay(train.ema_decay, expected.steps),
        "train.weight_decay": weight_decay(train.weight_decay, frames, seen),
        "backbone.dropout": dropout(preset.backbone.dropout, frames, seen),
        "encoder.dropout": dropout(preset.encoder.dropout, frames, seen),
        "policy.head_dropout": dropout(preset.policy.head_dropout, frames, seen),
        "evaluation.every_minutes": evaluation_minutes(expected.seconds / 60, expected.evaluation_seconds),
    }


def _said(preset: Preset, games: int, frames: int, expected: _Expected, frames_per_s: float) -> str:
    train = preset.train
    windows = train.batch_size * train.grad_accum_steps
    passes = expected.steps * _frames_a_step(preset) / max(1, frames)
    most = "" if train.epochs is None else f", at most {train.epochs:g} (train.epochs)"
    return (
        f"about {expected.steps:,} steps of {windows} windows from {games:,} games ({frames:,} frames, {passes:.1f} "
        f"passes{most}) at about {frames_per_s:,.0f} frames/s here: warm-up {train.warmup_steps:,} steps, "
        f"learning rate {train.lr:g}, EMA {train.ema_decay:g}, dropout {preset.backbone.dropout:g}, weight decay "
        f"{train.weight_decay:g}"
    )
