"""The floor against the baselines: there is something to learn, and it cannot be had without looking at the game."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from exphil_core.dojo.bot_observation import FROM_AIR, FROM_GROUND, MIDDLE, BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.styles import STYLES
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.melee.frames import FIRST_FRAME_ID, FIRST_PLAYABLE_FRAME_ID
from exphil_core.melee.stages import by_external_id

FIRST = FIRST_PLAYABLE_FRAME_ID - FIRST_FRAME_ID


def components(controllers: tuple[Controller, ...]) -> list[tuple[Any, ...]]:
    return [
        ((c.main_x, c.main_y), (c.c_x, c.c_y), (c.trigger_l, c.trigger_r), c.buttons)
        for c in controllers[FIRST - 1 :]
    ]


def markov_loss(pairs: list[tuple[Any, Any]]) -> float:
    """Nats per frame of one component given its own last value, from the very counts that it is tested on."""
    counts: dict[Any, dict[Any, int]] = {}
    for before, after in pairs:
        following = counts.setdefault(before, {})
        following[after] = following.get(after, 0) + 1
    loss = 0.0
    for following in counts.values():
        seen = np.array(list(following.values()), dtype=float)
        loss -= float((seen * np.log(seen / seen.sum())).sum())
    return loss / len(pairs)


def test_even_a_markov_baseline_fitted_to_the_test_stays_a_quarter_nat_above_the_floor(
    matches: tuple[Path, ...], read: Callable[[Path], Any]
) -> None:
    pairs: list[list[tuple[Any, Any]]] = [[], [], [], []]
    entropy = frames = 0.0
    for path in matches:
        for side in read(path).sides:
            tokens = components(side.controllers)
            for before, after in itertools.pairwise(tokens):
                for component in range(4):
                    pairs[component].append((before[component], after[component]))
            entropy += float(side.floor["entropy"]) * side.floor["frames"]
            frames += side.floor["frames"]
    floor = entropy / frames
    assert 0.25 < floor < 0.6
    assert sum(markov_loss(component) for component in pairs) > floor + 0.25


def test_what_the_opponent_did_seconds_ago_still_counts_for_some(
    matches: tuple[Path, ...], read: Callable[[Path], Any]
) -> None:
    replay = read(matches[0])
    side, foe = replay.sides
    sight = BotObservation(by_external_id(replay.game.start.stage), STYLES[side.external_id].delay)
    now = next(
        situation
        for index in range(FIRST, len(side.posts))
        if (situation := sight.situation(side.posts[index], NEUTRAL, foe.posts[index])).band == MIDDLE
        and situation.kind == 0
        and situation.foe == 0
    )
    for style in STYLES.values():
        bot = Bot(style)
        after_air, after_ground = (
            bot.choice(now._replace(threat=threat, height=0, on_platform=False, near_edge=False))
            for threat in (FROM_AIR, FROM_GROUND)
        )
        assert (after_air.probabilities != after_ground.probabilities) == style.adapts
