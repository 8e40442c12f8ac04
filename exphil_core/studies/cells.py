"""One run of a study: as it is to be, and as the journal has it.

In: nothing. Out: plain values, which need no storage to be made up. What a reader gets wrong: a `Cell` is what a
process wants run now; a `Trial` is what was once wanted, by whoever added it, and what became of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exphil_core.config.preset import Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A variant with a seed: one run."""

    run: str
    """Its name."""
    variant: str
    seed: int
    values: Mapping[str, str]
    budget: str
    """`frames`, `minutes` or `flops`."""
    amount: float
    """Of that."""
    multiple: float
    """How many times the study's budget that is."""
    preset: Preset
    """With the seed and the length, but without the data."""
    starts_from: str | None = None
    """The run with whose best weights this one begins, and which has to end before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A cell as the journal has it."""

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
    """What it failed of."""
    measures: Mapping[str, Any] | None
    """Of a complete one; `measures.Measures` reads them."""
    starts_from: str | None = None
    """The run with whose best weights it begins."""

    @property
    def ended(self) -> bool:
        return self.state in ("complete", "failed")
