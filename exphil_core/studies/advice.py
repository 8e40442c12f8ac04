"""Advice as plain values: what to take and why, each reason with what it rests on.

In: nothing (`advisor.py` makes them). Out: what the command line, JSON and the workbench show. What a reader gets
wrong: advice without a choice is advice too; its headline then says what is missing.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exphil_core.config.sizes import named_at_size
from exphil_core.dataset.contents import CharacterCounts
from exphil_core.runs.commands import DEFAULT_RUNS_DIR
from exphil_core.studies.benched import Benched, BenchedRow
from exphil_core.studies.evidence import Evidence

VERSION = 1

DISTURBED = 3.0
"""The p99 as a multiple of the median. On an idle machine it is below 1.5 for every backbone (docs/BACKBONES.md)."""

About = Literal["latency", "backbone", "window", "size", "data", "strategy"]

Basis = Literal["bench", "study", "data", "assumption"]
"""Measured on this machine; run as a study; counted in the data; or believed, and not measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What there is to learn from."""

    games: int
    per_character: Mapping[str, CharacterCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    device: Literal["cpu", "cuda"]
    """Where the policy is to learn and to play."""
    threads: int
    """That it may play with."""
    budget_ms: float
    missed_share: float
    """Deadlines of 60 FPS that may be missed."""
    characters: tuple[str, ...] = ()
    """Whose inputs are to be imitated; empty leaves it to the data."""
    data: Data | None = None
    replays: tuple[str, ...] = ()
    """As the command names them."""
    asked_device: str | None = None
    """The same, for a device."""
    runs_dir: Path = DEFAULT_RUNS_DIR
    """Where studies were looked for, and a run is to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was found out on this machine."""

    benched: Benched
    evidence: tuple[Evidence, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    about: About
    sentence: str
    basis: Basis
    source: str = ""
    """A study's name; empty where the basis says it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    backbone: str
    window_size: int
    preset: str
    size: str | None
    """The preset's size; None where it has but one."""
    row: BenchedRow | None
    """In the runtime that would play; None where that was not measured."""
    fits: bool
    over_ms: float | None
    """By how much its p99 is over the budget; None where it is not, or was not measured."""
    others: Mapping[str, BenchedRow] = field(default_factory=dict)
    """In other runtimes, by name."""

    @property
    def label(self) -> str:
        return named_at_size(self.preset, self.size)

    @property
    def disturbed(self) -> bool:
        """Whether it seems to be other work that makes it late: a frame in a hundred takes many times the usual."""
        return self.row is not None and not self.fits and self.row.p99_ms > DISTURBED * self.row.p50_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    question: Question
    headline: str
    """The first sentence: what to take, or why there is nothing to say yet."""
    chosen: Candidate | None
    command: tuple[str, ...]
    """What to type, after `exphil`; empty where nothing was chosen, or nothing can be learned."""
    reasons: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]
    """Of every size that was looked at."""
    missing: tuple[Candidate, ...]
    """Those among them whose latency was not measured."""
    notes: tuple[str, ...]
    """What to keep in mind."""

    @property
    def command_line(self) -> str:
        return shlex.join(("exphil", *self.command)) if self.command else ""
