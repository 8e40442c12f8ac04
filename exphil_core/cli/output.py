"""Replace characters that the output's encoding lacks, instead of raising UnicodeEncodeError."""

import codecs
import io
import sys
import unicodedata

_HANDLER = "exphil.plain"

_PLAIN = str.maketrans(
    {
        "→": "->",
        "←": "<-",
        "×": "x",
        "…": "...",
        "–": "-",
        "—": "-",
        "−": "-",
        "•": "*",
        "·": ".",
        "±": "+/-",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
        "χ": "chi",
        "µ": "u",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "█": "#",
        "▁": "_",
        "─": "-",
        "━": "-",
        "│": "|",
        "┃": "|",
    }
)
"""Non-ASCII characters in our own output → ASCII replacements."""

_BRAILLE = range(0x2800, 0x2900)
_BYTES = range(0xDC80, 0xDD00)
"""Surrogates that Python's `surrogateescape` uses for undecodable bytes of a file name."""


def make_printable() -> None:
    """Make stdout and stderr accept any text by replacing characters that their encoding lacks."""
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_plain(letter, error.encoding) for letter in lacking), error.end


def _plain(letter: str, encoding: str) -> str:
    code = ord(letter)
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    for found in (
        letter.translate(_PLAIN),
        unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode(),
    ):
        if found and found != letter:
            return found
    return "." if code in _BRAILLE else "?"
