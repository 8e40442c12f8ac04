"""Both readers of the field give back what was simulated, field by field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import melee
import numpy as np
import pytest

from exphil_core.dojo.match import plan_match
from exphil_core.dojo.physics import step
from exphil_core.dojo.world import Frame, World
from exphil_core.melee.characters import by_external_id
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.melee.frames import FIRST_FRAME_ID

SEEDS = (0, 41)


def replayed(replay: Any, match: Any) -> list[Frame]:
    """The frames that the file's controllers lead to in a world of their own."""
    world = World(match.stage, match.external_ids, match.port_indices)
    first, second = replay.sides
    return [step(world, pair) for pair in zip(first.controllers, second.controllers, strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_peppi_reads_every_field_as_it_was_simulated(
    seed: int, matches: tuple[Path, ...], read: Callable[[Path], Any]
) -> None:
    for number in range(5):
        match = plan_match(seed, number)
        replay = read(next(path for path in matches if path.name == match.file_name))
        frames = replayed(replay, match)
        assert replay.frame_id.tolist() == [frame.frame_id for frame in frames]
        for player, side in enumerate(replay.sides):
            assert side.port_index == match.port_indices[player]
            assert side.external_id == match.external_ids[player]
            simulated = np.array([frame.posts[player][:-2] for frame in frames], dtype=np.float32)
            stored = np.array([post[:-2] for post in side.posts], dtype=np.float32)
            assert np.array_equal(simulated, stored)


@pytest.mark.parametrize("seed", SEEDS)
def test_libmelee_reads_the_same_values(
    seed: int, matches: tuple[Path, ...], read: Callable[[Path], Any]
) -> None:
    match = plan_match(seed, 1)
    path = next(path for path in matches if path.name == match.file_name)
    replay = read(path)
    console = melee.Console(is_dolphin=False, path=str(path), allow_old_version=True)
    assert console.connect()
    count = 0
    while (state := console.step()) is not None:
        assert state.frame == FIRST_FRAME_ID + count
        assert state.stage.value == match.stage.internal_id
        for side in replay.sides:
            player, post, pad = (
                state.players[side.port_index + 1],
                side.posts[count],
                side.controllers[count],
            )
            assert player.character.value == by_external_id(side.external_id).internal_id
            assert player.action.value == post.action_state
            assert (player.position.x, player.position.y) == (post.position_x, post.position_y)
            assert player.facing == (post.direction > 0)
            assert player.percent == post.percent
            assert player.shield_strength == post.shield
            assert player.stock == post.stocks
            assert player.jumps_left == post.jumps
            assert player.on_ground == (post.airborne == 0)
            assert player.hitlag_left == post.hitlag
            assert player.hitstun_frames_left == post.misc_as
            assert player.invulnerable == (post.hurtbox_state != 0)
            assert player.speed_air_x_self == post.velocity_air_x
            assert player.speed_ground_x_self == post.velocity_ground_x
            assert player.speed_y_self == post.velocity_y
            assert player.speed_x_attack == post.knockback_x
            held = player.controller_state
            assert held.main_stick == pytest.approx(((pad.main_x + 1) / 2, (pad.main_y + 1) / 2))
            assert held.c_stick == pytest.approx(((pad.c_x + 1) / 2, (pad.c_y + 1) / 2))
            assert held.raw_main_stick == (round(pad.main_x * 80), round(pad.main_y * 80))
            assert held.l_shoulder == max(pad.trigger_l, pad.trigger_r)
            for name, bit in BUTTON_BITS.items():
                assert held.button[getattr(melee.Button, f"BUTTON_{name}")] == bool(pad.buttons & bit)
        count += 1
    assert count == len(replay.frame_id)


def test_the_start_and_end_of_a_file_are_those_of_a_finished_stock_match(
    matches: tuple[Path, ...], read: Callable[[Path], Any]
) -> None:
    methods = set()
    for path in matches:
        replay = read(path)
        start, end = replay.game.start, replay.game.end
        assert start.slippi.version == (3, 16, 0)
        assert not start.is_teams
        assert {player.type.name for player in start.players} == {"HUMAN"}
        assert {player.stocks for player in start.players} == {4}
        assert replay.frame_id[0] == FIRST_FRAME_ID
        assert np.array_equal(np.diff(replay.frame_id), np.ones(len(replay.frame_id) - 1))
        assert replay.game.metadata["lastFrame"] == replay.frame_id[-1]
        assert replay.game.metadata["playedOn"] == "dojo"
        last = [side.posts[-1].stocks for side in replay.sides]
        methods.add(end.method.name)
        assert (end.method.name == "GAME") == (0 in last)
        winner = min(end.players, key=lambda player: player.placement)
        stocks = {side.port_index: side.posts[-1].stocks for side in replay.sides}
        assert stocks[int(winner.port)] == max(last)
    assert "GAME" in methods


def test_a_jump_press_meets_a_state_before_it_that_is_not_yet_jump_squat(
    matches: tuple[Path, ...], read: Callable[[Path], Any]
) -> None:
    """The alignment law of replays: `pre[t]` acts in frame t, and `post[t]` is its outcome."""
    jump = BUTTON_BITS["X"] | BUTTON_BITS["Y"]
    onsets = squats = 0
    for path in matches:
        for side in read(path).sides:
            buttons = np.array([controller.buttons & jump for controller in side.controllers])
            state = np.array([post.action_state for post in side.posts])
            grounded = np.array([post.airborne == 0 for post in side.posts])
            pressed = np.flatnonzero((buttons[1:] != 0) & (buttons[:-1] == 0) & grounded[:-1]) + 1
            onsets += len(pressed)
            squats += int((state[pressed] == 24).sum())
            assert not (state[pressed - 1] == 24).any()
    assert onsets > 100
    assert squats > 0.95 * onsets
