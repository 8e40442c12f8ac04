"""Which games a run learns from and which it holds out, by content, as the run directory keeps it.

In: a run directory. Out: a `KeptSplit`, written when the run first starts. What a reader gets wrong: a dataset
may grow, shrink and grow again while a run rests, and a split drawn from what is there each time would hold out
games that were learned from. So who was held out stays held out, and every other game, new ones among them, is
learned from: the held-out games remain the same, and losses before and after can be compared.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exphil_core.atomic import atomic_write
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Split
from exphil_core.errors import DataError

SPLIT_FILE = "split.json"

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSplit:
    """Content ids."""

    train: frozenset[str]
    """Every game that was ever in the training split, also where it is gone since."""
    validation: frozenset[str]

    def of(self, index: DatasetIndex) -> Split:
        """This split of the games that are there now."""
        held = {number for number, game in enumerate(index.games) if game.content_id in self.validation}
        return Split(
            train=tuple(number for number in range(len(index.games)) if number not in held),
            validation=tuple(sorted(held)),
        )

    def grown(self, index: DatasetIndex) -> "KeptSplit":
        """This split with the games that joined."""
        joined = {game.content_id for game in index.games} - self.validation
        return KeptSplit(train=self.train | joined, validation=self.validation)

    def changes(self, index: DatasetIndex) -> str:
        """What became of the games since, as a clause; empty where nothing did."""
        there = {game.content_id for game in index.games}
        new = len(there - self.train - self.validation)
        gone, held_gone = len(self.train - there), len(self.validation - there)
        found = [
            (new, f"new games that are learned from: {new:,}"),
            (gone, f"games to learn from that are gone: {gone:,}"),
            (
                held_gone,
                f"held-out games that are gone: {held_gone:,}, so validation losses before and after this line "
                "are not of the same games",
            ),
        ]
        return "; ".join(clause for count, clause in found if count)


def kept_of(index: DatasetIndex, split: Split) -> KeptSplit:
    def ids(games: Iterable[int]) -> frozenset[str]:
        return frozenset(index.games[game].content_id for game in games)

    return KeptSplit(train=ids(split.train), validation=ids(split.validation))


def read_split(run: Path) -> KeptSplit | None:
    """The split that a run directory keeps; None where the run never started. DataError where it is damaged."""
    path = run / SPLIT_FILE
    try:
        values = json.loads(path.read_bytes())
        version = values["v"]
        kept = KeptSplit(train=frozenset(values["train"]), validation=frozenset(values["validation"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}), so which games the run holds out is not known; put back a copy of it, or "
            "start a new run"
        ) from error
    if version != VERSION:
        raise DataError(f"{path} is of version {version}; this exphil reads version {VERSION}")
    return kept


def write_split(run: Path, kept: KeptSplit) -> None:
    values = {"v": VERSION, "train": sorted(kept.train), "validation": sorted(kept.validation)}
    atomic_write(run / SPLIT_FILE, json.dumps(values).encode())
