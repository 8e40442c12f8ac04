"""Sanitise untrusted text for display: names, tags and codes from replays, file names from archives.

A name tag may hold terminal escapes, right-to-left overrides, invisible characters or stacked accents. Sanitised text
is printable and short, but markup brackets stay: show it as plain text, never as markup.
"""

import unicodedata

_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Characters of letter and symbol categories that render as blanks."""

_MAX_ACCENTS = 2


def sanitise(text: object, *, limit: int = 32) -> str:
    """Return `text` without control, bidi, zero-width and private characters, on one line, cut to `limit` characters.

    Anything but a string gives the empty string, since a file's metadata may hold any type.
    """
    if not isinstance(text, str):
        return ""
    kept: list[str] = []
    accents = 0
    for letter in text[: 16 * limit]:
        category = unicodedata.category(letter)
        if letter in _BLANK_LETTERS or _is_variation_selector(letter):
            continue
        if category[0] == "Z" or letter in "\t\n\r":
            letter = " "
        elif category[0] == "C":
            continue
        accents = accents + 1 if category[0] == "M" else 0
        if accents <= _MAX_ACCENTS:
            kept.append(letter)
    return " ".join("".join(kept).split())[:limit].strip()


def is_text(name: str) -> bool:
    """Whether a file name is valid UTF-8; Python keeps other bytes as surrogates."""
    return storable(name) == name


def storable(name: str) -> str:
    r"""Return a file name as encodable text; a byte that is not UTF-8 becomes `\udcXX`."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_variation_selector(letter: str) -> bool:
    return "\ufe00" <= letter <= "\ufe0f" or "\U000e0100" <= letter <= "\U000e01ef"
