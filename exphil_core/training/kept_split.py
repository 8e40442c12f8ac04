"""Which games a run learns from and which it holds out, as the run directory keeps it.

A dataset may grow, shrink and grow again while a run rests, and a split drawn from what is there each time would hold
out games that were learned from. So what was held out stays held out, and other recordings of it and other games of
its match that join later are held out too; every other game that joins is learned from.
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
    """What tells that two content ids are of one game, or of one match."""

    match_key: str
    twin_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSplit:
    """Content ids."""

    train: frozenset[str]
    """Every game that was ever in the training split, also where it is gone since."""
    validation: frozenset[str]
    keys: Mapping[str, Keys]
    """Of all of them."""

    def of(self, index: DatasetIndex) -> Split:
        """This split of the games that are there now."""
        is_held = self._is_held()
        held = {number for number, game in enumerate(index.games) if is_held(game)}
        return Split(
            train=tuple(number for number in range(len(index.games)) if number not in held),
            validation=tuple(sorted(held)),
        )

    def grown(self, index: DatasetIndex) -> "KeptSplit":
        """This split with the games that joined."""
        joined = kept_of(index, self.of(index))
        return KeptSplit(
            train=self.train | joined.train,
            validation=self.validation | joined.validation,
            keys={**joined.keys, **self.keys},
        )

    def learned_from(self, index: DatasetIndex) -> tuple[int, int]:
        """How many of the games are in the training split, as this or another recording, and how many others are of
        a match with such a game."""
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
        """What is known of a game itself decides before what is known of its match."""
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
        """What became of the games since, as a clause; empty where nothing did."""
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
            (new_to_learn, f"new games that are learned from: {new_to_learn:,}"),
            (new_held, f"new games of held-out matches, held out too: {new_held:,}"),
            (gone, f"games to learn from that are gone: {gone:,}"),
            (held_gone, f"held-out games that are gone: {held_gone:,}"),
        ]
        clauses = [clause for count, clause in found if count]
        if new_held or held_gone:
            clauses.append("validation losses before and after this line are not of the same games")
        return "; ".join(clauses)


def kept_of(index: DatasetIndex, split: Split) -> KeptSplit:
    def ids(games: Iterable[int]) -> frozenset[str]:
        return frozenset(index.games[game].content_id for game in games)

    games = [index.games[number] for number in (*split.train, *split.validation)]
    return KeptSplit(
        train=ids(split.train),
        validation=ids(split.validation),
        keys={game.content_id: Keys(match_key=game.match_key, twin_keys=game.twin_keys) for game in games},
    )


def read_split(run: Path) -> KeptSplit | None:
    """The split that a run directory keeps; None where the run never started. DataError where it is damaged."""
    path = run / SPLIT_FILE
    try:
        values = json.loads(path.read_bytes())
        version = values["v"]
        if version != VERSION:
            raise DataError(
                f"{path} is of version {version}, whose runs know games by what an earlier exphil read of them; this "
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
            f"{path} is damaged ({error}), so which games the run holds out is not known; put back a copy of it, or "
            "start a new run"
        ) from error
    return KeptSplit(
        train=frozenset(sides["train"]),
        validation=frozenset(sides["validation"]),
        keys={**sides["train"], **sides["validation"]},
    )


def write_split(run: Path, kept: KeptSplit) -> None:
    """`train` and `validation` map each content id to its match key and its twin keys."""

    def side(games: Iterable[str]) -> dict[str, list[str]]:
        return {game: [kept.keys[game].match_key, *kept.keys[game].twin_keys] for game in sorted(games)}

    values = {"v": VERSION, "train": side(kept.train), "validation": side(kept.validation)}
    atomic_write(run / SPLIT_FILE, json.dumps(values).encode())
