"""A run's training data: open a dataset, split it by match, select the sides to imitate, collect warnings.

Both sides of a held-out game are held out. A run's split is drawn once and kept, even when the dataset changes.
A side is selected by the character it plays most, and then every frame of it is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from exphil_core.config.preset import DataConfig, Preset
from exphil_core.config.schedule import trains_on_all_characters
from exphil_core.dataset.index import DatasetIndex, frames_by_character
from exphil_core.dataset.split import Ego, select_egos, split_games
from exphil_core.dataset.store import ColumnStore
from exphil_core.errors import DataError
from exphil_core.melee import characters
from exphil_core.runs.directory import RunDirectory
from exphil_core.training.run_dataset import restore_dataset
from exphil_core.training.split_file import SPLIT_FILE, SplitFile, kept_of, read_split


class DataWarning(NamedTuple):
    """Code and message of a `warning` event."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The sides that a run trains on and is evaluated on."""

    store: ColumnStore
    train: tuple[Ego, ...]
    validation: tuple[Ego, ...]
    split: SplitFile
    """Split of all games, including those with no imitated side; saved with the run."""
    wanted_frames: int
    """Training frames of the wanted characters' sides; `train` may contain other sides as well."""
    all_characters: bool
    """Whether every character's sides are trained on."""
    warnings: tuple[DataWarning, ...] = ()
    """Emitted as events once the run has started."""

    def per_character(self) -> dict[str, dict[str, int]]:
        """Count games and ego frames per character, in the training and in the validation split.

        A game of a character against itself counts as one game, with the frames of both sides. The frames that
        a side selected as Zelda spends as Sheik count for Sheik.

        Returns:
            Character → `games`, `frames`, `validation_games` and `validation_frames`; the low-tier characters
            first.
        """
        found: dict[str, dict[str, int]] = {}
        counted: set[tuple[str, int]] = set()
        for split, egos in (("train", self.train), ("validation", self.validation)):
            for ego in egos:
                side = self.store.index.games[ego.game].sides[ego.slot]
                for name, frames in frames_by_character([side]).items():
                    entry = found.setdefault(
                        name, {"games": 0, "frames": 0, "validation_games": 0, "validation_frames": 0}
                    )
                    prefix = "" if split == "train" else "validation_"
                    entry[f"{prefix}games"] += (name, ego.game) not in counted
                    counted.add((name, ego.game))
                    entry[f"{prefix}frames"] += frames
        return dict(sorted(found.items(), key=lambda item: characters.low_tier_first(item[0])))

    def summary(self) -> Mapping[str, object]:
        """Return the `dataset` field of a `run_started` event."""
        games = {ego.game for ego in self.train + self.validation}
        return {
            "games": len(games),
            "frames": sum(self.store.index.games[game].frames for game in games),
            "fingerprint": self.store.index.fingerprint,
            "per_character": self.per_character(),
        }


def open_run_data(run: RunDirectory, preset: Preset) -> TrainingData:
    """Open a run's data, split as when it first started, with a warning where the dataset has changed.

    A dataset that was cleared from the cache is rebuilt first.

    Raises:
        DataError: as `open_training_data`, or the dataset changed and the run's split file is missing.
    """
    dataset = run.dataset_path()
    restore_dataset(run, preset)
    kept = read_split(run.path)
    data = open_training_data(preset, dataset, kept)
    index = data.store.index
    if index.fingerprint == run.dataset_fingerprint():
        return data
    if kept is None and run.steps():
        raise DataError(
            f"{run.path / SPLIT_FILE} is missing and {dataset} has changed since the run started, so a training game "
            "might be held out now; put the file or the dataset back, or start a new run"
        )
    if kept is None:
        return data
    what = kept.changes(index) or "the same games, parsed differently"
    changed = DataWarning("dataset_changed", f"{dataset} has changed since the run started: {what}")
    return replace(data, warnings=(changed, *data.warnings))


def open_training_data(preset: Preset, dataset: Path, kept: SplitFile | None = None) -> TrainingData:
    """Open a dataset directory for a preset.

    Args:
        kept: the split to use; None draws a new one.

    Raises:
        DataError: no side plays a wanted character, or no game is left to train on or to hold out.
    """
    index = DatasetIndex.open(dataset)
    config = preset.data
    wanted = tuple(characters.by_name(name).external_id for name in config.characters)
    if kept is None:
        split = split_games(index, validation_share=config.validation_share, seed=config.split_seed)
    else:
        split = kept.of(index)

    def egos(games: tuple[int, ...], whose: tuple[int, ...]) -> tuple[Ego, ...]:
        return select_egos(
            index,
            games,
            characters=whose,
            include_cpu=config.include_cpu,
            include_idle=config.include_idle,
        )

    train, validation = egos(split.train, wanted), egos(split.validation, wanted)
    wanted_frames = sum(index.games[ego.game].frames for ego in train)
    all_characters = not wanted or trains_on_all_characters(config.train_on_all_characters, wanted_frames)
    if all_characters:
        train = egos(split.train, ())
    if config.max_games_per_character is not None:
        train = _at_most(index, train, config.max_games_per_character)
    data = TrainingData(
        store=ColumnStore(index),
        train=train,
        validation=validation,
        wanted_frames=wanted_frames,
        all_characters=all_characters,
        split=kept_of(index, split) if kept is None else kept.grown(index),
    )
    if not validation and not _plays(index, train, wanted):
        raise DataError(f"{dataset}: {_nothing_found(index, config.characters)}")
    if kept is not None and not validation:
        raise DataError(
            f"{dataset}: none of the {len(kept.validation)} games that the run holds out exists any more; put "
            "them back, or start a new run"
        )
    if not train or not validation:
        side = "learn from" if not train else "hold out"
        raise DataError(
            f"{dataset}: of {len(index.games)} games none is left to {side}; a run needs games of the wanted "
            "characters from at least two matches, one to train on and one to validate on. Add replays, or raise "
            "data.validation_share"
        )
    return replace(
        data, warnings=(*_missing_characters(data, config.characters), *_limits_of_nobody(data, config))
    )


def _at_most(index: DatasetIndex, egos: tuple[Ego, ...], games: int | Mapping[str, int]) -> tuple[Ego, ...]:
    """Limit the egos to `games` games of each character; a mapping limits only the characters it names.

    The choice is deterministic, and a higher limit keeps the games of a lower one.
    """
    kept: list[Ego] = []
    taken: dict[str, set[int]] = {}
    # Ordered by content, so that other games in the dataset change nothing.
    for ego in sorted(egos, key=lambda ego: index.games[ego.game].content_id):
        character = index.games[ego.game].sides[ego.slot].character
        most = games if isinstance(games, int) else games.get(character)
        of_character = taken.setdefault(character, set())
        if most is None or ego.game in of_character or len(of_character) < most:
            of_character.add(ego.game)
            kept.append(ego)
    return tuple(sorted(kept, key=lambda ego: (ego.game, ego.slot)))


def _plays(index: DatasetIndex, egos: tuple[Ego, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether any ego mostly plays a wanted character; with none named, whether there is any ego."""
    return any(not wanted or index.games[game].sides[slot].external_id in wanted for game, slot in egos)


def _missing_characters(data: TrainingData, wanted: tuple[str, ...]) -> Iterator[DataWarning]:
    found = data.per_character()
    for name in wanted:
        if name not in found:
            yield DataWarning(
                "character_without_games",
                f"{name}: no game with a usable side of this character; it is not trained",
            )
        elif not found[name]["games"] or not found[name]["validation_games"]:
            where = "training" if not found[name]["games"] else "validation"
            yield DataWarning(
                "character_on_one_side",
                f"{name}: no game in the {where} split; too few matches for both splits",
            )


def _limits_of_nobody(data: TrainingData, config: DataConfig) -> Iterator[DataWarning]:
    """Warn of characters without games that only `max_games_per_character` names."""
    if not isinstance(config.max_games_per_character, dict):
        return
    found = data.per_character()
    for name in config.max_games_per_character:
        if name not in config.characters and not found.get(name, {}).get("games"):
            yield DataWarning(
                "character_without_games",
                f"{name}: data.max_games_per_character limits it, but no game with a usable side of it is in the "
                "training split",
            )


def _nothing_found(index: DatasetIndex, wanted: tuple[str, ...]) -> str:
    if not index.games:
        return "the dataset holds no game; exphil data build says what was filtered or refused"
    there = sorted({side.character for game in index.games for side in game.sides})
    if wanted:
        return (
            f"no usable side plays {', '.join(wanted)}; the games there have {', '.join(there)}. Choose others "
            "with --character, or allow idle and CPU sides with --set data.include_idle=true or "
            "--set data.include_cpu=true"
        )
    return (
        "no side of any game is usable: all are CPU players or hardly move; --set data.include_cpu=true or "
        "--set data.include_idle=true includes them"
    )
