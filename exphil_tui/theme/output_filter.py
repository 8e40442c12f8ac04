"""Line filters that replace non-printable characters, or all non-ASCII ones, before output reaches the terminal.

They do not replace `sanitise`, which cleans text where it enters the program.
"""

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_ASCII = {
    **dict.fromkeys("│┃╎╏┆┇┊┋║▏▎▍▌▋▊▉▐▕┤├╡╞┨┠", "|"),
    **dict.fromkeys("─━╌╍┄┅┈┉═▁▔▂▀▄⎯╴╶", "-"),
    **dict.fromkeys("┌┐└┘╭╮╰╯┼┬┴╔╗╚╝╠╣╦╩╬┏┓┗┛▗▖▝▘▛▜▙▟", "+"),
    **dict.fromkeys("█▇▆▅▓■◼●⬤", "#"),
    **dict.fromkeys("░▒▃", ":"),
    **dict.fromkeys("▶►▸❯→⏵", ">"),
    **dict.fromkeys("◀◄◂❮←⏴", "<"),
    **dict.fromkeys("▲▴↑⏶", "^"),
    **dict.fromkeys("▼▾↓⏷", "v"),
    **dict.fromkeys("•·∙⬝", "*"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "×": "x",
    "…": "~",
    "✓": "+",
    "✗": "x",
    "⚠": "!",
    "⭘": "o",
    "🔎": ">",
}


class PrintableOnly(LineFilter):
    """Replace each non-printable character with spaces of the same width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [
            segment
            if segment.control or segment.text.isprintable()
            else Segment(_printable(segment.text), segment.style)
            for segment in segments
        ]


class AsciiOnly(LineFilter):
    """Like `PrintableOnly`, and replace each non-ASCII character with the nearest ASCII one."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.control or (segment.text.isascii() and segment.text.isprintable())
            else Segment("".join(map(_nearest, _printable(segment.text))), segment.style)
            for segment in segments
        ]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " * cell_len(letter) for letter in text)


@lru_cache(4096)
def _nearest(letter: str) -> str:
    if letter.isascii():
        return letter
    found = _ASCII.get(letter)
    if found is None:
        plain = unicodedata.normalize("NFKD", letter)[:1]
        found = plain if plain.isascii() else "?"
    # A two-cell character becomes two ASCII characters, a zero-width one becomes none.
    return found * cell_len(letter)
