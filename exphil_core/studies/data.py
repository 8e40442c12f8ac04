"""Data of a study's runs, prepared once: dojo games in the cache, or a dataset of real replays.

Workers of one machine may start at the same moment; the first prepares the data and the others wait for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exphil_core.cpu import core_count
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.discovery import cache_root, default_dataset_dir, is_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dojo.demo import DOJO_VERSION, iterate_demo
from exphil_core.errors import DataError, UsageError
from exphil_core.paths import expand_user
from exphil_core.replays.ingest import IngestOptions
from exphil_core.studies.study import Study
from exphil_core.studies.trial_lock import waiting_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyData:
    """The data that all runs of a study share."""

    dataset: Path
    replays: tuple[str, ...]
    """Replays that a run's preset names."""
    fingerprint: str
    games: int
    frames: int
    description: str
    """Description in words."""


def prepare(study: Study, *, say: Callable[[str], None]) -> StudyData:
    """Return the study's data; play the games and build the dataset where they are missing.

    Args:
        say: receives a sentence on progress.

    Raises:
        DataError: there is no usable game.
        UsageError: variants need different datasets, or a dataset is named among other replays.
    """
    root = cache_root() / "studies"
    root.mkdir(parents=True, exist_ok=True)
    with waiting_lock(root / "lock"):
        if study.replays:
            dataset, replays = _real(study.replays, study, say), study.replays
        else:
            echo = f"-echo{study.dojo_echo}" if study.dojo_echo else ""
            folder = root / f"dojo-{DOJO_VERSION}-{study.dojo_seed}-{study.dojo_games}{echo}"
            dataset, replays = _dojo(folder, study, say), (str(folder),)
    index = DatasetIndex.open(dataset)
    if not index.games:
        raise DataError(
            f"{', '.join(replays)}: no usable game; 'exphil data build' lists the reason for every file"
        )
    what = (
        f"the dataset of {', '.join(study.replays)}"
        if study.replays
        else f"dojo games with seed {study.dojo_seed}{_echo_text(study)}"
    )
    return StudyData(
        dataset=dataset.resolve(),
        replays=replays,
        fingerprint=index.fingerprint,
        games=len(index.games),
        frames=index.frames,
        description=f"{what}: {len(index.games):,} games, {index.frames:,} frames",
    )


def _echo_text(study: Study) -> str:
    echo = study.dojo_echo
    return f", whose bots repeat the steps that the opponent took {echo} frames before" if echo else ""


def _dojo(folder: Path, study: Study, say: Callable[[str], None]) -> Path:
    dataset = default_dataset_dir([folder])
    complete = folder / ".whole"
    if not complete.exists():
        workers = core_count()
        games = iterate_demo(
            folder,
            games=study.dojo_games,
            seed=study.dojo_seed,
            echo=study.dojo_echo,
            workers=workers,
        )
        for number, _ in enumerate(games, start=1):
            say(f"playing the dojo's games: {number} of {study.dojo_games}")
        complete.touch()
    _build([folder], dataset, min_frames=_min_frames(study))
    return dataset


def _real(replays: tuple[str, ...], study: Study, say: Callable[[str], None]) -> Path:
    paths = [expand_user(path) for path in replays]
    for path in paths:
        if not path.exists():
            raise DataError(
                f"{path}: no such file or folder; expected replays, folders, archives or a built dataset"
            )
    built = [path for path in paths if is_dataset(path)]
    if built and len(paths) > 1:
        raise UsageError(
            f"{built[0]} is a built dataset: name it alone, or only replays, folders and archives"
        )
    if built:
        return built[0]
    dataset = default_dataset_dir(paths)
    say("reading the replays")
    _build(paths, dataset, min_frames=_min_frames(study))
    return dataset


def _build(paths: list[Path], dataset: Path, *, min_frames: int) -> None:
    # Replays that were read before are not read again.
    build_dataset(paths, dataset, workers=core_count(), options=IngestOptions(min_frames=min_frames))


def _min_frames(study: Study) -> int:
    found = {variant.preset.data.min_frames for variant in study.variants}
    if len(found) > 1:
        raise UsageError(
            f"study {study.name}: data.min_frames is {' and '.join(map(str, sorted(found)))} in different variants, "
            "but all use one dataset; set the same value"
        )
    return found.pop()
