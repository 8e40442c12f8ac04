"""Rows of a dataset out of a game: blocks, slots, the way through a file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from exphil_core.replays.columns import (
    DTYPES,
    GROUPS,
    HALF,
    ITEM_SLOTS,
    LAYOUT,
    PLAYER_COLUMNS,
    POSITION,
    STAGE_COLUMNS,
)
from exphil_core.replays.isolation import ipc
from exphil_core.replays.pack import PackedGame, pack_game
from exphil_core.replays.parse import parse_replay

Write = Callable[..., Path]


def column(packed: PackedGame, name: str) -> np.ndarray:
    group, index = POSITION[name]
    return packed.groups[group][:, index]


def test_every_column_of_a_game_is_in_its_place(handmade: Write) -> None:
    game = parse_replay(handmade(external_ids=(2, 14), internal_ids=(1, 10), followers={1: range(0, 9)}))
    packed = pack_game(game)
    for group in GROUPS:
        assert packed.groups[group].shape == (game.frames, len(LAYOUT[group]))
        assert packed.groups[group].dtype == DTYPES[group]
        assert packed.groups[group].flags.c_contiguous
    for slot, player in enumerate(game.players):
        for declared in PLAYER_COLUMNS:
            np.testing.assert_array_equal(
                column(packed, f"p{slot}.{declared.name}"), player.leader[declared.name]
            )
    assert (column(packed, "n1.internal_id")[:9] == 11).all()
    assert (column(packed, "n0.action_state") == 65535).all()
    for declared in STAGE_COLUMNS:
        np.testing.assert_array_equal(column(packed, f"stage.{declared.name}"), game.stage[declared.name])
    assert packed.sides[1].external_id == 14
    assert HALF["f32"] * 2 < len(LAYOUT["f32"])


def test_items_lie_in_slots_by_spawn_id(handmade: Write) -> None:
    packed = pack_game(
        parse_replay(
            handmade(items=lambda row: [{"spawn_id": n, "x": float(n)} for n in (5, 3)] if row == 7 else [])
        )
    )
    assert column(packed, "item0.position_x")[7] == 3.0
    assert column(packed, "item1.position_x")[7] == 5.0
    assert column(packed, "item0.type")[7] == 54
    assert np.isnan(column(packed, "item2.position_x")).all()
    assert column(packed, "item0.type")[6] == 65535


def test_of_too_many_items_the_nearest_to_a_player_stay(handmade: Write) -> None:
    # Players stand at 0 and 10; item n lies at 3 * n, so the last ones are the farthest, but for one at 11.
    def items(row: int) -> list[dict[str, float]]:
        return [{"spawn_id": n, "x": 11.0 if n == 11 else 100.0 + 3 * n} for n in range(12)]

    packed = pack_game(parse_replay(handmade(items=items)))
    xs = [column(packed, f"item{slot}.position_x")[20] for slot in range(ITEM_SLOTS)]
    assert xs == [100.0 + 3 * n for n in range(7)] + [11.0]


def test_a_packed_game_comes_out_of_its_file_as_it_went_in(handmade: Write, tmp_path: Path) -> None:
    floor = {"entropy": "2.5", "surprisal": "2.5", "stderr": "0.5", "frames": 7}
    packed = pack_game(parse_replay(handmade(metadata={"dojo": {"players": {"0": floor}}})))
    path = tmp_path / "columns"
    again = ipc.read_packed(ipc.write_packed(packed, path), path)
    path.unlink()
    for group in GROUPS:
        np.testing.assert_array_equal(again.groups[group], packed.groups[group])
    np.testing.assert_array_equal(again.frame_id, packed.frame_id)
    assert again.sides == packed.sides
    assert again.sides[0].floor is not None
    assert (again.content_id, again.version, again.end_method) == (packed.content_id, (3, 7, 0), "game")
