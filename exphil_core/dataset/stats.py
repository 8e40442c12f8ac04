"""Statistics of a dataset: characters, stages, Slippi versions, and filtered or refused files.

Characters are counted frame by frame: a side that transforms counts for both characters, each with its own frames.
Only usable sides are imitated by default.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exphil_core.dataset.discovery import summarize_dataset
from exphil_core.dataset.index import DatasetIndex, GameSide, frames_by_character
from exphil_core.melee import characters, stages
from exphil_core.replays.filters import PREDICATES
from exphil_core.replays.refusals import REASONS

LITTLE_FRAMES = 60 * 60 * 60
"""An hour of play, in frames. A character with fewer usable frames is marked."""

WHY_UNUSABLE = {
    "not_human": "a CPU player",
    "idle": "its inputs hardly change",
    "implausible": "its inputs do not look human",
}
"""Why a side is not imitated by default: reason → sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterCounts:
    """Games, sides and frames in which one character is on the stage."""

    games: int = 0
    sides: int = 0
    """Sides that play it, in the whole game or after a transformation."""
    frames: int = 0
    usable_sides: int = 0
    usable_frames: int = 0

    @property
    def little(self) -> bool:
        """Whether it has less than an hour of usable play."""
        return self.usable_frames < LITTLE_FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStats:
    """Statistics of one dataset."""

    path: Path
    fingerprint: str
    sources: tuple[str, ...]
    """The replays, folders and archives it was built from."""
    games: int
    frames: int
    salvaged: int
    usable_sides: int
    unusable: Mapping[str, int]
    """A key of `WHY_UNUSABLE` → sides."""
    per_character: Mapping[str, CharacterCounts]
    """Counts by name, the low tier first."""
    stages: Mapping[str, int]
    """Stage name → games."""
    versions: Mapping[str, int]
    """Slippi version → games, in ascending order."""
    duplicates: int
    filtered: Mapping[str, int]
    """Name of a predicate → files."""
    refused: Mapping[str, int]
    """Reason → files."""

    @property
    def low_tier_with_little(self) -> tuple[str, ...]:
        """Low-tier characters with less than an hour of usable play, including those without a game."""
        none = CharacterCounts()
        return tuple(name for name in characters.LOW_TIER if self.per_character.get(name, none).little)


def dataset_stats(path: Path) -> DatasetStats:
    """Compute the statistics of the dataset in `path`.

    Raises:
        DataError: no dataset, or an unreadable one.
    """
    index = DatasetIndex.open(path)
    listed = summarize_dataset(path)
    sides = [side for game in index.games for side in game.sides]
    games = index.per_character()
    played_by: dict[str, list[tuple[GameSide, int]]] = {}
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
    return DatasetStats(
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
    """Return the sentence of a predicate or refusal reason; an unknown one is returned unchanged."""
    predicates = {predicate.name: predicate.sentence for predicate in PREDICATES}
    return predicates.get(reason) or REASONS.get(reason) or reason


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _why_unusable(side: GameSide) -> str:
    if not side.human:
        return "not_human"
    return "implausible" if side.active else "idle"
