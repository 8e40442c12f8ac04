"""Rich renderable of the latency gauge (`render.gauge`) for the command line."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from exphil_core.render.gauge import LatencySample, gauge_lines
from exphil_core.runs.records import LatencyEvent

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
"""Maximum gauge width in columns; wider is no easier to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeView:
    """Latency gauge of one record; ASCII or Unicode, as the console supports."""

    latency: LatencyEvent
    moments: Sequence[LatencySample] = ()
    stale: str = ""
    """Why the figures are not current, such as "stopped 12 s ago"; empty where they are."""
    height: int = 20
    """Maximum number of lines; from 16 on they include a histogram."""

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
