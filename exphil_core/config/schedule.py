"""Settings that follow from how much there is to learn from and how long a run is. Pure functions; no torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from exphil_core.config.sizes import SIZES, SizeName

FEW_FRAMES = 2_000_000
"""Training frames of the wanted characters below which `data.train_on_all_characters = "auto"` takes every side.
About nine hours of play. Below it, the other sides were worth more than any regulariser."""

WARMUP_SHARE = 1 / 20
"""Most of a run's steps over which the learning rate rises."""

AVERAGE_SHARE = 1 / 20
"""Of a run's steps, the most that the averaged weights look back on."""

FEW_PASSES = 8.0
"""Passes over the training frames up to which nothing is regularised: dropout cost more than it gave."""

MOST_DROPOUT = 0.3
MOST_DECAY = 0.1

EVALUATION_SHARE = 1 / 20
"""Most of a run's time that evaluations take."""

EVALUATIONS = 20
"""Evaluations of a run at most, where their cost allows as many."""

FEWEST_EVALUATIONS = 4


def trains_on_all_characters(setting: bool | str, wanted_frames: int) -> bool:
    """What `data.train_on_all_characters` means where the wanted characters have so many training frames."""
    return wanted_frames < FEW_FRAMES if setting == "auto" else bool(setting)


def batch_without_repeats(batch_size: int, accumulation: int, games: int) -> tuple[int, int]:
    """(batch size, forward passes a step) with at most `games` windows a step: one of a game."""
    windows = max(1, min(batch_size * accumulation, games))
    passes = math.ceil(windows / batch_size)
    return windows // passes, passes


def warmup_steps(most: int, steps: int) -> int:
    """Steps of warm-up in a run of `steps`: a twentieth of it at most."""
    return min(most, int(steps * WARMUP_SHARE))


def ema_decay(most: float, steps: int) -> float:
    """Decay of the averaged weights whose memory, 1 / (1 - decay), is a twentieth of the run at most."""
    memory = max(1.0, steps * AVERAGE_SHARE)
    return round(min(most, 1 - 1 / memory), 5)


def dropout(least: float, frames: int, seen: float) -> float:
    """Dropout of a run that sees `seen` frames, with repeats, out of `frames` different ones.

    Nothing up to eight passes, then 0.1 for each doubling. Of more different frames less is enough: 0.3 at most up
    to a million, 0.1 less for each ten times as many.
    """
    passes = seen / max(1, frames)
    by_passes = 0.1 * math.log2(max(1.0, passes / FEW_PASSES))
    most = MOST_DROPOUT - 0.1 * math.log10(max(1.0, frames / 1e6))
    return round(max(least, min(by_passes, most)), 2)


def weight_decay(least: float, frames: int, seen: float) -> float:
    """AdamW's decay for as many frames: in proportion to the passes beyond eight, up to 0.1."""
    passes = seen / max(1, frames)
    return round(max(least, min(MOST_DECAY, least * passes / FEW_PASSES)), 4)


def evaluation_minutes(minutes: float, evaluation_seconds: float) -> float:
    """Minutes between evaluations in a run of `minutes`: 20 of them, fewer where they would take over a twentieth
    of the run, and four at the least."""
    affordable = evaluation_seconds / EVALUATION_SHARE / 60
    return round(max(minutes / EVALUATIONS, min(affordable, minutes / FEWEST_EVALUATIONS)), 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    size: SizeName
    reason: str


def pick_size(
    *,
    frames: int,
    minutes: float | None,
    steps_per_minute: Callable[[SizeName], float],
) -> Picked:
    """The largest size that the training frames and the time carry.

    Args:
        frames: training frames.
        minutes: the run's limit on time; None where it has none.
        steps_per_minute: optimiser steps of a size that this machine takes in a minute; asked only of sizes that
            have the frames.
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
            return Picked(size=name, reason=f"size {name}: {'; '.join(why)}")
        why.append(f"{name} wants {size.steps:,} steps and {available:g} minutes here have about {steps:,}")
    return Picked(size="small", reason=f"size small: {'; '.join(why)}")
