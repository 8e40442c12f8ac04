"""`exphil replay`: open the workbench on one replay, with a policy's predictions if a checkpoint is given.

The replay is not parsed here; the workbench reports a file that it cannot read.
"""

from pathlib import Path
from typing import Annotated

import typer

from exphil_core.cli.attach import workbench_problem
from exphil_core.cli.options import RunsDir
from exphil_core.errors import DataError, UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR


def replay_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A replay (.slp).")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|DIR",
            help="Policy whose predictions are shown: a run's name or directory, or a checkpoint directory.",
        ),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
) -> None:
    """Open a replay in the workbench, frame by frame, with a policy's predictions if a checkpoint is given."""
    from exphil_core.cli import main
    from exphil_core.runs.directory import RunDirectory

    if (lack := workbench_problem()) is not None:
        raise UsageError(f"{lack}; 'exphil data check {file}' describes what the replay holds")
    if file.is_dir():
        raise DataError(
            f"{file} is a folder: name one replay in it, or read all with 'exphil data build {file}'"
        )
    if not file.exists():
        raise DataError(f"{file}: there is no such file")
    if checkpoint is not None:
        RunDirectory.find_checkpoint(runs_dir, checkpoint)
    assert main.workbench is not None
    raise typer.Exit(main.workbench(runs_dir, None, replay=file, checkpoint=checkpoint))
