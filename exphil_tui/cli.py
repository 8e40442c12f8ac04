"""The `exphil` command as installed: alone the workbench, else the commands of `exphil_core.cli`.

What a reader gets wrong: this is imported at every start, so neither here nor above here is torch imported; and
Textual comes in only where the workbench opens, the commands only where one was typed.
"""

import os
import sys
from pathlib import Path

RUNS_DIR = Path("checkpoints")

USAGE = 2
"""Exit code of a wrong use, here: without a terminal (CLI.md)."""


def main() -> None:
    """Entry point; ends the process with the command's exit code."""
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(open_workbench(RUNS_DIR, None))
    # Not at the top: the commands take longer to import than the workbench to open.
    from exphil_core.cli import main as commands

    commands.workbench = open_workbench
    sys.exit(commands.main(arguments))


def open_workbench(
    runs_dir: Path, run: str | None, *, replay: Path | None = None, checkpoint: str | None = None
) -> int:
    """Opens the workbench, on a run or a replay where one is named, and returns the exit code once it is left."""
    if (lack := _lack_of_terminal() or _lack_of_cache()) is not None:
        print(lack, file=sys.stderr)
        return USAGE
    from exphil_tui.app import Workbench
    from exphil_tui.glyphs import glyphs_of
    from exphil_tui.terminal_end import ending_with_terminal

    workbench = Workbench(
        runs_dir=runs_dir,
        run=run,
        replay=replay,
        checkpoint=checkpoint,
        glyphs=glyphs_of(os.environ, sys.stdout.encoding),
    )
    with ending_with_terminal(workbench.leave_from_thread):
        workbench.run()
    return workbench.return_code or 0


def _lack_of_terminal() -> str | None:
    """Why the workbench cannot open here; None where it can."""
    instead = "'exphil train --headless' trains without it, 'exphil runs list' shows the runs"
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return f"the workbench needs a terminal, and this is a pipe or a file; {instead}, 'exphil --help' the rest"
    if os.environ.get("TERM", "") in ("", "dumb"):
        return f"the workbench needs a terminal that can move its cursor, and TERM says otherwise; {instead}"
    return None


def _lack_of_cache() -> str | None:
    """Why nothing that was read or measured can be kept; None where it can."""
    from exphil_core.dataset.catalog import cache_root
    from exphil_core.errors import UsageError

    try:
        cache_root()
    except UsageError as error:
        return str(error)
    return None
