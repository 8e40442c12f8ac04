"""One replay read into a game: columns, versions, rollback, followers, items, identity, refusals."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exphil_core.replays.arrow import finalised_rows, read_columns
from exphil_core.replays.columns import PLAYER_COLUMNS, Column, Version
from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import Refused

Write = Callable[..., Path]


def test_every_column_is_read_with_its_dtype_and_length(handmade: Write) -> None:
    game = parse_replay(handmade())
    assert game.frames == 800
    assert game.version == Version(3, 7, 0)
    for player in game.players:
        assert set(player.leader) == {column.name for column in PLAYER_COLUMNS}
        assert all(len(values) == 800 for values in player.leader.values())
    leader = game.players[1].leader
    assert leader["position_x"].tolist() == [10.0] * 800
    assert [leader[f"flags_{n}"][5] for n in range(1, 6)] == [1, 2, 3, 4, 5]
    assert leader["velocity_ground_x"][3] == np.float32(0.5)
    assert leader["velocity_air_x"][3] == np.float32(0.1)


def test_what_a_version_lacks_is_missing_and_never_zero(handmade: Write) -> None:
    leader = parse_replay(handmade(version=(1, 0, 0))).players[0].leader
    assert np.isnan(leader["velocity_y"]).all()
    assert np.isnan(leader["hitlag"]).all()
    assert (leader["airborne"] == 255).all()
    assert (leader["state_age"] == 1.0).all()
    modern = parse_replay(handmade()).players[0].leader
    assert np.isnan(modern["hitlag"]).all(), "hitlag came with 3.8"
    assert (modern["hurtbox_state"] == 0).all()


@pytest.mark.parametrize(
    ("half", "name", "value", "said"),
    [
        ("pre", "main_x", 1.05, "main_x of port 2 is 1.05"),
        ("pre", "c_y", -2.0, "c_y of port 2 is -2"),
        ("pre", "trigger_l", 2.0, "trigger_l of port 2 is 2 "),
        ("pre", "trigger_r", 3.78e22, "trigger_r of port 2 is 3.78e+22"),
        ("pre", "trigger_r", -0.1, "expected 0 to 1"),
        ("post", "stocks", 99, "stocks of port 2 is 99"),
        ("post", "stocks", 5, "expected at most the 4 of the start"),
        ("post", "percent", 1000.0, "percent of port 2"),
        ("post", "percent", -1.0, "percent of port 2"),
        ("post", "percent", float("inf"), "percent of port 2 is inf"),
        ("post", "shield", 61.0, "shield of port 2 is 61"),
        ("post", "x", 400.0, "position_x of port 2 is 400 in frame 77; expected -346 to 346 on this stage"),
        ("post", "y", -1000.0, "position_y of port 2"),
        ("post", "action_state", 544, "expected 0 to 543"),
        ("post", "action_state", 65535, "action_state of port 2"),
        ("post", "internal_id", 99, "internal_id of port 2 is 99"),
        ("post", "internal_id", 1, "expected 22 (Falco)"),
        ("post", "state_age", 1e9, "state_age of port 2"),
        ("post", "hitlag", 500.0, "hitlag of port 2"),
        ("post", "velocities", (0.0, 0.0, 101.0, 0.0, 0.0), "knockback_x of port 2"),
    ],
)
def test_a_value_that_the_game_cannot_have_refuses_the_game(
    handmade: Write, half: str, name: str, value: Any, said: str
) -> None:
    def broken(row: int, port_index: int) -> dict[str, Any]:
        return {name: value} if (row, port_index) == (200, 1) else {}

    with pytest.raises(Refused) as caught:
        parse_replay(handmade(version=(3, 18, 0), **{half: broken}))
    assert caught.value.reason == "impossible_values"
    assert said in str(caught.value)
    assert "in frame 77" in str(caught.value)


def test_an_impossible_item_or_platform_refuses_the_game(handmade: Write) -> None:
    far = {
        "items": lambda row: [{"spawn_id": n, "x": 3e4 if (row, n) == (200, 1) else 0.0} for n in range(2)]
    }
    high = {"stage_events": lambda row: [(0x3F, struct.pack(">Bf", 1, 1e6))] if row == 200 else []}
    for fields, said in ((far, "position_x of an item"), (high, "fod_left of the stage")):
        with pytest.raises(Refused) as caught:
            parse_replay(handmade(version=(3, 18, 0), stage=2, **fields))
        assert caught.value.reason == "impossible_values"
        assert said in str(caught.value)
        assert "in frame 77" in str(caught.value)


def test_what_netplay_only_guessed_refuses_nothing(handmade: Write) -> None:
    ids = [*range(-123, 300), *range(290, 400)]
    game = parse_replay(
        handmade(frame_ids=ids, post=lambda row, port_index: {"percent": 5000.0 if row == 292 + 123 else 0.0})
    )
    assert game.rollback_rows == 10


def test_odd_values_of_the_real_game_refuse_nothing(handmade: Write) -> None:
    def pre(row: int, port_index: int) -> dict[str, Any]:
        return {"trigger_r": 3.78e22} if row == 7 else {"trigger_r": 0.5}

    def post(row: int, port_index: int) -> dict[str, Any]:
        odd = {8: {"misc_as": 3e38}, 9: {"misc_as": 12.5}, 10: {"x": float("nan")}, 11: {"shield": -20.0}}
        return {"misc_as": float("nan"), **odd.get(row, {})}

    leader = parse_replay(handmade(post=post)).players[0].leader
    assert np.flatnonzero(~np.isnan(leader["misc_as"])).tolist() == [9]
    assert np.flatnonzero(np.isnan(leader["position_x"])).tolist() == [10]
    # Of versions whose recorder wrote garbage there.
    leader = parse_replay(handmade(version=(1, 0, 0), pre=pre)).players[0].leader
    assert np.flatnonzero(np.isnan(leader["trigger_r"])).tolist() == [7]


def test_what_arrow_keeps_in_a_null_row_is_neither_read_nor_refused() -> None:
    values = pa.array([5.0, 1e9, 7.0, float("nan"), 1e9], pa.float32())
    struct = pa.StructArray.from_arrays(
        [values], names=["percent"], mask=pa.array([False, True, False, False, False])
    )
    column = Column(name="percent", field="percent", group="f32", low=0.0, high=999.0)
    absent = {"percent": np.array([False, False, False, False, True])}
    read = read_columns(struct, (column,), Version(3, 0), None, 5, absent)
    np.testing.assert_array_equal(read["percent"], np.array([5, np.nan, 7, np.nan, np.nan], np.float32))


def test_off_the_tournament_stages_nobody_knows_the_blast_lines(handmade: Write) -> None:
    assert parse_replay(handmade(stage=9, post=lambda row, port_index: {"x": 900.0})).frames == 800


def test_kirbys_copied_moves_are_no_missing_states(handmade: Write) -> None:
    for action_state in (525, 526, 528, 529, 530, 543):
        fields = {"external_ids": (4, 2), "post": lambda row, _, state=action_state: {"action_state": state}}
        leader = parse_replay(handmade(**fields)).players[0].leader
        assert set(leader["action_state"].tolist()) == {action_state}


def test_rollback_keeps_the_last_occurrence(handmade: Write) -> None:
    ids = [*range(-123, 10), 7, 8, 9, 10, 9, 10, 11]
    game = parse_replay(
        handmade(
            frame_ids=ids,
            post=lambda row, port_index: {"percent": float(row)},
            items=lambda row: [{"spawn_id": row, "x": float(row)}] * (row % 3),
        )
    )
    assert game.frame_id.tolist() == list(range(-123, 12))
    assert game.rollback_rows == len(ids) - len(range(-123, 12))
    kept = [*range(130), 133, 134, 137, 138, 139]
    assert game.players[0].leader["percent"].tolist() == [float(row) for row in kept]
    assert game.items is not None
    assert np.diff(game.items.offsets).tolist() == [row % 3 for row in kept]
    assert game.items.spawn_id.tolist() == [row for row in kept for _ in range(row % 3)]


def test_a_rollback_at_the_very_end_takes_back_what_was_not_played_again(handmade: Write) -> None:
    game = parse_replay(
        handmade(
            frame_ids=[*range(-123, 600), 597, 598],
            post=lambda row, port_index: {"percent": float(row)},
            items=lambda row: [{"spawn_id": row}],
        )
    )
    assert game.frame_id.tolist() == list(range(-123, 599))
    assert game.rollback_rows == 3
    assert game.players[1].leader["percent"][-3:].tolist() == [719.0, 723.0, 724.0]
    assert game.items is not None
    assert game.items.spawn_id[-3:].tolist() == [719, 723, 724]


def test_what_the_stage_does_is_that_of_the_last_occurrence(handmade: Write) -> None:
    ids = [*range(-123, 10), 7, 8, 9, 10, 11]
    rolled_back = 7 + 123  # the row on which frame 7 was played first

    def stadium(row: int) -> list[tuple[int, bytes]]:
        if row not in (50, rolled_back, rolled_back + 4):
            return []
        return [(0x41, struct.pack(">HH", row % 100, 3))]

    game = parse_replay(handmade(version=(3, 18, 0), stage=3, frame_ids=ids, stage_events=stadium))
    assert game.stage["stadium_event"].tolist() == [255] * 50 + [50] * (131 - 50) + [34] * 4

    def platform(row: int) -> list[tuple[int, bytes]]:
        return [(0x3F, struct.pack(">Bf", 1, float(row)))] if row >= rolled_back else []

    fountain = parse_replay(handmade(version=(3, 18, 0), stage=2, frame_ids=ids, stage_events=platform))
    assert fountain.stage["fod_left"].tolist() == [20.0] * 130 + [133.0, 134.0, 135.0, 136.0, 137.0]


def test_finalised_rows_follow_the_frame_ids_and_not_the_file() -> None:
    assert finalised_rows(np.arange(-123, 50, dtype=np.int32)) is None
    ids = np.array(
        [0, 1, 2, 3, 0, 2, 3], np.int32
    )  # frame 1 was not played again, though frame 0 before it was
    assert finalised_rows(ids) is not None
    assert ids[finalised_rows(ids)].tolist() == [0, 1, 2, 3]
    assert finalised_rows(ids).tolist() == [4, 1, 5, 6]  # type: ignore[union-attr]


def test_frames_that_do_not_follow_each_other_are_refused(handmade: Write) -> None:
    with pytest.raises(Refused) as caught:
        parse_replay(handmade(frame_ids=[*range(-123, 100), *range(105, 200)]))
    assert caught.value.reason == "bad_frame_ids"


def test_nana_is_missing_where_she_is_not_there(handmade: Write) -> None:
    game = parse_replay(handmade(external_ids=(14, 2), internal_ids=(10, 1), followers={0: range(50, 60)}))
    nana = game.players[0].follower
    assert nana is not None
    assert game.players[1].follower is None
    assert np.flatnonzero(nana["action_state"] != 65535).tolist() == list(range(50, 60))
    assert np.flatnonzero(~np.isnan(nana["position_x"])).tolist() == list(range(50, 60))
    assert set(nana["internal_id"][50:60]) == {11}


@pytest.mark.parametrize("version", [(1, 0, 0), (2, 0, 1), (3, 7, 0)])
def test_nanas_rows_belong_to_their_frames_after_she_was_away(
    handmade: Write, version: tuple[int, int, int]
) -> None:
    rows = [*range(200), *range(260, 500), *range(510, 520)]
    game = parse_replay(
        handmade(
            version=version,
            external_ids=(14, 2),
            internal_ids=(10, 1),
            followers={0: frozenset(rows)},
            pre=lambda row, port_index: {"buttons": row},
            post=lambda row, port_index: {"x": row / 100},
        )
    )
    nana = game.players[0].follower
    assert nana is not None
    assert np.flatnonzero(nana["action_state"] != 65535).tolist() == rows
    assert np.flatnonzero(nana["buttons"] != 65535).tolist() == rows
    assert nana["buttons"][rows].tolist() == rows
    assert nana["position_x"][rows].tolist() == [np.float32(row / 100) for row in rows]
    assert game.repaired == (), "nothing of the file was damaged"


def test_an_items_owner_is_a_position_in_players(handmade: Write) -> None:
    owners = (1, 3, -1, 0)
    game = parse_replay(
        handmade(
            ports=(1, 3),
            items=lambda row: [{"spawn_id": n, "owner": owner} for n, owner in enumerate(owners)],
        )
    )
    assert game.items is not None
    assert game.items.columns["owner"][:4].tolist() == [0, 1, 255, 255]


def test_content_id_is_of_what_was_played(handmade: Write, playing: dict[str, Any]) -> None:
    first = parse_replay(handmade("a.slp", **playing)).content_id
    renamed = parse_replay(handmade("b.slp", metadata={"playedOn": "elsewhere"}, **playing)).content_id
    assert first == renamed
    assert len(first) == 32
    other_stage = parse_replay(handmade("c.slp", stage=31, **playing)).content_id
    other_inputs = parse_replay(handmade("d.slp")).content_id
    assert len({first, other_stage, other_inputs}) == 3


def test_names_are_sanitised(handmade: Write) -> None:
    names = {"names": {"netplay": "\x1b[2Jab\u202ecd\u200b", "code": "AB#1"}}
    game = parse_replay(handmade(metadata={"playedOn": "x\x07", "players": {"0": names}}))
    assert game.players[0].name == "[2Jabcd"
    assert game.players[0].code == "AB#1"
    assert game.played_on == "x"


def test_the_dojos_floor_is_read_from_its_decimal_strings(handmade: Write) -> None:
    floor = {"entropy": "2.5", "surprisal": "2.625", "stderr": "0.5", "frames": 700}
    game = parse_replay(handmade(metadata={"dojo": {"version": "1", "players": {"1": floor}}}))
    assert game.players[0].floor is None
    assert game.players[1].floor is not None
    assert game.players[1].floor.entropy == 2.5
    assert game.players[1].floor.frames == 700


def test_a_floor_that_cannot_be_read_is_refused(handmade: Write) -> None:
    path = handmade(metadata={"dojo": {"version": "1", "players": {"1": {"entropy": "much"}}}})
    with pytest.raises(Refused) as caught:
        parse_replay(path)
    assert caught.value.reason == "bad_dojo_metadata"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "not_slippi"), (b"not a replay at all", "not_slippi"), (b"{U\x03raw[$U#l" + bytes(8), "corrupt")],
)
def test_what_is_no_replay_is_refused_by_name(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.slp"
    path.write_bytes(data)
    with pytest.raises(Refused) as caught:
        parse_replay(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)


def test_a_bad_game_end_and_a_missing_file_are_refused_by_name(handmade: Write, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        parse_replay(handmade(end_method=6, stage=36))
    assert caught.value.reason == "bad_game_end"
    with pytest.raises(Refused) as caught:
        parse_replay(tmp_path / "nowhere.slp")
    assert caught.value.reason == "vanished"


def test_a_game_without_game_end_parses(handmade: Write) -> None:
    game = parse_replay(handmade(end_method=None))
    assert game.end_method is None
    assert not game.salvaged
