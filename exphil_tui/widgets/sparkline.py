"""Sparkline: a curve in one row of block characters.

The height is relative to the values' own minimum and maximum, so two sparklines cannot be compared by height.
"""

from collections.abc import Sequence

import numpy as np

from exphil_tui.theme.glyphs import Glyphs


def sparkline(values: Sequence[float] | np.ndarray, width: int, glyphs: Glyphs) -> str:
    """Render values as a string of exactly `width` cells.

    Each cell is the mean of its finite values. Fewer values than cells are aligned right.
    """
    found = np.asarray(values, float)
    width = max(width, 0)
    if not len(found) or not width:
        return " " * width
    cells = min(width, len(found))
    begins = np.arange(cells) * len(found) // cells
    finite = np.isfinite(found)
    counts = np.add.reduceat(finite.astype(float), begins)
    # Divide before summing, so that the sum of huge values stays finite.
    sizes = np.repeat(np.maximum(counts, 1), np.diff(np.append(begins, len(found))))
    means = np.add.reduceat(np.where(finite, found, 0.0) / sizes, begins)
    known = counts > 0
    if not known.any():
        return " " * width
    least, most = means[known].min(), means[known].max()
    levels = glyphs.blocks[1:]
    if most / 2 - least / 2 <= max(abs(least), abs(most)) * 1e-9:
        heights = np.full(cells, len(levels) // 2)
    else:
        share = (means / 2 - least / 2) / (most / 2 - least / 2)
        heights = np.clip(np.floor(share * len(levels)), 0, len(levels) - 1).astype(int)
    letters = (levels[height] if there else " " for height, there in zip(heights, known, strict=True))
    return "".join(letters).rjust(width)
