"""Law of rollback: every column holds what netplay settled on, to the last bit of the event stream.

The stream is read here a second time, event by event, without the parser.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from exphil_core.replays.columns import DTYPES, ITEM_COLUMNS, PLAYER_COLUMNS, POST_COLUMNS, Column
from exphil_core.replays.game import Columns, Game
from exphil_core.replays.identity import twin_keys
from exphil_core.replays.parse import parse_replay
from tests.replays.slp_events import (
    FRAME_START,
    EventStream,
    Finalised,
    finalised,
    frame_id_of,
    occurrences,
    read_finalised,
)

REPAIRED = "broken/fodplatforms.slp"
"""Refused by the parser, and read after a repair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Netplay:
    file: str
    stream: EventStream
    raw: Finalised
    game: Game


@pytest.fixture(scope="module")
def netplay(replays: Path) -> list[Netplay]:
    """Every shared replay in which frames repeat: found in its bytes, not in the manifest."""
    with (replays / "manifest.tsv").open(newline="") as file:
        files = [row["file"] for row in csv.DictReader(file, delimiter="\t") if row["peppi_py_0.9.2"] == "ok"]
    found = []
    for file in [*files, REPAIRED]:
        stream = EventStream.of((replays / file).read_bytes())
        started = [frame_id_of(event) for event in stream.events if event[0] == FRAME_START]
        if len(set(started)) < len(started):
            raw = read_finalised(stream)
            found.append(Netplay(file=file, stream=stream, raw=raw, game=parse_replay(replays / file)))
    assert len(found) >= 7
    return found


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint32) if values.dtype == np.float32 else values


def expected(raw: np.ndarray, column: Column) -> np.ndarray:
    return raw.astype(DTYPES[column.group])


def check(ours: Columns, raw: Mapping[str, np.ndarray], columns: tuple[Column, ...], where: str) -> None:
    for column in columns:
        if column.name in raw:
            np.testing.assert_array_equal(
                bits(ours[column.name]), bits(expected(raw[column.name], column)), f"{where} {column.name}"
            )


def test_every_column_is_that_of_the_last_occurrence(netplay: list[Netplay]) -> None:
    for replay in netplay:
        game, raw = replay.game, replay.raw
        assert game.frame_id.tolist() == raw.frame_ids, replay.file
        check_players(game, raw, PLAYER_COLUMNS, replay.file)


@pytest.mark.parametrize(
    "file",
    [
        "games/zelda_vs_ics_ys_v0.1.0.slp",  # Nana is away for 13 frames, and dies
        "odd/falcon_vs_ganon_vs_falcon_vs_marth_bf_v1.2.0.slp",  # a player is out, and takes a stock of its team
        "broken/unknown_event.slp",  # refused by the parser, and read after a repair
    ],
)
def test_rows_before_3_0_belong_to_their_frames(replays: Path, file: str) -> None:
    raw = read_finalised(EventStream.of((replays / file).read_bytes()))
    check_players(parse_replay(replays / file), raw, POST_COLUMNS, file)


def check_players(game: Game, raw: Finalised, columns: tuple[Column, ...], file: str) -> None:
    row_of = {frame_id: row for row, frame_id in enumerate(raw.frame_ids)}
    for player in game.players:
        for ours, follower in ((player.leader, False), (player.follower, True)):
            if ours is None:
                assert (player.port_index, follower) not in raw.players
                continue
            ids, fields = raw.players[player.port_index, follower]
            rows = [row_of[frame_id] for frame_id in ids]
            there = {name: values[rows] for name, values in ours.items()}
            check(there, fields, columns, f"{file} {player.port_index} {follower}")
            absent = np.ones(game.frames, bool)
            absent[rows] = False
            assert (ours["action_state"][absent] == 65535).all(), file


def test_items_are_those_of_the_last_occurrence(netplay: list[Netplay]) -> None:
    for replay in netplay:
        items, raw = replay.game.items, replay.raw
        assert items is not None
        of = np.repeat(replay.game.frame_id, np.diff(items.offsets))
        assert of.tolist() == raw.items_of, replay.file
        if not raw.items:
            continue
        np.testing.assert_array_equal(items.spawn_id, raw.items["spawn_id"], replay.file)
        columns = tuple(column for column in ITEM_COLUMNS if column.name != "owner")
        check(items.columns, raw.items, columns, replay.file)
        port_index = np.array([player.port_index for player in replay.game.players] + [-1])
        owner = items.columns["owner"]
        found = port_index[np.where(owner == 255, len(port_index) - 1, owner)]
        np.testing.assert_array_equal(found, raw.items["owner"], replay.file)


def test_the_first_occurrence_would_be_another_game(netplay: list[Netplay]) -> None:
    """So the laws above can fail: what netplay guessed differs on a fifth of one side's frames."""
    changed = {}
    for replay in netplay:
        earliest = dict(reversed(occurrences(replay.stream.events)))
        guessed = read_finalised(
            replay.stream.with_events(
                [event for frame_id in sorted(earliest) for event in earliest[frame_id]]
            )
        )
        shares = []
        for player in replay.game.players:
            names = ("main_x", "main_y", "c_x", "c_y", "trigger_l", "trigger_r", "buttons")
            (_, first), (_, last) = (raw.players[player.port_index, False] for raw in (guessed, replay.raw))
            differs = np.any([bits(first[name]) != bits(last[name]) for name in names], axis=0)
            shares.append(float(differs.mean()))
        changed[Path(replay.file).name] = shares
    assert changed["falco_vs_falco_ys_v3.15.0.slp"] == [0.0, pytest.approx(0.237, abs=0.001)]
    assert changed["fox_vs_marth_dl_v3.9.0.slp"] == [0.0, pytest.approx(0.224, abs=0.001)]


def test_twins_are_found_whatever_each_recording_guessed(netplay: list[Netplay], tmp_path: Path) -> None:
    """The other player's recording has other guesses, repeats other frames and may end some frames earlier."""
    keys: dict[str, set[str]] = {}
    for replay in netplay:
        keys[replay.file] = set(twin_keys(replay.game))
        if replay.game.frames < 600:
            continue
        other = finalised(replay.stream)
        stop = replay.game.frame_id[-5]
        cut = [event for event in other.events if (frame_id_of(event) or -123) < stop]
        path = tmp_path / Path(replay.file).name
        path.write_bytes(other.with_events(cut).build())
        twin = parse_replay(path)
        assert twin.frames == replay.game.frames - 5
        assert twin.content_id != replay.game.content_id
        assert set(twin_keys(twin)) & keys[replay.file], replay.file
    everything = [key for found in keys.values() for key in found]
    assert len(everything) == len(set(everything)), "different games share a key"
