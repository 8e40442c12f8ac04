"""Colour and letter of each line in a chart, the same for a character on every screen.

The letter tells lines apart where colour is missing (NO_COLOR, colour blindness, a copied screen). The colours
are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which stay distinct with every common form of
colour blindness; black is left out because it is invisible on a dark terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#BBBBBB")
TOTAL = "#FFFFFF"
"""Colour of the line for all characters together."""

GOOD, BAD = "#009E73", "#D55E00"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesStyle:
    colour: str
    letter: str


def series_styles(names: Sequence[str]) -> dict[str, SeriesStyle]:
    """Assign each name a colour and a letter: the first letter of the name that no earlier name uses."""
    found: dict[str, SeriesStyle] = {}
    taken: set[str] = set()
    for index, name in enumerate(names):
        letters = [letter for letter in name.upper() if letter.isascii() and letter.isalnum()]
        free = [
            letter for letter in (*letters, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") if letter not in taken
        ]
        letter = free[0] if free else "?"
        taken.add(letter)
        found[name] = SeriesStyle(colour=COLOURS[index % len(COLOURS)], letter=letter)
    return found
