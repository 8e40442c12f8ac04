"""Find the datasets in the cache folder and summarise each from its `dataset.json`.

The summary is for choosing a dataset. A run reads `index.parquet`, which is authoritative, but reading it needs
pyarrow and is slow.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from exphil_core.errors import UsageError
from exphil_core.paths import home_folder
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.replays.text import storable

DATASET_FILE = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """A dataset as its `dataset.json` describes it."""

    path: Path
    built: float
    """Unix time of the build, in seconds."""
    problem: str = ""
    """Why it cannot be used, as a sentence; empty if it can."""
    sources: tuple[str, ...] = ()
    """The replays, folders and archives it was built from."""
    games: int = 0
    frames: int = 0
    duplicates: int = 0
    salvaged: int = 0
    per_character: Mapping[str, Mapping[str, int]] | None = None
    """Name → `games` and `frames` with it on the stage; a frame of a ditto counts twice."""
    filtered: Mapping[str, int] | None = None
    """Name of a predicate → files."""
    refused: Mapping[str, int] | None = None
    """Reason → files."""


def is_dataset(path: Path) -> bool:
    """Return whether `path` is a built dataset rather than a folder of replays."""
    try:
        return (path / DATASET_FILE).is_file()
    except OSError:
        # For example a name that is too long, or a folder without access.
        return False


def cache_root() -> Path:
    """Return the folder of datasets without an --out: `EXPHIL_CACHE`, else the user's cache folder.

    Raises:
        UsageError: `EXPHIL_CACHE` is not set and the home folder is unknown.
    """
    chosen = os.environ.get("EXPHIL_CACHE")
    if not chosen and not os.environ.get("XDG_CACHE_HOME") and home_folder() is None:
        raise UsageError(
            "no folder for datasets and measurements: HOME is not set and this user has no home folder; set "
            "EXPHIL_CACHE to a folder that can be written to"
        )
    return Path(chosen) if chosen else user_cache_path("exphil", appauthor=False)


def demo_folder() -> Path:
    """Return the folder of the dojo's demo replays."""
    return cache_root() / "demo"


def default_dataset_dir(paths: Iterable[Path]) -> Path:
    """Return the default directory of the dataset of these paths; it depends on their real paths."""
    resolved = sorted({os.path.realpath(path) for path in paths})
    digest = hashlib.blake2b(
        "\0".join(resolved).encode("utf-8", "surrogateescape"), digest_size=8
    ).hexdigest()
    name = storable(Path(resolved[0]).stem) if len(resolved) == 1 else "replays"
    return cache_root() / "datasets" / f"{name}-{digest}"


def list_datasets() -> list[DatasetSummary]:
    """Return the datasets in the cache, newest first. An unusable one has a `problem`."""
    folder = cache_root() / "datasets"
    try:
        found = [summarize_dataset(path.parent) for path in folder.glob(f"*/{DATASET_FILE}")]
    except OSError:
        return []
    return sorted(found, key=lambda dataset: (-dataset.built, dataset.path))


def summarize_dataset(path: Path) -> DatasetSummary:
    """Summarise the dataset in `path`; `problem` is set if it is damaged, incomplete or has another schema."""
    file = path / DATASET_FILE
    built = 0.0
    try:
        built = file.stat().st_mtime
        said = json.loads(file.read_bytes())
        version = said["schema_version"]
        if version != SCHEMA_VERSION:
            return DatasetSummary(
                path=path,
                built=built,
                problem=f"it has schema version {version}, this exphil reads {SCHEMA_VERSION}: build it again",
                sources=_texts(said.get("paths")),
            )
        if not said["complete"]:
            return DatasetSummary(
                path=path,
                built=built,
                problem="its build was interrupted: build it again; what was read is kept",
                sources=_texts(said.get("paths")),
            )
        return _listed(path, built, said)
    except OSError as error:
        return DatasetSummary(
            path=path, built=built, problem=f"{DATASET_FILE} cannot be read ({error.strerror})"
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return DatasetSummary(path=path, built=built, problem=f"{DATASET_FILE} is damaged: build it again")


def _listed(path: Path, built: float, said: Mapping[str, Any]) -> DatasetSummary:
    counts = said["counts"]
    return DatasetSummary(
        path=path,
        built=built,
        sources=_texts(said["paths"]),
        games=int(counts["games"]),
        frames=int(counts["frames"]),
        duplicates=int(counts["duplicates"]),
        salvaged=int(counts["salvaged"]),
        per_character={
            str(name): {"games": int(entry["games"]), "frames": int(entry["frames"])}
            for name, entry in counts["per_character"].items()
        },
        filtered={str(name): int(count) for name, count in counts["filtered"].items()},
        refused={str(name): int(count) for name, count in counts["refused"].items()},
    )


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, list) else ()
