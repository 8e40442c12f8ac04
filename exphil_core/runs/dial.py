"""The dial of a gauge: 0 to 25 ms with the budget of a frame on it, a bar, and a histogram on the same scale.

In: figures in milliseconds, counts by bin, and a width. Out: lines of (text, look). What a reader gets wrong: the
line at the budget has a cell of its own between two others, so it hides nothing, and never moves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from exphil_core.melee.frames import FRAME_MS

SCALE_MS = 25.0

BINS_PER_BUDGET = 20
"""Of a record's histogram, which reaches to twice the budget; its last bin also holds all that took longer."""

BINS_SHOWN = round(SCALE_MS / FRAME_MS * BINS_PER_BUDGET)

LEFT = 2
"""Blanks before every line."""

Part = tuple[str, str]
"""Text and its look: dim, strong, good, warn, bad, or empty."""

Line = tuple[Part, ...]

_END = f"{SCALE_MS:.0f} ms"
_BIN_LOOKS = ("good",) * BINS_PER_BUDGET + ("bad",) * (BINS_SHOWN - BINS_PER_BUDGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    widths: str
    """A cell from empty to full, from the left."""
    heights: str
    """From the bottom."""
    notch: str
    beyond: str
    upright: str
    level: str
    missed: str
    bullet: str
    dash: str
    signs: tuple[str, str, str]
    """Of in time, just in time, not in time."""


UNICODE = Letters(
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
ASCII = Letters(
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
    """0 to 25 ms in cells, and between two of them the line at the budget."""

    def __init__(self, room: int, letters: Letters) -> None:
        # The budget lies between two cells where they are a multiple of three, and so does each bin where of thirty.
        room -= len(_END)
        step = BINS_SHOWN if room >= BINS_SHOWN else 3
        self._cells = room // step * step
        self._budget = self._cells * 2 // 3
        self._letters = letters

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
        """Full up to the p95, with a notch at the p50."""
        letters = self._letters
        full = 0.0 if p95_ms is None else max(self._place(p95_ms), 0.2)
        cells = [(filled(letters.widths, 8 * (full - cell)), look) for cell in range(self._cells)]
        if p95_ms is not None and p95_ms > SCALE_MS:
            cells[-1] = (letters.beyond, look)
        if p50_ms is not None and p50_ms <= SCALE_MS:
            cells[min(self._cells - 1, int(self._place(p50_ms)))] = (letters.notch, "strong")
        return self._divided(cells)

    def histogram(self, counts: Sequence[int], *, rows: int) -> list[Line]:
        """What frames took, standing on the scale; none where its bins are another version's or there is no room."""
        if len(counts) != 2 * BINS_PER_BUDGET or not any(counts) or self._cells % BINS_SHOWN or rows < 3:
            return []
        most = max(1, *counts[:BINS_SHOWN])
        # Rounded up: one frame of six hundred can be seen.
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
        """With the line of the budget, which lies behind two thirds of them."""
        middle = len(cells) * 2 // 3
        line = (self._letters.upright, "strong")
        return ((" " * LEFT, ""), *joined([*cells[:middle], line, *cells[middle:]]))


def joined(cells: Sequence[Part]) -> Line:
    """Neighbours of the same look as one part."""
    groups = groupby(cells, key=lambda cell: cell[1])
    return tuple(("".join(letter for letter, _ in group), look) for look, group in groups)


def filled(letters: str, eighths: float) -> str:
    """The letter of a cell that is this full."""
    return letters[min(8, max(0, round(eighths)))]
