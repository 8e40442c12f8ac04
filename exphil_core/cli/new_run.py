"""Create a run from options: find or build its dataset, fit the preset, write the run directory."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_core.config.loader import Resolved
from exphil_core.config.preset import Preset
from exphil_core.cpu import core_count
from exphil_core.errors import UsageError
from exphil_core.runs.commands import quoted, shell_command

if TYPE_CHECKING:
    from exphil_core.runs.directory import RunDirectory
    from exphil_core.training.fit import FittedPreset


DEMO_PRESET = "quick"
"""Preset that trains on the dojo's demo games when no replays are given."""


def _dataset(preset: Preset, *, quiet: bool) -> Path:
    from exphil_core.cli.options import dataset_of

    return dataset_of(
        preset.data.replays, min_frames=preset.data.min_frames, workers=core_count(), quiet=quiet
    ).resolve()


def default_replays(preset: str, typed: Sequence[str], runs_dir: Path) -> tuple[str, ...]:
    """Return the replays to train on when none are given: the demo games for `quick`, else UsageError."""
    if preset == DEMO_PRESET:
        return (str(_demo_replays()),)
    from exphil_core.replays.folders import count_replays, usual_folders

    found = [
        folder for folder in usual_folders() if (counted := count_replays(folder)).replays or counted.archives
    ]
    if found:
        command = " ".join(map(quoted, ("exphil", "train", *typed)))
        commands = "".join(f"\n  {command} --replays {quoted(str(folder))}" for folder in found)
        raise UsageError(f"no replays were named; Slippi keeps some on this machine, so type:{commands}")
    raise UsageError(
        "no replays to train on: name a folder, an archive or a dataset with --replays PATH, record some with "
        f"Slippi, or train on the dojo's games with '{shell_command(runs_dir, 'train', '--preset', DEMO_PRESET)}'"
    )


def _demo_replays() -> Path:
    """Return the folder of demo games; write them where some are missing."""
    from exphil_core.cli.progress import progress_lines
    from exphil_core.dataset.discovery import demo_folder
    from exphil_core.dojo.demo import DEFAULT_GAMES, iterate_demo

    folder = demo_folder()
    print(f"no replays were named: training on the dojo's demo games in {folder}", file=sys.stderr)
    if len(list(folder.glob("dojo_*.slp"))) < DEFAULT_GAMES:
        with progress_lines(f"writing {DEFAULT_GAMES} demo games") as say:
            written = iterate_demo(folder, games=DEFAULT_GAMES, seed=0, workers=core_count())
            for number, _ in enumerate(written, start=1):
                say(f"{number} of {DEFAULT_GAMES} demo games written")
    return folder


def create_run(resolved: Resolved, runs_dir: Path, name: str | None, *, quiet: bool) -> "RunDirectory":
    # Torch takes seconds to import, so options are checked first.
    from exphil_core.dataset.discovery import summarize_dataset
    from exphil_core.dataset.index import DatasetIndex
    from exphil_core.runs.directory import RunDirectory, name_problem

    if name is not None and (problem := name_problem(runs_dir, name)) is not None:
        raise UsageError(problem)
    # Fail on an uncreatable folder before replays are read, which can take hours.
    runs_dir.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(resolved.preset, quiet=quiet)
    fingerprint = DatasetIndex.open(dataset).fingerprint
    fitted = _fitted(resolved, dataset)
    return RunDirectory.create(
        runs_dir,
        fitted.preset,
        name=name,
        dataset=dataset,
        fingerprint=fingerprint,
        sources=summarize_dataset(dataset).sources,
        reasons=fitted.reasons,
    )


def _fitted(resolved: Resolved, dataset: Path) -> "FittedPreset":
    """Resolve what the preset leaves open; print the choices, their reasons and the estimated duration on stderr."""
    if resolved.preset.size is not None:
        print("fitting the preset to the data and this machine…", file=sys.stderr)
    from exphil_core.cli.probe import duration
    from exphil_core.training.fit import fit

    fitted = fit(resolved, dataset)
    for reason in fitted.reasons:
        print(reason, file=sys.stderr)
    if fitted.seconds is not None:
        early = ", less where the held-out loss stops falling" if fitted.preset.evaluation.patience else ""
        print(f"training takes about {duration(fitted.seconds)} at most{early}", file=sys.stderr)
    return fitted


def print_dry_run(resolved: Resolved, *, probe_seconds: float | None, as_json: bool) -> int:
    from exphil_core.cli.probe import dry_run

    preset = resolved.preset
    reasons: Sequence[str] = ()
    dataset = _dataset(preset, quiet=as_json) if preset.data.replays else None
    if dataset is not None:
        fitted = _fitted(resolved, dataset)
        preset, reasons = fitted.preset, fitted.reasons
    return dry_run(preset, dataset, probe_seconds=probe_seconds, as_json=as_json, reasons=reasons)
