"""`exphil attach`: open the workbench on a run, and check whether a workbench can be opened at all.

The workbench is not imported here: `exphil_tui` sets `exphil_core.cli.main.workbench`.
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
    """Open the workbench on a running or finished run. The run itself is not changed."""
    raise typer.Exit(open_workbench(RunDirectory.find(runs_dir, name)))


def open_workbench(run: RunDirectory) -> int:
    """Show the run in the workbench and return its exit code; UsageError where no workbench can be opened."""
    from exphil_core.cli import main

    if (lack := workbench_problem()) is not None:
        raise UsageError(f"{lack}; '{run.typed('runs', 'show')}' prints the run's state")
    assert main.workbench is not None
    return main.workbench(run.path.parent, run.name)


def workbench_problem() -> str | None:
    """Return why no workbench can be opened here, or None where one can."""
    from exphil_core.cli import main

    if main.workbench is None:
        return "this program has no workbench"
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return "the workbench needs a terminal; this is none"
    if os.environ.get("TERM", "") in ("", "dumb"):
        return "the workbench needs a terminal that can move its cursor, and TERM says otherwise"
    return None
