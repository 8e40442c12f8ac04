"""Folders and archives: what is found, unpacked and refused by name."""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.errors import DataError
from exphil_core.replays.archives import ArchiveLimits, find_files, list_members, unpack
from exphil_core.replays.refusals import Refused

LIMITS = ArchiveLimits()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_7z(path: Path, members: dict[str, bytes]) -> Path:
    py7zr = pytest.importorskip("py7zr")
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return path


MAKERS = [pytest.param(make_zip, "a.zip", id="zip"), pytest.param(make_7z, "a.7z", id="7z")]
Maker = Callable[[Path, dict[str, bytes]], Path]


def judged(path: Path, limits: ArchiveLimits = LIMITS) -> dict[str, str]:
    return {m.name: "" if m.refused is None else m.refused.reason for m in list_members(path, limits)}


def unpacked(path: Path, names: list[str], into: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}

    def deliver(name: str, what: Path | Refused) -> None:
        found[name] = what.reason if isinstance(what, Refused) else what.read_bytes()

    into.mkdir(exist_ok=True)
    unpack(path, names, into, deliver)
    return found


def test_folders_are_searched_through_and_nothing_comes_twice(tmp_path: Path) -> None:
    for name in ("b.slp", "a.SLP", "deep/er/c.slp", "notes.txt", "._a.slp", "d.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    named = tmp_path / "notes.txt"
    found = [p.name for p in find_files([tmp_path, tmp_path / "b.slp", tmp_path / "deep", named])]
    assert found == ["a.SLP", "b.slp", "d.zip", "c.slp", "notes.txt"]


def test_a_path_that_is_not_there_is_an_error_before_anything_is_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        next(find_files([tmp_path, tmp_path / "nowhere"]))


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_members_come_one_by_one_with_their_bytes(tmp_path: Path, make: Maker, name: str) -> None:
    noise = random.Random(0).randbytes
    members = {"one.slp": noise(5000), "sub/two.slp": noise(70_000), "read.me": b"x", "three.SLP": b"3"}
    path = make(tmp_path / name, members)
    assert judged(path) == {"one.slp": "", "sub/two.slp": "", "three.SLP": ""}
    found = unpacked(path, ["one.slp", "sub/two.slp"], tmp_path / "into")
    assert found == {"one.slp": members["one.slp"], "sub/two.slp": members["sub/two.slp"]}


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_nested_archives_and_large_members_are_refused_by_name(
    tmp_path: Path, make: Maker, name: str
) -> None:
    path = make(tmp_path / name, {"in.zip": b"PK", "in.7z": b"7z", "big.slp": b"ab" * 4096, "ok.slp": b"ok"})
    limits = ArchiveLimits(member_bytes=4096)
    assert judged(path, limits) == {
        "in.zip": "nested_archive",
        "in.7z": "nested_archive",
        "big.slp": "member_too_large",
        "ok.slp": "",
    }


def test_names_never_leave_the_folder(tmp_path: Path) -> None:
    names = ["../up.slp", "/root.slp", "C:\\x.slp", "a/../../b.slp", "fine.slp"]
    path = make_zip(tmp_path / "a.zip", dict.fromkeys(names, b"data"))
    assert judged(path) == {**dict.fromkeys(names, "unsafe_member"), "fine.slp": ""}
    into = tmp_path / "deep" / "into"
    into.parent.mkdir()
    assert len(unpacked(path, names, into)) == 5
    assert {p.parent for p in tmp_path.rglob("*.slp")} == {into}


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, make: Maker, name: str) -> None:
    path = make(tmp_path / name, {"bomb.slp": bytes(20 * 2**20)})
    with pytest.raises(Refused) as caught:
        list_members(path, LIMITS)
    assert caught.value.reason == "archive_too_large"


def test_limits_of_count_and_total_are_kept(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{n}.slp": b"%d" % n for n in range(9)})
    for limits in (ArchiveLimits(members=8), ArchiveLimits(total_bytes=8)):
        with pytest.raises(Refused) as caught:
            list_members(path, limits)
        assert caught.value.reason == "archive_too_large"


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_damage_costs_what_it_hit(tmp_path: Path, make: Maker, name: str) -> None:
    noise = {f"{n}.slp": bytes((n * i * i) % 251 for i in range(9000)) for n in range(1, 4)}
    path = make(tmp_path / name, noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    into = tmp_path / "into"
    failure = ""
    try:
        found = unpacked(path, list(noise), into)
    except Refused as refused:
        failure, found = refused.reason, {}
    bad = {what for member, what in found.items() if what != noise[member]}
    assert failure == "archive_corrupt" or bad == {"archive_corrupt"}


@pytest.mark.parametrize("name", ["a.zip", "a.7z"])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str) -> None:
    if name.endswith("7z"):
        pytest.importorskip("py7zr")
    path = tmp_path / name
    path.write_bytes(b"nothing of the sort")
    with pytest.raises(Refused) as caught:
        list_members(path, LIMITS)
    assert caught.value.reason == "archive_corrupt"


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    py7zr = pytest.importorskip("py7zr")
    path = tmp_path / "a.7z"
    with py7zr.SevenZipFile(path, "w", password="x") as archive:
        archive.writestr(b"data", "a.slp")
    assert judged(path) == {"a.slp": "archive_encrypted"}


def test_without_py7zr_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "py7zr", None)
    (tmp_path / "a.7z").write_bytes(b"7z")
    with pytest.raises(Refused, match=r"exphil\[archives\]") as caught:
        list_members(tmp_path / "a.7z", LIMITS)
    assert caught.value.reason == "needs_archives_extra"
