"""What lies below some paths: every file is found, counted or named, and nothing stops the search."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from exphil_core.errors import DataError
from exphil_core.replays.kinds import kind_of
from exphil_core.replays.listing import FoundFile, find_files


def listed(*paths: Path) -> tuple[list[str], dict[str, str], int]:
    """Names of the files to be read, name → reason of what is refused, and the number of other files."""
    others: list[int] = []
    found = list(find_files(paths, others.append))
    refused = {one.path.name: one.refused.reason for one in found if one.refused is not None}
    return [one.path.name for one in found if one.refused is None], refused, sum(others)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_through_and_nothing_comes_twice(tmp_path: Path) -> None:
    touch(tmp_path, "b.slp", "a.SLP", "deep/er/c.slp", "notes.txt", "._a.slp", "d.zip")
    found, refused, others = listed(tmp_path, tmp_path / "b.slp", tmp_path / "deep", tmp_path / "notes.txt")
    assert found == ["a.SLP", "b.slp", "d.zip", "c.slp", "notes.txt"]
    assert (refused, others) == ({}, 2)


def test_a_path_that_is_not_there_is_an_error_before_anything_is_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        next(find_files([tmp_path, tmp_path / "nowhere"]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.slp.gz", "compressed"),
        ("A.SLPZ", "compressed"),
        ("a.slp.zst", "compressed"),
        ("a.tar.gz", "archive"),
        ("a.tgz", "archive"),
        ("a.rar", "unsupported"),
        ("a.part1.rar", "unsupported"),
        ("a.7z.001", "unsupported"),
        ("a.zlp", "unsupported"),
        ("a.txt", "other"),
        ("v1.001", "other"),
        ("slp", "other"),
    ],
)
def test_a_kind_is_told_by_the_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_is_not_read_is_named_with_what_helps(tmp_path: Path) -> None:
    touch(tmp_path, "a.rar", "b.zlp", "c.zip.001")
    details = {one.path.name: str(one.refused) for one in find_files([tmp_path])}
    assert "unpack it first" in details["a.rar"]
    assert "slippc" in details["b.zlp"]
    assert "join" in details["c.zip.001"]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.slp", "elsewhere/b.slp", "elsewhere/deep/c.slp")
    (tmp_path / "in" / "disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "elsewhere" / "and-back").symlink_to(tmp_path / "in")
    found = list(find_files([tmp_path / "in"]))
    assert sorted(str(one.path.relative_to(tmp_path)) for one in found) == [
        "elsewhere/b.slp",
        "elsewhere/deep/c.slp",
        "in/a.slp",
    ]


def test_links_that_lead_back_are_named_and_stop_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    touch(folder, "z.slp", "deep/y.slp")
    for name, target in (
        ("self.slp", "self.slp"),
        ("a.zip", "b.zip"),
        ("b.zip", "a.zip"),
        ("parent", ".."),  # of the folder that is searched: it would bring in what nobody named
        ("root", "/"),
        ("deep/up", ".."),
        ("gone.slp", "nowhere"),
        ("unmounted", "nowhere-either"),
    ):
        (folder / name).symlink_to(target)
    found, refused, _ = listed(folder)
    assert sorted(found) == ["y.slp", "z.slp"]
    assert refused == {
        **dict.fromkeys(("self.slp", "a.zip", "b.zip", "parent", "root", "up"), "link_loop"),
        **dict.fromkeys(("gone.slp", "unmounted"), "broken_link"),
    }
    assert listed(folder / "self.slp") == ([], {"self.slp": "link_loop"}, 0)


def test_pipes_sockets_and_devices_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.slp")
    os.mkfifo(tmp_path / "pipe.zip")
    os.mkfifo(tmp_path / "other-pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has to be short
        try:
            server.bind("socket.slp.gz")
        finally:
            os.chdir(here)
    (tmp_path / "device.slp").symlink_to("/dev/zero")
    found, refused, others = listed(tmp_path)
    assert (found, others) == ([], 1)
    assert refused == dict.fromkeys(("pipe.slp", "pipe.zip", "socket.slp.gz", "zero"), "not_a_file")
    assert listed(tmp_path / "pipe.slp")[1] == {"pipe.slp": "not_a_file"}
    assert listed(tmp_path / "other-pipe")[1] == {"other-pipe": "not_a_file"}


def test_folders_deeper_than_pythons_stack_are_searched(tmp_path: Path) -> None:
    here, depth = os.open(tmp_path, os.O_RDONLY), 1900
    os.chdir(tmp_path)
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("deep.slp").touch()
    finally:
        os.fchdir(here)
    found, refused, _ = listed(Path())
    # pytest's own clean-up cannot: shutil recurses.
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
    assert (found == ["deep.slp"]) != bool(refused), (
        "either found, or named where the path is longer than allowed"
    )


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from exphil_core.replays.listing import find_files
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
for found in find_files([Path(sys.argv[1])]):
    print(found.path.name, found.refused.reason if found.refused else "", found.inaccessible)
"""
"""Root reads everything."""


def test_what_may_not_be_looked_at_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        touch(folder, "a.slp", "locked/b.slp", "names-only/c.slp", "names-only/deep/d.slp")
        folder.chmod(0o755)
        (folder / "locked").chmod(0)
        (folder / "names-only").chmod(0o644)  # may be listed, but nothing in it be looked at
        try:
            done = subprocess.run(
                [sys.executable, "-c", UNPRIVILEGED, name], capture_output=True, text=True, check=True
            )
        finally:
            for locked in ("locked", "names-only"):
                (folder / locked).chmod(0o755)
    assert done.stdout.splitlines() == [
        "a.slp  False",
        "locked unreadable_folder True",
        "c.slp unreadable True",
        "deep unreadable_folder True",
    ]


def test_whatever_one_entry_does_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exphil_core.replays import listing

    touch(tmp_path, "a.slp", "b.slp", "c.slp")
    real = listing.kind_of

    def odd(name: str) -> str:
        if name == "b.slp":
            raise ZeroDivisionError("of ours")
        return real(name)

    monkeypatch.setattr(listing, "kind_of", odd)
    assert listed(tmp_path) == (["a.slp", "c.slp"], {"b.slp": "reader_failed"}, 0)


def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.slp")
    (tmp_path / name).touch()
    (found,) = find_files([tmp_path])
    assert isinstance(found, FoundFile)
    assert found.path.name == name
