"""Archives: what is listed, unpacked and refused by name."""

import errno
import gzip
import io
import random
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from exphil_core.replays.archives import ArchiveLimits, SpoolError, list_members, unpack
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


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    mode = {".tar": "w", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    if path.suffix == ".zst":
        path.write_bytes(pa.compress(path.read_bytes(), codec="zstd", asbytes=True))
    return path


MAKERS = [
    pytest.param(make_zip, "a.zip", id="zip"),
    pytest.param(make_7z, "a.7z", id="7z"),
    *(
        pytest.param(make_tar, name, id=name)
        for name in ("a.tar", "a.tgz", "a.tar.xz", "a.tar.bz2", "a.tar.zst")
    ),
]
NO_CHECKSUM = ("a.tar", "a.tar.zst")
Maker = Callable[[Path, dict[str, bytes]], Path]


def judged(path: Path, limits: ArchiveLimits = LIMITS) -> dict[str, str]:
    return {m.name: "" if m.refused is None else m.refused.reason for m in list_members(path, limits).members}


def unpacked(path: Path, names: list[str], into: Path) -> dict[str, bytes | str]:
    """By name, also what the listing refuses."""
    numbers = {m.number: m.name for m in list_members(path, LIMITS).members if m.name in names}
    found: dict[str, bytes | str] = {}

    def deliver(number: int, what: Path | Refused) -> None:
        found[numbers[number]] = what.reason if isinstance(what, Refused) else what.read_bytes()

    into.mkdir(exist_ok=True)
    unpack(path, numbers, into, deliver)
    return found


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
def test_both_members_of_one_name_are_there(tmp_path: Path, make: Maker, name: str) -> None:
    one, two, three = tmp_path / "1" / name, tmp_path / "2" / name, tmp_path / name
    for path in (one, two):
        path.parent.mkdir()
    make(one, {"game.slp": b"first", "x.slp": b"x"})
    members = [("game.slp", b"first"), ("x.slp", b"x"), ("game.slp", b"second"), ("game.slp", b"third")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, that a name occurs twice
        make(three, _Repeated(members))  # type: ignore[arg-type]
    assert judged(three) == dict.fromkeys(("game.slp", "x.slp", "game.slp#2", "game.slp#3"), "")
    names = ["game.slp", "x.slp", "game.slp#2", "game.slp#3"]
    assert unpacked(three, names, tmp_path / "into") == {
        "game.slp": b"first",
        "x.slp": b"x",
        "game.slp#2": b"second",
        "game.slp#3": b"third",
    }
    # Where one was read by an earlier build, the other is still the other.
    assert unpacked(three, ["game.slp#2"], tmp_path / "into") == {"game.slp#2": b"second"}


class _Repeated:
    def __init__(self, members: list[tuple[str, bytes]]) -> None:
        self.items = lambda: members


def test_compressed_members_keep_their_suffix(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.slp.gz": b"1", "b.SLPZ": b"2", "c.rar": b"3", "notes.txt": b"4"})
    assert judged(path) == {"a.slp.gz": "", "b.SLPZ": "", "c.rar": "unsupported_format"}
    assert list_members(path, LIMITS).ignored == 1
    unpacked(path, ["a.slp.gz", "b.SLPZ"], tmp_path / "into")
    assert sorted(p.name for p in (tmp_path / "into").iterdir()) == ["0.gz", "1.slpz"]


def test_what_is_no_file_in_an_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("soft.slp", tarfile.SYMTYPE),
            ("hard.slp", tarfile.LNKTYPE),
            ("pipe.slp", tarfile.FIFOTYPE),
            ("device.slp", tarfile.CHRTYPE),
            ("folder.slp", tarfile.DIRTYPE),
            ("/root.slp", tarfile.REGTYPE),
            ("../up.slp", tarfile.REGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert judged(path) == {
        **dict.fromkeys(("soft.slp", "hard.slp", "pipe.slp", "device.slp"), "not_a_file"),
        **dict.fromkeys(("/root.slp", "../up.slp"), "unsafe_member"),
    }
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("soft.slp")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert judged(path) == {"soft.slp": "not_a_file"}


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.zst"])
def test_a_cut_off_tar_gives_what_is_whole(tmp_path: Path, name: str) -> None:
    noise = {f"{n}.slp": random.Random(n).randbytes(300_000) for n in range(5)}
    path = make_tar(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    listing = list_members(path, LIMITS)
    assert listing.damage is not None
    assert listing.damage.reason == "archive_corrupt"
    found: dict[int, bytes] = {}

    def deliver(number: int, what: Path | Refused) -> None:
        assert isinstance(what, Path)
        found[number] = what.read_bytes()

    with pytest.raises(Refused) as caught:
        unpack(path, range(5), tmp_path, deliver)
    assert caught.value.reason == "archive_corrupt"
    assert found == {number: noise[f"{number}.slp"] for number in range(2)}


def test_a_damaged_header_in_a_tar_is_no_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{n}.slp": bytes(512) for n in range(4)})
    data = bytearray(path.read_bytes())
    data[2 * 1024 + 5] ^= 0xFF  # in the name of the third
    path.write_bytes(data)
    listing = list_members(path, LIMITS)
    assert [member.name for member in listing.members] == ["0.slp", "1.slp"]
    assert listing.damage is not None


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.slp": b"data"})
    with pytest.raises(SpoolError):
        unpack(path, [0], tmp_path / "nowhere", lambda number, what: None)


def test_an_archive_that_is_gone_or_may_not_be_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.slp": b"data"})

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("exphil_core.replays.archives.open_regular", denied)
        for act in (lambda: list_members(path, LIMITS), lambda: unpack(path, [0], tmp_path, lambda *_: None)):
            with pytest.raises(Refused) as caught:
                act()
            assert caught.value.reason == "unreadable"
    path.unlink()
    for act in (lambda: list_members(path, LIMITS), lambda: unpack(path, [0], tmp_path, lambda *_: None)):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.reason == "vanished"


@pytest.mark.parametrize(("make", "name"), [maker for maker in MAKERS if maker.id != "a.tar"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, make: Maker, name: str) -> None:
    path = make(tmp_path / name, {"bomb.slp": bytes(20 * 2**20)})
    with pytest.raises(Refused) as caught:
        list_members(path, LIMITS)
    assert caught.value.reason == "archive_too_large"


def test_a_bomb_beside_the_members_of_a_tar_is_read_to_the_limit_only(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.slp": random.Random(0).randbytes(2000)})
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(path.read_bytes() + bytes(2**23)))
    with pytest.raises(Refused) as caught:
        list_members(tmp_path / "a.tar.gz", LIMITS)
    assert caught.value.reason == "archive_too_large"


def test_limits_of_count_and_total_are_kept(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{n}.slp": b"%d" % n for n in range(9)})
    for limits in (ArchiveLimits(members=8), ArchiveLimits(total_bytes=8)):
        with pytest.raises(Refused) as caught:
            list_members(path, limits)
        assert caught.value.reason == "archive_too_large"


@pytest.mark.parametrize(("make", "name"), [maker for maker in MAKERS if maker.id not in NO_CHECKSUM])
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
