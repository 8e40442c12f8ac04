"""Derive settings (warm-up, dropout, weight decay, size) from the amount of data and the run's length. No torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from exphil_core.config.sizes import SIZES, SizeName

FEW_FRAMES = 2_000_000
"""Below this many training frames of the wanted characters (about nine hours of play),
`data.train_on_all_characters = "auto"` takes every side: there they helped more than any regulariser."""

WARMUP_SHARE = 1 / 20
"""Maximum share of a run's steps for the learning rate warm-up."""

AVERAGE_SHARE = 1 / 20
"""Maximum share of a run's steps for the memory of the averaged weights (EMA)."""

FEW_PASSES = 8.0
"""Passes over the training frames up to which nothing is regularised: there dropout made the loss worse."""

FULL_RATE_FRAMES = 150_000
"""Training frames (about 12 games) from which learning rate and epochs are the size's own; below, they fall with the
square of the frames."""

MAX_DROPOUT = 0.3
MAX_WEIGHT_DECAY = 0.1

EVALUATION_SHARE = 1 / 20
"""Maximum share of a run's time for evaluations."""

EVALUATIONS = 20
"""Number of evaluations in a run, if their cost allows it."""

MIN_EVALUATIONS = 4


def trains_on_all_characters(setting: bool | str, wanted_frames: int) -> bool:
    """Resolve `data.train_on_all_characters`.

    Args:
        wanted_frames: training frames of the wanted characters.
    """
    return wanted_frames < FEW_FRAMES if setting == "auto" else bool(setting)


def batch_without_repeats(batch_size: int, grad_accum_steps: int, games: int) -> tuple[int, int]:
    """Return (batch size, forward passes per step) with at most one window of each game in a step."""
    windows = max(1, min(batch_size * grad_accum_steps, games))
    passes = math.ceil(windows / batch_size)
    return windows // passes, passes


def warmup_steps(most: int, steps: int) -> int:
    """Return the warm-up of a run of `steps`: `most` steps, at most a twentieth of the run."""
    return min(most, int(steps * WARMUP_SHARE))


def learning_rate(most: float, frames: int) -> float:
    """Return the learning rate: `most`, less for few training frames, at least a tenth.

    On 8 games a high rate raised the held-out loss within the first pass, and dropout and weight decay did not help.
    docs/measurements.md has the losses for 78,000 to 196,000 frames at size small. The minimum was not measured.
    """
    return float(f"{most * max(_share_of_full(frames), 0.1):.3g}")


def epochs(most: float, frames: int) -> float:
    """Return the passes over the training frames: `most`, fewer for few frames, at least a fifth (not measured)."""
    return round(most * max(_share_of_full(frames), 0.2), 1)


def _share_of_full(frames: int) -> float:
    return min(1.0, frames / FULL_RATE_FRAMES) ** 2


def ema_decay(most: float, steps: int) -> float:
    """Return the EMA decay: `most`, lowered until its memory 1 / (1 - decay) is at most a twentieth of the run."""
    memory = max(1.0, steps * AVERAGE_SHARE)
    return round(min(most, 1 - 1 / memory), 5)


def dropout(least: float, frames: int, seen: float) -> float:
    """Return the dropout of a run over `seen` frames, with repeats, of `frames` distinct ones.

    0 up to eight passes, then 0.1 more for each doubling. The maximum is 0.3 up to a million distinct frames, and 0.1
    less for each factor of ten above. Never below `least`.
    """
    passes = seen / max(1, frames)
    by_passes = 0.1 * math.log2(max(1.0, passes / FEW_PASSES))
    most = MAX_DROPOUT - 0.1 * math.log10(max(1.0, frames / 1e6))
    return round(max(least, min(by_passes, most)), 2)


def weight_decay(least: float, frames: int, seen: float) -> float:
    """Return AdamW's weight decay: `least` up to eight passes, then in proportion to the passes, up to 0.1."""
    passes = seen / max(1, frames)
    return round(max(least, min(MAX_WEIGHT_DECAY, least * passes / FEW_PASSES)), 4)


def evaluation_minutes(minutes: float, evaluation_seconds: float) -> float:
    """Return the minutes between evaluations: 20 in a run, fewer if they took over a twentieth of it, at least 4.

    Args:
        minutes: length of the run.
        evaluation_seconds: duration of one evaluation.
    """
    affordable = evaluation_seconds / EVALUATION_SHARE / 60
    return round(max(minutes / EVALUATIONS, min(affordable, minutes / MIN_EVALUATIONS)), 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedSize:
    """A picked size and the reason, as a sentence."""

    size: SizeName
    reason: str


def pick_size(
    *,
    frames: int,
    minutes: float | None,
    steps_per_minute: Callable[[SizeName], float],
) -> PickedSize:
    """Pick the largest size for which the training frames and the time suffice.

    Args:
        frames: training frames.
        minutes: the run's time limit; None for the size's own.
        steps_per_minute: measures a size's optimiser steps per minute on this machine; called only for sizes with
            enough frames.
    """
    why = []
    for name, size in reversed(SIZES.items()):
        if frames < size.frames:
            why.append(f"{name} wants {size.frames:,} training frames and there are {frames:,}")
            continue
        if not size.steps:
            break
        available = size.minutes if minutes is None else minutes
        steps = round(available * steps_per_minute(name))
        if steps >= size.steps:
            why.append(f"{frames:,} training frames, and about {steps:,} steps in {available:g} minutes here")
            return PickedSize(size=name, reason=f"size {name}: {'; '.join(why)}")
        why.append(f"{name} wants {size.steps:,} steps and {available:g} minutes here have about {steps:,}")
    return PickedSize(size="small", reason=f"size small: {'; '.join(why)}")
