"""What a dataset holds, counted: characters, stages, versions, and what became of the files it was built from.

In: a dataset's directory. Out: `Contents`. What a reader gets wrong: frames are counted per side (a ditto has two);
and a side is usable where a person plays it who moves: only those are imitated by default.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exphil_core.dataset.catalog import listed_dataset
from exphil_core.dataset.index import DatasetIndex, Side
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
    games: int = 0
    sides: int = 0
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
    sides = [(game, side) for game in index.games for side in game.sides]
    games = Counter(name for game in index.games for name in {side.character for side in game.sides})
    found = {
        name: CharacterCounts(
            games=games[name],
            sides=len(own),
            frames=sum(game.frames for game, _ in own),
            usable_sides=sum(side.usable for _, side in own),
            usable_frames=sum(game.frames for game, side in own if side.usable),
        )
        for name in sorted(games, key=characters.low_tier_first)
        if (own := [(game, side) for game, side in sides if side.character == name])
    }
    versions = Counter(game.version for game in index.games)
    stage_games = Counter(stages.by_external_id(game.external_stage_id).name for game in index.games)
    unusable = Counter(_why_unusable(side) for _, side in sides if not side.usable)
    return Contents(
        path=index.path,
        fingerprint=index.fingerprint,
        sources=listed.sources,
        games=len(index.games),
        frames=index.frames,
        salvaged=sum(game.salvaged for game in index.games),
        usable_sides=sum(side.usable for _, side in sides),
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
