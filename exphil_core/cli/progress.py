"""How far a command is that reads or writes many files: counters that stay on a terminal, elsewhere lines by time.

In: what was done, as it is done. Out: text on stderr. What a reader gets wrong: off a terminal a line comes about
once a second, not once a number of files, so that who watches (the workbench, a log) hears of slow work as of fast.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from exphil_core.dataset.build import BuildReport
    from exphil_core.replays.ingest import Outcome

EVERY_SECONDS = 1.0


@contextmanager
def told(first: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[str], None]]:
    """What takes the newest state of the work as a line of text; `first` is what a terminal shows until then."""
    if not sys.stderr.isatty():
        due = clock()

        def line(text: str) -> None:
            nonlocal due
            if clock() >= due:
                due = clock() + EVERY_SECONDS
                print(text, file=sys.stderr, flush=True)

        yield line
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
    """What hears of every file that an ingest has read."""
    counts = {"kept": 0, "filtered": 0, "refused": 0}
    with told("looking for replays") as say:

        def seen(outcome: "Outcome") -> None:
            counts[outcome.status] += 1
            each = ", ".join(f"{count} {status}" for status, count in counts.items())
            say(f"{sum(counts.values())} files read: {each}")

        yield seen


def warn_of_unverified(report: "BuildReport") -> None:
    """Says on stderr that games are in the dataset whose replays could not be looked at."""
    if report.unverified:
        print(
            f"warning: {report.unverified:,} files lie where nothing can be read now; their games stay in the "
            "dataset as they were read before. `exphil data build` names the folders and archives",
            file=sys.stderr,
        )
