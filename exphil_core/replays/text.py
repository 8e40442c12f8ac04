"""Strangers' text made safe to show: names, tags and codes out of replays, and file names out of archives.

A name tag may hold terminal escapes, text that runs backwards, invisible characters or a column of accents.
What is left here is printable and short. Markup brackets stay: whoever shows a name shows it as plain text.
"""

import unicodedata

_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols by category that show as nothing."""

_MAX_ACCENTS = 2


def sanitise(text: object, *, limit: int = 32) -> str:
    """`text` without control, bidi, zero-width and private characters, on one line, at most `limit` long.

    Anything but a string gives the empty string: metadata is whatever the file says it is.
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
    """Whether a file's name is text: one that is not UTF-8 holds bytes that Python keeps as surrogates."""
    return storable(name) == name


def storable(name: str) -> str:
    r"""A file's name as text that can be encoded; a byte that is not UTF-8 becomes `\udcXX`."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_variation_selector(letter: str) -> bool:
    return "\ufe00" <= letter <= "\ufe0f" or "\U000e0100" <= letter <= "\U000e01ef"
