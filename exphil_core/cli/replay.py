"""`exphil replay`: the workbench on one replay, with what a policy would press where a checkpoint is named.

In: a replay, and a run or checkpoint. Out: the exit code of the workbench. What a reader gets wrong: nothing is
parsed here. A file that turns out to be no game is a sentence in the workbench, as it is when it is opened from
there.
"""

from pathlib import Path
from typing import Annotated

import typer

from exphil_core.cli.attach import lack_of_workbench
from exphil_core.cli.options import RunsDir
from exphil_core.errors import DataError, UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR


def replay_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A replay (.slp).")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|DIR",
            help="Whose predictions to show: a run's name or directory, or a checkpoint directory.",
        ),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
) -> None:
    """Look into a replay frame by frame, and at what a policy would have pressed."""
    from exphil_core.cli import main
    from exphil_core.runs.directory import RunDirectory

    if (lack := lack_of_workbench()) is not None:
        raise UsageError(f"{lack}; 'exphil data check {file}' says in words what the replay holds")
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
