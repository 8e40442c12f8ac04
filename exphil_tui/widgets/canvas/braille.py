"""Canvas of braille dots and text for terminal graphics, rendered to Textual strips.

There are two units. A cell is one terminal character, two dots wide and four dots high. x grows to the right and
y *down*, both from 0, and dot (x, y) covers x to x + 1. An ink is an index into the style table passed at
rendering; later drawing sets a cell's ink, and ink 0 is the empty cell's.

Dots outside the canvas are dropped, so callers need not clip. A cell has one colour: to draw one picture over
another, draw it on its own canvas and `cover` the other with it, otherwise the dots of both mix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

DOTS_WIDE: Final = 2
DOTS_HIGH: Final = 4

_BRAILLE = 0x2800
# Bit of dot [row, column] in a braille character: Unicode numbers the first six down the columns, then the
# last row.
_BIT = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)
_FAR = 2.0**31
"""Coordinates are clipped to this, which float64 represents exactly after the products below."""
_SECOND_HALF = 0
"""Placeholder in `letters` after a two-cell character; renders as nothing."""
_NO_LETTER = -1


class Canvas:
    """A grid of cells: `masks`, `inks` and `letters`, each [rows, columns]."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = max(columns, 0), max(rows, 0)
        self.masks = np.zeros((self.rows, self.columns), np.uint8)
        self.inks = np.zeros((self.rows, self.columns), np.uint8)
        self.letters = np.full((self.rows, self.columns), _NO_LETTER, np.int32)

    @property
    def dots_wide(self) -> int:
        return DOTS_WIDE * self.columns

    @property
    def dots_high(self) -> int:
        return DOTS_HIGH * self.rows

    def clear(self) -> None:
        self.masks.fill(0)
        self.inks.fill(0)
        self.letters.fill(_NO_LETTER)

    def plot(self, x: np.ndarray, y: np.ndarray, ink: int) -> None:
        """Draw single dots; non-finite points are skipped."""
        self._light(_dots(x), _dots(y), ink)

    def line(self, x0: float, y0: float, x1: float, y1: float, ink: int) -> None:
        self.polyline(np.array((x0, x1), float), np.array((y0, y1), float), ink)

    def polyline(self, x: np.ndarray, y: np.ndarray, ink: int) -> None:
        """Draw connected segments; a non-finite point leaves a gap. `thin` long lines first."""
        finite = np.isfinite(x) & np.isfinite(y)
        columns, rows = _dots(x), _dots(y)
        self._light(columns, rows, ink)
        joined = np.flatnonzero(finite[:-1] & finite[1:])
        if joined.size:
            self._join(columns[joined], rows[joined], columns[joined + 1], rows[joined + 1], ink)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, ink: int, *, filled: bool = False
    ) -> None:
        """Draw a rectangle; both corners are included."""
        if not filled:
            self.polyline(np.array((x0, x1, x1, x0, x0), float), np.array((y0, y0, y1, y1, y0), float), ink)
            return
        left, right = sorted((_inside(x0, self.dots_wide), _inside(x1, self.dots_wide)))
        top, bottom = sorted((_inside(y0, self.dots_high), _inside(y1, self.dots_high)))
        x, y = np.meshgrid(np.arange(left, right + 1), np.arange(top, bottom + 1))
        self._light(x.ravel(), y.ravel(), ink)

    def polygon(self, x: np.ndarray, y: np.ndarray, ink: int) -> None:
        """Fill a polygon (even-odd rule), border included. All corners must be finite."""
        closed_x, closed_y = np.append(x, x[:1]), np.append(y, y[:1])
        self.polyline(closed_x, closed_y, ink)
        # Scan lines at the middle of each dot row. A dot is inside if an odd number of edges cross its row
        # left of its middle.
        left, right = (_inside(end, self.dots_wide) for end in (x.min(), x.max()))
        top, bottom = (_inside(end, self.dots_high) for end in (y.min(), y.max()))
        columns, rows = np.arange(left, right + 1) + 0.5, np.arange(top, bottom + 1) + 0.5
        x0, y0, x1, y1 = closed_x[:-1], closed_y[:-1], closed_x[1:], closed_y[1:]
        crossed, row = np.nonzero((y0[:, None] <= rows) != (y1[:, None] <= rows))
        at = x0[crossed] + (rows[row] - y0[crossed]) * ((x1 - x0)[crossed] / (y1 - y0)[crossed])
        turns = np.zeros((len(rows), len(columns) + 1), np.intp)
        np.add.at(turns, (row, np.searchsorted(columns, at)), 1)
        down, across = np.nonzero(np.cumsum(turns, axis=1)[:, :-1] % 2)
        self._light(columns[across], rows[down], ink)

    def disc(self, x: float, y: float, radius: float, ink: int) -> None:
        """Fill a disc: all dots whose centre is at most `radius` from (x, y)."""
        left, right = (_inside(x + reach, self.dots_wide) for reach in (-radius, radius))
        top, bottom = (_inside(y + reach, self.dots_high) for reach in (-radius, radius))
        across, down = np.meshgrid(np.arange(left, right + 1) + 0.5, np.arange(top, bottom + 1) + 0.5)
        near = (across - x) ** 2 + (down - y) ** 2 <= radius**2
        self._light(across[near], down[near], ink)

    def text(self, column: int, row: int, text: str, ink: int) -> None:
        """Write text over the dots. Non-printable characters are dropped, so untrusted names are safe."""
        if not 0 <= row < self.rows:
            return
        if text.isascii() and text.isprintable():
            # Fast path for most text; looking at each character took a fifth of the time of a replay picture.
            left, right = max(column, 0), min(column + len(text), self.columns)
            if left < right:
                letters = np.frombuffer(text.encode("utf-32-le"), "<u4")
                self.letters[row, left:right] = letters[left - column : right - column]
                self.inks[row, left:right] = ink
            return
        for letter in text:
            width = cell_len(letter) if letter.isprintable() else 0
            if width == 0:
                continue
            if column >= 0 and column + width <= self.columns:
                self.letters[row, column] = ord(letter)
                self.letters[row, column + 1 : column + width] = _SECOND_HALF
                self.inks[row, column : column + width] = ink
            column += width

    def cover(self, above: "Canvas", column: int = 0, row: int = 0) -> None:
        """Replace each cell below a non-empty cell of `above`, dots included."""
        left, right = max(column, 0), min(column + above.columns, self.columns)
        top, bottom = max(row, 0), min(row + above.rows, self.rows)
        if left >= right or top >= bottom:
            return
        here = np.s_[top:bottom, left:right]
        there = np.s_[top - row : bottom - row, left - column : right - column]
        masks, letters = above.masks[there], above.letters[there]
        held = (masks != 0) | (letters != _NO_LETTER)
        np.copyto(self.masks[here], masks, where=held)
        np.copyto(self.inks[here], above.inks[there], where=held)
        np.copyto(self.letters[here], letters, where=held)

    def is_free(self, column: int, row: int, width: int) -> bool:
        """Return whether `width` cells from here are on the canvas and empty."""
        if not (0 <= row < self.rows and column >= 0 and column + width <= self.columns):
            return False
        cells = np.s_[row, column : column + width]
        return not self.masks[cells].any() and bool((self.letters[cells] == _NO_LETTER).all())

    def codes(self, *, ascii: bool = False) -> np.ndarray:
        """Return the code point of each cell, uint32 [rows, columns]; 0 after a two-cell character."""
        dots = (
            _ASCII[self.masks] if ascii else np.where(self.masks, _BRAILLE + self.masks.astype(np.int32), 32)
        )
        letters = self.letters
        if ascii and (foreign := letters > 126).any():
            letters = np.where(foreign, ord("?"), letters)
        return np.where(letters == _NO_LETTER, dots, letters).astype(np.uint32)

    def strips(self, styles: Sequence[Style], *, ascii: bool = False) -> list[Strip]:
        codes = self.codes(ascii=ascii)
        inks = extend_inks(codes, self.inks, styles)
        return [strip(codes[row], inks[row], styles) for row in range(self.rows)]

    def _join(self, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray, ink: int) -> None:
        """Draw all segments at once: one dot per step along the longer side of each."""
        dx, dy = x1 - x0, y1 - y0
        steps = np.maximum(np.abs(dx), np.abs(dy))
        flat = np.abs(dx) >= np.abs(dy)
        along, start = np.where(flat, dx, dy), np.where(flat, x0, y0)
        last = np.where(flat, self.dots_wide, self.dots_high) - 1
        # Only steps whose coordinate along the longer side is on the canvas; the endpoints are lit already.
        first = np.maximum(np.where(along > 0, -start, start - last), 1)
        end = np.minimum(np.where(along > 0, last - start, start), steps - 1)
        kept = np.flatnonzero(end >= first)
        if not kept.size:
            return
        counts = (end - first + 1)[kept].astype(np.int64)
        ends = np.cumsum(counts)
        step = np.arange(ends[-1]) + np.repeat(first[kept] - (ends - counts), counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            x = np.repeat(x0[kept], counts) + np.floor(step * np.repeat((dx / steps)[kept], counts) + 0.5)
            y = np.repeat(y0[kept], counts) + np.floor(step * np.repeat((dy / steps)[kept], counts) + 0.5)
        self._light(x, y, ink)

    def _light(self, x: np.ndarray, y: np.ndarray, ink: int) -> None:
        kept = (x >= 0) & (x < self.dots_wide) & (y >= 0) & (y < self.dots_high)
        columns, rows = x[kept].astype(np.intp), y[kept].astype(np.intp)
        cells = (rows >> 2) * self.columns + (columns >> 1)
        np.bitwise_or.at(self.masks.reshape(-1), cells, _BIT[rows & 3, columns & 1])
        self.inks.reshape(-1)[cells] = ink


def thin(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a long line to the points that give the same picture: first, min, max and last of each column.

    Args:
        x: [N], ascending.
        y: [N].
        edges: [columns + 1], ascending, in units of x.

    Returns:
        Column indices (-1 and the number of columns for the neighbours outside, so that the line leaves on both
        sides) and y values, NaN where not finite.
    """
    bounds = np.searchsorted(x, edges)
    begin, end = int(bounds[0]), int(bounds[-1])
    starts, columns = bounds[:-1], np.arange(len(edges) - 1)
    filled = bounds[1:] > starts
    starts, columns = starts[filled], columns[filled]
    if begin > 0:
        starts, columns = np.append(begin - 1, starts), np.append(-1, columns)
    if end < len(x):
        starts, columns = np.append(starts, end), np.append(columns, len(edges) - 1)
    if not len(starts):
        return np.empty(0), np.empty(0)
    stop = min(end + 1, len(y))
    shown = y[starts[0] : stop]
    least, most = _extremes(shown, starts - starts[0])
    if not (np.isfinite(least).all() and np.isfinite(most).all()):
        # Each non-finite value becomes its own run, so that the line breaks exactly there.
        broken = np.flatnonzero(~np.isfinite(shown)) + starts[0]
        every = np.unique(np.concatenate((starts, broken, np.minimum(broken + 1, stop - 1))))
        columns = columns[np.searchsorted(starts, every, side="right") - 1]
        starts = every
        least, most = _extremes(shown, starts - starts[0])
        least, most = (
            np.where(np.isfinite(least) & np.isfinite(most), found, np.nan) for found in (least, most)
        )
    ends = np.append(starts[1:], stop) - 1
    first, last = (np.where(np.isnan(least), np.nan, y[at]) for at in (starts, ends))
    return np.repeat(columns, 4).astype(float), np.stack((first, least, most, last), axis=1).ravel()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thinned:
    x: np.ndarray
    y: np.ndarray
    edges: np.ndarray
    columns: np.ndarray
    values: np.ndarray


class Thinning:
    """Incremental `thin` for growing lines: only new points of a known line are processed.

    A line is identified by its memory address: points may be appended, but existing points must not change.
    Results are kept until the picture after the next `begin`.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[int, int], _Thinned] = {}
        self._now: dict[tuple[int, int], _Thinned] = {}

    def begin(self) -> None:
        """Start a new picture."""
        self._before, self._now = self._now, {}

    def thin(self, x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = _place(y), len(edges)
        known = self._now.get(key) or self._before.get(key)
        if known is None or not _continues(known, x, y) or not np.array_equal(known.edges, edges):
            columns, values = thin(x, y, edges)
        elif len(known.y) == len(y):
            columns, values = known.columns, known.values
        else:
            # Every column but the last is unchanged.
            inside = known.columns[known.columns < len(edges) - 1]
            last = max(inside[-1], 0) if len(inside) else 0
            begin = int(np.searchsorted(x, edges[int(last)]))
            kept = known.columns < last
            columns, values = thin(x[begin:], y[begin:], edges)
            columns = np.concatenate((known.columns[kept], columns))
            values = np.concatenate((known.values[kept], values))
        self._now[key] = _Thinned(x=x, y=y, edges=edges, columns=columns, values=values)
        return columns, values


def _continues(known: _Thinned, x: np.ndarray, y: np.ndarray) -> bool:
    return (
        _place(known.x) == _place(x)
        and len(known.y) <= len(y)
        and known.y.strides == y.strides
        and known.x.strides == x.strides
    )


def _place(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _extremes(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore"):
        return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def extend_inks(codes: np.ndarray, inks: np.ndarray, styles: Sequence[Style]) -> np.ndarray:
    """Return inks in which empty cells continue their left neighbour's ink: same picture, fewer style changes."""
    empty = codes == 32
    ground = styles[0].bgcolor
    solid = np.array([bool(s.bgcolor != ground or s.reverse or s.underline) for s in styles])
    empty &= ~solid[inks]
    source = np.maximum.accumulate(np.where(empty, 0, np.arange(codes.shape[1])), axis=1)
    carried = np.take_along_axis(inks, source, axis=1)
    return np.where(empty, np.where(solid[carried], 0, carried), inks)


def strip(codes: np.ndarray, inks: np.ndarray, styles: Sequence[Style]) -> Strip:
    """Render one row."""
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    changes = [0, *(np.flatnonzero(inks[1:] != inks[:-1]) + 1).tolist(), len(text)]
    wide = "\0" in text
    segments = [
        Segment(text[begin:end].replace("\0", "") if wide else text[begin:end], styles[inks[begin]])
        for begin, end in pairwise(changes)
        if end > begin
    ]
    return Strip(segments, len(text))


def _dots(values: np.ndarray) -> np.ndarray:
    """Floor to whole numbers, kept as floats; NaN stays NaN."""
    floored: np.ndarray = np.floor(np.clip(values, -_FAR, _FAR))
    return floored


def _inside(value: float, dots: int) -> int:
    return int(min(max(np.floor(value), -1), dots))


def _ascii_letters() -> np.ndarray:
    """Return the most similar ASCII character for each of the 256 masks."""
    shapes = {  # rows from the top, left and right dot
        " ": ["..", "..", "..", ".."],
        "'": ["#.", "..", "..", ".."],
        "^": ["##", "..", "..", ".."],
        '"': ["##", "##", "..", ".."],
        "-": ["..", "##", "..", ".."],
        "=": ["..", "##", "##", ".."],
        "~": ["..", "#.", ".#", ".."],
        ".": ["..", "..", "..", "#."],
        "_": ["..", "..", "..", "##"],
        ",": ["..", "..", ".#", "#."],
        "/": [".#", ".#", "#.", "#."],
        "\\": ["#.", "#.", ".#", ".#"],
        "|": ["#.", "#.", "#.", "#."],
        ":": ["..", "#.", "..", "#."],
        "%": ["#.", ".#", "#.", ".#"],
        "#": ["##", "##", "##", "##"],
    }
    more = {
        "'": [[".#", "..", "..", ".."]],
        "-": [["..", "#.", "..", ".."], ["..", ".#", "..", ".."], ["..", "..", "##", ".."],
              ["..", "..", "#.", ".."], ["..", "..", ".#", ".."]],
        ".": [["..", "..", "..", ".#"]],
        "|": [[".#", ".#", ".#", ".#"]],
        ":": [["..", ".#", "..", ".#"], ["#.", "..", "..", "#."], ["#.", "..", "#.", ".."]],
    }  # fmt: skip
    drawn = list(shapes.items())
    drawn += [(letter, shape) for letter, others in more.items() for shape in others]
    templates = np.array([[[dot == "#" for dot in row] for row in shape] for _, shape in drawn])
    masks = (np.arange(256)[:, None, None] & _BIT) != 0
    apart = (masks[:, None] != templates[None]).sum(axis=(2, 3))
    # A non-empty mask never maps to a space, so that no dot vanishes.
    apart[1:, 0] = 99
    letters = np.array([ord(letter) for letter, _ in drawn])
    nearest: np.ndarray = letters[apart.argmin(axis=1)].astype(np.int32)
    return nearest


_ASCII = _ascii_letters()
