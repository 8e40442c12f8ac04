"""Truncated files cut to their last complete frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import Refused
from exphil_core.replays.salvage import is_truncated, salvage

Write = Callable[..., Path]
VERSIONS = ((1, 0, 0), (3, 7, 0))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_live_file_keeps_all_complete_frames(handmade: Write, version: tuple[int, int, int]) -> None:
    game = parse_replay(handmade(version=version, live=True))
    assert game.salvaged
    assert game.frames == 800
    assert game.end_method is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cut_anywhere_costs_at_most_the_frame_it_hit(
    handmade: Write, build: Callable[..., Any], version: tuple[int, int, int]
) -> None:
    ids = range(-123, -100)
    whole = build(version=version, frame_ids=ids, live=True).build()
    full = parse_replay(handmade("full.slp", version=version, frame_ids=ids))
    path = handmade("cut.slp")
    sizes = set()
    for cut in range(len(whole) - 400, len(whole), 7):
        path.write_bytes(whole[:cut])
        game = parse_replay(path)
        assert game.salvaged
        assert game.frame_id.tolist() == list(ids)[: game.frames]
        expected = full.players[1].leader["position_x"][: game.frames]
        assert game.players[1].leader["position_x"].tolist() == expected.tolist()
        sizes.add(game.frames)
    assert max(sizes) <= 23
    assert min(sizes) >= 18


def test_a_file_shorter_than_it_promises_is_salvaged(handmade: Write) -> None:
    path = handmade()
    path.write_bytes(path.read_bytes()[:-20_000])
    game = parse_replay(path)
    assert game.salvaged
    assert 600 < game.frames < 800


def test_a_cut_before_the_first_complete_frame_is_refused(handmade: Write) -> None:
    path = handmade(live=True)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(Refused) as caught:
        parse_replay(path)
    assert caught.value.reason == "no_frames"


def test_damage_in_the_middle_of_a_live_file_is_refused(handmade: Write, build: Callable[..., Any]) -> None:
    stream = build(live=True).events()
    data = build(live=True).build()
    at = data.index(stream[400])
    with pytest.raises(Refused) as caught:
        salvage(data[:at] + b"\xee" + data[at + 1 :])
    assert caught.value.reason == "corrupt"


def test_metadata_or_zeros_after_a_live_stream_end_it(handmade: Write) -> None:
    for number, tail in enumerate((b"U\x08metadata{}}", bytes(4096))):
        path = handmade(f"{number}.slp", live=True)
        path.write_bytes(path.read_bytes() + tail)
        assert parse_replay(path).frames == 800


def test_a_complete_file_is_not_truncated(handmade: Write) -> None:
    data = handmade().read_bytes()
    assert not is_truncated(data[:64], len(data))
    assert is_truncated(data[:64], len(data) - 500)
    assert not is_truncated(b"something else", 14)
