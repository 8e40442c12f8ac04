"""Which letters the terminal can show: braille and box drawing, or ASCII alone.

In: the environment and the encoding of the terminal. Out: a `Glyphs`. What a reader gets wrong: this is about
letters, not colours; NO_COLOR is Textual's business, and colour is never the only signal anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The letters that differ between the two."""

    ascii: bool
    dash: str
    """Stands for a value that is not known."""
    bullet: str
    up: str
    down: str
    blocks: str
    """From empty to full, for sparklines and bars."""
    ellipsis: str
    warning: str


UNICODE = Glyphs(
    ascii=False, dash="–", bullet="•", up="▲", down="▼", blocks=" ▁▂▃▄▅▆▇█", ellipsis="…", warning="⚠"
)
ASCII = Glyphs(
    ascii=True, dash="-", bullet="*", up="^", down="v", blocks=" .:-=+*#@", ellipsis="~", warning="!"
)


def glyphs_of(environment: Mapping[str, str], encoding: str | None) -> Glyphs:
    """ASCII where `EXPHIL_ASCII` is set, the output is not UTF-8, or the terminal is known to lack the letters."""
    asked = environment.get("EXPHIL_ASCII", "") not in ("", "0")
    # The Linux console's font has 512 glyphs, none of them braille.
    bare = environment.get("TERM", "") in ("linux", "dumb", "vt100", "vt220")
    utf8 = (encoding or "").lower().replace("-", "") == "utf8"
    return ASCII if asked or bare or not utf8 else UNICODE
