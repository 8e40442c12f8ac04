"""Advice as plain values: what to take and why, each reason with what it is based on.

Advice may have no choice; its headline then says what is missing.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exphil_core.advise.evidence import Evidence
from exphil_core.advise.latency_cache import CachedLatencies, CachedLatency
from exphil_core.config.sizes import named_at_size
from exphil_core.dataset.stats import CharacterCounts
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

VERSION = 1

DISTURBED = 3.0
"""Ratio of p99 to median that suggests other load. On an idle machine it is below 1.5 for every backbone
(docs/BACKBONES.md)."""

About = Literal["latency", "backbone", "window", "size", "data", "strategy"]

Basis = Literal["bench", "study", "data", "assumption"]
"""Measured on this machine, run as a study, counted in the data, or assumed and not measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The games to learn from."""

    games: int
    per_character: Mapping[str, CharacterCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Requirements on the advice, and the data it is for."""

    device: Literal["cpu", "cuda"]
    """Where the policy trains and plays."""
    threads: int
    """Threads of the policy in play."""
    budget_ms: float
    missed_share: float
    """Share of 60 FPS deadlines that may be missed."""
    characters: tuple[str, ...] = ()
    """Characters to imitate; empty leaves the choice to the data."""
    data: Data | None = None
    replays: tuple[str, ...] = ()
    """As the command is to name them."""
    asked_device: str | None = None
    """As the command is to name it; None leaves it out."""
    runs_dir: Path = DEFAULT_RUNS_DIR
    """Folder of the studies, and of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known about this machine and its studies."""

    latencies: CachedLatencies
    evidence: tuple[Evidence, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One sentence of the advice, with what it is about and based on."""

    about: About
    sentence: str
    basis: Basis
    source: str = ""
    """Name of a study; empty for other bases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backbone, window and size, with its latency here."""

    backbone: str
    window_size: int
    preset: str
    size: str | None
    """The preset's size; None where it has only one."""
    row: CachedLatency | None
    """Latency in the runtime that would play; None where it was not measured."""
    fits: bool
    over_ms: float | None
    """By how much p99 exceeds the budget; None where it does not, or was not measured."""
    others: Mapping[str, CachedLatency] = field(default_factory=dict)
    """Latency in other runtimes, by name."""

    @property
    def label(self) -> str:
        return named_at_size(self.preset, self.size)

    @property
    def disturbed(self) -> bool:
        """Whether other load probably makes it late: its p99 is a multiple of its median."""
        return self.row is not None and not self.fits and self.row.p99_ms > DISTURBED * self.row.p50_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to take, and why."""

    question: Question
    headline: str
    """First sentence: what to take, or why there is no choice yet."""
    chosen: Candidate | None
    command: tuple[str, ...]
    """Words after `exphil`; empty where nothing was chosen, or nothing can be learned."""
    reasons: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]
    """Those of every size that was considered."""
    missing: tuple[Candidate, ...]
    """Candidates whose latency was not measured."""
    notes: tuple[str, ...]
    """General notes."""

    @property
    def command_line(self) -> str:
        return shlex.join(("exphil", *self.command)) if self.command else ""
