"""The rules of the dojo, one at a time: a world is put into a position, and inputs are played into it."""

from collections.abc import Iterable

import pytest

from exphil_core.dojo import states as s
from exphil_core.dojo.fighters import FIGHTERS
from exphil_core.dojo.physics import step
from exphil_core.dojo.states import KIND, Kind
from exphil_core.dojo.world import DOJO_STAGES, FULL_SHIELD, Body, Frame, World
from exphil_core.melee import action_states
from exphil_core.melee.characters import LOW_TIER, by_name
from exphil_core.melee.controller import BUTTON_BITS, NEUTRAL, Controller
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.melee.stages import by_name as stage_by_name

MEWTWO, GANONDORF, LINK, GAMEANDWATCH, ZELDA = (by_name(name).external_id for name in LOW_TIER)


def pad(x: float = 0.0, y: float = 0.0, *buttons: str, c: tuple[float, float] = (0.0, 0.0)) -> Controller:
    left = 1.0 if "L" in buttons else 0.0
    bits = sum(BUTTON_BITS[button] for button in buttons)
    return Controller(main_x=x, main_y=y, c_x=c[0], c_y=c[1], trigger_l=left, buttons=bits)


def ready(
    first: int = LINK, second: int = LINK, stage: str = "finaldestination", gap: float | None = None
) -> World:
    """A world in its first playable frame, both standing, optionally `gap` apart around the middle."""
    world = World(stage_by_name(stage), (first, second))
    while world.frame_id < FIRST_PLAYABLE_FRAME_ID - 1:
        step(world, (NEUTRAL, NEUTRAL))
    if gap is not None:
        world.bodies[0].x, world.bodies[1].x = -gap / 2, gap / 2
    return world


def play(world: World, inputs: Iterable[Controller], other: Controller = NEUTRAL) -> list[Frame]:
    return [step(world, (controller, other)) for controller in inputs]


def states(frames: list[Frame], player: int = 0) -> list[int]:
    return [frame.posts[player].action_state for frame in frames]


def launched(external_id: int, percent: float) -> Body:
    """Who has just been hit by Link's forward smash."""
    world = ready(LINK, external_id, gap=16.0)
    world.bodies[1].percent = percent
    world.bodies[0].invincible = 99
    play(world, [pad(c=(1.0, 0.0))])
    for _ in range(60):
        step(world, (NEUTRAL, NEUTRAL))
        if world.bodies[1].hitstun:
            return world.bodies[1]
    raise AssertionError("the forward smash missed")


def test_action_states_carry_the_names_of_the_vocabulary() -> None:
    for name, number in vars(s).items():
        if name.isupper() and isinstance(number, int) and name != "FIRST_SPECIAL":
            assert action_states.BY_NAME[name] == number


def test_inputs_before_the_first_playable_frame_do_nothing() -> None:
    idle, busy = (World(DOJO_STAGES[0], (LINK, ZELDA)) for _ in range(2))
    for _ in range(-123, FIRST_PLAYABLE_FRAME_ID):
        assert step(idle, (NEUTRAL, NEUTRAL)) == step(busy, (pad(1.0, 0.0, "X"), pad(-1.0, 0.0, "L")))
    assert busy.bodies[0].state == s.WAIT


def test_a_jump_press_shows_as_jump_squat_in_the_same_frame_and_leaves_the_ground_after_it() -> None:
    world = ready()
    frames = play(world, [pad(0, 0, "X")] * 12)
    squat = FIGHTERS[LINK].jump_squat
    assert states(frames)[:squat] == [s.KNEE_BEND] * squat
    assert states(frames)[squat] == s.JUMP_F
    assert frames[squat].posts[0].airborne == 1
    assert frames[squat].posts[0].jumps == 1
    assert [frame.posts[0].state_age for frame in frames[:squat]] == list(range(squat))


def apex(external_id: int, hold: int) -> float:
    world = ready(external_id)
    frames = play(world, [pad(0, 0, "X")] * hold + [NEUTRAL] * 60)
    return max(frame.posts[0].position_y for frame in frames)


def test_letting_go_of_the_jump_early_hops_lower() -> None:
    for external_id in FIGHTERS:
        assert apex(external_id, 2) < 0.6 * apex(external_id, 20)


def test_the_five_fighters_move_differently() -> None:
    def signature(external_id: int) -> tuple[float, ...]:
        world = ready(external_id)
        run = play(world, [pad(1.0)] * 20)[-1].posts[0].position_x
        world = ready(external_id)
        world.bodies[0].y, world.bodies[0].airborne, world.bodies[0].state = 80.0, True, s.FALL
        fall = play(world, [NEUTRAL] * 20)[-1].posts[0].position_y
        return round(run, 2), round(fall, 2), round(apex(external_id, 20), 2)

    signatures = [signature(external_id) for external_id in FIGHTERS]
    for values in zip(*signatures, strict=True):
        assert len(set(values)) == len(FIGHTERS)


def test_a_flick_dashes_and_then_runs_and_a_tilt_walks() -> None:
    frames = play(ready(), [pad(1.0)] * 15)
    assert states(frames)[:12] == [s.DASH] * 12
    assert states(frames)[-1] == s.RUN
    assert states(play(ready(), [pad(0.5)] * 3))[-1] == s.WALK_MIDDLE


def test_there_is_one_jump_in_the_air() -> None:
    world = ready()
    play(world, [pad(0, 0, "X")] * 10 + [NEUTRAL] * 8)
    assert states(play(world, [pad(0, 0, "Y")])) == [s.JUMP_AERIAL_F]
    assert world.bodies[0].jumps == 0
    play(world, [NEUTRAL] * 3)
    assert s.JUMP_AERIAL_F in states(play(world, [pad(0, 0, "X")]))
    assert world.bodies[0].age > 0


def test_down_falls_faster_only_after_the_peak() -> None:
    def height(down_at: int) -> float:
        world = ready()
        play(world, [pad(0, 0, "X")] * 10)
        frames = play(world, [pad(0, -1.0) if index >= down_at else NEUTRAL for index in range(33)])
        return frames[-1].posts[0].position_y

    assert height(25) < height(99)
    assert height(0) == height(99)  # pressed on the way up, and held: too early


def test_platforms_catch_and_let_through() -> None:
    world = ready(stage="battlefield")
    body = world.bodies[0]
    left, right, height = world.stage.platforms[0]
    body.x, body.y, body.airborne, body.state = (left + right) / 2, height + 10, True, s.FALL
    play(world, [NEUTRAL] * 30)
    assert body.y == height
    assert body.ground == 1
    assert states(play(world, [pad(0, -1.0)])) == [s.PASS]
    play(world, [NEUTRAL] * 60)
    assert body.y == 0.0


def test_an_air_dodge_into_the_ground_slides() -> None:
    world = ready()
    squat = FIGHTERS[LINK].jump_squat
    play(world, [pad(0, 0, "X")] * (squat + 1))
    frames = play(world, [pad(0.7, -0.7, "L")] * 2 + [NEUTRAL] * 4)
    assert states(frames)[0] == s.ESCAPE_AIR
    assert s.LANDING_FALL_SPECIAL in states(frames)
    assert world.bodies[0].ground_speed > 1.0


def test_the_shield_shrinks_while_held_and_grows_back() -> None:
    world = ready()
    play(world, [pad(0, 0, "L")] * 60)
    assert world.bodies[0].state == s.GUARD
    held = world.bodies[0].shield
    assert held == pytest.approx(FULL_SHIELD - 0.28 * 59)
    play(world, [NEUTRAL] * 30)
    assert world.bodies[0].shield > held


def test_a_shield_takes_the_hit_and_a_grab_goes_through_it() -> None:
    world = ready(gap=16.0)
    guard = pad(0, 0, "L")
    play(world, [NEUTRAL] * 3, guard)
    frames = play(world, [pad(c=(1.0, 0.0))] + [NEUTRAL] * 30, guard)
    assert s.GUARD_SET_OFF in states(frames, 1)
    assert world.bodies[1].percent == 0.0
    world = ready(gap=12.0)
    play(world, [NEUTRAL] * 3, guard)
    play(world, [pad(0, 0, "Z")] + [NEUTRAL] * 12, guard)
    assert world.bodies[1].percent > 0.0


def test_knockback_grows_with_percent_and_falls_with_weight() -> None:
    fresh, hurt = launched(ZELDA, 0.0), launched(ZELDA, 100.0)
    light, heavy = launched(GAMEANDWATCH, 60.0), launched(GANONDORF, 60.0)
    assert hurt.knock_x > 1.5 * fresh.knock_x
    assert hurt.hitstun > fresh.hitstun
    assert light.knock_x > heavy.knock_x


def test_a_hit_stops_both_then_stuns_and_is_told_in_the_post_frame() -> None:
    world = ready(gap=16.0)
    play(world, [pad(c=(1.0, 0.0))])
    frames = play(world, [NEUTRAL] * 60)
    hit = next(index for index, frame in enumerate(frames) if frame.posts[1].hitlag)
    attacker, target = frames[hit].posts
    assert attacker.hitlag == target.hitlag > 0
    assert target.percent > 0
    assert target.misc_as > 0
    assert target.flags_4 & 0x02
    assert target.last_hit_by == 0
    assert attacker.last_attack_landed == s.ATTACK_S4_S
    still = frames[hit : hit + int(target.hitlag)]
    assert len({frame.posts[1].position_x for frame in still}) == 1
    assert KIND[target.action_state] is Kind.HURT
    later = frames[hit + int(target.hitlag) + 3].posts[1]
    assert later.position_x > target.position_x


def test_crossing_a_blast_line_costs_a_stock_and_leads_back_through_the_platform() -> None:
    world = ready()
    body = world.bodies[1]
    body.x, body.y, body.airborne, body.state, body.percent = 120.0, -130.0, True, s.FALL_SPECIAL, 80.0
    frames = play(world, [NEUTRAL] * 100)
    assert body.stocks == 3
    assert body.percent == 0.0
    assert [state for state in (s.DEAD_DOWN, s.REBIRTH, s.REBIRTH_WAIT) if state in states(frames, 1)] == [
        s.DEAD_DOWN,
        s.REBIRTH,
        s.REBIRTH_WAIT,
    ]
    step(world, (NEUTRAL, pad(-1.0)))
    assert body.state == s.FALL
    assert body.invincible > 100


def test_the_match_is_over_with_the_last_stock() -> None:
    world = ready()
    body = world.bodies[0]
    body.stocks, body.x, body.y, body.airborne, body.state = 1, 0.0, -135.0, True, s.FALL
    body.x = -200.0
    play(world, [NEUTRAL] * 30)
    assert body.stocks == 0
    assert world.over


def test_falling_past_the_edge_catches_the_ledge_and_each_way_up_works() -> None:
    for way, then in ((pad(1.0), s.CLIFF_CLIMB_QUICK), (pad(0, 0, "X"), s.JUMP_F), (pad(0, -1.0), s.FALL)):
        world = ready()
        body = world.bodies[0]
        body.x, body.y, body.airborne, body.state = -world.stage.edge - 4.0, 5.0, True, s.FALL
        frames = play(world, [NEUTRAL] * 40)
        assert s.CLIFF_CATCH in states(frames)
        assert states(frames)[-1] == s.CLIFF_WAIT
        assert states(play(world, [way])) == [then]


def test_an_up_special_rises_and_leaves_helpless() -> None:
    for external_id, fighter in FIGHTERS.items():
        world = ready(external_id)
        body = world.bodies[0]
        body.x, body.y, body.airborne, body.state = -world.stage.edge - 40.0, -30.0, True, s.FALL
        frames = play(world, [pad(0.7, 0.7, "B")] + [pad(1.0)] * 45)
        heights = [frame.posts[0].position_y for frame in frames]
        assert states(frames)[0] == fighter.special_hi
        assert max(heights) > -30.0 + 20.0
        assert {s.FALL_SPECIAL, s.CLIFF_CATCH, s.LANDING_FALL_SPECIAL} & set(states(frames))


def test_a_shoulder_before_landing_halves_the_lag_of_an_aerial() -> None:
    def landing_frames(cancel: bool) -> tuple[int, int]:
        world = ready()
        body = world.bodies[0]
        body.y, body.airborne, body.state = 20.0, True, s.FALL
        inputs = [pad(c=(0.0, 1.0))] + [NEUTRAL] * 60
        frames = []
        for controller in inputs:
            pressed = cancel and body.airborne and body.y < 6.0
            frames.append(step(world, (pad(0, 0, "L") if pressed else controller, NEUTRAL)))
        landing = [frame.posts[0] for frame in frames if frame.posts[0].action_state == s.LANDING_AIR_N + 3]
        return len(landing), landing[0].l_cancel

    slow, fast = landing_frames(False), landing_frames(True)
    assert fast[0] <= (slow[0] + 1) // 2
    assert (slow[1], fast[1]) == (2, 1)


def test_the_same_inputs_give_the_same_frames() -> None:
    script = [
        pad(1.0),
        pad(1.0),
        pad(0, 0, "X"),
        NEUTRAL,
        pad(0.7, -0.7, "L"),
        pad(c=(1.0, 0)),
        pad(0, 0, "Z"),
    ] * 40
    other = [pad(-1.0), pad(0, 0, "Y"), pad(-1.0, 0, "A"), NEUTRAL, pad(0, 0, "L")] * 56
    runs = []
    for _ in range(2):
        world = ready(MEWTWO, ZELDA, "battlefield")
        runs.append([step(world, pair) for pair in zip(script, other, strict=True)])
    assert runs[0] == runs[1]


def test_a_mirrored_game_is_the_game_mirrored() -> None:
    def mirrored(controller: Controller) -> Controller:
        return Controller(
            main_x=-controller.main_x,
            main_y=controller.main_y,
            c_x=-controller.c_x,
            c_y=controller.c_y,
            trigger_l=controller.trigger_l,
            trigger_r=controller.trigger_r,
            buttons=controller.buttons,
        )

    script = [pad(1.0)] * 14 + [pad(0, 0, "X")] * 9 + [pad(c=(1.0, 0))] + [pad(1.0)] * 30
    other = [pad(-0.5)] * 10 + [pad(0, 0, "B")] + [pad(-1.0)] * 43
    plain, reflected = ready(LINK, ZELDA), ready(ZELDA, LINK)
    for first, second in zip(script, other, strict=True):
        here = step(plain, (first, second))
        there = step(reflected, (mirrored(second), mirrored(first)))
        for one, two in zip(here.posts, reversed(there.posts), strict=True):
            assert one.action_state == two.action_state
            assert one.position_x == pytest.approx(-two.position_x)
            assert one.position_y == pytest.approx(two.position_y)
            assert one.percent == two.percent
