"""How long a run is: by epochs, by updates or by minutes, whichever ends it first.

In: the train section and what is done so far. Out: `progress`, 0 to 1, which drives the learning rate, and
whether the run is over. What a reader gets wrong: minutes count over resumes, so the seconds come from the
trainer's state and not from this process's clock.
"""

import math
from dataclasses import dataclass

from exphil_core.config.preset import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    steps: int | None
    """Updates in the whole run; None when only time limits it."""
    seconds: float | None
    steps_per_epoch: float

    def progress(self, *, step: int, seconds: float) -> float:
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def left(self, *, step: int, seconds: float, seconds_per_step: float) -> float:
        """Estimated seconds until the run is over."""
        candidates = []
        if self.steps:
            candidates.append((self.steps - step) * seconds_per_step)
        if self.seconds:
            candidates.append(self.seconds - seconds)
        return max(0.0, min(candidates))


def limits_of(config: TrainConfig, *, windows_per_epoch: float) -> Limits:
    """The limits of a run whose training split holds `windows_per_epoch` windows."""
    steps_per_epoch = max(1.0, windows_per_epoch / (config.batch_size * config.accumulation))
    counts = []
    if config.epochs is not None:
        counts.append(max(1, math.ceil(config.epochs * steps_per_epoch)))
    if config.max_steps is not None:
        counts.append(config.max_steps)
    return Limits(
        steps=min(counts, default=None),
        seconds=None if config.max_minutes is None else config.max_minutes * 60,
        steps_per_epoch=steps_per_epoch,
    )
