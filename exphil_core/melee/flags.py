"""State bit flags of a post frame (five bytes, since Slippi 2.0), by name.

A column's missing value (255) has all bits set, so test for missing before reading a bit.

Source of the bits: Slippi replay specification, "State Bit Flags".
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A bit in a column."""

    column: str
    """Name in `replays.columns.POST_COLUMNS`."""
    bit: int


FASTFALLING = Flag(column="flags_2", bit=0x08)
STRUCK = Flag(column="flags_2", bit=0x10)
"""In hitlag after being hit."""
SHIELDING = Flag(column="flags_3", bit=0x80)
HITSTUN = Flag(column="flags_4", bit=0x02)
"""While it is set, `misc_as` holds the remaining frames of hitstun."""
OFFSCREEN = Flag(column="flags_5", bit=0x80)
