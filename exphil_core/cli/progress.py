"""How far a command is that reads or writes many files: counters that stay on a terminal, elsewhere lines on stderr.

Off a terminal a line comes about once a second, and the last state at the end, however fast the work was.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_core.cli.format import counted

if TYPE_CHECKING:
    from exphil_core.dataset.build import BuildReport
    from exphil_core.replays.ingest import Outcome

EVERY_SECONDS = 1.0


@contextmanager
def told(first: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[str], None]]:
    """What takes the newest state of the work as a line of text; `first` is what a terminal shows until then."""
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
    """What hears of every file that an ingest has read."""
    counts = {"kept": 0, "filtered": 0, "refused": 0}
    with told("looking for replays") as say:

        def seen(outcome: "Outcome") -> None:
            counts[outcome.status] += 1
            each = ", ".join(f"{count} {status}" for status, count in counts.items())
            say(f"{counted(sum(counts.values()), 'file')} read: {each}")

        yield seen


def warn_of_unverified(report: "BuildReport") -> None:
    """Says on stderr that games are in the dataset whose replays could not be looked at."""
    if report.unverified:
        print(
            f"warning: {counted(report.unverified, 'file')} could not be looked at; what was read there before stays "
            "in the dataset. `exphil data build` names the folders and archives",
            file=sys.stderr,
        )
