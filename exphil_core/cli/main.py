"""The `exphil` command: its groups, and what becomes of an error.

In: the words that were typed. Out: an exit code (CLI.md). What a reader gets wrong: a command's file is imported when
that command is typed (all of them for a help page), and nothing heavy stands at its top: torch and pyarrow are
imported inside the commands that need them, so that `exphil --help` and `exphil attach` answer at once.
"""

import os
import platform
import shlex
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Protocol

import typer

from exphil_core.cli.failures import expected_failure
from exphil_core.cli.options import ManyValues, folder_of_runs
from exphil_core.cli.output import make_printable
from exphil_core.errors import ExphilError, UsageError

UNEXPECTED = 1
INTERRUPTED = 130


class OpenWorkbench(Protocol):
    """Opens the workbench on a folder of runs and returns the exit code once it is left."""

    def __call__(
        self, runs_dir: Path, run: str | None, *, replay: Path | None = None, checkpoint: str | None = None
    ) -> int:
        """On `run` where one is named; on `replay`, with the predictions of `checkpoint`."""


workbench: OpenWorkbench | None = None
"""Set by whoever has one."""

COMMANDS = (
    "train",
    "attach",
    "replay",
    "eval",
    "predict",
    "export",
    "demo",
    "runs",
    "data",
    "presets",
    "study",
    "bench",
    "advise",
    "doctor",
)
"""Each is a file of this folder, which holds `NAME_command`, or `NAME_app` where it is a group."""

_SEVERAL_VALUES = ("train", "eval", "advise")


def _app(typed: str | None) -> typer.Typer:
    """With the command that was typed, or with all where none was, or one that is not known."""
    app = typer.Typer(
        name="exphil",
        help="Teach neural networks to play Super Smash Bros. Melee from recorded games.",
        no_args_is_help=True,
        add_completion=False,
        # Plain text: a message may hold a stranger's file name, which must not be read as markup.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_options)
    for name in (typed,) if typed in COMMANDS else COMMANDS:
        module = import_module(f"exphil_core.cli.{name}")
        if (group := getattr(module, f"{name}_app", None)) is not None:
            app.add_typer(group, name=name)
        else:
            cls = ManyValues if name in _SEVERAL_VALUES else None
            app.command(name, cls=cls)(getattr(module, f"{name}_command"))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"exphil {metadata.version('exphil')}")
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
    """Does what was typed and returns the exit code; an expected failure is its message on stderr."""
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
        if (expected := expected_failure(error, arguments)) is None:
            return _unexpected(arguments)
        print(expected, file=sys.stderr)
        return expected.exit_code
    except Exception:
        return _unexpected(arguments)
    return 0


def _unexpected(arguments: Sequence[str]) -> int:
    """Prints the exception that is being handled, and how to report it."""
    traceback.print_exc()
    print(
        f"\nThis is a mistake in exphil and not yours. Please report the lines above, with what was typed: "
        f"{shlex.join(('exphil', *arguments))} (exphil {metadata.version('exphil')}, Python "
        f"{platform.python_version()}, {platform.platform()})",
        file=sys.stderr,
    )
    return UNEXPECTED


def main(arguments: Sequence[str]) -> int:
    """`run`, with the output flushed: who reads it may have gone (`exphil runs list | head`)."""
    make_printable()
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
