"""Melee's characters with external and internal ids.

Game-start data uses *external* ids (select-screen order); post frames and libmelee use *internal* ids. Both are
small integers and some coincide, so mixing them up raises no error. Zelda and Sheik change the internal id within a
game; a game-start block only holds the selected character.

Source of the ids: the Slippi replay specification and the Melee community's data sheets.
"""

import unicodedata
from dataclasses import dataclass

from exphil_core.errors import UsageError
from exphil_core.suggest import nearest_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    name: str
    """The key in presets, on the command line and in reports."""
    title: str
    """The display name."""
    external_id: int
    internal_id: int
    aliases: tuple[str, ...] = ()
    """Other spellings, in lower-case letters and digits, with `and` for `&`."""


def _character(name: str, title: str, external_id: int, internal_id: int, *aliases: str) -> Character:
    return Character(
        name=name, title=title, external_id=external_id, internal_id=internal_id, aliases=aliases
    )


CHARACTERS: tuple[Character, ...] = (
    _character("falcon", "Captain Falcon", 0, 2, "cf", "cfalcon", "captfalcon", "cptfalcon"),
    _character("dk", "Donkey Kong", 1, 3, "donkey"),
    _character("fox", "Fox", 2, 1, "foxmccloud"),
    _character(
        *("gameandwatch", "Mr. Game & Watch", 3, 24),
        *("gnw", "gw", "gandw", "gaw", "mrgnw", "mrgw", "mrgandw", "mrgaw", "gamewatch", "gamenwatch"),
        *("mrgamewatch", "mrgamenwatch", "mistergameandwatch", "mistergamewatch"),
    ),
    _character("kirby", "Kirby", 4, 4),
    _character("bowser", "Bowser", 5, 5, "kingkoopa", "koopa"),
    _character("link", "Link", 6, 6, "adultlink"),
    _character("luigi", "Luigi", 7, 17),
    _character("mario", "Mario", 8, 0),
    _character("marth", "Marth", 9, 18),
    _character("mewtwo", "Mewtwo", 10, 16, "m2", "mew2"),
    _character("ness", "Ness", 11, 8),
    _character("peach", "Peach", 12, 9, "princesspeach"),
    _character("pikachu", "Pikachu", 13, 12, "pika"),
    _character(
        *("iceclimbers", "Ice Climbers", 14, 10),
        *("ics", "ic", "icies", "iceclimber", "climbers", "popo", "popoandnana"),
    ),
    _character("jigglypuff", "Jigglypuff", 15, 15, "puff", "jiggs", "jigg", "jiggly", "jigglypuffs"),
    _character("samus", "Samus", 16, 13, "samusaran"),
    _character("yoshi", "Yoshi", 17, 14),
    _character("zelda", "Zelda", 18, 19, "princesszelda"),
    _character("sheik", "Sheik", 19, 7, "shiek"),
    _character("falco", "Falco", 20, 22, "falcolombardi"),
    _character("younglink", "Young Link", 21, 20, "yl", "ylink", "yink", "childlink", "kidlink"),
    _character("drmario", "Dr. Mario", 22, 21, "doc", "doctor", "drm", "doctorm", "doctormario", "docmario"),
    _character("roy", "Roy", 23, 26),
    _character("pichu", "Pichu", 24, 23),
    _character("ganondorf", "Ganondorf", 25, 25, "ganon", "gannon", "gannondorf", "gdorf"),
    _character("masterhand", "Master Hand", 26, 27),
    _character("wireframemale", "Male Wireframe", 27, 29),
    _character("wireframefemale", "Female Wireframe", 28, 30),
    _character("gigabowser", "Giga Bowser", 29, 31),
    _character("crazyhand", "Crazy Hand", 30, 28),
    _character("sandbag", "Sandbag", 31, 32),
    _character("nana", "Nana", 32, 11),
)
"""All characters, in external order: `CHARACTERS[i].external_id == i`."""

PLAYABLE_COUNT = 26
"""External ids below this are on the select screen."""

INTERNAL_ID_COUNT = 33
"""Number of internal ids (0 to 32); the width of the one-hot character input."""

TRANSFORMS: dict[int, int] = {18: 19, 19: 18}
"""External id → external id after a transformation within a game: Zelda and Sheik."""

LOW_TIER: tuple[str, ...] = ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")
"""The characters that exphil lists first, in display order."""


def low_tier_first(name: str) -> tuple[int, str]:
    """Sort key: the low tier in its order, then the others by name."""
    return (LOW_TIER.index(name) if name in LOW_TIER else len(LOW_TIER), name)


def _key(name: str) -> str:
    """Normalise a name, so that all its spellings are equal."""
    folded = unicodedata.normalize("NFKD", name).casefold().replace("&", "and")
    return "".join(letter for letter in folded if letter.isalnum())


_BY_INTERNAL = {character.internal_id: character for character in CHARACTERS}
_BY_NAME = {
    _key(spelling): character
    for character in CHARACTERS
    for spelling in (character.name, character.title, *character.aliases)
}


def by_external_id(external_id: int) -> Character:
    """Return the character of a game-start block's id.

    Raises:
        ValueError: no character has this id.
    """
    if not 0 <= external_id < len(CHARACTERS):
        raise ValueError(f"external character id {external_id}: expected 0 to {len(CHARACTERS) - 1}")
    return CHARACTERS[external_id]


def by_internal_id(internal_id: int) -> Character:
    """Return the character of a post frame's id.

    Raises:
        ValueError: no character has this id.
    """
    if internal_id not in _BY_INTERNAL:
        raise ValueError(f"internal character id {internal_id}: expected 0 to {INTERNAL_ID_COUNT - 1}")
    return _BY_INTERNAL[internal_id]


def by_name(name: str) -> Character:
    """Return the character of a name, title or alias, ignoring case, accents, spaces and punctuation.

    Raises:
        UsageError: unknown name; the message suggests the nearest one.
    """
    key = _key(name)
    if key in _BY_NAME:
        return _BY_NAME[key]
    if (near := nearest_name(key, _BY_NAME)) is not None:
        raise UsageError(f"unknown character '{name}'; did you mean '{_BY_NAME[near].name}'?")
    known = ", ".join(sorted(character.name for character in CHARACTERS[:PLAYABLE_COUNT]))
    raise UsageError(f"unknown character '{name}'; expected one of {known}")
