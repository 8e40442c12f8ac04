"""`exphil attach`: the workbench on a run, and whether there can be a workbench here.

In: a run's name. Out: the exit code of the workbench. What a reader gets wrong: the workbench lies above the commands
and is not imported here; who has one sets `exphil_core.cli.main.workbench`.
"""

import os
import sys
from typing import Annotated

import typer

from exphil_core.cli.options import RunsDir
from exphil_core.errors import UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR
from exphil_core.runs.directory import RunDirectory


def attach_command(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run (default: the newest).")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
) -> None:
    """Open the workbench on a run that goes on, or has ended. The run itself is not touched."""
    raise typer.Exit(open_workbench(RunDirectory.find(runs_dir, name)))


def open_workbench(run: RunDirectory) -> int:
    """Shows the run until the workbench is left. UsageError where none can be opened."""
    from exphil_core.cli import main

    if (lack := lack_of_workbench()) is not None:
        raise UsageError(f"{lack}; '{run.typed('runs', 'show')}' prints how the run stands")
    assert main.workbench is not None
    return main.workbench(run.path.parent, run.name)


def lack_of_workbench() -> str | None:
    """Why no workbench can be opened from here: a sentence, or None where it can."""
    from exphil_core.cli import main

    if main.workbench is None:
        return "this program has no workbench"
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return "the workbench needs a terminal, and here is none"
    if os.environ.get("TERM", "") in ("", "dumb"):
        return "the workbench needs a terminal that can move its cursor, and TERM says otherwise"
    return None
