"""What the bots may know, what they press, and whether they play."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.dojo import states as s
from exphil_core.dojo.bot_observation import BotObservation, Situation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.match import plan_match
from exphil_core.dojo.states import KIND, Kind
from exphil_core.dojo.styles import STYLES
from exphil_core.melee.action_states import COUNT
from exphil_core.melee.controller import BUTTON_BITS, DEAD_ZONE, Controller
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.melee.stages import by_external_id

Reader = Callable[[Path], Any]


def situations(replay: Any, player: int) -> list[tuple[Situation, Controller]]:
    """From the file alone: what each playable frame's input was drawn from, and the input."""
    side, foe = replay.sides[player], replay.sides[1 - player]
    sight = BotObservation(by_external_id(replay.game.start.stage), STYLES[side.external_id].delay)
    seen = []
    for index, frame_id in enumerate(replay.frame_id[:-1]):
        now = sight.situation(side.posts[index], side.controllers[index], foe.posts[index])
        if frame_id + 1 >= FIRST_PLAYABLE_FRAME_ID:
            seen.append((now, side.controllers[index + 1]))
    return seen


def grid(controller: Controller) -> tuple[int, ...]:
    """The input in steps of the hardware, so that a file's float32 does not matter."""
    sticks = (controller.main_x, controller.main_y, controller.c_x, controller.c_y)
    return (*(round(value * 80) for value in sticks), controller.buttons)


def test_the_floor_follows_from_the_columns_of_the_file_alone(
    matches: tuple[Path, ...], read: Reader
) -> None:
    """No hidden state: an observer with nothing but the replay works out the same distributions."""
    for path in matches[:4]:
        replay = read(path)
        for player, side in enumerate(replay.sides):
            bot = Bot(STYLES[side.external_id])
            entropy = surprisal = 0.0
            seen = situations(replay, player)
            for now, pressed in seen:
                choice = bot.choice(now)
                entropy += choice.entropy
                outcomes = [grid(controller) for controller in choice.controllers]
                surprisal += choice.surprisals[outcomes.index(grid(pressed))]
            assert len(seen) == side.floor["frames"]
            assert entropy / len(seen) == pytest.approx(float(side.floor["entropy"]), abs=1e-6)
            assert surprisal / len(seen) == pytest.approx(float(side.floor["surprisal"]), abs=1e-6)


def test_surprisal_comes_out_as_the_entropy_within_its_error(matches: tuple[Path, ...], read: Reader) -> None:
    errors = []
    for path in matches:
        for side in read(path).sides:
            floor = {name: float(value) for name, value in side.floor.items()}
            errors.append((floor["surprisal"] - floor["entropy"]) / floor["stderr"])
    assert max(abs(error) for error in errors) < 4.5
    assert abs(np.mean(errors)) < 4.5 / len(errors) ** 0.5


def test_the_answer_to_the_opponent_takes_as_long_as_a_human_one() -> None:
    assert all(12 <= style.delay <= 18 for style in STYLES.values())
    assert len({style.delay for style in STYLES.values()}) == len(STYLES)


def mirrored(controller: Controller) -> Controller:
    return Controller(
        main_x=0.0 - controller.main_x,
        main_y=controller.main_y,
        c_x=0.0 - controller.c_x,
        c_y=controller.c_y,
        trigger_l=controller.trigger_l,
        trigger_r=controller.trigger_r,
        buttons=controller.buttons,
    )


def test_a_mirrored_situation_has_the_mirrored_distribution(matches: tuple[Path, ...], read: Reader) -> None:
    replay = read(matches[0])
    bot = Bot(STYLES[replay.sides[0].external_id])
    for now, _ in situations(replay, 0)[::7]:
        other = now._replace(side=-now.side, home=-now.home, held=mirrored(now.held))
        plain, reflected = bot.choice(now), bot.choice(other)
        expected = {grid(mirrored(c)): p for c, p in zip(plain.controllers, plain.probabilities, strict=True)}
        found = {grid(c): p for c, p in zip(reflected.controllers, reflected.probabilities, strict=True)}
        assert found == pytest.approx(expected)


def test_inputs_are_few_and_keep_their_distance_in_both_codecs(
    matches: tuple[Path, ...], read: Reader
) -> None:
    pressed = {controller for path in matches for side in read(path).sides for controller in side.controllers}
    assert 20 < len(pressed) < 200
    axis = {value for c in pressed for value in (c.main_x, c.main_y, c.c_x, c.c_y)}
    buckets = {int(min(16, (value + 1) / 2 * 17)) for value in axis}
    assert len(buckets) == len(axis)
    for sticks in ({(c.main_x, c.main_y) for c in pressed}, {(c.c_x, c.c_y) for c in pressed}):
        for x, y in sticks - {(0.0, 0.0)}:
            assert np.hypot(x, y) > DEAD_ZONE + 0.1
            assert min(abs(np.hypot(x, y) - ring) for ring in (0.5, 1.0)) < 0.02
            assert np.degrees(np.arctan2(y, x)) % 45 == pytest.approx(0.0)
        for first, second in combinations(sticks, 2):
            assert np.hypot(first[0] - second[0], first[1] - second[1]) > 0.45
    for c in pressed:
        assert {c.trigger_l, c.trigger_r} <= {0.0, 1.0}
        assert (c.trigger_l == 1.0) == c.pressed("L")
        assert (c.trigger_r == 1.0) == c.pressed("R")
    assert {name for name, bit in BUTTON_BITS.items() if any(c.buttons & bit for c in pressed)} == set(
        BUTTON_BITS
    )


def states_of(side: Any) -> np.ndarray:
    return np.array([post.action_state for post in side.posts])


def test_the_bots_approach_jump_attack_shield_recover_and_edge_guard(
    matches: tuple[Path, ...], read: Reader
) -> None:
    nearer = apart = guards = 0
    entered: dict[Kind, int] = dict.fromkeys(Kind, 0)
    falls = back = 0
    for path in matches:
        replay = read(path)
        edge = by_external_id(replay.game.start.stage).edge
        for side, foe in (replay.sides, replay.sides[::-1]):
            state = states_of(side)
            kinds = np.array([int(KIND[number]) for number in state])
            for index in np.flatnonzero(np.diff(state)) + 1:
                entered[KIND[state[index]]] += 1
            x = np.array([post.position_x for post in side.posts])
            foe_x = np.array([post.position_x for post in foe.posts])
            gap = np.abs(x - foe_x)
            far = (gap[:-30] > 60) & (kinds[:-30] == Kind.FREE)
            nearer += int((gap[30:][far] < gap[:-30][far]).sum())
            apart += int(far.sum())
            grounded = np.array([post.airborne == 0 for post in side.posts])
            alive = ~np.isin(kinds, (Kind.GONE,))
            out = (np.abs(x) > edge) & ~grounded & alive
            for start in np.flatnonzero(out[1:] & ~out[:-1]) + 1:
                later = np.flatnonzero(~out[start:])
                if len(later):
                    falls += 1
                    back += bool(alive[start + later[0]])
            foe_out = np.abs(foe_x) > edge
            at_edge = (np.abs(x) > edge - 30) & (x * foe_x > 0) & foe_out & alive
            guards += int(at_edge.sum())
    frames = sum(len(side.posts) for path in matches for side in read(path).sides)
    assert nearer > 0.65 * apart > 0
    assert entered[Kind.SQUATTING] > frames / 500
    assert entered[Kind.ATTACK] + entered[Kind.AERIAL] > frames / 250
    assert entered[Kind.HURT] > frames / 1000
    assert entered[Kind.SHIELD] > frames / 1500
    assert entered[Kind.RECOVERY] + entered[Kind.LEDGE] > frames / 4000
    assert back > 0.6 * falls > 0
    assert guards > frames / 100


def test_two_games_look_different(matches: tuple[Path, ...], read: Reader) -> None:
    """Also two of the same pairing: how often each state is entered differs by more than a tenth."""
    shares = []
    for path in matches:
        replay = read(path)
        entered = np.concatenate(
            [states_of(side)[1:][np.diff(states_of(side)) != 0] for side in replay.sides]
        )
        count = np.bincount(entered, minlength=COUNT).astype(float)
        shares.append(count / count.sum())
    for first, second in combinations(shares, 2):
        assert np.abs(first - second).sum() / 2 > 0.1


def test_the_same_pairing_twice_is_two_different_games(read: Reader, tmp_path: Path) -> None:
    from dataclasses import replace

    from exphil_core.dojo.demo import write_match

    match = plan_match(0, 0)
    first, second = (read(write_match(tmp_path, replace(match, number=number))) for number in (0, 1))
    length = min(len(first.frame_id), len(second.frame_id))
    gaps = [
        abs(one.position_x - two.position_x)
        for one, two in zip(first.sides[0].posts[:length], second.sides[0].posts[:length], strict=True)
    ]
    assert np.mean(gaps[300:]) > 20.0
    assert sum(states_of(first.sides[0]) == s.DASH) != sum(states_of(second.sides[0]) == s.DASH)
