"""Where somebody loses a stock or is hit, and the way from one such frame to the next."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.melee.action_states import BY_NAME
from exphil_core.melee.characters import by_internal_id
from exphil_core.replays.parse import parse_replay
from exphil_tui.model.replay_events import ReplayEvents, find_events, next_event_frame, previous_event_frame
from tests.replays.handmade import Handmade

Post = Callable[[int, int], dict[str, Any]]


@pytest.fixture
def moments_of(tmp_path: Path) -> Callable[..., ReplayEvents]:
    def find(post: Post, **fields: Any) -> ReplayEvents:
        path = tmp_path / "game.slp"
        path.write_bytes(Handmade(post=post, **fields).build())
        return find_events(parse_replay(path))

    return find


def test_a_stock_is_lost_on_the_first_frame_that_has_one_less(
    moments_of: Callable[..., ReplayEvents],
) -> None:
    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"stocks": 4 - (row >= 300) - (row >= 500 and port_index == 1)}

    assert moments_of(post).stock_losses.tolist() == [[300, 0], [300, 1], [500, 1]]


def test_a_hit_is_where_percent_rises_and_not_where_it_is_forgotten(
    moments_of: Callable[..., ReplayEvents],
) -> None:
    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"percent": 0.0 if port_index or row < 100 or row >= 400 else 9.0 if row < 200 else 12.5}

    assert moments_of(post).hits.tolist() == [[100, 0], [200, 0]]


@pytest.mark.parametrize(
    ("internal_id", "flags", "state", "hit"),
    [
        (1, 0, "WAIT", True),  # Fox is not hurt by what he does
        (23, 0, "ATTACK_AIR_F", False),  # Pichu is
        (23, 0x10, "ATTACK_AIR_F", True),
        (23, 0, "DAMAGE_N_1", True),
        (26, 0, "WAIT", False),
        (26, 0, "THROWN_B", True),
    ],
)
def test_who_hurts_itself_is_not_hit(
    moments_of: Callable[..., ReplayEvents], internal_id: int, flags: int, state: str, *, hit: bool
) -> None:
    def post(row: int, port_index: int) -> dict[str, Any]:
        own = {"percent": 3.0 * (row >= 150), "action_state": BY_NAME[state], "flags": (0, flags, 0, 0, 0)}
        return own if port_index == 0 else {}

    external_ids = (by_internal_id(internal_id).external_id, 20)
    found = moments_of(post, external_ids=external_ids).hits.tolist()
    assert found == ([[150, 0]] if hit else [])


def test_a_game_without_moments_has_empty_tables(moments_of: Callable[..., ReplayEvents]) -> None:
    moments = moments_of(lambda row, port_index: {})
    for table in (moments.stock_losses, moments.hits):
        assert table.shape == (0, 2)
        assert table.dtype == np.int32
        assert next_event_frame(table, 0) is None
        assert previous_event_frame(table, 10**6) is None


def test_the_way_there_and_back_again() -> None:
    table = np.array([[100, 0], [100, 1], [250, 1], [400, 0]], np.int32)
    assert [next_event_frame(table, at) for at in (0, 99, 100, 249, 250, 400)] == [
        100,
        100,
        250,
        250,
        400,
        None,
    ]
    assert [previous_event_frame(table, at) for at in (100, 101, 250, 251, 9999)] == [
        None,
        100,
        100,
        250,
        400,
    ]


def test_real_players_lose_the_stocks_that_their_columns_lose(replays: Path) -> None:
    game = parse_replay(replays / "games/sheik_vs_mewtwo_bf_v3.16.0.slp")
    moments = find_events(game)
    for slot, player in enumerate(game.players):
        stocks = player.leader["stocks"]
        lost = moments.stock_losses[moments.stock_losses[:, 1] == slot, 0]
        assert len(lost) == int(stocks[0]) - int(stocks[-1])
        assert (stocks[lost].astype(int) - stocks[lost - 1] == -1).all()
        hits = moments.hits[moments.hits[:, 1] == slot, 0]
        assert len(hits) > 20
        assert (np.diff(moments.hits[:, 0]) >= 0).all()
