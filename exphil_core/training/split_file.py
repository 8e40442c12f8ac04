"""A run's split file: which games it trains on and which it holds out.

A dataset may change while a run is stopped, and a new split would hold out games that were trained on. So
held-out games stay held out, together with their other recordings and new games of their match; every other new
game is trained on.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from exphil_core.atomic import atomic_write
from exphil_core.dataset.index import DatasetIndex, GameEntry
from exphil_core.dataset.split import Split
from exphil_core.errors import DataError

SPLIT_FILE = "split.json"

VERSION = 2


class Keys(NamedTuple):
    """What a game's recordings share (`twin_keys`), and the games of a match (`match_key`)."""

    match_key: str
    twin_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFile:
    """A run's split, by content id."""

    train: frozenset[str]
    """Every game that was ever in the training split, including games removed since."""
    validation: frozenset[str]
    keys: Mapping[str, Keys]
    """Keys of the games in both splits."""

    def of(self, index: DatasetIndex) -> Split:
        """Return this split of the games in `index`."""
        is_held = self._is_held()
        held = {number for number, game in enumerate(index.games) if is_held(game)}
        return Split(
            train=tuple(number for number in range(len(index.games)) if number not in held),
            validation=tuple(sorted(held)),
        )

    def grown(self, index: DatasetIndex) -> "SplitFile":
        """Return this split extended by the new games in `index`."""
        joined = kept_of(index, self.of(index))
        return SplitFile(
            train=self.train | joined.train,
            validation=self.validation | joined.validation,
            keys={**joined.keys, **self.keys},
        )

    def learned_from(self, index: DatasetIndex) -> tuple[int, int]:
        """Count the games in `index` that were trained on, and the others that share a match with one.

        A game counts as trained on if the training split has it as this or another recording.
        """
        twins = {key for game in self.train for key in self.keys[game].twin_keys}
        matches = {self.keys[game].match_key for game in self.train} - {""}
        known = [
            game.content_id in self.train or not twins.isdisjoint(game.twin_keys) for game in index.games
        ]
        related = sum(
            game.match_key in matches for game, learned in zip(index.games, known, strict=True) if not learned
        )
        return sum(known), related

    def _is_held(self) -> Callable[[GameEntry], bool]:
        """Return a test for held-out games; a game's own keys take precedence over its match's."""
        held_twins = {key for game in self.validation for key in self.keys[game].twin_keys}
        learned_twins = {key for game in self.train for key in self.keys[game].twin_keys}
        held_matches = {self.keys[game].match_key for game in self.validation} - {""}

        def is_held(game: GameEntry) -> bool:
            if game.content_id in self.validation or not held_twins.isdisjoint(game.twin_keys):
                return True
            if game.content_id in self.train or not learned_twins.isdisjoint(game.twin_keys):
                return False
            return game.match_key in held_matches

        return is_held

    def changes(self, index: DatasetIndex) -> str:
        """Describe how the games have changed, as a clause; empty where they have not."""
        split = self.of(index)
        known_twins = {key: game for game, keys in self.keys.items() for key in keys.twin_keys}
        there: set[str] = set()
        new_to_learn = new_held = 0
        for numbers, is_held in ((split.train, False), (split.validation, True)):
            for number in numbers:
                game = index.games[number]
                same = {known_twins[key] for key in game.twin_keys if key in known_twins} | {game.content_id}
                known = same & self.keys.keys()
                there |= known
                new_held += is_held and not known
                new_to_learn += not is_held and not known
        gone, held_gone = len(self.train - there), len(self.validation - there)
        found = [
            (new_to_learn, f"new training games: {new_to_learn:,}"),
            (new_held, f"new games of held-out matches, held out too: {new_held:,}"),
            (gone, f"missing training games: {gone:,}"),
            (held_gone, f"missing held-out games: {held_gone:,}"),
        ]
        clauses = [clause for count, clause in found if count]
        if new_held or held_gone:
            clauses.append("validation losses before and after this line are not of the same games")
        return "; ".join(clauses)


def kept_of(index: DatasetIndex, split: Split) -> SplitFile:
    """Return a new split in the form that a run saves."""

    def ids(games: Iterable[int]) -> frozenset[str]:
        return frozenset(index.games[game].content_id for game in games)

    games = [index.games[number] for number in (*split.train, *split.validation)]
    return SplitFile(
        train=ids(split.train),
        validation=ids(split.validation),
        keys={game.content_id: Keys(match_key=game.match_key, twin_keys=game.twin_keys) for game in games},
    )


def read_split(run: Path) -> SplitFile | None:
    """Read the split that a run directory keeps; None where the run has never started.

    Raises:
        DataError: the file is damaged or of another version.
    """
    path = run / SPLIT_FILE
    try:
        values = json.loads(path.read_bytes())
        version = values["v"]
        if version != VERSION:
            raise DataError(
                f"{path} is of version {version}, which identifies games as an earlier exphil parsed them; this "
                f"exphil reads version {VERSION}: start a new run"
            )
        sides = {
            name: {
                content_id: Keys(match_key=str(match_key), twin_keys=tuple(map(str, twin_keys)))
                for content_id, (match_key, *twin_keys) in values[name].items()
            }
            for name in ("train", "validation")
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}), so the run's held-out games are unknown; put back a copy of it, or "
            "start a new run"
        ) from error
    return SplitFile(
        train=frozenset(sides["train"]),
        validation=frozenset(sides["validation"]),
        keys={**sides["train"], **sides["validation"]},
    )


def write_split(run: Path, kept: SplitFile) -> None:
    """Write the split file: `train` and `validation` map a content id to its match key and twin keys."""

    def side(games: Iterable[str]) -> dict[str, list[str]]:
        return {game: [kept.keys[game].match_key, *kept.keys[game].twin_keys] for game in sorted(games)}

    values = {"v": VERSION, "train": side(kept.train), "validation": side(kept.validation)}
    atomic_write(run / SPLIT_FILE, json.dumps(values).encode())
