"""Dial of the latency gauge: a scale of 0 to 25 ms with the frame budget, a bar and a histogram.

Lines are tuples of (text, look). The budget line has its own cell between two others, so it hides nothing and never
moves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from exphil_core.melee.frames import FRAME_MS

SCALE_MS = 25.0

BINS_PER_BUDGET = 20
"""Histogram bins up to the budget; the histogram has twice as many, and its last bin also holds slower frames."""

BINS_SHOWN = round(SCALE_MS / FRAME_MS * BINS_PER_BUDGET)

LEFT = 2
"""Blanks before every line, in cells."""

Part = tuple[str, str]
"""Text and its look: dim, strong, good, warn, bad, or empty."""

Line = tuple[Part, ...]

_END = f"{SCALE_MS:.0f} ms"
_BIN_LOOKS = ("good",) * BINS_PER_BUDGET + ("bad",) * (BINS_SHOWN - BINS_PER_BUDGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeGlyphs:
    """Characters to draw with."""

    widths: str
    """A cell from empty to full, filled from the left."""
    heights: str
    """A cell from empty to full, filled from the bottom."""
    notch: str
    beyond: str
    upright: str
    level: str
    missed: str
    bullet: str
    dash: str
    signs: tuple[str, str, str]
    """Signs for in time, just in time and not in time."""


UNICODE = GaugeGlyphs(
    widths=" ▏▎▍▌▋▊▉█",
    heights=" ▁▂▃▄▅▆▇█",
    notch="┃",
    beyond="▶",
    upright="│",
    level="┄",
    missed="▾",
    bullet="•",
    dash="–",
    signs=("✓", "≈", "✗"),
)
ASCII = GaugeGlyphs(
    widths="    #####",
    heights=" .:-=+*##",
    notch="+",
    beyond=">",
    upright="|",
    level="-",
    missed="v",
    bullet="*",
    dash="-",
    signs=("*", "~", "!"),
)


class Dial:
    """A scale of 0 to 25 ms in cells, with the budget line between two of them."""

    def __init__(self, room: int, glyphs: GaugeGlyphs) -> None:
        # The budget falls between two cells if their number is a multiple of 3, and so does each bin edge for 30.
        room -= len(_END)
        step = BINS_SHOWN if room >= BINS_SHOWN else 3
        self._cells = room // step * step
        self._budget = self._cells * 2 // 3
        self._letters = glyphs

    def labels(self) -> Line:
        budget = f"{FRAME_MS:.2f} ms"
        row = list(" " * (self._cells + len(_END)))
        at = self._budget - len(budget) // 2
        row[at : at + len(budget)] = budget
        row[self._cells :] = _END
        for ms in (0, 10, 5, 20, 15):
            place = round(self._place(ms)) + (ms > FRAME_MS)
            around = row[max(0, place - 2) : place + 4]
            if all(letter == " " for letter in around):
                row[place : place + len(str(ms))] = str(ms)
        text = "".join(row).rstrip()
        return (
            (" " * LEFT + text[:at], "dim"),
            (budget, "strong"),
            (text[at + len(budget) :], "dim"),
        )

    def bar(self, p50_ms: float | None, p95_ms: float | None, look: str) -> Line:
        """Draw a bar up to the p95 with a notch at the p50."""
        glyphs = self._letters
        full = 0.0 if p95_ms is None else max(self._place(p95_ms), 0.2)
        cells = [(filled(glyphs.widths, 8 * (full - cell)), look) for cell in range(self._cells)]
        if p95_ms is not None and p95_ms > SCALE_MS:
            cells[-1] = (glyphs.beyond, look)
        if p50_ms is not None and p50_ms <= SCALE_MS:
            cells[min(self._cells - 1, int(self._place(p50_ms)))] = (glyphs.notch, "strong")
        return self._divided(cells)

    def histogram(self, counts: Sequence[int], *, rows: int) -> list[Line]:
        """Draw a histogram on top of the scale; empty if its bins are another version's or there is no room."""
        if len(counts) != 2 * BINS_PER_BUDGET or not any(counts) or self._cells % BINS_SHOWN or rows < 3:
            return []
        most = max(1, *counts[:BINS_SHOWN])
        # Rounded up, so that one frame of six hundred is visible.
        heights = [math.ceil(8 * (rows - 1) * count / most) for count in counts[:BINS_SHOWN]]
        lines = []
        for row in reversed(range(rows - 1)):
            cells = [
                (self._cells // BINS_SHOWN * filled(self._letters.heights, height - 8 * row), look)
                for height, look in zip(heights, _BIN_LOOKS, strict=True)
            ]
            lines.append(self._divided(cells))
        over, beyond = sum(counts[BINS_PER_BUDGET:]), sum(counts[BINS_SHOWN:])
        within = f"{sum(counts[:BINS_PER_BUDGET]):,} frames in the budget "
        too_long = f" {over:,} over" + (f", {beyond:,} of them beyond {SCALE_MS:.0f} ms" if beyond else "")
        heading: Line = (
            (" " * LEFT + within.rjust(self._budget)[-self._budget :], "dim"),
            (self._letters.upright, "strong"),
            (too_long, "bad" if over else "dim"),
        )
        return [heading, *lines]

    def _place(self, ms: float) -> float:
        return min(max(ms, 0.0), SCALE_MS) / SCALE_MS * self._cells

    def _divided(self, cells: Sequence[Part]) -> Line:
        """Insert the budget line after two thirds of the cells."""
        middle = len(cells) * 2 // 3
        line = (self._letters.upright, "strong")
        return ((" " * LEFT, ""), *joined([*cells[:middle], line, *cells[middle:]]))


def joined(cells: Sequence[Part]) -> Line:
    """Merge neighbouring cells of the same look into one part."""
    groups = groupby(cells, key=lambda cell: cell[1])
    return tuple(("".join(letter for letter, _ in group), look) for look, group in groups)


def filled(glyphs: str, eighths: float) -> str:
    """Return the letter of a cell filled to this many eighths."""
    return glyphs[min(8, max(0, round(eighths)))]
