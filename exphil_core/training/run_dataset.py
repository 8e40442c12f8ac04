"""Rebuilds the dataset of a run where the cache that held it was cleared."""

import sys
from pathlib import Path

from exphil_core.config.preset import Preset
from exphil_core.cpu import core_count
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.catalog import cache_root, listed_dataset
from exphil_core.errors import DataError
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs.commands import quoted
from exphil_core.runs.directory import RunDirectory


def restore_dataset(run: RunDirectory, preset: Preset) -> None:
    """Build the run's dataset again from its replays where it is gone, damaged or of another schema.

    A dataset in the cache is exphil's to write. Another one is its owner's: DataError then, and where the replays are
    gone, with the command that builds it.
    """
    path = run.dataset_path()
    problem = listed_dataset(path).problem
    if not problem:
        return
    sources = run.dataset_sources() or preset.data.replays
    gone = [source for source in sources if not Path(source).exists()]
    what = f"the dataset of run {run.name}, {path}, cannot be used: {problem}"
    if not path.resolve().is_relative_to((cache_root() / "datasets").resolve()):
        replays = " ".join(map(quoted, sources)) or "REPLAYS"
        raise DataError(f"{what}. 'exphil data build {replays} --out {quoted(str(path))}' builds it again")
    if gone or not sources:
        missing = (
            f"{gone[0]}, which it was built from, is gone" if gone else "what it was built from is not known"
        )
        raise DataError(
            f"{what}, and {missing}: put the replays back there, or build it from where they are with "
            f"'exphil data build REPLAYS --out {quoted(str(path))}'"
        )
    print(f"{what}; reading {', '.join(sources)} again", file=sys.stderr, flush=True)
    options = IngestOptions(min_frames=preset.data.min_frames)
    build_dataset(map(Path, sources), path, workers=core_count(), options=options)
