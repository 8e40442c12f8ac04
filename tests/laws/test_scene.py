"""Laws of the scene, on real replays: it shows what libmelee's file console shows, of every replay of the set."""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.melee import stages
from exphil_core.melee.action_states import BY_NAME, LAST, LAST_COMMON
from exphil_core.melee.controller import BUTTON_BITS, Controller
from exphil_core.melee.items import ITEM_TYPES
from exphil_core.melee.stages import RANDALL_WIDTH
from exphil_core.replays.columns import Version
from exphil_core.replays.game import Game
from exphil_core.replays.parse import parse_replay
from exphil_tui.model.scene import Replay, Scene, SceneFighter, SceneItem
from tests.replays.slp_events import finalised_copy

melee = pytest.importorskip("melee")

COMPARED = (
    "games/falco_vs_falco_ys_v3.15.0.slp",  # 1,494 rollback rows, lasers, Shy Guys
    "games/ics_vs_falco_dl_v3.12.0.slp",  # Nana, items, 11 rollback rows
    "odd/marth_vs_falcon_fod_v3.18.0.slp",  # moving platforms
    "games/gnw_vs_mewtwo_fd_v3.19.1.slp",
    "games/falcon_vs_zelda_bf_v1.7.1.slp",  # no velocities, hitlag or items; transformation
)
TRANSFORMING = "games/fox_vs_mewtwo_ps_v3.19.1.slp"
TEAMS = "odd/falcon_vs_ganon_vs_falcon_vs_marth_bf_v1.2.0.slp"
SALVAGED = "broken/incomplete.slp"

EVERY = 50


@pytest.fixture(scope="module")
def seen(replays: Path) -> dict[str, Replay]:
    """Every replay of the set that can be parsed."""
    with (replays / "manifest.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    files = [row["file"] for row in rows if row["peppi_py_0.9.2"] == "ok"]
    return {file: Replay(parse_replay(replays / file)) for file in [*files, SALVAGED]}


def sampled(replay: Replay) -> Iterator[Scene]:
    for frame_index in sorted({*range(0, replay.frames, EVERY), replay.frames - 1}):
        yield replay.scene(frame_index)


# --- libmelee -------------------------------------------------------------------------------------------------


def console_states(path: Path) -> Iterator[Any]:
    console = melee.Console(path=str(path), is_dolphin=False, allow_old_version=True)
    console.connect()
    while (state := console.step()) is not None:
        yield state


def asked(replay: Replay) -> set[int]:
    """Frame indices: ids -123, -39 and 0, each stock loss, the last frame, and some hits."""
    losses = replay.events.stock_losses[:, 0].tolist()
    hits = replay.events.hits[::10, 0].tolist()
    return {0, -39 + 123, 123, *losses, *hits, replay.frames - 1}


def shoulder(controller: Controller) -> float:
    """The one value that the game makes of both triggers, which is all that libmelee gives: a click is 1, Z at least
    0.35, and 42 of 140 steps are the dead zone."""
    if controller.pressed("L") or controller.pressed("R"):
        return 1.0
    pressed = min(max(controller.trigger_l, controller.trigger_r), 1.0)
    pressed = 0.0 if pressed < 42.5 / 140 else pressed
    return max(pressed, 0.35) if controller.pressed("Z") else pressed


def check_body(shown: SceneFighter, theirs: Any) -> None:
    """libmelee has a default where the version does not tell; there we have None."""
    assert (shown.x, shown.y) == (theirs.position.x, theirs.position.y)
    assert shown.facing == (1 if theirs.facing else -1)
    assert shown.action_state == theirs.action.value
    assert shown.percent == theirs.percent
    assert shown.shield == theirs.shield_strength
    assert shown.character == _TITLES[theirs.character.name]
    # libmelee cuts frames to whole ones.
    assert int(shown.hitlag or 0) == theirs.hitlag_left
    # libmelee gives `misc_as` in every state, where it is hitstun only while the flag for it is set.
    assert int(shown.hitstun or 0) == (theirs.hitstun_frames_left if shown.hitstun else 0)
    assert (shown.jumps if shown.jumps is not None else 1) == theirs.jumps_left
    assert (not shown.airborne) == theirs.on_ground
    assert (shown.invulnerability not in (None, "none")) == theirs.invulnerable
    if shown.velocity is not None:
        self_x = theirs.speed_ground_x_self if theirs.on_ground else theirs.speed_air_x_self
        assert shown.velocity == (self_x + theirs.speed_x_attack, theirs.speed_y_self + theirs.speed_y_attack)


_TITLES = {
    "FOX": "Fox",
    "FALCO": "Falco",
    "POPO": "Ice Climbers",
    "NANA": "Nana",
    "MARTH": "Marth",
    "CPTFALCON": "Captain Falcon",
    "GAMEANDWATCH": "Mr. Game & Watch",
    "MEWTWO": "Mewtwo",
    "ZELDA": "Zelda",
    "SHEIK": "Sheik",
}


def check_controller(shown: SceneFighter, theirs: Any) -> None:
    """libmelee's sticks are 0 to 1. A CPU gives the game the triggers' value directly, with no physical trigger."""
    controller = shown.controller
    assert controller is not None
    assert theirs.main_stick == (controller.main_x / 2 + 0.5, controller.main_y / 2 + 0.5)
    assert theirs.c_stick == (controller.c_x / 2 + 0.5, controller.c_y / 2 + 0.5)
    if shown.type == "human":
        assert theirs.l_shoulder == pytest.approx(shoulder(controller), abs=1e-6)
    pressed = {button.name.removeprefix("BUTTON_") for button, down in theirs.button.items() if down}
    assert pressed & set(BUTTON_BITS) == {name for name in BUTTON_BITS if controller.pressed(name)}


def check_things(scene: Scene, game: Game, theirs: list[Any]) -> None:
    assert len(scene.items) == len(theirs)
    for thing, item in zip(scene.items, theirs, strict=True):
        assert (thing.x, thing.y) == (item.position.x, item.position.y)
        assert thing.velocity == (item.speed.x, item.speed.y)
        assert thing.type_id == getattr(item.type, "value", item.type)
        assert thing.state == item.subtype
        # libmelee has ports and 0 for nobody.
        assert item.owner == (0 if thing.owner is None else game.players[thing.owner].port_index + 1)


@pytest.mark.parametrize("file", COMPARED)
def test_a_scene_shows_what_libmelees_file_console_shows(
    replays: Path, seen: dict[str, Replay], tmp_path: Path, file: str
) -> None:
    replay = seen[file]
    game = replay.game
    frames = asked(replay)
    # The file console yields the first occurrence of a repeated frame, a scene shows the last.
    path = finalised_copy(replays / file, tmp_path)
    title = stages.by_external_id(game.external_stage_id).title
    checked = nanas = things = 0
    for frame_index, state in enumerate(console_states(path)):
        if frame_index not in frames:
            continue
        checked += 1
        scene = replay.scene(frame_index)
        assert scene.frame_id == state.frame
        assert scene.stage == title
        assert stages.by_external_id(game.external_stage_id).internal_id == state.stage.value
        leaders = {fighter.port: fighter for fighter in scene.fighters if not fighter.follower}
        followers = {fighter.port: fighter for fighter in scene.fighters if fighter.follower}
        assert set(leaders) == set(state.players)
        for port, fighter in leaders.items():
            theirs = state.players[port]
            check_body(fighter, theirs)
            assert fighter.stocks == theirs.stock
            check_controller(fighter, theirs.controller_state)
            assert (port in followers) == (theirs.nana is not None)
            if theirs.nana is not None:
                nanas += 1
                check_body(followers[port], theirs.nana)
        check_things(scene, game, state.projectiles)
        things += len(scene.items)
    assert checked == len(frames)
    assert (nanas > 0) == ("ics" in file)
    assert things > 0 or file not in (
        "games/falco_vs_falco_ys_v3.15.0.slp",
        "games/gnw_vs_mewtwo_fd_v3.19.1.slp",
    )


# --- every replay of the set ------------------------------------------------------------------------------------


def test_every_replay_of_the_set_can_be_looked_at(seen: dict[str, Replay]) -> None:
    assert len(seen) > 45
    for file, replay in seen.items():
        for scene in sampled(replay):
            assert scene.edge is not None, file
            assert scene.fighters, file
            for fighter in scene.fighters:
                assert math.isfinite(fighter.x), file
                assert fighter.action, file
                assert fighter.character, file
                assert fighter.port == replay.game.players[fighter.slot].port_index + 1
            for thing in scene.items:
                assert thing.type_id in ITEM_TYPES, file
                assert thing.owner is None or thing.owner < len(replay.game.players), file


SINCE = {
    "jumps": Version(2, 0),
    "airborne": Version(2, 0),
    "hitstun": Version(2, 0),
    "offscreen": Version(2, 0),
    "fastfalling": Version(2, 0),
    "invulnerability": Version(2, 1),
    "velocity": Version(3, 5),
    "hitlag": Version(3, 8),
}
"""Fields that older versions do not tell."""


def test_what_a_version_does_not_tell_is_none_and_never_zero(seen: dict[str, Replay]) -> None:
    versions = set()
    for file, replay in seen.items():
        version = replay.game.version
        versions.add(version)
        for scene in sampled(replay):
            assert scene.items_known == (version >= Version(3, 0)), file
            for fighter in scene.fighters:
                for name, since in SINCE.items():
                    assert (getattr(fighter, name) is not None) == (version >= since), (file, name)
                assert fighter.shielding is not None
                assert fighter.dead is not None
                assert fighter.percent is not None
                assert (fighter.state_age is not None) == (version >= Version(0, 2)), file
    assert {Version(0, 1), Version(1, 7, 1), Version(2, 0, 1), Version(3, 7)} <= versions


def test_a_trigger_that_holds_rubbish_is_unknown(seen: dict[str, Replay]) -> None:
    for fighter in seen["games/fox_vs_ganon_dl_v0.1.0.slp"].scene(500).fighters:
        assert fighter.controller is not None
        assert math.isnan(fighter.controller.trigger_r)
        assert not math.isnan(fighter.controller.trigger_l)


@pytest.mark.parametrize("file", ["games/ics_vs_falco_dl_v3.12.0.slp", "games/zelda_vs_ics_ys_v0.1.0.slp"])
def test_both_climbers_are_there_and_nana_not_while_she_is_dead(seen: dict[str, Replay], file: str) -> None:
    replay = seen[file]
    (slot,) = (s for s, player in enumerate(replay.game.players) if player.follower is not None)
    nana = replay.game.players[slot].follower
    assert nana is not None
    counts: Counter[bool] = Counter()
    for scene in sampled(replay):
        found = [fighter for fighter in scene.fighters if fighter.slot == slot]
        there = nana["action_state"][scene.frame_index] != 65535
        counts[bool(there)] += 1
        assert [fighter.character for fighter in found] == ["Ice Climbers", *["Nana"] * int(there)]
        assert [fighter.follower for fighter in found] == [False, True][: len(found)]
    assert counts[True] > 50
    assert counts[False] > 5


def test_teams_of_four_are_shown_and_who_is_out_is_not(seen: dict[str, Replay]) -> None:
    replay = seen[TEAMS]
    first, last = replay.scene(0), replay.scene(replay.frames - 1)
    assert [(fighter.port, fighter.team) for fighter in first.fighters] == [(1, 1), (2, 1), (3, 0), (4, 0)]
    assert {fighter.slot for fighter in last.fighters} < {0, 1, 2, 3}


def test_a_free_for_all_has_no_teams(seen: dict[str, Replay]) -> None:
    scene = seen["odd/falco_vs_fox_vs_marth_ys_v3.13.0.slp"].scene(100)
    assert [fighter.character for fighter in scene.fighters] == ["Falco", "Fox", "Marth"]
    assert {fighter.team for fighter in scene.fighters} == {None}


def test_zelda_becomes_sheik_and_her_moves_change_their_names(seen: dict[str, Replay]) -> None:
    replay = seen["games/falcon_vs_zelda_bf_v1.7.1.slp"]
    found = {
        (fighter.character, fighter.action)
        for scene in map(replay.scene, range(replay.frames))
        for fighter in scene.fighters
        if fighter.slot == 1
    }
    assert {character for character, _ in found} == {"Zelda", "Sheik"}
    assert {("Zelda", "Transform"), ("Sheik", "Transform")} & found


def test_a_salvaged_file_is_looked_at_to_its_last_frame(seen: dict[str, Replay]) -> None:
    replay = seen[SALVAGED]
    assert replay.game.salvaged
    assert replay.scene(replay.frames - 1).frame_id == int(replay.game.frame_id[-1])


# --- the ground -------------------------------------------------------------------------------------------------

STANDING = frozenset(BY_NAME[name] for name in ("WAIT", "DASH", "RUN", "SQUAT_WAIT", "GUARD", "KNEE_BEND"))
"""States in which one certainly stands; what stands in the air there is a gap in the drawing."""


def test_who_stands_above_the_stage_stands_on_a_platform_that_is_drawn(seen: dict[str, Replay]) -> None:
    """Fountain's sides and Randall included, where the replay tells where they are."""
    stood: Counter[tuple[str, bool]] = Counter()
    for file, replay in seen.items():
        for frame_index in range(0, replay.frames, 7):
            scene = replay.scene(frame_index)
            for fighter in scene.fighters:
                lifted = fighter.y > 4.0 or fighter.y < -10.0
                if (
                    not lifted
                    or fighter.airborne is not False
                    or fighter.action_state not in STANDING
                    or scene.note
                ):
                    continue
                under = [
                    platform
                    for platform in scene.platforms
                    if platform.left - 1 <= fighter.x <= platform.right + 1
                    and abs(platform.height - fighter.y) < 0.5
                ]
                assert under, (file, scene.frame_id, fighter.x, fighter.y)
                stood[scene.stage, under[0].moving] += 1
    assert {title for title, _ in stood} == {stage.title for stage in stages.STAGES} - {"Final Destination"}
    assert stood["Fountain of Dreams", True] > 5
    assert stood["Yoshi's Story", True] > 5


def test_fountains_side_platforms_move_and_an_old_version_says_that_it_does_not_tell(
    seen: dict[str, Replay],
) -> None:
    replay = seen["odd/marth_vs_falcon_fod_v3.18.0.slp"]
    heights = {
        platform.height for scene in sampled(replay) for platform in scene.platforms if platform.moving
    }
    assert len(heights) >= 5
    assert replay.scene(0).platforms[1].height == pytest.approx(16.125)
    old = seen["games/fox_vs_puff_fod_v3.17.0.slp"].scene(0)
    assert [platform.moving for platform in old.platforms] == [False]
    assert "side platforms" in old.note


def test_randall_flies_where_libmelee_has_him(seen: dict[str, Replay]) -> None:
    replay = seen["games/falco_vs_falco_ys_v3.15.0.slp"]
    for scene in sampled(replay):
        (randall,) = (platform for platform in scene.platforms if platform.moving)
        height, left, right = melee.stages.randall_position(scene.frame_id)
        assert randall.height == pytest.approx(height, abs=0.31)
        assert (randall.left, randall.right) == pytest.approx((left, right), abs=0.31)
        assert randall.right - randall.left == pytest.approx(RANDALL_WIDTH)


def test_a_transformed_stadium_says_so_and_draws_no_platform_that_is_not_there(
    seen: dict[str, Replay],
) -> None:
    replay = seen[TRANSFORMING]
    notes = [(scene.note, len(scene.platforms)) for scene in map(replay.scene, range(replay.frames))]
    told = list(dict.fromkeys(notes))
    assert told == [
        ("", 2),
        ("about to transform: water", 2),
        ("transforming: water (platforms not drawn)", 0),
        ("transformed: water (platforms not drawn)", 0),
        ("transformed, about to revert (platforms not drawn)", 0),
        ("reverting (platforms not drawn)", 0),
        ("about to transform: fire", 2),
        ("transforming: fire (platforms not drawn)", 0),
        ("transformed: fire (platforms not drawn)", 0),
    ]


def test_an_old_stadium_may_be_transformed_and_the_scene_says_that_it_does_not_know(
    seen: dict[str, Replay],
) -> None:
    assert "does not record" in seen["games/falco_vs_fox_ps_v3.3.0.slp"].scene(0).note
    assert seen["games/sheik_vs_sheik_ps_v3.18.0.slp"].scene(0).note == ""


# --- names ------------------------------------------------------------------------------------------------------


def test_characters_own_moves_have_names(seen: dict[str, Replay]) -> None:
    unnamed: Counter[tuple[str, str]] = Counter()
    for replay in seen.values():
        for scene in sampled(replay):
            for fighter in scene.fighters:
                if (fighter.action_state or 0) > LAST_COMMON and fighter.action.startswith("special"):
                    unnamed[fighter.character, fighter.action] += 1
    assert not unnamed


SPECIALS = {
    "Fox": ("Blaster", "Illusion", "Fire Fox", "Reflector"),
    "Falco": ("Blaster", "Phantasm", "Fire Bird", "Reflector"),
    "Sheik": ("Needle Storm", "Chain", "Vanish", "Transform"),
    "Mewtwo": ("Shadow Ball charge", "Confusion", "Teleport", "Disable"),
    "Mr. Game & Watch": ("Chef", "Judge", "Fire", "Oil Panic"),
    "Marth": ("Shield Breaker", "Dancing Blade 1", "Dolphin Slash", "Counter"),
    "Ganondorf": ("Warlock Punch", "Gerudo Dragon", "Dark Dive", "Wizard's Foot"),
    "Captain Falcon": ("Falcon Punch", "Raptor Boost", "Falcon Dive", "Falcon Kick"),
    "Jigglypuff": ("Rollout", "Pound", "Sing", "Rest"),
    "Yoshi": ("Egg Lay", "Egg Roll", "Egg Throw", "Yoshi Bomb"),
    "Donkey Kong": ("Giant Punch", "Headbutt", "Spinning Kong", "Hand Slap"),
    "Ice Climbers": ("Ice Shot", "Squall Hammer", "Belay", "Blizzard"),
    "Zelda": ("Nayru's Love", "Din's Fire", "Farore's Wind", "Transform"),
    "Peach": ("Toad", "Peach Bomber", "Parasol", "Vegetable"),
}
"""B alone, to the side, up and down."""


def direction(controller: Controller) -> int | None:
    """Which special the stick asks for; None where it lies between two."""
    if max(abs(controller.main_x), abs(controller.main_y)) < 0.5:
        return 0
    if abs(controller.main_y) > max(0.7, abs(controller.main_x)):
        return 2 if controller.main_y > 0 else 3
    return 1 if abs(controller.main_x) > max(0.7, 1.5 * abs(controller.main_y)) else None


def test_a_special_begins_with_b_and_the_stick_as_its_name_says(seen: dict[str, Replay]) -> None:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for replay in seen.values():
        for slot, player in enumerate(replay.game.players):
            states = player.leader["action_state"].astype(int)
            pressed = (player.leader["buttons"] & BUTTON_BITS["B"]) != 0
            special = (states > LAST_COMMON) & (states <= LAST)
            begun = np.flatnonzero(special[1:] & (states[:-1] <= LAST_COMMON)) + 1
            for t in begun[pressed[begun] & ~pressed[begun - 1]].tolist():
                (fighter,) = (f for f in replay.scene(t).fighters if f.slot == slot and not f.follower)
                assert fighter.controller is not None
                asked_for = direction(fighter.controller)
                if asked_for is not None:
                    expected = SPECIALS[fighter.character][asked_for]
                    counts = right if fighter.action.startswith(expected) else wrong
                    counts[f"{fighter.character}: {fighter.action}"] += 1
    assert len(right) > 40
    assert right.total() > 1500
    # A press in the last frame of another move has the stick as it was then.
    assert wrong.total() < right.total() / 50, (right, wrong)


def owned(things: tuple[SceneItem, ...], name: str) -> set[int | None]:
    return {thing.owner for thing in things if thing.name == name}


def test_a_laser_belongs_to_who_shot_it(seen: dict[str, Replay]) -> None:
    replay = seen["games/fox_vs_puff_bf_v3.17.0.slp"]
    owners = set().union(*(owned(scene.items, "laser") for scene in sampled(replay)))
    assert owners == {0}
    lasers = [thing for scene in sampled(replay) for thing in scene.items if thing.name == "laser"]
    assert all(laser.projectile and laser.velocity is not None for laser in lasers)
