"""Progress output on stderr: a spinner with counters on a terminal, plain lines elsewhere.

Off a terminal, at most one line a second is printed, and always the last state.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_core.cli.format import counted

if TYPE_CHECKING:
    from exphil_core.dataset.build_report import BuildReport
    from exphil_core.replays.ingest import Outcome

EVERY_SECONDS = 1.0


@contextmanager
def progress_lines(
    first: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line of progress; a terminal shows `first` until its first call."""
    if not sys.stderr.isatty():
        due, newest, printed = clock(), None, None

        def line(text: str) -> None:
            nonlocal due, newest, printed
            newest = text
            if clock() >= due:
                due, printed = clock() + EVERY_SECONDS, text
                print(text, file=sys.stderr, flush=True)

        yield line
        if newest != printed:
            print(newest, file=sys.stderr, flush=True)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(first, total=None)

        def update(text: str) -> None:
            progress.update(task, description=text)

        yield update


@contextmanager
def ingest_progress() -> Iterator[Callable[["Outcome"], None]]:
    """Yield a callback that counts each ingested file and shows the counts."""
    counts = {"kept": 0, "filtered": 0, "refused": 0}
    with progress_lines("looking for replays") as say:

        def seen(outcome: "Outcome") -> None:
            counts[outcome.status] += 1
            each = ", ".join(f"{count} {status}" for status, count in counts.items())
            say(f"{counted(sum(counts.values()), 'file')} read: {each}")

        yield seen


def warn_of_unverified(report: "BuildReport") -> None:
    """Warn on stderr about games in the dataset whose replay files could not be checked."""
    if report.unverified:
        print(
            f"warning: {counted(report.unverified, 'file')} could not be read; what was read there before stays "
            "in the dataset. `exphil data build` names the folders and archives",
            file=sys.stderr,
        )
