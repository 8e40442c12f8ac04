"""Rebuild a run's dataset after the cache that held it was cleared."""

import sys
from pathlib import Path

from exphil_core.config.preset import Preset
from exphil_core.cpu import core_count
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.discovery import cache_root, summarize_dataset
from exphil_core.errors import DataError
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs.commands import quoted
from exphil_core.runs.directory import RunDirectory


def restore_dataset(run: RunDirectory, preset: Preset) -> None:
    """Rebuild the run's dataset from its replays where it is missing, damaged or of another schema.

    Only a dataset in the cache is rebuilt; any other belongs to the user.

    Raises:
        DataError: the dataset is outside the cache, or its replays are missing; the message has the command
            that builds it.
    """
    path = run.dataset_path()
    problem = summarize_dataset(path).problem
    if not problem:
        return
    sources = run.dataset_sources() or preset.data.replays
    gone = [source for source in sources if not Path(source).exists()]
    what = f"the dataset of run {run.name}, {path}, cannot be used: {problem}"
    if not path.resolve().is_relative_to((cache_root() / "datasets").resolve()):
        replays = " ".join(map(quoted, sources)) or "REPLAYS"
        raise DataError(f"{what}. 'exphil data build {replays} --out {quoted(str(path))}' builds it again")
    if gone or not sources:
        missing = f"{gone[0]}, which it was built from, is gone" if gone else "its sources are unknown"
        raise DataError(
            f"{what}, and {missing}: put the replays back there, or build it from where they are with "
            f"'exphil data build REPLAYS --out {quoted(str(path))}'"
        )
    print(f"{what}; reading {', '.join(sources)} again", file=sys.stderr, flush=True)
    options = IngestOptions(min_frames=preset.data.min_frames)
    build_dataset(map(Path, sources), path, workers=core_count(), options=options)
