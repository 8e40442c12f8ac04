"""The yes-or-no facts that a post frame packs into five bytes, by name. Since Slippi 2.0.

In: nothing. Out: `Flag` values: the column that holds the bit, and the bit. A column's missing value (255) has all
bits set, so it is to be told from a flag before a bit is looked at.

Source of the bits: Slippi replay specification, "State Bit Flags".
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    column: str
    """Name in `replays.columns.POST_COLUMNS`."""
    bit: int


FASTFALLING = Flag(column="flags_2", bit=0x08)
STRUCK = Flag(column="flags_2", bit=0x10)
"""In hitlag as the one who was hit."""
SHIELDING = Flag(column="flags_3", bit=0x80)
HITSTUN = Flag(column="flags_4", bit=0x02)
"""While it is set, `misc_as` holds the frames that are left."""
OFFSCREEN = Flag(column="flags_5", bit=0x80)
