"""Entry point of the `exphil` command: without arguments the workbench, otherwise the commands of `exphil_core.cli`.

Start-up time: torch must not be imported here. Textual is imported only when the workbench opens, the commands only
when one was typed.
"""

import os
import sys
from pathlib import Path

RUNS_DIR = Path("checkpoints")

USAGE = 2
"""Exit code for wrong usage, such as no terminal."""


def main() -> None:
    """Run the workbench or a command, and exit the process with its exit code."""
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(open_workbench(RUNS_DIR, None))
    # Not at the top: importing the commands takes longer than opening the workbench.
    from exphil_core.cli import main as commands
    from exphil_core.cpu import limit_openmp_spins

    limit_openmp_spins()

    commands.workbench = open_workbench
    sys.exit(commands.main(arguments))


def open_workbench(
    runs_dir: Path, run: str | None, *, replay: Path | None = None, checkpoint: str | None = None
) -> int:
    """Open the workbench, on a run or replay if one is named; return its exit code when it is closed."""
    if (problem := _terminal_problem() or _cache_problem()) is not None:
        print(problem, file=sys.stderr)
        return USAGE
    from exphil_tui.app import Workbench
    from exphil_tui.services.terminal_end import ending_with_terminal
    from exphil_tui.theme.glyphs import glyphs_of

    workbench = Workbench(
        runs_dir=runs_dir,
        run=run,
        replay=replay,
        checkpoint=checkpoint,
        glyphs=glyphs_of(os.environ, sys.stdout.encoding),
    )
    with ending_with_terminal(workbench.exit_from_thread) as end:
        workbench.run()
    return end.exit_code(workbench.return_code or 0)


def _terminal_problem() -> str | None:
    """Return why the workbench cannot open in this terminal, or None."""
    instead = "use 'exphil train --headless' to train without it, 'exphil runs list' to list runs"
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return f"the workbench needs a terminal, but this is a pipe or a file; {instead}, 'exphil --help' for more"
    if os.environ.get("TERM", "") in ("", "dumb"):
        return f"the workbench needs a terminal that can move its cursor, which TERM does not name; {instead}"
    return None


def _cache_problem() -> str | None:
    """Return why the cache folder cannot be used, or None."""
    from exphil_core.dataset.discovery import cache_root
    from exphil_core.errors import UsageError

    try:
        cache_root()
    except UsageError as error:
        return str(error)
    return None
