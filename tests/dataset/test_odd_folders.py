"""A build of whatever lies in a folder: the good games are taken, and everything else is named."""

import gzip
import io
import json
import lzma
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exphil_core.cli.main import run
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.build_report import BuildReport
from exphil_core.dataset.index import DatasetIndex
from exphil_core.replays.ingest import IngestOptions, Outcome
from tests.replays.handmade import Handmade
from tests.replays.test_compressed import to_slpz

SEED = 987654321

Good = Callable[[int], bytes]


@pytest.fixture(scope="module")
def good() -> Callable[[int], bytes]:
    """Games that every filter keeps, each with a seed of its own."""

    def pre(row: int, port_index: int) -> dict[str, Any]:
        draw = (row // 3 * 2654435761 + port_index * 40503) >> 4
        return {"main_x": (draw % 161 - 80) / 80, "buttons": (0, 0, 0x100, 0x400)[draw // 161 % 4]}

    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"percent": row // 100}

    replay = Handmade(frame_ids=range(-123, 500), seed=SEED, pre=pre, post=post).build()
    place = replay.index(struct.pack(">I", SEED))

    def make(number: int) -> bytes:
        return replay[:place] + struct.pack(">I", number) + replay[place + 4 :]

    return make


def _tar(path: Path, members: list[tuple[str, bytes]], mode: str) -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def folder(good: Callable[[int], bytes], tmp_path: Path) -> Path:
    """50 good games in every form that is read, and one of each odd thing."""
    here = tmp_path / "in"
    (here / "sub").mkdir(parents=True)
    for number in range(30):
        (here / "sub" / f"{number}.slp").write_bytes(good(number))
    (here / "30.slp.gz").write_bytes(gzip.compress(good(30), 1))
    (here / "31.slp.xz").write_bytes(lzma.compress(good(31), preset=0))
    (here / "32.slpz").write_bytes(to_slpz(good(32)))
    (here / os.fsdecode(b"33-caf\xe9.slp")).write_bytes(good(33))
    with warnings.catch_warnings(), zipfile.ZipFile(here / "twice.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for number in (34, 35):
            archive.writestr("game.slp", good(number))
        archive.writestr("inner.zip", b"PK")
    _tar(here / "set.tar.gz", [(f"{number}.slp", good(number)) for number in range(36, 40)], "w:gz")
    _tar(here / "set.tar", [("40.slp", good(40)), ("41.slp.gz", gzip.compress(good(41), 1))], "w:")
    (tmp_path / "disk").mkdir()
    for number in range(42, 50):
        (tmp_path / "disk" / f"{number}.slp").write_bytes(good(number))
    (here / "linked").symlink_to(tmp_path / "disk")

    (here / "disk-again").symlink_to(tmp_path / "disk")
    (here / "copy.slp").write_bytes(good(7))
    (here / "short.slp").write_bytes(Handmade(frame_ids=range(-123, 50)).build())
    (here / "text.slp").write_text("hello")
    (here / "empty.slp").touch()
    (here / "cut.slp.gz").write_bytes(gzip.compress(good(99))[:2000])
    (here / "a-to-b.slp").symlink_to("b-to-a.slp")
    (here / "b-to-a.slp").symlink_to("a-to-b.slp")
    (here / "itself.zip").symlink_to("itself.zip")
    (here / "parent").symlink_to("..")
    (here / "gone.slp").symlink_to("nowhere.slp")
    (here / os.fsdecode(b"caf\xe9-text.slp")).write_text("hello")
    os.mkfifo(here / "pipe.slp")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(here)
        try:
            server.bind("socket.slp")
        finally:
            os.chdir(before)
    (here / "device.slp").symlink_to("/dev/zero")
    (here / "set.rar").write_bytes(b"Rar!")
    (here / "set.zlp").write_bytes(b"zlp")
    (here / "broken.zip").write_bytes(b"PK and nothing more")
    (here / "bomb.tar.gz").write_bytes(gzip.compress(bytes(2**24)))
    for name in ("notes.txt", ".DS_Store", "._0.slp"):
        (here / name).write_bytes(b"x")
    return here


NAMED = {
    "short.slp": "too_short",
    "text.slp": "not_slippi",
    "empty.slp": "not_slippi",
    "cut.slp.gz": "archive_corrupt",
    "a-to-b.slp": "link_loop",
    "b-to-a.slp": "link_loop",
    "itself.zip": "link_loop",
    "parent": "link_loop",
    "gone.slp": "broken_link",
    "caf\\udce9-text.slp": "not_slippi",
    "pipe.slp": "not_a_file",
    "socket.slp": "not_a_file",
    "/dev/zero": "not_a_file",
    "set.rar": "unsupported_format",
    "set.zlp": "unsupported_format",
    "broken.zip": "archive_corrupt",
    "bomb.tar.gz": "archive_too_large",
    "twice.zip!inner.zip": "nested_archive",
}


def _named(report: dict[str, Any], folder: Path) -> dict[str, str]:
    return {
        (one["path"] + ("!" + one["member"] if one["member"] else "")).removeprefix(f"{folder}/"): one[
            "reason"
        ]
        for one in report["not_kept"]
    }


def test_good_games_are_taken_and_everything_else_is_named(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["data", "build", str(folder), "--out", str(out), "--workers", "2"]
    assert run([*words, "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["games"] == 50
    assert _named(report, folder) == NAMED
    assert report["duplicate_of"] == {str(folder / "sub" / "7.slp"): str(folder / "copy.slp")}
    assert report["sources"] == 51 + len(NAMED)
    assert report["ignored"] == 3
    assert all(len(one["detail"]) > len(one["path"]) for one in report["not_kept"])
    # Once more: nothing is new, and what is printed names every one of them.
    fingerprint = DatasetIndex.open(out).fingerprint
    assert run(words) == 0
    shown = capfd.readouterr().out
    for name in (*NAMED, "sub/7.slp"):
        assert Path(name.replace("!", "/")).name in shown
    assert "0 of 69 files read" in shown
    assert DatasetIndex.open(out).fingerprint == fingerprint


def _build(folder: Path, out: Path, progress: Callable[[Outcome], None] | None = None) -> BuildReport:
    return build_dataset([folder], out, workers=1, options=IngestOptions(), progress=progress)


def _zip_of_one_name(here: Path, good: Good) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(here / "set.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for number in (1, 2):
            archive.writestr("game.slp", good(number))


def _links_to_each_other(here: Path, good: Good) -> None:
    (here / "a.slp").symlink_to("b.slp")
    (here / "b.slp").symlink_to("a.slp")


def _linked_folder(here: Path, good: Good) -> None:
    (here.parent / "disk").mkdir()
    (here.parent / "disk" / "game.slp").write_bytes(good(1))
    (here / "linked").symlink_to(here.parent / "disk")


ODD_THINGS: dict[str, tuple[Callable[[Path, Good], object], int, dict[str, str]]] = {
    "two members of one name": (_zip_of_one_name, 3, {}),
    "a link to itself": (lambda here, good: (here / "a.slp").symlink_to("a.slp"), 1, {"a.slp": "link_loop"}),
    "links to each other": (_links_to_each_other, 1, {"a.slp": "link_loop", "b.slp": "link_loop"}),
    "an archive that links to itself": (
        lambda here, good: (here / "a.zip").symlink_to("a.zip"),
        1,
        {"a.zip": "link_loop"},
    ),
    "a link to the folder above": (lambda here, good: (here / "up").symlink_to(".."), 1, {"up": "link_loop"}),
    "a name that is no text": (
        lambda here, good: (here / os.fsdecode(b"caf\xe9.slp")).write_bytes(good(1)),
        2,
        {},
    ),
    "a pipe": (lambda here, good: os.mkfifo(here / "a.slp"), 1, {"a.slp": "not_a_file"}),
    "a pipe called an archive": (lambda here, good: os.mkfifo(here / "a.zip"), 1, {"a.zip": "not_a_file"}),
    "a linked folder": (_linked_folder, 2, {}),
    "gzip": (lambda here, good: (here / "a.slp.gz").write_bytes(gzip.compress(good(1), 1)), 2, {}),
    "xz": (lambda here, good: (here / "a.slp.xz").write_bytes(lzma.compress(good(1), preset=0)), 2, {}),
    "slpz": (lambda here, good: (here / "a.slpz").write_bytes(to_slpz(good(1))), 2, {}),
    "tar.gz": (lambda here, good: _tar(here / "a.tar.gz", [("1.slp", good(1))], "w:gz"), 2, {}),
    "zlp": (lambda here, good: (here / "a.zlp").write_bytes(b"zlp"), 1, {"a.zlp": "unsupported_format"}),
    "rar": (lambda here, good: (here / "a.rar").write_bytes(b"Rar!"), 1, {"a.rar": "unsupported_format"}),
}
"""What lies beside one good game: how many games there are, and what is not kept for which reason."""


@pytest.mark.parametrize(("make", "games", "refused"), ODD_THINGS.values(), ids=ODD_THINGS)
def test_each_odd_thing_alone_stops_nothing_and_is_accounted_for(
    make: Callable[[Path, Good], object],
    games: int,
    refused: dict[str, str],
    good: Good,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In one folder with all others, only the first that goes wrong is seen."""
    here = tmp_path / "in"
    here.mkdir()
    (here / "good.slp").write_bytes(good(0))
    make(here, good)
    assert run(["data", "build", str(here), "--out", str(tmp_path / "out"), "--workers", "1", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["games"], report["sources"]) == (games, games + len(refused))
    assert _named(report, here) == refused


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder one that cannot be listed, also by root."""
    real = os.scandir

    def make(folder: Path) -> None:
        def scandir(path: str) -> Iterator[os.DirEntry[str]]:
            if str(path) == str(folder):
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr("exphil_core.replays.listing.os.scandir", scandir)

    return make


def test_a_folder_that_became_unreadable_keeps_its_games(
    good: Callable[[int], bytes], tmp_path: Path, unlisted: Callable[[Path], None]
) -> None:
    here, out = tmp_path / "in", tmp_path / "out"
    (here / "locked" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.slp", "locked/b.slp", "locked/deep/c.slp")):
        (here / name).write_bytes(good(number))
    (here / "locked" / "d.slp").write_text("hello")
    (here / "locked-not").mkdir()
    (here / "locked-not" / "e.slp").write_bytes(good(4))
    assert _build(here, out).games == 4
    fingerprint = DatasetIndex.open(out).fingerprint

    unlisted(here / "locked")
    (here / "locked-not" / "e.slp").unlink()
    report = _build(here, out)
    assert (report.games, report.kept, report.unverified) == (3, 3, 3)
    assert report.refused == {"not_slippi": 1, "unreadable_folder": 1}
    assert report.sources == report.kept + sum(report.refused.values())
    assert report.unlisted == 1, "what is known to be gone is gone"
    (here / "locked-not" / "e.slp").write_bytes(good(4))
    assert _build(here, out).games == 4
    assert DatasetIndex.open(out).fingerprint == fingerprint
    # What is read again is as it was, and what went meanwhile leaves.
    (here / "locked" / "b.slp").unlink()
    unlisted(tmp_path / "another")
    report = _build(here, out)
    assert (report.games, report.unverified, report.refused) == (3, 0, {"not_slippi": 1})


def test_an_archive_that_became_unreadable_keeps_its_games(
    good: Callable[[int], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, out = tmp_path / "in", tmp_path / "out"
    here.mkdir()
    with zipfile.ZipFile(here / "set.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.slp", good(number))
    assert _build(here, out).games == 3
    monkeypatch.setattr(
        "exphil_core.replays.ingest._WorkerPool.ask", lambda *_: {"refused": ["unreadable", "no"]}
    )
    report = _build(here, out)
    assert (report.games, report.unverified, report.refused) == (3, 3, {"unreadable": 1})
    monkeypatch.setattr(
        "exphil_core.replays.ingest._WorkerPool.ask", lambda *_: {"refused": ["archive_corrupt", "no"]}
    )
    assert _build(here, out).games == 0, "damage is another thing: it is known what the archive holds now"


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from exphil_core.cli.main import run

top = Path(sys.argv[1])
words = ["data", "build", str(top / "in"), "--out", str(top / "out"), "--workers", "1", "--json"]
assert run(words) == 0
for path in (top, *top.rglob("*")):
    path.chmod(0o777)
(top / "in" / "locked").chmod(0)
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
sys.exit(run(words))
"""
"""Root reads everything. The first build imports what the second, as somebody else, may not be able to read."""


def test_a_build_without_the_right_to_a_folder_warns_and_keeps_its_games(
    good: Callable[[int], bytes],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "in" / "locked").mkdir(parents=True)
        for number, file in enumerate(("a.slp", "locked/b.slp")):
            (top / "in" / file).write_bytes(good(number))
        try:
            done = subprocess.run(
                [sys.executable, "-c", UNPRIVILEGED, name], capture_output=True, text=True, check=False
            )
        finally:
            (top / "in" / "locked").chmod(0o755)
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["games"], first["unverified"], first["refused"]) == (2, 0, {})
    assert (second["games"], second["unverified"], second["refused"]) == (2, 1, {"unreadable_folder": 1})
    assert "warning: 1 file could not be read" in done.stderr


def test_a_folder_whose_name_is_no_text_is_built_and_built_again(
    good: Callable[[int], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    (here / "a.slp").write_bytes(good(1))
    (here / "b.slp").write_text("hello")
    for again in range(2):
        assert run(["data", "build", str(here)]) == 0
        shown = capfd.readouterr().out
        assert f"{0 if again else 2} of 2 files read" in shown
    assert run(["data", "stats", str(here), "--json"]) == 0
    assert run(["data", "stats", str(here)]) == 0
    out = tmp_path / os.fsdecode(b"out-\xe9")
    for _ in range(2):
        assert run(["data", "build", str(here), "--out", str(out)]) == 0
    assert len(DatasetIndex.open(out).games) == 1
