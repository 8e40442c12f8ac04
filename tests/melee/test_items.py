import pytest

from exphil_core.melee.items import ITEM_TYPES, item_type


def test_well_known_items_have_their_names() -> None:
    names = {54: "laser", 55: "laser", 79: "needle", 99: "turnip", 112: "Shadow Ball", 210: "Shy Guy"}
    assert {type_id: item_type(type_id).name for type_id in names} == names


def test_what_is_held_or_picked_up_is_no_projectile() -> None:
    held = ("blaster", "bow", "cape", "chain", "capsule", "Poké Ball", "Shy Guy", "needles in hand")
    sent = ("laser", "arrow", "needle", "Shadow Ball", "fireball", "boomerang", "turnip", "missile")
    kinds = {kind.name: kind.projectile for kind in ITEM_TYPES.values()}
    assert not any(kinds[name] for name in held)
    assert all(kinds[name] for name in sent)


def test_an_id_without_a_name_is_an_item_with_its_number() -> None:
    assert item_type(999).name == "item 999"
    assert item_type(0x34).name == "item 52"
    assert not item_type(999).projectile


def test_every_named_id_lies_where_the_game_has_items() -> None:
    assert min(ITEM_TYPES) == 0
    assert max(ITEM_TYPES) == 0xEC
    assert all(
        kind.type_id == type_id and kind.name.strip() == kind.name for type_id, kind in ITEM_TYPES.items()
    )


def test_libmelee_has_the_same_numbers() -> None:
    """Spot by spot where both have the same word; its names are enum members."""
    melee = pytest.importorskip("melee")
    words = {
        "FOX_LASER": "laser",
        "LINK_BOOMERANG": "boomerang",
        "YLINK_BOMB": "bomb",
        "PK_THUNDER_HEAD": "PK Thunder",
        "NEEDLE_THROWN": "needle",
        "SAMUS_MISSLE": "missile",
        "TURNIP": "turnip",
        "LUIGI_FIRE": "fireball",
        "ZELDA_FIRE": "Din's Fire",
        "SHADOWBALL": "Shadow Ball",
        "PARACHUTE": "parachute",
        "YLINK_MILK": "milk",
        "KIRBY_SAUSAGE": "sausage",
        "SHY_GUY": "Shy Guy",
    }
    for member, word in words.items():
        assert item_type(melee.enums.ProjectileType[member].value).name == word
