import pytest

from exphil_core.melee.action_names import action_name
from exphil_core.melee.action_states import BY_NAME, LAST, LAST_COMMON
from exphil_core.melee.characters import CHARACTERS, PLAYABLE_COUNT, by_name


def test_common_states_are_called_as_people_call_them() -> None:
    words = {
        "KNEE_BEND": "jump squat",
        "ATTACK_AIR_F": "forward air",
        "GUARD": "shield",
        "DASH": "dash",
        "DAMAGE_FALL": "tumble",
        "CLIFF_WAIT": "ledge hang",
        "DAMAGE_N_2": "hurt",
        "DOWN_WAIT_D": "lying",
        "LIGHT_THROW_F": "item throw",
    }
    assert {name: action_name(BY_NAME[name], None) for name in words} == words


def test_every_state_of_every_character_has_a_few_words() -> None:
    for character in CHARACTERS:
        for action_state in range(LAST + 1):
            words = action_name(action_state, character.internal_id)
            assert words == words.strip() != ""
            assert "_" not in words
            assert len(words) <= 26


def test_a_characters_own_states_are_named_by_who_is_in_them() -> None:
    fox, mewtwo = by_name("fox").internal_id, by_name("mewtwo").internal_id
    assert action_name(341, fox) == "Blaster"
    assert action_name(341, mewtwo) == "Shadow Ball charge"
    assert action_name(341, None) == "special 341"
    assert action_name(361, mewtwo) == "special 361"
    assert action_name(363, by_name("gameandwatch").internal_id) == "Judge 9"


def test_every_playable_character_has_named_moves() -> None:
    for character in CHARACTERS[:PLAYABLE_COUNT]:
        names = {action_name(state, character.internal_id) for state in range(LAST_COMMON + 1, LAST + 1)}
        assert sum(not name.startswith("special") for name in names) >= 4, character.name


@pytest.mark.parametrize("action_state", [-1, LAST + 1])
def test_an_impossible_state_is_an_error(action_state: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 543"):
        action_name(action_state, None)
