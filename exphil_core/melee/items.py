"""Item types by id: readable names, and which items are projectiles.

To the game a laser, the bow in Link's hand and a Pokémon are all items. An unnamed id is "item 123".

Source of the ids: the order of `ItemKind` in the Melee decompilation (doldecomp/melee, `src/melee/it/forward.h`),
which follows VetriTheRetri's data sheet. libmelee's `ProjectileType` has the same numbers, but names the bows arrows
and PK Fire's pillar PK Flash.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemType:
    """An item type of the game."""

    type_id: int
    name: str
    projectile: bool
    """Launched by an attack and hurts on contact; not held in a hand or waiting to be picked up."""


# First id, then the names from it on; `*` marks a projectile, `-` an unused id.
_BLOCKS: tuple[tuple[int, str], ...] = (
    (
        0x00,  # picked up
        "capsule, crate, barrel, egg, party ball, barrel cannon, Bob-omb, Mr. Saturn, heart container,"
        "Maxim Tomato, Starman, home-run bat, beam sword, parasol, green shell, red shell, ray gun, Freezie,"
        "food, motion-sensor bomb, Flipper, Super Scope, Star Rod, Lip's Stick, fan, Fire Flower,"
        "Super Mushroom, Poison Mushroom, hammer, Warp Star, Screw Attack, Bunny Hood, metal box,"
        "Cloaking Device, Poké Ball",
    ),
    (
        0x23,  # made by picked-up items
        "ray gun recoil, Star Rod star*, Lip's Stick spores*, Super Scope shot*, ray gun shot*, hammer head,"
        "Fire Flower flame*, Yoshi egg",
    ),
    (0x2B, "Goomba, ReDead, Octorok, Ottosea, Octorok stone*"),
    (
        0x30,  # fighters' items
        "fireball*, Megavitamin*, Final Cutter beam*, Kirby's hammer, -, -, laser*, laser*, Illusion trail,"
        "Phantasm trail, bomb*, bomb*, boomerang*, boomerang*, hookshot, hookshot, arrow*, fire arrow*,"
        "PK Fire*, PK Fire pillar*, PK Flash*, PK Thunder*, PK Thunder tail*, PK Thunder tail*,"
        "PK Thunder tail*, PK Thunder tail*, blaster, blaster, bow, bow, PK Flash blast*, needle*,"
        "needles in hand, Thunder*, Thunder*, cape, Super Sheet, Vanish smoke, egg*, Egg Lay, star*,"
        "Thunder Jolt*, Thunder Jolt*, Thunder Jolt*, Thunder Jolt*, bomb*, Charge Shot*, missile*,"
        "grapple beam, chain, Peach Bomber blast, turnip*, Fire Breath*, baseball bat, yo-yo, Peach's parasol,"
        "Toad, fireball*, Ice Shot*, Blizzard*, Din's Fire*, Din's Fire blast*, Disable*, Toad's spores*,"
        "Shadow Ball*, Belay rope, insecticide spray, manhole, torch, parachute, turtle, Sparky, Judge sign,"
        "Oil Panic bucket, sausage*, milk, Fire rescuers",
    ),
    (0x7D, "Master Hand's laser*, Master Hand's bullet*, Crazy Hand's laser*, Crazy Hand's bullet*,bomb*"),
    (
        0x82,  # copied by Kirby
        "fireball*, Megavitamin*, fireball*, Ice Shot*, Toad, Toad's spores*, laser*, laser*, blaster, blaster,"
        "arrow*, fire arrow*, bow, bow, Shadow Ball*, PK Flash*, PK Flash blast*, Thunder Jolt*,"
        "Thunder Jolt*, Thunder Jolt*, Thunder Jolt*, Charge Shot*, needle*, needles in hand, Fire Breath*,"
        "sausage*, frying pan, Egg Lay, -, coin",
    ),
    (
        0xA0,
        "Pokémon, Goldeen, Chikorita, Snorlax, Blastoise, Weezing, Charizard, Moltres, Zapdos, Articuno,"
        "Wobbuffet, Scizor, Unown, Entei, Raikou, Suicune, Bellossom, Electrode, Lugia, Ho-Oh, Ditto, Clefairy,"
        "Togepi, Mew, Celebi, Staryu, Chansey, Porygon2, Cyndaquil, Marill, Venusaur",
    ),
    (
        0xBF,  # of Pokémon
        "Razor Leaf*, Hydro Pump*, gas*, gas*, Flamethrower*, Flamethrower*, Flamethrower*, Flamethrower*,"
        "Unown swarm*, Aeroblast*, Aeroblast*, Aeroblast*, Sacred Fire*, Swift star*, Chansey's egg,"
        "Cyndaquil's flame*",
    ),
    (
        0xD0,  # of stages
        "Goomba, target, Shy Guy, Koopa Troopa, Koopa Paratroopa, Like Like, ReDead, Octorok, Ottosea,"
        "polar bear, Klaptrap, green shell, red shell, Tingle, -, -, -, apple, healing apple, -, -, -, tool, -,"
        "-, Birdo, Arwing laser*, Great Fox laser*, Birdo's egg*",
    ),
)


def _types() -> dict[int, ItemType]:
    found: dict[int, ItemType] = {}
    for first, names in _BLOCKS:
        for type_id, name in enumerate(names.split(","), start=first):
            assert type_id not in found, f"item type {type_id} is in two blocks"
            bare = name.strip().removesuffix("*")
            if bare != "-":
                found[type_id] = ItemType(type_id=type_id, name=bare, projectile=name.endswith("*"))
    return found


ITEM_TYPES: dict[int, ItemType] = _types()
"""Named item types by id."""


def item_type(type_id: int) -> ItemType:
    """Return the type of an id; an unnamed id gives "item 123", not a projectile."""
    known = ITEM_TYPES.get(type_id)
    return known or ItemType(type_id=type_id, name=f"item {type_id}", projectile=False)
