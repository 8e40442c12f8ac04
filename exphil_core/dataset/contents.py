"""What a dataset holds, counted: characters, stages, versions, and what became of the files it was built from.

A character is counted where it is on the stage, frame by frame: a side that transforms counts for both characters,
each with its own frames. Only usable sides are imitated by default.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exphil_core.dataset.catalog import listed_dataset
from exphil_core.dataset.index import DatasetIndex, Side, frames_by_character
from exphil_core.melee import characters, stages
from exphil_core.replays.filters import PREDICATES
from exphil_core.replays.refusals import REASONS

LITTLE_FRAMES = 60 * 60 * 60
"""An hour of play: a character with less of it to imitate is marked."""

WHY_UNUSABLE = {
    "not_human": "a computer plays it",
    "idle": "its inputs hardly change",
    "implausible": "its inputs are not those of a hand on a controller",
}
"""Why a side is not imitated → a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterCounts:
    """Of one character: where it is on the stage."""

    games: int = 0
    sides: int = 0
    """Sides that play it, all the time or after a transformation."""
    frames: int = 0
    usable_sides: int = 0
    usable_frames: int = 0

    @property
    def little(self) -> bool:
        """Whether there is little to learn from."""
        return self.usable_frames < LITTLE_FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    path: Path
    fingerprint: str
    sources: tuple[str, ...]
    """What it was built from."""
    games: int
    frames: int
    salvaged: int
    usable_sides: int
    unusable: Mapping[str, int]
    """A key of `WHY_UNUSABLE` → sides."""
    per_character: Mapping[str, CharacterCounts]
    """By name, the low tier first."""
    stages: Mapping[str, int]
    """Name → games."""
    versions: Mapping[str, int]
    """Of Slippi, ascending → games."""
    duplicates: int
    filtered: Mapping[str, int]
    """Name of a predicate → files."""
    refused: Mapping[str, int]
    """Reason → files."""

    @property
    def low_tier_with_little(self) -> tuple[str, ...]:
        """Characters of the low tier with little to learn from, those without a game too."""
        none = CharacterCounts()
        return tuple(name for name in characters.LOW_TIER if self.per_character.get(name, none).little)


def contents_of(path: Path) -> Contents:
    """DataError where there is no dataset in `path`, or one that cannot be read."""
    index = DatasetIndex.open(path)
    listed = listed_dataset(path)
    sides = [side for game in index.games for side in game.sides]
    games = index.per_character()
    played_by: dict[str, list[tuple[Side, int]]] = {}
    for side in sides:
        for name, frames in frames_by_character([side]).items():
            played_by.setdefault(name, []).append((side, frames))
    found = {
        name: CharacterCounts(
            games=games[name]["games"],
            sides=len(played_by[name]),
            frames=games[name]["frames"],
            usable_sides=sum(side.usable for side, _ in played_by[name]),
            usable_frames=sum(frames for side, frames in played_by[name] if side.usable),
        )
        for name in sorted(games, key=characters.low_tier_first)
    }
    versions = Counter(game.version for game in index.games)
    stage_games = Counter(stages.by_external_id(game.external_stage_id).name for game in index.games)
    unusable = Counter(_why_unusable(side) for side in sides if not side.usable)
    return Contents(
        path=index.path,
        fingerprint=index.fingerprint,
        sources=listed.sources,
        games=len(index.games),
        frames=index.frames,
        salvaged=sum(game.salvaged for game in index.games),
        usable_sides=sum(side.usable for side in sides),
        unusable={reason: unusable[reason] for reason in WHY_UNUSABLE},
        per_character=found,
        stages=dict(sorted(stage_games.items())),
        versions={version: versions[version] for version in sorted(versions, key=_numbers)},
        duplicates=listed.duplicates,
        filtered=listed.filtered or {},
        refused=listed.refused or {},
    )


def why_not_taken(reason: str) -> str:
    """The sentence of a predicate or of a refusal; the name itself where this version does not know it."""
    predicates = {predicate.name: predicate.sentence for predicate in PREDICATES}
    return predicates.get(reason) or REASONS.get(reason) or reason


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _why_unusable(side: Side) -> str:
    if not side.human:
        return "not_human"
    return "implausible" if side.active else "idle"
