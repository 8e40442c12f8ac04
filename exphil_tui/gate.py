"""The last gate before the terminal: no letter passes that could steer it, nor one that it cannot show.

In: the segments of a line as widgets drew them. Out: the same, as wide, of printable letters alone; of ASCII where
that is all there is. What a reader gets wrong: this does not replace `sanitise`. A name is made safe where it comes
in; what is left for here is what was forgotten there, and the frames and signs of Textual's own widgets.
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
    """What does not print becomes as many blanks as it would have been wide."""

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
    """As `PrintableOnly`, and every letter beyond ASCII becomes the nearest within."""

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
    # A letter two cells wide becomes two, and one without width none.
    return found * cell_len(letter)
