"""What a study's runs learn from, made once: the dojo's games in the cache, or a dataset of real replays.

In: a study. Out: `StudyData`, the same for every run. What a reader gets wrong: several workers of one machine
start at the same moment; the first makes the data and the others wait for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exphil_core.cpu import core_count
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.catalog import cache_root, default_dataset_dir, is_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dojo.demo import DOJO_VERSION, iterate_demo
from exphil_core.errors import DataError, UsageError
from exphil_core.paths import expanded
from exphil_core.replays.ingest import IngestOptions
from exphil_core.studies.claim import waiting_lock
from exphil_core.studies.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyData:
    dataset: Path
    replays: tuple[str, ...]
    """What a run's preset names as its replays."""
    fingerprint: str
    games: int
    frames: int
    told: str
    """What it is, in words."""


def prepare(study: Study, *, say: Callable[[str], None]) -> StudyData:
    """The study's dataset, made where it is not there. DataError where there is nothing to learn from."""
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
        raise DataError(f"{', '.join(replays)}: no usable game; 'exphil data build' says for every file why")
    what = (
        f"the dataset of {', '.join(study.replays)}"
        if study.replays
        else f"the dojo's games of seed {study.dojo_seed}{_memory_of(study)}"
    )
    return StudyData(
        dataset=dataset.resolve(),
        replays=replays,
        fingerprint=index.fingerprint,
        games=len(index.games),
        frames=index.frames,
        told=f"{what}: {len(index.games):,} games, {index.frames:,} frames",
    )


def _memory_of(study: Study) -> str:
    echo = study.dojo_echo
    return f", whose bots repeat the steps that the opponent took {echo} frames before" if echo else ""


def _dojo(folder: Path, study: Study, say: Callable[[str], None]) -> Path:
    dataset = default_dataset_dir([folder])
    whole = folder / ".whole"
    if not whole.exists():
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
        whole.touch()
    _build([folder], dataset, min_frames=_min_frames(study))
    return dataset


def _real(replays: tuple[str, ...], study: Study, say: Callable[[str], None]) -> Path:
    paths = [expanded(path) for path in replays]
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
    # What was read before is not read again.
    build_dataset(paths, dataset, workers=core_count(), options=IngestOptions(min_frames=min_frames))


def _min_frames(study: Study) -> int:
    found = {variant.preset.data.min_frames for variant in study.variants}
    if len(found) > 1:
        raise UsageError(
            f"study {study.name}: data.min_frames is {' and '.join(map(str, sorted(found)))} in different variants, "
            "but all learn from one dataset: give them the same"
        )
    return found.pop()
