"""From a built dataset to what a run learns from: the split, the sides that are imitated, and what to warn of.

In: a preset and a dataset directory. Out: `TrainingData`, or a sentence. What a reader gets wrong: the split is
by game, before any ego is chosen, so both sides of a held-out game are held out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego, select_egos, split_games
from exphil_core.dataset.store import ColumnStore
from exphil_core.errors import DataError
from exphil_core.melee import characters


class Notice(NamedTuple):
    """The fields of a `warning` event."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a run learns from and is judged on."""

    store: ColumnStore
    train: tuple[Ego, ...]
    validation: tuple[Ego, ...]
    warnings: tuple[Notice, ...] = ()
    """What a person should know of it before the run; events once it has started."""

    def per_character(self) -> dict[str, dict[str, int]]:
        """Character → games and ego frames in the training and in the validation split."""
        found: dict[str, dict[str, int]] = {}
        for split, egos in (("train", self.train), ("validation", self.validation)):
            for ego in egos:
                game = self.store.index.games[ego.game]
                name = characters.by_external_id(game.sides[ego.slot].external_id).name
                entry = found.setdefault(
                    name, {"games": 0, "frames": 0, "validation_games": 0, "validation_frames": 0}
                )
                prefix = "" if split == "train" else "validation_"
                entry[f"{prefix}games"] += 1
                entry[f"{prefix}frames"] += game.frames
        return dict(sorted(found.items(), key=lambda item: characters.low_tier_first(item[0])))

    def summary(self) -> Mapping[str, object]:
        """The `dataset` object of a `run_started` event."""
        games = {ego.game for ego in self.train + self.validation}
        return {
            "games": len(games),
            "frames": sum(self.store.index.games[game].frames for game in games),
            "fingerprint": self.store.index.fingerprint,
            "per_character": self.per_character(),
        }


def open_training_data(preset: Preset, dataset: Path) -> TrainingData:
    """Open a dataset directory for a preset.

    Raises DataError when no game of a wanted character is there, or when no game can be held out.
    """
    index = DatasetIndex.open(dataset)
    config = preset.data
    wanted = tuple(characters.by_name(name).external_id for name in config.characters)
    split = split_games(index, validation_share=config.validation_share, seed=config.split_seed)
    train, validation = (
        select_egos(
            index,
            games,
            characters=whose,
            include_cpu=config.include_cpu,
            include_idle=config.include_idle,
        )
        for games, whose in (
            (split.train, () if config.learn_from_all else wanted),
            (split.validation, wanted),
        )
    )
    data = TrainingData(store=ColumnStore(index), train=train, validation=validation)
    if not validation and not _plays(index, train, wanted):
        raise DataError(f"{dataset}: {_nothing_found(index, config.characters)}")
    if not train or not validation:
        side = "learn from" if not train else "hold out"
        raise DataError(
            f"{dataset}: of {len(index.games)} games none is left to {side}; a run needs at least two games of "
            "the wanted characters, one to learn from and one to be judged on. Add replays, or raise "
            "data.validation_share"
        )
    return replace(data, warnings=tuple(_missing_characters(data, config.characters)))


def _plays(index: DatasetIndex, egos: tuple[Ego, ...], wanted: tuple[int, ...]) -> bool:
    """Whether any ego is a wanted character; with none named, whether there is any ego."""
    return any(not wanted or index.games[game].sides[slot].external_id in wanted for game, slot in egos)


def _missing_characters(data: TrainingData, wanted: tuple[str, ...]) -> Iterator[Notice]:
    found = data.per_character()
    for name in wanted:
        if name not in found:
            yield Notice(
                "character_without_games",
                f"{name}: no game with a usable side of this character; it is not learned",
            )
        elif not found[name]["games"] or not found[name]["validation_games"]:
            where = "training" if not found[name]["games"] else "validation"
            yield Notice(
                "character_on_one_side", f"{name}: no game in the {where} split; too few games to have both"
            )


def _nothing_found(index: DatasetIndex, wanted: tuple[str, ...]) -> str:
    if not index.games:
        return "the dataset holds no game; exphil data build says what was filtered or refused"
    there = sorted({characters.by_external_id(s.external_id).name for g in index.games for s in g.sides})
    if wanted:
        return (
            f"no usable side plays {', '.join(wanted)}; the games there have {', '.join(there)}. Choose others "
            "with --character, or allow idle and CPU sides with --set data.include_idle=true or "
            "--set data.include_cpu=true"
        )
    return (
        "no side of any game is usable: all are CPU players or hardly move; --set data.include_cpu=true or "
        "--set data.include_idle=true takes them all the same"
    )


def games_trained_on(preset: Preset, dataset: Path) -> frozenset[str] | None:
    """Content ids of the games in a run's training split; None where its dataset is gone or unreadable."""
    try:
        index = DatasetIndex.open(dataset)
    except DataError:
        return None
    split = split_games(index, validation_share=preset.data.validation_share, seed=preset.data.split_seed)
    return frozenset(index.games[game].content_id for game in split.train)
