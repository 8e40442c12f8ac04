"""Character set for the terminal: Unicode (braille and box drawing) or ASCII.

Colour is handled elsewhere: Textual handles NO_COLOR.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters that differ between the Unicode and ASCII sets."""

    ascii: bool
    dash: str
    """Shown for an unknown value."""
    bullet: str
    up: str
    down: str
    blocks: str
    """Block characters from empty to full, for sparklines and bars."""
    ellipsis: str
    warning: str


UNICODE = Glyphs(
    ascii=False, dash="–", bullet="•", up="▲", down="▼", blocks=" ▁▂▃▄▅▆▇█", ellipsis="…", warning="⚠"
)
ASCII = Glyphs(
    ascii=True, dash="-", bullet="*", up="^", down="v", blocks=" .:-=+*#@", ellipsis="~", warning="!"
)


def glyphs_of(environment: Mapping[str, str], encoding: str | None) -> Glyphs:
    """Return ASCII if `EXPHIL_ASCII` is set, the output is not UTF-8, or the terminal cannot show the glyphs."""
    asked = environment.get("EXPHIL_ASCII", "") not in ("", "0")
    # The Linux console's font has 512 glyphs, none of them braille.
    bare = environment.get("TERM", "") in ("linux", "dumb", "vt100", "vt220")
    utf8 = (encoding or "").lower().replace("-", "") == "utf8"
    return ASCII if asked or bare or not utf8 else UNICODE
