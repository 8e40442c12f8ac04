"""One run of a study: the `TrialSpec` that a process wants run, and the `Trial` in the journal.

Any process may have added a trial; it also holds the state and the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exphil_core.config.preset import Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """A variant with a seed: one run."""

    run: str
    """Name of the run."""
    variant: str
    seed: int
    values: Mapping[str, str]
    budget: str
    """`frames`, `minutes` or `flops`."""
    amount: float
    """In the unit of `budget`."""
    multiple: float
    """Multiple of the study's budget."""
    preset: Preset
    """With the seed and the length, without the data."""
    starts_from: str | None = None
    """Run whose best weights this one begins with; it has to end first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial in the journal, with its state and result."""

    run: str
    variant: str
    seed: int
    values: Mapping[str, str]
    budget: str
    amount: float
    multiple: float
    preset: Mapping[str, Any]
    state: str
    """waiting, running, complete or failed."""
    why: str
    """Why it failed; empty otherwise."""
    measures: Mapping[str, Any] | None
    """Result of a complete trial, for `trial_result.measures_of`."""
    starts_from: str | None = None
    """Run whose best weights it begins with."""

    @property
    def ended(self) -> bool:
        return self.state in ("complete", "failed")
