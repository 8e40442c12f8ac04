"""Options shared by several commands: --runs-dir, multi-value options, and paths to datasets.

`--replays a b c` is one option with three values, which click does not support: all words up to the next one that
starts with a dash are its values.
"""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from exphil_core.cli.progress import ingest_progress, warn_of_unverified
from exphil_core.errors import DataError, UsageError
from exphil_core.paths import expand_user


def folder_of_runs(path: Path) -> Path:
    """Return `path`, which need not exist yet; UsageError where it is a file."""
    try:
        there = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        # The first run creates it.
        return path
    if not there:
        raise UsageError(f"--runs-dir {path}: this is a file; expected the folder of runs")
    return path


RunsDir = Annotated[
    Path, typer.Option("--runs-dir", help="Folder of runs and studies.", callback=folder_of_runs)
]

MANY = ("--replays", "--set")
"""Options that take all words up to the next option."""


TYPED = "exphil.typed"
"""Key in a click context's `meta`: the words typed after the command."""


class ManyValues(TyperCommand):
    """Command whose `MANY` options take several values each."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, spread(args))


def spread(args: Sequence[str]) -> list[str]:
    """Repeat a multi-value option before each value: `--replays a b` → `--replays a --replays b`."""
    found: list[str] = []
    current: str | None = None
    fresh = False
    for word in args:
        if word in MANY:
            current, fresh = word, True
            found.append(word)
        elif word.startswith("-") and word != "-":
            current = None
            found.append(word)
        elif current is not None and not fresh:
            found += [current, word]
        else:
            found.append(word)
            fresh = False
    return found


def dataset_of(paths: Sequence[str], *, min_frames: int, workers: int, quiet: bool) -> Path:
    """Return the dataset directory for `paths`: a built dataset, or one built now in the cache.

    Raises:
        DataError: a path does not exist, or no game is usable.
        UsageError: no path is given, or a built dataset is given beside other paths.
    """
    # pyarrow is slow to import, so only once a command needs a dataset.
    from exphil_core.dataset.build import build_dataset
    from exphil_core.dataset.discovery import default_dataset_dir, is_dataset
    from exphil_core.replays.ingest import IngestOptions

    if not paths:
        raise UsageError(
            "no replays to train on: give --replays PATH..., or write demo replays with 'exphil demo --out demo' "
            "and use --replays demo"
        )
    found = [expand_user(path) for path in paths]
    for path in found:
        if not path.exists():
            raise DataError(
                f"{path}: no such file or folder; --replays takes replays, folders, archives or a built dataset"
            )
    built = [path for path in found if is_dataset(path)]
    if built and len(found) > 1:
        raise UsageError(
            f"--replays names the built dataset {built[0]} beside other paths; give one built dataset alone, or "
            "only replays, folders and archives, which are built together"
        )
    if built:
        return built[0]
    out = default_dataset_dir(found)
    options = IngestOptions(min_frames=min_frames)
    if quiet:
        report = build_dataset(found, out, workers=workers, options=options)
    else:
        with ingest_progress() as seen:
            report = build_dataset(found, out, workers=workers, options=options, progress=seen)
    warn_of_unverified(report)
    if not report.games:
        raise DataError(
            f"{', '.join(paths)}: no usable game; 'exphil data build {' '.join(paths)}' says why, file by file"
        )
    return out
