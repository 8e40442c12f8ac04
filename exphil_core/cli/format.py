"""Format numbers, times, sizes and tables for the terminal."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 120
"""Console width in characters where stdout is not a terminal."""


def console() -> Console:
    """Return a rich console on stdout for results; `PIPE_WIDTH` wide where stdout is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def table(left: Sequence[str], *, right: Sequence[str], title: str | None = None) -> Table:
    """Make a table without borders: left-aligned text columns, then right-aligned number columns."""
    found = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    found.header_style = "bold"
    for heading in left:
        found.add_column(heading, overflow="fold")
    for heading in right:
        found.add_column(heading, justify="right", no_wrap=True)
    return found


def nats(value: float | None) -> str:
    """Format a loss in nats with four decimals; `–` for None."""
    return "–" if value is None else f"{value:.4f}"


def counted(count: int, noun: str) -> str:
    """Format a count with its noun: `1 file`, `1,200 files`, `2 matches`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def age(seconds: float) -> str:
    """Format an age in its largest unit: `42 s`, `7 min`, `3 h`, `12 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Format a byte count in its largest unit, at most GiB: `640 B`, `1.4 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
