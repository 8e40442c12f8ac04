"""Replays that the parser refuses, made by byte surgery: what is whole is read, what is lost is missing and named."""

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from exphil_core.replays.columns import PLAYER_COLUMNS, PRE_COLUMNS
from exphil_core.replays.game import Game
from exphil_core.replays.isolation.ipc import read_packed, write_packed
from exphil_core.replays.isolation.sandbox import load_game
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import Refused
from tests.replays.slp_events import (
    FRAME_END,
    FRAME_START,
    GAME_END,
    GAME_START,
    POST,
    PRE,
    EventStream,
    frame_id_of,
)

Write = Callable[..., Path]
VERSIONS = ((1, 0, 0), (2, 0, 1), (3, 7, 0), (3, 18, 0))
PRE_NAMES = [column.name for column in PRE_COLUMNS]
NAMES = [column.name for column in PLAYER_COLUMNS]


def lively(row: int, port_index: int) -> dict[str, float]:
    return {"main_x": (row % 161 - 80) / 80}


def damaged(row: int, port_index: int) -> dict[str, float]:
    return {"percent": row / 10, "x": port_index + row / 100}


@pytest.fixture
def whole(handmade: Write) -> Callable[..., Path]:
    def write(**fields: object) -> Path:
        return handmade("whole.slp", pre=lively, post=damaged, **fields)

    return write


def rewritten(path: Path, change: Callable[[EventStream], EventStream]) -> Path:
    copy = path.with_name("rewritten.slp")
    copy.write_bytes(change(EventStream.of(path.read_bytes())).build())
    return copy


def without(stream: EventStream, *lost: tuple[int, int, int]) -> EventStream:
    """Without the events of these (code, frame id, port index)."""

    def is_lost(event: bytes) -> bool:
        return any(
            event[0] == code and frame_id_of(event) == frame_id and (code > POST or event[5] == port_index)
            for code, frame_id, port_index in lost
        )

    return stream.with_events(event for event in stream.events if not is_lost(event))


def same_but(repaired: Game, whole: Game, missing: Iterable[tuple[int, int, str]]) -> None:
    """Equal to the last bit, but for the columns of these (slot, frame index, "pre" or "post")."""
    assert repaired.frame_id.tolist() == whole.frame_id.tolist()
    lost = set(missing)
    for slot, (ours, theirs) in enumerate(zip(repaired.players, whole.players, strict=True)):
        for name in NAMES:
            expected = theirs.leader[name].copy()
            for where, frame_index, half in lost:
                if where == slot and (half == "pre") == (name in PRE_NAMES):
                    expected[frame_index] = (
                        np.nan if expected.dtype == np.float32 else np.iinfo(expected.dtype).max
                    )
            np.testing.assert_array_equal(ours.leader[name], expected, name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("code", "half"), [(PRE, "pre"), (POST, "post")])
def test_half_a_frame_that_was_lost_costs_that_half_and_nothing_else(
    whole: Write, version: tuple[int, int, int], code: int, half: str
) -> None:
    path = whole(version=version)
    lost = [(code, 100, 1), (code, 300, 0), (code, -123, 0), (code, 676, 1)]
    game = parse_replay(rewritten(path, lambda stream: without(stream, *lost)))
    same_but(
        game, parse_replay(path), [(port_index, frame_id + 123, half) for _, frame_id, port_index in lost]
    )
    assert game.repaired == ("missing_event",)
    assert not game.salvaged


def test_a_lost_event_of_a_repeated_frame_is_not_replaced_by_the_guess(whole: Write) -> None:
    path = whole(frame_ids=[*range(-123, 300), *range(290, 400)])

    def lose_the_second(stream: EventStream) -> EventStream:
        posts = [
            n for n, e in enumerate(stream.events) if e[0] == POST and frame_id_of(e) == 295 and e[5] == 1
        ]
        assert len(posts) == 2
        return stream.with_events(event for n, event in enumerate(stream.events) if n != posts[1])

    game = parse_replay(rewritten(path, lose_the_second))
    same_but(game, parse_replay(path), [(1, 295 + 123, "post")])


def test_a_half_that_was_written_twice_counts_once(whole: Write) -> None:
    path = whole()

    def twice(stream: EventStream) -> EventStream:
        events = list(stream.events)
        at = next(n for n, e in enumerate(events) if e[0] == PRE and frame_id_of(e) == 50)
        return stream.with_events([*events[: at + 1], *events[at:]])

    game = parse_replay(rewritten(path, twice))
    same_but(game, parse_replay(path), ())
    assert game.repaired == ("repeated_event",)


@pytest.mark.parametrize("code", [FRAME_START, FRAME_END])
def test_a_frame_without_its_start_or_end_is_read(whole: Write, code: int) -> None:
    path = whole()
    game = parse_replay(rewritten(path, lambda stream: without(stream, (code, 200, 0))))
    same_but(game, parse_replay(path), ())
    assert game.repaired == ("frame_bounds",)


def test_a_frame_that_is_lost_as_a_whole_is_refused(whole: Write) -> None:
    for version in VERSIONS:
        path = whole(version=version)
        lost = [(code, 200, port) for code in (FRAME_START, PRE, POST, FRAME_END) for port in (0, 1)]
        with pytest.raises(Refused) as caught:
            parse_replay(rewritten(path, lambda stream, lost=lost: without(stream, *lost)))
        assert caught.value.reason == "bad_frame_ids"


@pytest.mark.parametrize("method", [4, 5, 6, 8, 9, 255])
def test_a_match_with_an_unusual_end_is_read(whole: Write, method: int) -> None:
    path = whole()

    def ended(stream: EventStream) -> EventStream:
        return stream.with_events(
            event[:1] + bytes([method]) + event[2:] if event[0] == GAME_END else event
            for event in stream.events
        )

    game = parse_replay(rewritten(path, ended))
    same_but(game, parse_replay(path), ())
    assert (game.repaired, game.end_method) == (("end_method",), "unknown")


def test_what_is_no_match_stays_refused_for_its_end(handmade: Write) -> None:
    home_run = {"stage": 84, "external_ids": (0, 31), "internal_ids": (0, 29), "types": (0, 1)}
    targets = {"stage": 36, "ports": (0,), "external_ids": (1,), "internal_ids": (3,), "types": (0,)}
    for end_method, fields in ((9, home_run), (6, targets), (6, {**targets, "stage": 32})):
        with pytest.raises(Refused) as caught:
            parse_replay(handmade(end_method=end_method, **fields))
        assert caught.value.reason == "bad_game_end"
        assert f"method {end_method}" in str(caught.value)


METADATA = b"U\x08metadata"


@pytest.mark.parametrize(
    "after",
    [
        b"",
        METADATA,
        METADATA + b"{U\x08playedOnSU\x04ha",
        METADATA + b"{U\x08playedOnSU\x04\xff\xfe\x81nd}}",
        METADATA + b"{U\x08playedOnSU\x04hand}",
        METADATA + b"{U\x03oddT}}",
        bytes(512),
    ],
    ids=["absent", "key only", "cut", "not UTF-8", "unclosed", "no UBJSON", "zeros"],
)
def test_metadata_that_cannot_be_read_costs_the_metadata(whole: Write, after: bytes) -> None:
    path = whole()
    game = parse_replay(
        rewritten(
            path,
            lambda stream: EventStream(sizes_event=stream.sizes_event, events=stream.events, after=after),
        )
    )
    same_but(game, parse_replay(path), ())
    assert game.repaired == ("metadata",)
    assert game.played_on == ""


@pytest.mark.parametrize(
    ("at", "size"),
    [(0x161, 16), (0x161 + 16, 16), (0x1A5, 31), (0x221, 10), (0x249, 29), (0x2BE, 51)],
    ids=["name tag", "second name tag", "netplay name", "connect code", "user id", "match id"],
)
def test_text_that_is_none_costs_the_text(handmade: Write, at: int, size: int) -> None:
    path = handmade(version=(3, 18, 0), match=("mode.unranked-1", 1, 0), pre=lively, post=damaged)

    def spoilt(stream: EventStream) -> EventStream:
        start, *rest = stream.events
        assert start[0] == GAME_START
        return stream.with_events(
            [start[:at] + (b"\x81\xff\xfe\xfd" * 13)[:size] + start[at + size :], *rest]
        )

    game, whole = parse_replay(rewritten(path, spoilt)), parse_replay(path)
    same_but(game, whole, ())
    assert game.repaired == ("text",)
    assert game.players[0].name == ("" if at == 0x161 else whole.players[0].name)
    assert game.players[1].name == ("" if at == 0x161 + 16 else whole.players[1].name)
    assert game.match_id == ("" if at == 0x2BE else "mode.unranked-1")


def test_an_event_of_no_size_that_nobody_knows_is_left_out(whole: Write) -> None:
    path = whole(version=(1, 0, 0))

    def with_unknown(stream: EventStream) -> EventStream:
        table = stream.sizes_event[2:] + struct.pack(">BH", 0xFF, 0)
        return EventStream(
            sizes_event=bytes([0x35, len(table) + 1]) + table,
            events=(*stream.events[:500], b"\xff", *stream.events[500:]),
            after=stream.after,
        )

    game = parse_replay(rewritten(path, with_unknown))
    same_but(game, parse_replay(path), ())
    assert game.repaired == ("unknown_event",)


def test_events_shorter_than_their_versions_are_read_as_an_older_one(whole: Write) -> None:
    path = whole(version=(3, 7, 0))

    def newer(stream: EventStream) -> EventStream:
        start, *rest = stream.events
        return stream.with_events([start[:2] + bytes([16]) + start[3:], *rest])

    game = parse_replay(rewritten(path, newer))
    same_but(game, parse_replay(path), ())
    assert str(game.version) == "3.7.0"
    assert game.repaired == ("older_version",)


def test_a_live_file_with_a_lost_event_is_salvaged_and_repaired(whole: Write) -> None:
    path = whole(live=True)
    data = without(EventStream.of(path.read_bytes()), (POST, 60, 0)).build()
    damaged_file = path.with_name("both.slp")
    damaged_file.write_bytes(data[:11] + bytes(4) + data[15:-100])
    game = parse_replay(damaged_file)
    assert game.salvaged
    assert game.repaired == ("missing_event",)
    assert np.flatnonzero(game.players[0].leader["action_state"] == 65535).tolist() == [60 + 123]


def test_marks_reach_datasets_and_viewers(whole: Write, tmp_path: Path) -> None:
    path = rewritten(whole(), lambda stream: without(stream, (POST, 100, 1)))
    game = load_game(path)
    assert game.repaired == ("missing_event",)
    packed = read_packed(write_packed(pack_game(game), tmp_path / "columns"), tmp_path / "columns")
    assert packed.repaired == ("missing_event",)


REAL = (
    "games/fox_vs_gnw_fod_v3.17.0.slp",
    "games/falcon_vs_zelda_ys_v2.0.1.slp",
    "games/ics_vs_falco_dl_v3.12.0.slp",
)


@pytest.mark.parametrize("file", REAL)
def test_a_real_game_loses_no_more_than_what_was_cut_out_of_it(
    replays: Path, tmp_path: Path, file: str
) -> None:
    stream = EventStream.of((replays / file).read_bytes())
    whole = parse_replay(replays / file)
    start = stream.events[0]
    middle = int(whole.frame_id[whole.frames // 2])
    port_index = whole.players[1].port_index
    tag = start[:0x161] + b"\x81\xff" * 32 + start[0x1A1:]
    end = next(event for event in stream.events if event[0] == GAME_END)
    others = tuple(event for event in stream.events[1:] if event[0] != GAME_END)

    def kept(events: Iterable[bytes], after: bytes = stream.after) -> EventStream:
        return EventStream(sizes_event=stream.sizes_event, events=tuple(events), after=after)

    cases = {
        "missing_event": without(stream, (POST, middle, port_index)),
        "end_method": kept((start, *others, end[:1] + b"\x08" + end[2:])),
        "text": kept((tag, *others, end)),
        "metadata": kept((start, *others, end), stream.after[: len(stream.after) // 2]),
    }
    for mark, damaged_stream in cases.items():
        path = tmp_path / f"{mark}.slp"
        path.write_bytes(damaged_stream.build())
        game = parse_replay(path)
        assert game.repaired == (mark,)
        same_but(game, whole, [(1, whole.frames // 2, "post")] if mark == "missing_event" else ())
        assert game.match_id == whole.match_id
        if mark == "metadata":
            path.write_bytes(kept((start, *others, end), b"").build())
            assert parse_replay(path).content_id == whole.content_id == game.content_id
