"""How figures and times read in a terminal, and the console that results go to."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 120
"""Columns of a table that does not go to a terminal."""


def console() -> Console:
    """For results, on stdout; off a terminal as wide as a log."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def table(left: Sequence[str], *, right: Sequence[str], title: str | None = None) -> Table:
    """Columns of words and columns of figures, without lines: a table of eleven figures fits 80 columns."""
    found = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    found.header_style = "bold"
    for heading in left:
        found.add_column(heading, overflow="fold")
    for heading in right:
        found.add_column(heading, justify="right", no_wrap=True)
    return found


def nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def counted(count: int, noun: str) -> str:
    """`1 file`, `1,200 files`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def age(seconds: float) -> str:
    """A time that has passed, in its largest unit: `42 s`, `7 min`, `3 h`, `12 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Bytes in their largest unit: `640 B`, `1.4 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
