"""What recognises two recordings of one game, and the games of one match."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exphil_core.replays.game import Game
from exphil_core.replays.identity import match_key, twin_keys
from exphil_core.replays.isolation.ipc import read_packed, write_packed
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay

Write = Callable[..., Path]


def pressing(seed: int = 0) -> Callable[[int, int], dict[str, Any]]:
    """Inputs of two lively players: every seed gives others."""

    def pre(row: int, port_index: int) -> dict[str, Any]:
        draw = random.Random(f"{seed} {row // 3} {port_index}")
        return {"main_x": draw.randrange(-80, 81) / 80, "buttons": draw.choice((0, 0x100, 0x400))}

    return pre


def share(first: Game, second: Game) -> bool:
    return bool(set(twin_keys(first)) & set(twin_keys(second)))


def test_recordings_that_end_some_frames_apart_are_twins(handmade: Write) -> None:
    stops = (256 - 39, 257 - 39, 505 - 39, 512 - 39, 519 - 39, 4000)
    games = [
        parse_replay(handmade(f"{stop}.slp", frame_ids=range(-123, stop), pre=pressing())) for stop in stops
    ]
    assert len({game.content_id for game in games}) == len(games)
    for first in games:
        for second in games:
            assert share(first, second), (first.frames, second.frames)


@pytest.mark.parametrize(
    "other",
    [{"seed": 7}, {"stage": 31}, {"external_ids": (2, 9)}, {"ports": (0, 2)}, {"pre": pressing(1)}],
    ids=["random seed", "stage", "character", "port", "inputs"],
)
def test_games_that_differ_in_any_of_it_are_not_twins(handmade: Write, other: dict[str, Any]) -> None:
    first = parse_replay(handmade("first.slp", pre=pressing()))
    second = parse_replay(handmade("second.slp", **{"pre": pressing(), **other}))
    assert len(twin_keys(first)) == 1
    assert not share(first, second)


def test_idle_players_identify_nothing(handmade: Write) -> None:
    def late(row: int, port_index: int) -> dict[str, Any]:
        return pressing()(row, port_index) if row >= 500 else {}

    assert twin_keys(parse_replay(handmade("idle.slp"))) == ()
    games = [
        parse_replay(handmade(f"{stop}.slp", frame_ids=range(-123, stop), pre=late))
        for stop in (470, 480, 900)
    ]
    assert twin_keys(games[0]) == (), "256 playable frames say too little, and it has no 512"
    assert share(games[1], games[2])


def test_what_is_pressed_before_the_game_begins_does_not_tell_twins_apart(handmade: Write) -> None:
    def early(row: int, port_index: int) -> dict[str, Any]:
        return {"main_x": 1.0} if row < 84 else pressing()(row, port_index)

    first, second = (parse_replay(handmade(f"{n}.slp", pre=pre)) for n, pre in enumerate((pressing(), early)))
    assert twin_keys(first) == twin_keys(second)


def test_a_match_is_known_by_its_id_and_a_game_by_its_numbers_within_it(handmade: Write) -> None:
    def game(name: str, *match: Any, seed: int = 0) -> Game:
        path = handmade(name, version=(3, 14, 0), match=match, seed=seed, pre=pressing(seed))
        return parse_replay(path)

    first = game("first.slp", "mode.unranked-1", 1, 0)
    assert (first.match_id, first.game_number, first.tiebreak_number) == ("mode.unranked-1", 1, 0)
    # With nothing else in common, as of a recording that missed the start.
    assert share(first, game("again.slp", "mode.unranked-1", 1, 0, seed=1))
    others = [
        game("next.slp", "mode.unranked-1", 2, 0, seed=2),
        game("tie.slp", "mode.unranked-1", 1, 1, seed=3),
        game("elsewhere.slp", "mode.unranked-2", 1, 0, seed=4),
    ]
    assert not any(share(first, other) for other in others)
    assert [match_key(other) == match_key(first) for other in others] == [True, True, False]
    assert "unranked" not in match_key(first)


@pytest.mark.parametrize("version", [(1, 0, 0), (3, 7, 0), (3, 14, 0)])
def test_without_a_match_id_nothing_is_said_of_the_match(
    handmade: Write, version: tuple[int, int, int]
) -> None:
    game = parse_replay(handmade(version=version))
    assert (game.match_id, game.game_number, game.tiebreak_number) == ("", None, None)
    assert match_key(game) == ""


def test_the_keys_reach_whoever_builds_a_dataset(handmade: Write, tmp_path: Path) -> None:
    game = parse_replay(handmade(version=(3, 14, 0), match=("mode.ranked-1", 2, 0), pre=pressing()))
    header = write_packed(pack_game(game), tmp_path / "columns")
    packed = read_packed(header, tmp_path / "columns")
    assert packed.match_key == match_key(game)
    assert packed.twin_keys == twin_keys(game)
    assert len(packed.twin_keys) == 2


def test_without_match_ids_two_connect_codes_have_one_match_an_evening(handmade: Write) -> None:
    def key(name: str, started_at: Any, *codes: str) -> str:
        players = {str(port_index): {"names": {"code": code}} for port_index, code in enumerate(codes)}
        path = handmade(name, metadata={"startAt": started_at, "players": players}, pre=pressing())
        return match_key(parse_replay(path))

    first = key("first.slp", "2021-10-11T22:36:14Z", "AB#1", "CD#2")
    assert first
    assert "AB#1" not in first
    assert key("after_midnight.slp", "2021-10-12T04:00:00.123Z", "CD#2", "AB#1") == first
    assert key("another_zone.slp", "2021-10-12T08:00:00+04:00", "AB#1", "CD#2") == first
    others = [
        key("next_day.slp", "2021-10-12T12:00:00Z", "AB#1", "CD#2"),
        key("other_player.slp", "2021-10-11T22:36:14Z", "AB#1", "EF#3"),
    ]
    assert first not in others
    assert all(others)
    assert key("one_code.slp", "2021-10-11T22:36:14Z", "AB#1", "") == ""
    assert key("no_time.slp", "", "AB#1", "CD#2") == ""
    assert key("no_date.slp", "yesterday", "AB#1", "CD#2") == ""


def test_games_of_bots_are_no_match(dojo_replays: Path) -> None:
    games = [parse_replay(path) for path in sorted(dojo_replays.glob("*.slp"))[:3]]
    assert all(game.match_id for game in games)
    assert {match_key(game) for game in games} == {""}
