"""The `exphil` command as installed: the commands of `exphil_core.cli`, and alone the workbench.

What a reader gets wrong: this is imported at every start, so neither here nor above here is torch imported.
"""

import sys

from exphil_core.cli.main import main as run_command
from exphil_core.errors import UsageError


def main() -> None:
    """Entry point; ends the process with the command's exit code."""
    arguments = sys.argv[1:]
    if not arguments:
        print(
            "The workbench is not built yet: type 'exphil train --preset quick --headless --replays PATH' to train, "
            "or 'exphil --help' for every command.",
            file=sys.stderr,
        )
        sys.exit(UsageError.exit_code)
    sys.exit(run_command(arguments))
