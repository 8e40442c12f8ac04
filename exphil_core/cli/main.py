"""The `exphil` command: its groups, and what becomes of an error.

In: the words that were typed. Out: an exit code (CLI.md). What a reader gets wrong: nothing heavy is imported
here, nor at the top of a command's file: torch and pyarrow are imported inside the commands that need them, so
that `exphil --help` answers at once.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from exphil_core.atomic import NO_ROOM
from exphil_core.cli.attach import attach_command
from exphil_core.cli.bench import bench_app
from exphil_core.cli.data import data_app
from exphil_core.cli.demo import demo_command
from exphil_core.cli.doctor import doctor_command
from exphil_core.cli.eval import eval_command
from exphil_core.cli.export import export_command
from exphil_core.cli.options import ManyValues
from exphil_core.cli.presets import presets_app
from exphil_core.cli.runs import runs_app
from exphil_core.cli.train import train_command
from exphil_core.errors import DiskFullError, ExphilError

UNEXPECTED = 1
INTERRUPTED = 130

_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What a disk or its owner refuses: the path and the reason are all that a person can use."""

workbench: Callable[[Path, str | None], int] | None = None
"""Opens the workbench on a folder of runs, and on one of them where it is named; set by whoever has one."""

app = typer.Typer(
    name="exphil",
    help="Teach neural networks to play Super Smash Bros. Melee from recorded games.",
    no_args_is_help=True,
    add_completion=False,
    # Plain text: a message may hold a stranger's file name, which must not be read as markup.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("train", cls=ManyValues)(train_command)
app.command("attach")(attach_command)
app.command("eval", cls=ManyValues)(eval_command)
app.command("export")(export_command)
app.command("demo")(demo_command)
app.add_typer(runs_app, name="runs")
app.add_typer(data_app, name="data")
app.add_typer(presets_app, name="presets")
app.add_typer(bench_app, name="bench")
app.command("doctor")(doctor_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"exphil {metadata.version('exphil')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Does what was typed and returns the exit code; an expected failure is its message on stderr."""
    try:
        app(list(arguments), prog_name="exphil")
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SystemExit as end:
        return _exit_code(end)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno in NO_ROOM:
            print(f"no room left on the disk: {error}", file=sys.stderr)
            return DiskFullError.exit_code
        if error.errno in _REFUSED and error.filename is not None:
            print(f"{error.filename}: {error.strerror}", file=sys.stderr)
            return ExphilError.exit_code
        traceback.print_exc()
        return UNEXPECTED
    except Exception:
        traceback.print_exc()
        return UNEXPECTED
    return 0


def main(arguments: Sequence[str]) -> int:
    """`run`, with the output flushed: who reads it may have gone (`exphil runs list | head`)."""
    code = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    return end.code if isinstance(end.code, int) else UNEXPECTED
