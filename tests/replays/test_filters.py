"""Which games stay, and what is seen of their sides."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exphil_core.replays.filters import PREDICATES, SideQuality, removed_by, side_quality
from exphil_core.replays.parse import parse_replay

Write = Callable[..., Path]


def name_of(path: Path, min_frames: int = 600) -> str | None:
    removed = removed_by(parse_replay(path), min_frames=min_frames)
    return removed and removed.name


def test_a_played_game_stays(handmade: Write, playing: dict[str, Any]) -> None:
    assert name_of(handmade(**playing)) is None


def test_every_predicate_removes_what_it_names(handmade: Write, playing: dict[str, Any]) -> None:
    four = {"ports": (0, 1, 2, 3), "external_ids": (2, 2, 2, 2), "internal_ids": (1, 1, 1, 1)}
    found = {
        name_of(handmade(**four, types=(0, 0, 0, 0), **playing)),
        name_of(handmade(teams=True, **playing)),
        name_of(handmade(external_ids=(2, 31), **playing)),
        name_of(handmade(stage=9, **playing)),
        name_of(handmade(frame_ids=range(-123, 476), **playing)),
        name_of(handmade(away={1: range(50)}, **playing)),
        name_of(handmade()),
    }
    assert found == {predicate.name for predicate in PREDICATES}


def test_the_minimum_length_counts_all_frames(handmade: Write, playing: dict[str, Any]) -> None:
    assert name_of(handmade(frame_ids=range(-123, 477), **playing)) is None
    assert name_of(handmade(**playing), min_frames=801) == "too_short"


def quality(path: Path, slot: int = 0) -> SideQuality:
    game = parse_replay(path)
    return side_quality(game, game.players[slot])


def test_a_player_is_human_active_and_plausible(handmade: Write, playing: dict[str, Any]) -> None:
    seen = quality(handmade(**playing))
    assert (seen.human, seen.active, seen.plausible) == (True, True, True)
    assert 0.2 < seen.activity < 0.4


def test_a_cpu_is_not_human_and_off_the_grid(handmade: Write) -> None:
    def pre(row: int, port: int) -> dict[str, Any]:
        return {"main_x": random.Random(row).random(), "main_y": random.Random(-row).random()}

    seen = quality(handmade(types=(1, 0), pre=pre))
    assert not seen.human
    assert not seen.plausible


def test_who_hardly_moves_is_not_active(handmade: Write) -> None:
    seen = quality(handmade(pre=lambda row, port: {"main_x": 1.0} if row % 100 == 0 else {}))
    assert not seen.active
    assert seen.activity < 0.03


def _loop(row: int, port: int) -> dict[str, Any]:
    draw = random.Random(row % 40)
    return {"main_x": draw.randrange(-80, 81) / 80, "main_y": draw.randrange(-80, 81) / 80}


def _mash(row: int, port: int) -> dict[str, Any]:
    buttons = random.Random(row).choice((0x100, 0x200, 0x400, 0x800))
    return {"buttons": buttons if row % 2 else 0, "main_x": random.Random(row).randrange(80) / 80}


@pytest.mark.parametrize("pre", [_loop, _mash])
def test_loops_and_impossible_fingers_are_not_plausible(
    handmade: Write, pre: Callable[[int, int], dict[str, Any]]
) -> None:
    seen = quality(handmade(pre=pre))
    assert seen.active
    assert not seen.plausible


def test_random_inputs_from_few_positions_are_plausible(handmade: Write) -> None:
    """As a dojo bot's: five positions of the stick, held for a while, and some presses."""

    def pre(row: int, port: int) -> dict[str, Any]:
        draw = random.Random(row // 6)
        x, y = draw.choice(((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)))
        return {"main_x": x, "main_y": y, "buttons": draw.choice((0, 0, 0x400, 0x100))}

    seen = quality(handmade(pre=pre))
    assert seen.active
    assert seen.plausible


EIGHT = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))


def _digital(dwell: Callable[[random.Random], int], *, jumps: float) -> Callable[[int, int], dict[str, Any]]:
    """`jumps` of the stick's moves are between neutral and one of eight directions; each lasts `dwell` frames."""
    draw, inputs, place = random.Random(5), [], (0.0, 0.0)
    while len(inputs) < 6000:
        others = [other for other in EIGHT if other != place]
        to_neutral = place != (0.0, 0.0) and draw.random() < jumps
        place = (0.0, 0.0) if to_neutral else draw.choice(others)
        buttons = draw.choice((0, 0, 0, 0x100, 0x200, 0x400))
        inputs += [{"main_x": place[0], "main_y": place[1], "buttons": buttons}] * dwell(draw)
    return lambda row, port: inputs[row]


SCRIPTS = {
    "decides every three frames": lambda draw: 3,
    "decides every three frames, not always": lambda draw: 3 * draw.choice((1, 1, 1, 2, 3, 5)),
    "is as quick and irregular": lambda draw: draw.choice((1, 2, 3, 3, 4, 9)),
    "keeps time slowly": lambda draw: 12,
}


@pytest.mark.parametrize("dwell", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_that_jumps_at_times_of_its_own_is_not_plausible(
    handmade: Write, dwell: Callable[[random.Random], int]
) -> None:
    seen = quality(handmade(frame_ids=range(-123, 3000), pre=_digital(dwell, jumps=0.93)))
    assert seen.active
    assert not seen.plausible


@pytest.mark.parametrize("jumps", [0.5, 0.7, 1.0])
def test_a_box_controller_and_a_keyboard_are_plausible(handmade: Write, jumps: float) -> None:
    """As people's: presses of 5 to 7 frames in the median, and anything from 1 to 40."""

    def dwell(draw: random.Random) -> int:
        return max(1, round(draw.lognormvariate(1.8, 0.7)))

    seen = quality(handmade(frame_ids=range(-123, 3000), pre=_digital(dwell, jumps=jumps)))
    assert seen.active
    assert seen.plausible
