"""Named sizes of a preset (small, medium, production): dimensions, learning rate, batch and limits. No torch."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

SizeName = Literal["small", "medium", "production"]

SizeChoice = Literal["auto", "small", "medium", "production"]

AUTO = "auto"
"""The size is picked by the run's data, this machine's speed and the run's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSize:
    """The settings of a size, and what `auto` requires to pick it."""

    settings: Mapping[str, object]
    """Preset values by dotted key."""
    frames: int
    """Training frames from which `auto` picks it: about the number of parameters of such a policy."""
    steps: int
    """Optimiser steps for which a run must have time, for `auto` to pick it."""
    minutes: float
    """Minutes that `auto` assumes for a run without a time limit."""


def named_at_size(preset: str, size: str | None) -> str:
    """Return the display name of a preset at a size."""
    return preset if size is None else f"{preset} ({size})"


def size_overrides(size: str | None) -> dict[str, object]:
    """Return the override that loads a preset at a size; empty for None, the preset's own dimensions."""
    return {} if size is None else {"size": size}


LIMITS = ("train.epochs", "train.max_steps", "train.max_minutes")
"""Keys that limit a run. A size's own minutes apply only if no preset file and no option sets one of them, its epochs
only if neither epochs nor steps are set."""

SIZES: dict[SizeName, NamedSize] = {
    "small": NamedSize(
        settings={
            "encoder.width": 128,
            "encoder.character_width": 16,
            "encoder.action_state_width": 32,
            "encoder.stage_width": 8,
            "encoder.dropout": 0.0,
            "backbone.window_size": 60,
            "backbone.width": 128,
            "backbone.layers": 2,
            "backbone.heads": 4,
            "backbone.dropout": 0.0,
            "policy.head_width": 64,
            "policy.head_dropout": 0.0,
            # On 196,000 frames the loss was .834 of markov's after 10 passes, .839 after 24.
            "train.epochs": 10.0,
            "train.max_steps": "none",
            "train.max_minutes": 15.0,
            "train.batch_size": 16,
            "train.grad_accum_steps": 1,
            # Twice that of `quick`: on real games 1e-3 took twice the steps to the same loss.
            "train.lr": 2e-3,
            "train.warmup_steps": 50,
            "train.weight_decay": 0.01,
            "train.ema_decay": 0.995,
            "evaluation.every_minutes": 0.5,
            "evaluation.max_frames": 40_000,
        },
        frames=0,
        steps=0,
        minutes=15.0,
    ),
    "medium": NamedSize(
        settings={
            "encoder.width": 192,
            "encoder.character_width": 32,
            "encoder.action_state_width": 48,
            "encoder.stage_width": 16,
            "encoder.dropout": 0.0,
            "backbone.window_size": 120,
            "backbone.width": 192,
            "backbone.layers": 3,
            "backbone.heads": 4,
            "backbone.dropout": 0.0,
            "policy.head_width": 96,
            "policy.head_dropout": 0.0,
            "train.epochs": "none",
            "train.max_steps": "none",
            "train.max_minutes": 60.0,
            "train.batch_size": 32,
            "train.grad_accum_steps": 1,
            "train.lr": 6e-4,
            "train.warmup_steps": 200,
            "train.weight_decay": 0.01,
            "train.ema_decay": 0.999,
            "evaluation.every_minutes": 2.0,
            "evaluation.max_frames": 100_000,
        },
        frames=1_000_000,
        steps=4_000,
        minutes=60.0,
    ),
    "production": NamedSize(
        settings={
            "encoder.width": 256,
            "encoder.character_width": 64,
            "encoder.action_state_width": 64,
            "encoder.stage_width": 16,
            "encoder.dropout": 0.0,
            # The first ExPhil had 60 frames of a block that it called Mamba (first_mamba has its shape).
            "backbone.window_size": 180,
            "backbone.width": 256,
            "backbone.layers": 3,
            "backbone.heads": 4,
            # As in the first ExPhil's recurrent backbones.
            "backbone.dropout": 0.1,
            "policy.head_width": 128,
            "policy.head_dropout": 0.1,
            "train.epochs": 100.0,
            "train.max_steps": "none",
            "train.max_minutes": "none",
            # 1,024 windows per optimiser step.
            "train.batch_size": 256,
            "train.grad_accum_steps": 4,
            "train.lr": 1e-4,
            "train.warmup_steps": 2000,
            "train.weight_decay": 0.01,
            "train.ema_decay": 0.9995,
            "evaluation.every_minutes": 2.0,
            "evaluation.max_frames": "none",
        },
        frames=3_000_000,
        steps=5_000,
        minutes=24 * 60.0,
    ),
}
"""By name, in ascending order. `production` is the size that the first ExPhil called so."""


def size_settings(name: SizeName, backbone_keys: Set[str], *, limits: Set[str]) -> dict[str, object]:
    """Return a size's values by dotted key, without those that the kind of backbone does not have.

    Args:
        backbone_keys: settings of the kind of backbone.
        limits: those of `LIMITS` that a preset file or the command line sets.
    """
    found = dict(SIZES[name].settings)
    if limits:
        found |= dict.fromkeys(LIMITS if limits - {"train.max_minutes"} else ("train.max_minutes",), "none")
    return {
        key: value
        for key, value in found.items()
        if not key.startswith("backbone.") or key.removeprefix("backbone.") in backbone_keys
    }
