"""Colours and letters of lines: one a character, the same on every screen.

In: names in the order of a table. Out: a colour and a letter each. What a reader gets wrong: the letter is not
decoration; it is how a line is told apart where colour is missing (NO_COLOR, colour-blindness, a copied screen).

The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), chosen to be told apart with every common
form of colour-blindness; black is left out, since it cannot be seen on a dark terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#BBBBBB")
TOTAL = "#FFFFFF"
"""Of the line for all characters together."""

GOOD, BAD = "#009E73", "#D55E00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    colour: str
    letter: str


def marks(names: Sequence[str]) -> dict[str, Mark]:
    """A mark for every name: the first letter of it that no name before it took."""
    found: dict[str, Mark] = {}
    taken: set[str] = set()
    for index, name in enumerate(names):
        letters = [letter for letter in name.upper() if letter.isascii() and letter.isalnum()]
        free = [
            letter for letter in (*letters, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") if letter not in taken
        ]
        letter = free[0] if free else "?"
        taken.add(letter)
        found[name] = Mark(colour=COLOURS[index % len(COLOURS)], letter=letter)
    return found
