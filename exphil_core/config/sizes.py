"""The named sizes of a preset: one table of dimensions, learning rate, batch and limits. No torch."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

SizeName = Literal["small", "medium", "production"]

SizeChoice = Literal["auto", "small", "medium", "production"]

AUTO = "auto"
"""The size that a run picks for its data, this machine and its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    settings: Mapping[str, object]
    """Preset values by dotted key."""
    frames: int
    """`auto` takes it from as many training frames: about as many as a policy of it has parameters."""
    steps: int
    """`auto` takes it where a run has time for as many optimiser steps."""
    minutes: float
    """The time that `auto` reckons with where a run has no limit of its own."""


def named_at_size(preset: str, size: str | None) -> str:
    """How a preset at a size is called in a sentence."""
    return preset if size is None else f"{preset} ({size})"


def size_overrides(size: str | None) -> dict[str, object]:
    """The override that loads a preset at a size; none where the preset has its own dimensions."""
    return {} if size is None else {"size": size}


LIMITS = ("train.epochs", "train.max_steps", "train.max_minutes")
"""What ends a run. A size's own limits apply only where a preset file or the command line sets none."""

SIZES: dict[SizeName, Size] = {
    "small": Size(
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
            "train.epochs": "none",
            "train.max_steps": "none",
            "train.max_minutes": 15.0,
            "train.batch_size": 16,
            "train.accumulation": 1,
            # Twice that of `quick`: at 1e-3 real games took twice the steps to the same loss.
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
    "medium": Size(
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
            "train.accumulation": 1,
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
    "production": Size(
        settings={
            "encoder.width": 256,
            "encoder.character_width": 64,
            "encoder.action_state_width": 64,
            "encoder.stage_width": 16,
            "encoder.dropout": 0.0,
            # Theirs was 60 frames of a block that they called Mamba (first_mamba has its shape).
            "backbone.window_size": 180,
            "backbone.width": 256,
            "backbone.layers": 3,
            "backbone.heads": 4,
            # They used 0.1 in their recurrent backbones.
            "backbone.dropout": 0.1,
            "policy.head_width": 128,
            "policy.head_dropout": 0.1,
            "train.epochs": 100.0,
            "train.max_steps": "none",
            "train.max_minutes": "none",
            # 1,024 windows an optimiser step.
            "train.batch_size": 256,
            "train.accumulation": 4,
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
"""By name, from the smallest up. `production` is what the first ExPhil called so."""


def size_settings(name: SizeName, backbone_keys: Set[str], *, limited: bool) -> dict[str, object]:
    """A size's values by dotted key, without those that the kind of backbone does not know.

    `limited`: a preset file or the command line sets a limit, so the size's own do not apply.
    """
    found = dict(SIZES[name].settings)
    if limited:
        found |= dict.fromkeys(LIMITS, "none")
    return {
        key: value
        for key, value in found.items()
        if not key.startswith("backbone.") or key.removeprefix("backbone.") in backbone_keys
    }
