"""Strip of the latency gauge: frame times in sequence, with marks on frames that missed their deadline.

A mark and a height are independent: a frame that began late may miss its deadline even if it took less than the
budget.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from exphil_core.melee.frames import FRAME_MS
from exphil_core.render.dial import LEFT, SCALE_MS, GaugeGlyphs, Line, Part, filled, joined

NARROW = 0.1
"""Share of the budget; with less headroom a frame counts as only just in time."""


class StripColumn(NamedTuple):
    """One column: the slowest frame it covers, and whether any missed its deadline."""

    slowest_ms: float
    missed: bool

    @property
    def look(self) -> str:
        if self.slowest_ms > FRAME_MS:
            return "bad"
        return "warn" if self.slowest_ms > (1 - NARROW) * FRAME_MS else "good"

    def eighths(self, budget: int, top: int) -> int:
        """Return the height in eighths of a cell; above `budget` exactly for times over the frame budget."""
        if self.slowest_ms <= FRAME_MS:
            return max(1, math.ceil(self.slowest_ms / FRAME_MS * budget))
        over = (min(self.slowest_ms, SCALE_MS) - FRAME_MS) / (SCALE_MS - FRAME_MS)
        return budget + max(1, math.ceil(over * (top - budget)))


def _marks(columns: Sequence[StripColumn], room: int, glyphs: GaugeGlyphs) -> Line:
    """Draw marks above the columns that missed a deadline."""
    marks = "".join(glyphs.missed if column.missed else " " for column in columns)
    return ((" " * LEFT + marks.rjust(room), "bad"),)


def low_strip(columns: Sequence[StripColumn], room: int, glyphs: GaugeGlyphs) -> list[Line]:
    """Draw the marks and one row."""
    if not columns:
        return []
    cells = [(glyphs.heights[column.eighths(5, 8)], column.look) for column in columns]
    return [_marks(columns, room, glyphs), ((" " * (LEFT + room - len(cells)), ""), *joined(cells))]


def high_strip(columns: Sequence[StripColumn], room: int, glyphs: GaugeGlyphs, *, rows: int) -> list[Line]:
    """Draw the marks, `rows` rows above the budget, the budget line, and twice as many rows below it."""
    if not columns:
        return []
    empty = room - len(columns)
    heights = [column.eighths(16 * rows, 24 * rows) for column in columns]
    drawn: list[list[Part]] = []
    for row in reversed(range(3 * rows)):
        cells = [filled(glyphs.heights, height - 8 * row) for height in heights]
        looks = [column.look for column in columns]
        drawn.append([(" " * empty, ""), *zip(cells, looks, strict=True)])
    over = (glyphs.heights[8], "bad")
    level = (glyphs.level, "strong")
    budget_row = [over if column.slowest_ms > FRAME_MS else level for column in columns]
    drawn.insert(rows, [level] * empty + budget_row)
    return [
        _marks(columns, room, glyphs),
        *(((" " * LEFT, ""), *joined(cells)) for cells in drawn),
    ]
