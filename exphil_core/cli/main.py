"""The `exphil` command: command dispatch, errors and exit codes.

A command's module is imported only when that command is typed (all of them for a help page). Import torch and pyarrow
inside the functions that need them, so that `exphil --help` and `exphil attach` start fast.
"""

import os
import platform
import shlex
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Protocol

import typer

from exphil_core.cli.failures import user_error
from exphil_core.cli.options import ManyValues, folder_of_runs
from exphil_core.cli.output import make_printable
from exphil_core.errors import ExphilError, UsageError
from exphil_core.runs.provenance import version_line

UNEXPECTED = 1
INTERRUPTED = 130


class OpenWorkbench(Protocol):
    """Open the workbench on a folder of runs and return its exit code when the user quits."""

    def __call__(
        self, runs_dir: Path, run: str | None, *, replay: Path | None = None, checkpoint: str | None = None
    ) -> int:
        """Open it on `run` if given, or on `replay` with the predictions of `checkpoint`."""


workbench: OpenWorkbench | None = None
"""Set by `exphil_tui.cli`; None where this module is used without it."""

COMMANDS = (
    "train",
    "attach",
    "replay",
    "eval",
    "predict",
    "export",
    "demo",
    "arena",
    "runs",
    "data",
    "presets",
    "study",
    "bench",
    "advise",
    "doctor",
)
"""Module names in this package; each defines `NAME_command`, or `NAME_app` for a command group."""

_SEVERAL_VALUES = ("train", "eval", "advise")


def _app(typed: str | None) -> typer.Typer:
    """Build the typer app with the typed command only, or with all commands where it is none or unknown."""
    app = typer.Typer(
        name="exphil",
        help="Teach neural networks to play Super Smash Bros. Melee from recorded games.",
        no_args_is_help=True,
        add_completion=False,
        # Plain text: a message may contain a file name from outside, which must not be parsed as markup.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_options)
    # Importing every command takes longer than answering --version.
    shown = () if typed == "--version" else (typed,) if typed in COMMANDS else COMMANDS
    for name in shown:
        module = import_module(f"exphil_core.cli.{name}")
        if (group := getattr(module, f"{name}_app", None)) is not None:
            app.add_typer(group, name=name)
        else:
            cls = ManyValues if name in _SEVERAL_VALUES else None
            app.command(name, cls=cls)(getattr(module, f"{name}_command"))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version_line())
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    runs_dir: Annotated[
        Path | None, typer.Option("--runs-dir", help="Open the workbench on this folder of runs.")
    ] = None,
) -> None:
    if runs_dir is None:
        return
    if context.invoked_subcommand is not None:
        command = f"exphil {context.invoked_subcommand}"
        raise UsageError(
            f"--runs-dir before the command would be ignored; type '{command} … --runs-dir {runs_dir}'"
        )
    if workbench is None:
        raise UsageError("this program has no workbench")
    raise typer.Exit(workbench(folder_of_runs(runs_dir), None))


def run(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code; expected errors print their message on stderr."""
    try:
        _app(arguments[0] if arguments else None)(list(arguments), prog_name="exphil")
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SystemExit as end:
        return _exit_code(end)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if (expected := user_error(error, arguments)) is None:
            return _unexpected(arguments)
        print(expected, file=sys.stderr)
        return expected.exit_code
    except Exception:
        return _unexpected(arguments)
    return 0


def _unexpected(arguments: Sequence[str]) -> int:
    """Print the current exception and how to report it."""
    traceback.print_exc()
    print(
        f"\nThis is a bug in exphil. Please report the lines above, with the command: "
        f"{shlex.join(('exphil', *arguments))} ({version_line()}, Python "
        f"{platform.python_version()}, {platform.platform()})",
        file=sys.stderr,
    )
    return UNEXPECTED


def main(arguments: Sequence[str]) -> int:
    """Call `run` and flush stdout; the reader may be gone (`exphil runs list | head`)."""
    make_printable()
    code = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush again at exit and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    return end.code if isinstance(end.code, int) else UNEXPECTED
