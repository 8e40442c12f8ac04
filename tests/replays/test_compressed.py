"""Compressed replays are the replay that was compressed; damaged and hostile ones are refused by name."""

import bz2
import contextlib
import gzip
import lzma
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from exphil_core.replays.compressed import plain_replay
from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import Refused

Write = Callable[..., Path]
MOST = 2**24


def to_slpz(replay: bytes) -> bytes:
    """As https://github.com/AlexanderHarrison/slpz says, event by event."""
    (length,) = struct.unpack_from(">I", replay, 11)
    stream, metadata = replay[15 : 15 + length], replay[15 + length :]
    table = stream[: 1 + stream[1]]
    sizes = dict(struct.iter_unpack(">BH", table[2:]))
    start = len(table) + 1 + sizes[0x36]
    codes, payloads, position = [], {code: [] for code in sizes}, start
    while position < length:
        code = stream[position]
        codes.append(code)
        payloads[code].append(stream[position + 1 : position + 1 + sizes[code]])
        position += 1 + sizes[code]
    events = struct.pack(">I", len(codes)) + bytes(codes)
    for code in sorted(payloads):
        for byte in range(sizes[code]):
            events += bytes(payload[byte] for payload in payloads[code])
    ends, end = [], 24
    for part in (table, stream[len(table) : start], metadata):
        ends.append(end)
        end += len(part)
    header = struct.pack(">6I", 0, *ends, end, len(events))
    return header + stream[:start] + metadata + pa.compress(events, codec="zstd", asbytes=True)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "game.slp.gz": gzip.compress,
    "game.slp.xz": lzma.compress,
    "game.slp.lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "game.slp.bz2": bz2.compress,
    "game.slp.zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "GAME.SLPZ": to_slpz,
}


@pytest.fixture
def replay(handmade: Write, playing: dict[str, Any]) -> bytes:
    return handmade(**playing).read_bytes()


def plain(path: Path, most: int = MOST) -> bytes:
    with plain_replay(path, max_bytes=most) as found:
        return found.read_bytes()


@pytest.mark.parametrize("name", COMPRESSORS)
def test_what_was_compressed_comes_back_to_the_byte(tmp_path: Path, replay: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(COMPRESSORS[name](replay))
    assert plain(path) == replay
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["game.slp", name]), "nothing is left behind"


def test_a_real_replay_survives_slpz(replays: Path, tmp_path: Path) -> None:
    path = min(replays.rglob("*_v3*.slp"), key=lambda path: path.stat().st_size)
    (tmp_path / "game.slpz").write_bytes(to_slpz(path.read_bytes()))
    assert plain(tmp_path / "game.slpz") == path.read_bytes()


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.98])
def test_what_is_cut_off_is_refused(tmp_path: Path, replay: bytes, name: str, share: float) -> None:
    path, whole = tmp_path / name, COMPRESSORS[name](replay)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(Refused) as caught:
        plain(path)
    assert caught.value.reason in ("archive_corrupt", "not_slippi")


@pytest.mark.parametrize("name", COMPRESSORS)
def test_every_flipped_byte_is_refused_or_harmless(tmp_path: Path, replay: bytes, name: str) -> None:
    """No other exception comes out, whatever the bytes say."""
    path, whole = tmp_path / name, COMPRESSORS[name](replay)
    for position in (*range(0, 40), *range(40, len(whole), len(whole) // 40)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(Refused):
            plain(path)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_bomb_is_refused_at_the_limit(tmp_path: Path, replay: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(COMPRESSORS[name](replay))
    with pytest.raises(Refused) as caught:
        plain(path, len(replay) // 2)
    assert caught.value.reason == "member_too_large"
    if name != "GAME.SLPZ":
        path.write_bytes(COMPRESSORS[name](bytes(2**23)))
        with pytest.raises(Refused) as caught:
            plain(path)
        assert caught.value.reason == "not_slippi"


def test_a_stream_that_ends_nowhere_is_read_to_the_limit_only(tmp_path: Path, replay: bytes) -> None:
    path = tmp_path / "bomb.slp.gz"
    path.write_bytes(gzip.compress(replay[:15] + bytes(2**23)))
    with pytest.raises(Refused) as caught:
        plain(path, 2**20)
    assert caught.value.reason == "member_too_large"


def test_a_replay_whose_name_is_no_text_is_parsed(tmp_path: Path, replay: bytes) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.slp")
    path.write_bytes(replay)
    with plain_replay(path, max_bytes=MOST) as found:
        assert parse_replay(found).frames > 0


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("pipe.slp", "pipe.slp.gz", "pipe.slpz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(Refused) as caught, plain_replay(tmp_path / name, max_bytes=MOST) as found:
            parse_replay(found)
        assert caught.value.reason == "not_a_file"
