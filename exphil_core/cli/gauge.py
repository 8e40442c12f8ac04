"""The gauge on the command line: the lines of `runs.gauge` in rich's styles.

In: a `latency` record and the moments before it. Out: what a rich console prints, or a `Live` keeps drawing. What a
reader gets wrong: the letters are the console's to decide, as it knows what its output can show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from exphil_core.runs.gauge import Moment, gauge_lines
from exphil_core.runs.records import Latency

STYLES = {
    "": "",
    "dim": "dim",
    "strong": "bold",
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "rule": "dim",
}

WIDEST = 100
"""Beyond this a dial is no easier to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeView:
    latency: Latency
    moments: Sequence[Moment] = ()
    stale: str = ""
    """Why it is not of now, such as "stopped 12 s ago"."""
    height: int = 20
    """Lines at most; a histogram is among them from 16 on."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = gauge_lines(
            self.latency,
            self.moments,
            width=min(options.max_width, WIDEST),
            height=self.height,
            ascii=options.ascii_only,
            stale=self.stale,
        )
        for line in lines:
            parts = [(text, STYLES[look]) for text, look in line]
            yield Text.assemble(*parts, no_wrap=True, overflow="crop")
