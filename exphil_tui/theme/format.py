"""Number formatting for display: short text with a unit.

An unknown value (None, NaN or infinite) is shown as a dash, never as zero.
"""

import math
from itertools import pairwise

from exphil_tui.theme.glyphs import Glyphs


def loss(value: float | None, glyphs: Glyphs) -> str:
    """Format a loss in nats per frame: `0.478`, `15.3`."""
    if value is None or not math.isfinite(value):
        return glyphs.dash
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def count(value: float | None, glyphs: Glyphs) -> str:
    """Format a count with three significant digits: `950`, `35.1k`, `1.50M`."""
    if value is None or not math.isfinite(value):
        return glyphs.dash
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2}f}{unit}"
    return f"{value:.0f}"


def whole(value: int | None, glyphs: Glyphs) -> str:
    """Format an integer with all digits: `12,000`."""
    return glyphs.dash if value is None else f"{value:,}"


def percent(share: float | None, glyphs: Glyphs) -> str:
    """Format a share (0 to 1) as a percentage: `72 %`, `4.3 %`, `0.06 %`, `<0.01 %`, `0 %`."""
    if share is None or not math.isfinite(share):
        return glyphs.dash
    value = 100 * share
    if value == 0 or abs(value) >= 9.95:
        return f"{value:.0f} %"
    if 0 < value < 0.005:
        return "<0.01 %"
    return f"{value:.1f} %" if abs(value) >= 0.995 else f"{value:.2f} %"


def duration(seconds: float | None, glyphs: Glyphs) -> str:
    """Format a duration in its two largest units: `8 s`, `3 min 20 s`, `5 h 12 min`, `2 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return glyphs.dash
    left = max(0, round(seconds))
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for (size, unit), (smaller, name) in pairwise(units):
        if left >= size:
            rest = left % size // smaller
            return f"{left // size} {unit} {rest} {name}" if rest else f"{left // size} {unit}"
    return f"{left} s"


def memory(value: float | None, glyphs: Glyphs) -> str:
    """Format a number of bytes in powers of 1024: `640 MB`, `1.3 GB`."""
    if value is None or not math.isfinite(value):
        return glyphs.dash
    mega = value / 2**20
    return f"{mega:.0f} MB" if mega < 1000 else f"{mega / 1024:.1f} GB"


def milliseconds(value: float | None, glyphs: Glyphs) -> str:
    """Format milliseconds without the unit: `6.42`, `16.7`, `120`."""
    if value is None or not math.isfinite(value):
        return glyphs.dash
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
