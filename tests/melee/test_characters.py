"""Both numberings of characters, against libmelee and against what replays are known to hold."""

import random

import pytest

from exphil_core.melee.characters import (
    CHARACTERS,
    INTERNAL_ID_COUNT,
    LOW_TIER,
    PLAYABLE_COUNT,
    by_external_id,
    by_internal_id,
    by_name,
)

melee = pytest.importorskip("melee")

LIBMELEE_NAMES = {
    "falcon": "CPTFALCON",
    "gameandwatch": "GAMEANDWATCH",
    "younglink": "YLINK",
    "drmario": "DOC",
    "iceclimbers": "POPO",
}


def test_internal_ids_are_libmelees() -> None:
    for character in CHARACTERS[:PLAYABLE_COUNT]:
        theirs = melee.Character[LIBMELEE_NAMES.get(character.name, character.name.upper())]
        assert theirs.value == character.internal_id, character.name
    assert by_name("nana").internal_id == melee.Character.NANA.value


@pytest.mark.parametrize(
    ("name", "external_id", "internal_id"),
    [
        ("falcon", 0, 2),
        ("fox", 2, 1),
        ("gameandwatch", 3, 24),
        ("link", 6, 6),
        ("mewtwo", 10, 16),
        ("zelda", 18, 19),
        ("sheik", 19, 7),
        ("ganondorf", 25, 25),
    ],
)
def test_the_ids_that_projects_mixed_up(name: str, external_id: int, internal_id: int) -> None:
    character = by_name(name)
    assert (character.external_id, character.internal_id) == (external_id, internal_id)
    assert by_external_id(external_id) is character
    assert by_internal_id(internal_id) is character


def test_every_id_is_there_once() -> None:
    assert [character.external_id for character in CHARACTERS] == list(range(33))
    assert sorted(character.internal_id for character in CHARACTERS) == list(range(INTERNAL_ID_COUNT))


def test_names_and_aliases_find_their_character() -> None:
    for typed, name in (
        ("Game & Watch", "gameandwatch"),
        ("gnw", "gameandwatch"),
        ("Mr. Game and Watch", "gameandwatch"),
        ("Captain-Falcon", "falcon"),
        ("ICs", "iceclimbers"),
        ("M2", "mewtwo"),
        ("young_link", "younglink"),
    ):
        assert by_name(typed).name == name
    assert [by_name(name).name for name in LOW_TIER] == list(LOW_TIER)


def spellings() -> list[tuple[str, str]]:
    """(what may be typed, whose it is), of every name, title and alias."""
    return [
        (spelling, character.name)
        for character in CHARACTERS
        for spelling in (character.name, character.title, *character.aliases)
    ]


def test_no_two_characters_share_a_spelling() -> None:
    owners: dict[str, set[str]] = {}
    for spelling, name in spellings():
        key = "".join(letter for letter in spelling.lower().replace("&", "and") if letter.isalnum())
        owners.setdefault(key, set()).add(name)
    assert {key: names for key, names in owners.items() if len(names) > 1} == {}


def test_case_spaces_and_punctuation_change_no_name() -> None:
    chance = random.Random(7)
    for spelling, name in spellings():
        for _ in range(5):
            typed = "".join(
                chance.choice((letter.upper(), letter.lower()))
                + chance.choice(("", "", " ", ".", "-", "_", "'"))
                for letter in spelling
            )
            assert by_name(typed).name == name, typed


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("G&W", "gameandwatch"),
        ("Mr GW", "gameandwatch"),
        ("Mr. G&W", "gameandwatch"),
        ("Mr. Game & Watch", "gameandwatch"),
        ("Dr. M", "drmario"),
        ("Doc", "drmario"),
        ("Dr Mario", "drmario"),
        ("ICs", "iceclimbers"),
        ("Ice Climbers", "iceclimbers"),
        ("Falcon", "falcon"),
        ("C. Falcon", "falcon"),
        ("Capt. Falcon", "falcon"),
        ("Ganon", "ganondorf"),
        ("DK", "dk"),
        ("D.K.", "dk"),
        ("Puff", "jigglypuff"),
        ("YL", "younglink"),
        ("Y. Link", "younglink"),
        ("M2", "mewtwo"),
        ("Shiek", "sheik"),
        ("M\u00e9wtwo", "mewtwo"),
    ],
)
def test_players_spellings_are_understood(typed: str, name: str) -> None:
    assert by_name(typed).name == name


def test_wrong_names_and_ids_are_sentences() -> None:
    with pytest.raises(ValueError, match="did you mean 'mewtwo'"):
        by_name("mewtoo")
    with pytest.raises(ValueError, match="expected one of"):
        by_name("qqqqqq")
    with pytest.raises(ValueError, match="33"):
        by_external_id(33)
    with pytest.raises(ValueError, match="-1"):
        by_internal_id(-1)
