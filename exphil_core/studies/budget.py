"""Budget that makes variants comparable: the same frames, the same minutes or the same FLOPs.

Frames are those of all windows, predicted or not. An update is never split, so budgets agree to within half of
one, and a budget of too few updates is refused.
"""

from dataclasses import dataclass, replace
from typing import Literal

from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError

Kind = Literal["frames", "minutes", "flops"]

BUDGET_KEYS = {
    "train.max_steps": "the budget",
    "train.max_minutes": "the budget",
    "train.epochs": "the budget",
    "evaluation.patience": "the budget (a run that stops early has not had it)",
    "train.seed": "'seeds'",
    "data.replays": "[data]",
}
"""Preset keys that the study decides, and by what."""

MOST_ROUNDING = 0.02
"""Largest relative deviation from a budget, which whole updates cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The length of a run."""

    kind: Kind
    amount: float
    """Frames, minutes or FLOPs of one run."""
    multiple: float = 1.0
    """Multiple of the study's budget."""

    def times(self, factor: float) -> "Budget":
        """Return the budget multiplied by `factor`."""
        return replace(self, amount=self.amount * factor, multiple=self.multiple * factor)

    def given_to(self, preset: Preset, *, flops_per_frame: float | None = None) -> Preset:
        """Return the preset with this length.

        Args:
            flops_per_frame: needed for a budget of FLOPs.

        Raises:
            UsageError: whole updates cannot meet the budget to within `MOST_ROUNDING`.
        """
        steps: int | None = None
        if self.kind != "minutes":
            each = float(frames_per_step(preset))
            if self.kind == "flops":
                assert flops_per_frame is not None, "a budget of FLOPs needs their number per frame"
                each *= flops_per_frame
            steps = max(1, round(self.amount / each))
            off = abs(steps * each / self.amount - 1)
            if off > MOST_ROUNDING:
                raise UsageError(
                    f"a budget of {self.amount:,.0f} {self.kind} is {self.amount / each:.1f} updates of "
                    f"{each:,.0f} {self.kind} each, so it could only be met to within {off:.0%}: raise the "
                    "budget, or lower train.batch_size"
                )
        length = {
            "epochs": None,
            "max_steps": steps,
            "max_minutes": self.amount if self.kind == "minutes" else None,
        }
        return preset.model_copy(update={"train": preset.train.model_copy(update=length)})


def frames_per_step(preset: Preset) -> int:
    """Return the frames of all windows of an update."""
    return preset.train.batch_size * preset.train.grad_accum_steps * preset.chunk_length
