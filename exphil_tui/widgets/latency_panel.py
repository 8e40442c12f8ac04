"""How long the policy takes to answer a frame of the game, against the time that it has.

In: the newest measurement, or none. Out: a panel. What a reader gets wrong: the mean does not matter. A frame that
comes too late is a frame not played, so the slowest in a hundred and the slowest of all are what is looked at.
"""

import numpy as np

from exphil_core.melee.frames import FRAME_MS
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import Latency
from exphil_tui import figures
from exphil_tui.glyphs import Glyphs
from exphil_tui.widgets.sparkline import sparkline
from exphil_tui.widgets.text_panel import Line, Part, Picture, TextPanel, bar, right, wrapped


class LatencyPanel(TextPanel):
    TITLE = "latency"
    BINDING_GROUP_TITLE = "Latency"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._latency: Latency | None = None

    def show(self, latency: Latency | None) -> None:
        if latency != self._latency:
            self._latency = latency
            self.update()

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        found = self._latency
        if found is None:
            sentence = (
                f"no measurement yet: this policy has not played; it will have {FRAME_MS:.2f} ms a frame"
            )
            return Picture(
                lines=tuple(((f"  {text}", "dim"),) for text in wrapped(sentence, max(10, width - 3)))
            )
        figure = (
            ("p50", found.p50_ms),
            ("p95", found.p95_ms),
            ("p99", found.p99_ms),
            ("max", found.max_ms),
        )
        labels: list[Part] = [(" ", "")]
        values: list[Part] = [(" ", "")]
        for name, value in figure:
            late = value is not None and value > found.budget_ms
            labels.append((right(name, 7), "dim"))
            values.append((right(figures.milliseconds(value, glyphs), 7), "warn" if late else "strong"))
        labels.append(("     ", ""))
        values.append((" ms", "dim"))
        room = max(4, min(30, width - 18))
        share = (found.p99_ms or 0.0) / found.budget_ms if found.budget_ms > 0 else 0.0
        full, rest = bar(share, room, glyphs)
        missed_look = "warn" if found.missed else "good"
        lines: list[Line] = [
            tuple(labels),
            tuple(values),
            (
                (f"  missed {found.missed:,} of {found.frames:,}", missed_look),
                (f" {glyphs.bullet} budget {found.budget_ms:.2f} ms", "dim"),
            ),
            (("  p99 ", "dim"), (full, "warn" if share > 1 else "accent"), (rest, "rule")),
        ]
        lines[3] = (*lines[3], (f" {100 * share:.0f} %", ""))
        if found.histogram:
            lines.append(
                (
                    ("  all ", "dim"),
                    (sparkline(np.asarray(found.histogram, dtype=float), room, glyphs), "accent"),
                )
            )
        return Picture(lines=tuple(lines), notes=(sanitise(found.device),))
