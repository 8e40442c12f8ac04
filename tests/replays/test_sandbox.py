"""A replay for a viewer: whatever the parser does in its process, a game or a sentence comes back."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.errors import DataError, DiskFullError
from exphil_core.replays.game import Columns, Game
from exphil_core.replays.isolation.sandbox import load_game, read_result, sandbox_command
from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import REASONS, Refused

Write = Callable[..., Path]

MISBEHAVING = """
import os, signal, sys, time
from exphil_core.replays.isolation import sandbox
from exphil_core.replays.parse import parse_replay

class Panic(BaseException):
    pass

def parse(path):
    name = os.path.basename(path)
    os.write(1, b"noise to stdout"); os.write(2, b"noise to stderr"); print("more noise")
    print("and more", file=sys.stderr)
    if name.startswith("die"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("hang"):
        while True:
            pass
    if name.startswith("deaf"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(600)
    if name.startswith("panic"):
        raise Panic("attempt to subtract with overflow")
    if name.startswith("hungry"):
        bytearray(1 << 40)
    if name.startswith("bug"):
        raise ZeroDivisionError("of ours")
    return parse_replay(path)

sys.exit(sandbox.main(sys.argv[1:], parse))
"""


def same_columns(found: Columns | None, expected: Columns | None) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert set(found) == set(expected)
        for name in found:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def same_game(found: Game, expected: Game) -> None:
    def plain(game: Game) -> dict[str, Any]:
        values = {f.name: getattr(game, f.name) for f in dataclasses.fields(game)}
        for name in ("frame_id", "stage", "items", "players"):
            del values[name]
        return values

    assert plain(found) == plain(expected)
    np.testing.assert_array_equal(found.frame_id, expected.frame_id)
    same_columns(found.stage, expected.stage)
    assert (found.items is None) == (expected.items is None)
    if found.items is not None and expected.items is not None:
        np.testing.assert_array_equal(found.items.offsets, expected.items.offsets)
        np.testing.assert_array_equal(found.items.spawn_id, expected.items.spawn_id)
        same_columns(found.items.columns, expected.items.columns)
    for player, other in zip(found.players, expected.players, strict=True):
        same_columns(player.leader, other.leader)
        same_columns(player.follower, other.follower)
        without = {"leader": {}, "follower": None}
        assert dataclasses.replace(player, **without) == dataclasses.replace(other, **without)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "version": (1, 0, 0),
            "external_ids": (14, 20),
            "internal_ids": (10, 22),
            "followers": {0: range(300)},
        },
        {"ports": (0, 2, 3), "external_ids": (2, 9, 0), "internal_ids": (1, 18, 2), "types": (0, 1, 0)},
        {"live": True},
        {"items": lambda row: [{"spawn_id": n, "x": float(row)} for n in range(row % 12)]},
        {"frame_ids": [*range(-123, 20), *range(10, 400)]},
    ],
    ids=["plain", "follower, no items", "three players", "cut off", "items", "rollback"],
)
def test_the_game_arrives_as_it_was_parsed(handmade: Write, fields: dict[str, Any]) -> None:
    path = handmade(**fields)
    same_game(load_game(path), parse_replay(path))


@pytest.mark.parametrize(
    "file",
    ["games/ics_vs_falco_dl_v3.12.0.slp", "odd/marth_vs_falcon_fod_v3.18.0.slp", "broken/incomplete.slp"],
)
def test_a_real_game_arrives_as_it_was_parsed(replays: Path, file: str) -> None:
    same_game(load_game(replays / file), parse_replay(replays / file))


def test_a_dojo_game_brings_what_is_known_of_its_bots(dojo_replays: Path) -> None:
    path = sorted(dojo_replays.rglob("*.slp"))[0]
    game = load_game(path)
    same_game(game, parse_replay(path))
    assert all(player.floor is not None for player in game.players)


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("die", "parser_died", "SIGSEGV"),
        ("hang", "out_of_time", ""),
        ("panic", "parser_panic", "attempt to subtract with overflow"),
        ("hungry", "out_of_memory", ""),
        ("bug", "reader_failed", "ZeroDivisionError: of ours"),
    ],
)
def test_whatever_the_parser_does_is_a_sentence_and_prints_nothing(
    handmade: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, reason: str, detail: str
) -> None:
    path = handmade(f"{name}.slp")
    script = tmp_path / "misbehaving.py"
    script.write_text(MISBEHAVING)
    with pytest.raises(Refused) as caught:
        load_game(path, command=(sys.executable, str(script)), seconds=3)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"{path}: {REASONS[reason]}")
    assert detail in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_noisy_parser_that_gives_a_game_is_believed(
    handmade: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "misbehaving.py"
    script.write_text(MISBEHAVING)
    path = handmade("good.slp")
    same_game(load_game(path, command=(sys.executable, str(script))), parse_replay(path))
    assert capfd.readouterr() == ("", "")


def test_a_process_that_ignores_its_alarm_is_ended(
    handmade: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "misbehaving.py"
    script.write_text(MISBEHAVING)
    monkeypatch.setattr("exphil_core.replays.isolation.sandbox._PATIENCE_SECONDS", 1)
    with pytest.raises(Refused, match="longer than the time limit"):
        load_game(handmade("deaf.slp"), command=(sys.executable, str(script)), seconds=1)


def test_refused_files_say_what_the_parser_said_of_them(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.slp", tmp_path / "text.slp"
    empty.touch()
    text.write_text("hello")
    for path in (empty, text, tmp_path, tmp_path / "nowhere.slp"):
        with pytest.raises(DataError) as expected:
            parse_replay(path)
        with pytest.raises(Refused) as caught:
            load_game(path)
        assert str(caught.value) == str(expected.value)


def test_a_real_refusal_is_told_in_the_same_words(replays: Path) -> None:
    for path in sorted((replays / "broken").glob("*.slp")):
        if path.name not in ("incomplete.slp", "fodplatforms.slp", "unknown_event.slp"):  # salvaged, repaired
            with pytest.raises(DataError) as expected:
                parse_replay(path)
            with pytest.raises(Refused) as caught:
                load_game(path)
            assert str(caught.value) == str(expected.value)


def test_a_process_that_does_not_start_says_why(handmade: Write) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such \\x1b[2Jluck')")
    with pytest.raises(Refused, match=r"no such \[2Jluck"):
        load_game(handmade(), command=command)


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="no room"):
        read_result(tmp_path / "out", "game.slp", code=6)


def test_a_screen_runs_the_command_itself(handmade: Write, tmp_path: Path) -> None:
    path, out = handmade(), tmp_path / "out"
    ended = subprocess.run(sandbox_command(path, out), capture_output=True, check=False)
    assert (ended.stdout, ended.stderr) == (b"", b"")
    game = read_result(out, path, code=ended.returncode)
    out.unlink()
    same_game(game, parse_replay(path))
    assert not out.with_name("out.partial").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "older", "offsets", "unknown reason"])
def test_what_was_passed_damaged_is_refused(handmade: Write, tmp_path: Path, damage: str) -> None:
    path, out = handmade(items=lambda row: [{"spawn_id": row}]), tmp_path / "out"
    subprocess.run(sandbox_command(path, out), check=True)
    data = out.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if damage == "older":
        header["format"] = 0
    if damage == "offsets":
        header["game"]["items"] -= 1
    if damage == "unknown reason":
        header = {"format": header["format"], "refused": ["whatever", "\x1b[2J"]}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + data[8 + length :]
    out.write_bytes({"cut": data[:-5000], "empty": b""}.get(damage, data))
    if damage == "missing":
        out.unlink()
    with pytest.raises(Refused, match="damaged") as caught:
        read_result(out, path, code=0)
    assert caught.value.reason == "reader_failed"


def test_whoever_asks_for_a_game_has_no_parser_in_its_process() -> None:
    program = (
        "import sys, exphil_core.replays.isolation.sandbox\n"
        "sys.exit({'peppi_py', 'pyarrow'} & set(sys.modules) != set())"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
