"""Run length: epochs, updates or minutes, whichever limit comes first.

Minutes count over resumes, so `seconds` is that of the trainer's state and not of this process's clock.
"""

import math
from dataclasses import dataclass

from exphil_core.config.preset import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """A run's limits."""

    steps: int | None
    """Updates in the whole run; None when only time limits it."""
    seconds: float | None
    steps_per_epoch: float

    def progress(self, *, step: int, seconds: float) -> float:
        """Return the finished share of the run, 0 to 1; it drives the learning rate."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def left(self, *, step: int, seconds: float, seconds_per_step: float) -> float:
        """Estimate the seconds until the run ends."""
        candidates = []
        if self.steps:
            candidates.append((self.steps - step) * seconds_per_step)
        if self.seconds:
            candidates.append(self.seconds - seconds)
        return max(0.0, min(candidates))


def limits_of(config: TrainConfig, *, windows_per_epoch: float) -> RunLimits:
    """Return the limits of a run whose training split holds `windows_per_epoch` windows."""
    steps_per_epoch = max(1.0, windows_per_epoch / (config.batch_size * config.grad_accum_steps))
    counts = []
    if config.epochs is not None:
        counts.append(max(1, math.ceil(config.epochs * steps_per_epoch)))
    if config.max_steps is not None:
        counts.append(config.max_steps)
    return RunLimits(
        steps=min(counts, default=None),
        seconds=None if config.max_minutes is None else config.max_minutes * 60,
        steps_per_epoch=steps_per_epoch,
    )
