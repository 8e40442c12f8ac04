"""Bots that remember: what they do follows from what the opponent did long before, and that is worth something."""

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import pytest

from exphil_core.dojo.bot_observation import NO_STEP, BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.demo import write_demo
from exphil_core.dojo.match import plan_match
from exphil_core.dojo.styles import STYLES
from exphil_core.melee.controller import Controller
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.melee.stages import by_external_id

Reader = Callable[[Path], Any]
ECHO = 150
STEPS = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), NO_STEP)


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_demo(tmp_path_factory.mktemp("echo"), games=3, seed=7, echo=ECHO)


def grid(controller: Controller) -> tuple[int, ...]:
    sticks = (controller.main_x, controller.main_y, controller.c_x, controller.c_y)
    return (*(round(value * 80) for value in sticks), controller.buttons)


def test_the_file_says_how_far_its_bots_remember_and_by_its_name(
    remembering: tuple[Path, ...], read: Reader
) -> None:
    for path in remembering:
        assert read(path).game.metadata["dojo"]["echo"] == ECHO
        assert f"_echo{ECHO}_" in path.name
    assert plan_match(7, 0).file_name != plan_match(7, 0, echo=ECHO).file_name


def test_the_floor_follows_from_the_columns_of_the_file_alone(
    remembering: tuple[Path, ...], read: Reader
) -> None:
    for path in remembering:
        replay = read(path)
        for player, side in enumerate(replay.sides):
            foe = replay.sides[1 - player]
            style = STYLES[side.external_id]
            sight = BotObservation(by_external_id(replay.game.start.stage), style.delay, echo=ECHO)
            bot, entropy, surprisal, frames = Bot(style), 0.0, 0.0, 0
            for index, frame_id in enumerate(replay.frame_id[:-1]):
                now = sight.situation(side.posts[index], side.controllers[index], foe.posts[index])
                if frame_id + 1 < FIRST_PLAYABLE_FRAME_ID:
                    continue
                choice = bot.choice(now)
                outcomes = [grid(controller) for controller in choice.controllers]
                entropy += choice.entropy
                surprisal += choice.surprisals[outcomes.index(grid(side.controllers[index + 1]))]
                frames += 1
            assert frames == side.floor["frames"]
            assert entropy / frames == pytest.approx(float(side.floor["entropy"]), abs=1e-6)
            assert surprisal / frames == pytest.approx(float(side.floor["surprisal"]), abs=1e-6)


def test_whoever_forgets_is_worse_off_even_if_he_knows_the_bots(
    remembering: tuple[Path, ...], read: Reader
) -> None:
    """An observer who knows every distribution, but has to guess the echo from what the bot did lately."""
    change = 1 / 10
    lost, frames = 0.0, 0
    for path in remembering:
        replay = read(path)
        for player, side in enumerate(replay.sides):
            style = STYLES[side.external_id]
            sight = BotObservation(by_external_id(replay.game.start.stage), style.delay, echo=ECHO)
            bot, belief = Bot(style), dict.fromkeys(STEPS, 1 / len(STEPS))
            for index, frame_id in enumerate(replay.frame_id[:-1]):
                foe = replay.sides[1 - player].posts[index]
                now = sight.situation(side.posts[index], side.controllers[index], foe)
                if frame_id + 1 < FIRST_PLAYABLE_FRAME_ID or now.echo is None:
                    continue
                pressed = grid(side.controllers[index + 1])
                likely = {}
                for echo in STEPS:
                    choice = bot.choice(now._replace(echo=echo))
                    outcomes = [grid(controller) for controller in choice.controllers]
                    known = pressed in outcomes
                    likely[echo] = choice.probabilities[outcomes.index(pressed)] if known else 1e-9
                belief = {echo: (1 - change) * p + change / len(STEPS) for echo, p in belief.items()}
                guessed = sum(belief[echo] * likely[echo] for echo in STEPS)
                lost += log(likely[now.echo] / guessed)
                frames += 1
                belief = {echo: belief[echo] * likely[echo] / guessed for echo in STEPS}
    assert lost / frames > 0.15


def test_without_an_echo_the_games_are_those_that_they_were(tmp_path: Path) -> None:
    one, other = (
        write_demo(tmp_path / "a", games=1, seed=0),
        write_demo(tmp_path / "b", games=1, seed=0, echo=0),
    )
    assert one[0].read_bytes() == other[0].read_bytes()
