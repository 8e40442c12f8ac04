"""The training loop's counters, and when they call for an evaluation, a checkpoint or the end."""

from dataclasses import dataclass

from exphil_core.config.preset import Preset
from exphil_core.training.duration import RunLimits

EVALUATIONS = 20
"""Evaluations over a run whose preset sets no interval."""


@dataclass(slots=True, kw_only=True)
class TrainerState:
    """The loop's counters. A checkpoint stores all of them."""

    step: int = 0
    seconds: float = 0.0
    """Time trained, over all resumes."""
    frames: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    stale: int = 0
    """Evaluations since the last improvement by `min_delta`."""
    patience_loss: float | None = None
    evaluated_step: int | None = None
    evaluation_tick: int = 0
    """Intervals between evaluations that have passed."""
    precision: str = ""
    dataset: str = ""
    """Fingerprint of the dataset whose games a carried state belongs to."""

    def fields(self) -> dict[str, object]:
        """Everything but `step`, by name."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "step"}

    def record_evaluation(self, loss: float, min_delta: float) -> bool:
        """Store the loss of an evaluation of this step. Returns whether it is the lowest so far."""
        self.evaluated_step = self.step
        # Patience counts from the first trained weights: those of the warm-up may not beat a good start.
        if self.step > 0:
            if self.patience_loss is None or loss < self.patience_loss - min_delta:
                self.patience_loss, self.stale = loss, 0
            else:
                self.stale += 1
        if self.best_loss is not None and loss >= self.best_loss:
            return False
        self.best_loss, self.best_step = loss, self.step
        return True


@dataclass(slots=True)
class EvaluationSchedule:
    """Decides when to evaluate and when to save."""

    preset: Preset
    limits: RunLimits
    saved_seconds: float
    """Time trained at the last checkpoint."""

    def evaluation_due(self, state: TrainerState) -> bool:
        """Return whether an evaluation is due: of the start, then by steps, minutes or progress."""
        if state.evaluated_step is None:
            return True
        config = self.preset.evaluation
        tick = 0
        if config.every_steps is not None:
            tick += state.step // config.every_steps
        if config.every_minutes is not None:
            tick += int(state.seconds / (60 * config.every_minutes))
        if config.every_steps is None and config.every_minutes is None:
            tick = int(EVALUATIONS * self.limits.progress(step=state.step, seconds=state.seconds))
        due = tick > state.evaluation_tick
        state.evaluation_tick = tick
        return due

    def retry_evaluation(self, state: TrainerState) -> None:
        """Reschedule an interrupted evaluation."""
        if state.evaluated_step is not None:
            state.evaluation_tick -= 1

    def checkpoint_due(self, state: TrainerState) -> bool:
        return state.seconds - self.saved_seconds >= 60 * self.preset.train.checkpoint_minutes

    def saved(self, state: TrainerState) -> None:
        """Record that a checkpoint of this state is on disk."""
        self.saved_seconds = state.seconds

    def should_stop_early(self, state: TrainerState) -> bool:
        return 0 < self.preset.evaluation.patience <= state.stale
