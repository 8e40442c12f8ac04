"""A scene of handmade games: what is not there is None, and what is there is right."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.melee.action_states import BY_NAME
from exphil_core.replays.game import Game
from exphil_core.replays.parse import parse_replay
from exphil_tui.model.scene import Replay
from tests.replays.handmade import Handmade


@pytest.fixture
def replay_of(tmp_path: Path) -> Callable[..., Replay]:
    def make(**fields: Any) -> Replay:
        path = tmp_path / "game.slp"
        path.write_bytes(Handmade(**fields).build())
        return Replay(parse_replay(path))

    return make


def with_game(replay: Replay, **changes: Any) -> Replay:
    game: Game = dataclasses.replace(replay.game, **changes)
    return Replay(game)


def test_a_frame_outside_of_the_game_is_an_index_error(replay_of: Callable[..., Replay]) -> None:
    replay = replay_of()
    assert replay.scene(replay.frames - 1).frame_index == replay.frames - 1
    for frame_index in (-1, replay.frames):
        with pytest.raises(IndexError, match="expected 0 to 799"):
            replay.scene(frame_index)


def test_what_is_pressed_is_what_acts_within_the_frame(replay_of: Callable[..., Replay]) -> None:
    def pre(row: int, port_index: int) -> dict[str, Any]:
        return {"main_x": -1.0, "trigger_l": 0.5, "buttons": 0x100} if (row, port_index) == (60, 1) else {}

    replay = replay_of(pre=pre)
    held, after = (replay.scene(row).fighters[1].controller for row in (60, 61))
    assert held is not None
    assert (held.main_x, held.trigger_l, held.pressed("A")) == (-1.0, 0.5, True)
    assert after is not None
    assert (after.main_x, after.trigger_l, after.buttons) == (0.0, 0.0, 0)


def test_hitstun_is_counted_only_while_its_flag_is_set(replay_of: Callable[..., Replay]) -> None:
    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"misc_as": 17.0, "flags": (0, 0, 0, 0x02 if row < 50 else 0, 0)}

    replay = replay_of(post=post)
    assert [replay.scene(row).fighters[0].hitstun for row in (49, 50)] == [17.0, 0.0]


def test_bits_of_the_flags_are_told_apart(replay_of: Callable[..., Replay]) -> None:
    def post(row: int, port_index: int) -> dict[str, Any]:
        flags = [0, 0, 0, 0, 0]
        number, bit = ((1, 0x08), (2, 0x80), (4, 0x80))[row % 3]
        flags[number] = bit
        return {"flags": tuple(flags)}

    replay = replay_of(post=post)
    shown = [replay.scene(row).fighters[0] for row in range(3)]
    assert [fighter.fastfalling for fighter in shown] == [True, False, False]
    assert [fighter.shielding for fighter in shown] == [False, True, False]
    assert [fighter.offscreen for fighter in shown] == [False, False, True]


def test_an_old_version_tells_a_shield_by_its_action_state(replay_of: Callable[..., Replay]) -> None:
    states = ("GUARD_ON", "GUARD", "GUARD_SET_OFF", "GUARD_REFLECT", "GUARD_OFF", "WAIT")

    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"action_state": BY_NAME[states[row % len(states)]]}

    replay = replay_of(version=(1, 0, 0), post=post)
    fighters = [replay.scene(row).fighters[0] for row in range(len(states))]
    assert [fighter.shielding for fighter in fighters] == [True, True, True, True, False, False]
    assert {fighter.offscreen for fighter in fighters} == {None}


def test_who_dies_is_dead_until_the_platform_brings_it_back(replay_of: Callable[..., Replay]) -> None:
    states = ("DAMAGE_FLY_HI", "DEAD_LEFT", "DEAD_UP_STAR", "REBIRTH", "WAIT")

    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"action_state": BY_NAME[states[row % len(states)]]}

    replay = replay_of(post=post)
    assert [replay.scene(row).fighters[0].dead for row in range(5)] == [False, True, True, False, False]


def test_velocity_is_that_of_the_ground_on_the_ground(replay_of: Callable[..., Replay]) -> None:
    """Handmade fighters stand; air 0.1, up 0.2, knockback 0.3 and 0.4, ground 0.5."""
    fighter = replay_of().scene(0).fighters[0]
    assert fighter.airborne is False
    assert fighter.velocity == pytest.approx((0.5 + 0.3, 0.2 + 0.4))


def test_nana_is_there_on_her_frames_only(replay_of: Callable[..., Replay]) -> None:
    replay = replay_of(external_ids=(14, 20), internal_ids=(10, 22), followers={0: range(100)})
    assert [f.character for f in replay.scene(99).fighters] == ["Ice Climbers", "Nana", "Falco"]
    assert [f.slot for f in replay.scene(99).fighters] == [0, 0, 1]
    assert [f.character for f in replay.scene(100).fighters] == ["Ice Climbers", "Falco"]
    assert replay.scene(0).fighters[1].controller is None


def test_an_item_belongs_to_a_slot_and_not_to_a_port(replay_of: Callable[..., Replay]) -> None:
    items = [{"spawn_id": 1, "type": 54, "owner": 3, "x": 12.0}, {"spawn_id": 2, "type": 207, "owner": -1}]
    replay = replay_of(ports=(1, 3), items=lambda row: items if row == 7 else [])
    laser, unknown = replay.scene(7).items
    assert (laser.name, laser.owner, laser.x, laser.velocity) == ("laser", 1, 12.0, (0.5, 0.25))
    assert (unknown.name, unknown.owner, unknown.projectile) == ("item 207", None, False)
    assert replay.scene(8).items == ()
    assert replay.scene(8).items_known


def test_a_stage_whose_measures_nobody_took_has_its_title_and_no_ground(
    replay_of: Callable[..., Replay],
) -> None:
    scene = replay_of(stage=14).scene(0)
    assert (scene.stage, scene.edge, scene.blast, scene.platforms) == ("Hyrule Temple", None, None, ())
    assert replay_of(stage=250).scene(0).stage == "stage 250"


def test_a_character_that_nobody_knows_can_be_looked_at(replay_of: Callable[..., Replay]) -> None:
    replay = replay_of()
    first, second = replay.game.players
    nobody = {**first.leader, "internal_id": np.full_like(first.leader["internal_id"], 255)}
    stranger = dataclasses.replace(first, external_id=200, leader=nobody)
    replay = with_game(replay, players=(stranger, second))
    assert replay.scene(0).fighters[0].character == "character 200"


def test_sunken_platforms_of_the_fountain_are_not_drawn(replay_of: Callable[..., Replay]) -> None:
    replay = replay_of(stage=2)
    stage = {name: column.copy() for name, column in replay.game.stage.items()}
    stage["fod_left"][:] = 20.0
    stage["fod_right"][:] = -1.0
    platforms = with_game(replay, stage=stage).scene(0).platforms
    assert [(p.left, p.right, p.height) for p in platforms if p.moving] == [(-49.5, -21.0, 16.125)]


def test_a_scene_is_made_without_textual_and_without_a_parser() -> None:
    program = (
        "import sys, exphil_tui.model.scene\n"
        "sys.exit(bool({'textual', 'peppi_py', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
