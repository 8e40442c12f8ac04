"""Workers that die, hang, panic, print and eat memory cost one file each."""

import errno
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from exphil_core.errors import DataError, ExphilError, UsageError
from exphil_core.replays.columns import GROUPS
from exphil_core.replays.ingest import IngestOptions, Outcome, ReplaySource, _WorkerPool, ingest
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay

Write = Callable[..., Path]

MISBEHAVING = """
import os, signal, sys, time
from exphil_core.replays.isolation import worker_main
from exphil_core.replays.parse import parse_replay

class Panic(BaseException):
    pass

def parse(path):
    name = os.path.basename(path)
    os.write(1, b"noise to stdout"); os.write(2, b"noise to stderr"); print("more noise")
    if name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM}); time.sleep(600)
    if name.startswith("panic"):
        raise Panic("attempt to subtract with overflow")
    if name.startswith("hungry"):
        bytearray(1 << 40)
    if name.startswith("bug"):
        raise ZeroDivisionError("of ours")
    if name.startswith("goes"):
        os.unlink(path)
    if name.startswith("grows"):
        with open(path, "ab") as file:
            file.write(bytes(1000))
    if name.startswith("babbles"):
        for answers in range(3, 20):
            try:
                os.write(answers, b"\\x05\\0\\0\\0{{{{{")
            except OSError:
                pass
    return parse_replay(path)

worker_main.main(sys.argv[1:], parse)
"""


@pytest.fixture
def folder(handmade: Write, playing: dict[str, Any], tmp_path: Path) -> Path:
    for number in range(4):
        handmade(f"replays/good{number}.slp", stage=(2, 3, 8, 28)[number], **playing)
    return tmp_path / "replays"


def by_name(outcomes: list[Outcome]) -> dict[str, tuple[str, str]]:
    return {Path(str(o.source)).name: (o.status, o.reason) for o in outcomes}


def test_a_kept_game_arrives_as_it_was_packed(folder: Path) -> None:
    outcomes = list(ingest([folder], workers=2, options=IngestOptions()))
    assert set(by_name(outcomes).values()) == {("kept", "")}
    for outcome in outcomes:
        direct = pack_game(parse_replay(outcome.source.path))
        assert outcome.packed is not None
        assert outcome.packed.content_id == direct.content_id
        for group in GROUPS:
            np.testing.assert_array_equal(outcome.packed.groups[group], direct.groups[group])
        assert outcome.sides is not None
        assert all(side.active and side.plausible and side.human for side in outcome.sides)
        assert outcome.source.size == Path(outcome.source.path).stat().st_size


def test_every_file_ends_with_one_outcome_whatever_the_parser_does(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = (folder / "good0.slp").read_bytes()
    expected = {f"good{number}.slp": ("kept", "") for number in range(4)}
    for name, reason in (
        ("die", "parser_died"),
        ("hang", "out_of_time"),
        ("panic", "parser_panic"),
        ("hungry", "out_of_memory"),
        ("bug", "reader_failed"),
        ("goes", "vanished"),
        ("babbles", "parser_died"),
    ):
        (folder / f"{name}.slp").write_bytes(good)
        expected[f"{name}.slp"] = ("refused", reason)
    (folder / "grows.slp").write_bytes(good)
    expected["grows.slp"] = ("kept", "")
    (folder / "text.slp").write_text("hello")
    expected["text.slp"] = ("refused", "not_slippi")
    script = tmp_path / "misbehaving.py"
    script.write_text(MISBEHAVING)
    options = IngestOptions(seconds_per_file=2)
    outcomes = list(ingest([folder], workers=2, options=options, command=(sys.executable, str(script))))
    assert len(outcomes) == len(expected)
    assert by_name(outcomes) == expected
    assert all(str(o.source) in o.detail for o in outcomes if o.status != "kept")
    (grown,) = (o.source for o in outcomes if o.source.path.endswith("grows.slp"))
    assert grown.size == len(good), "as it was when it was listed: the next build reads it again"
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_cannot_start_is_an_error_that_says_why(folder: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such luck')")
    with pytest.raises(RuntimeError, match="no such luck"):
        list(ingest([folder], workers=1, options=IngestOptions(), command=command))


def test_too_many_open_files_are_a_sentence_and_refuse_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("exphil_core.replays.isolation.worker_process.subprocess.Popen", none_left)
    with pytest.raises(ExphilError, match="ulimit -n"):
        list(ingest([folder], workers=1, options=IngestOptions()))


def test_known_sources_are_skipped_without_a_worker(folder: Path) -> None:
    seen: list[ReplaySource] = []

    def known(source: ReplaySource) -> bool:
        seen.append(source)
        return True

    command = (sys.executable, "-c", "raise SystemExit('not to be started')")
    assert not list(ingest([folder], workers=2, options=IngestOptions(), known=known, command=command))
    assert len(seen) == 4


def test_members_of_archives_are_sources_of_their_own(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(24):
            archive.write(folder / "good1.slp", f"round/{number}.slp")
        archive.writestr("broken.slp", b"nothing")
        archive.writestr("more.zip", b"PK")
    outcomes = list(
        ingest([path], workers=2, options=IngestOptions(), known=lambda s: s.member == "round/7.slp")
    )
    found = {str(o.source.member): (o.status, o.reason) for o in outcomes}
    assert found.pop("broken.slp") == ("refused", "not_slippi")
    assert found.pop("more.zip") == ("refused", "nested_archive")
    assert found == {f"round/{n}.slp": ("kept", "") for n in range(24) if n != 7}
    ids = {o.packed.content_id for o in outcomes if o.packed}
    assert ids == {parse_replay(folder / "good1.slp").content_id}
    assert {o.source.path for o in outcomes} == {str(path)}


def test_two_members_of_one_name_are_two_sources(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for number in range(3):
            archive.write(folder / f"good{number}.slp", "game.slp")
    outcomes = list(ingest([path], workers=1, options=IngestOptions()))
    assert {o.source.member: o.status for o in outcomes} == dict.fromkeys(
        ("game.slp", "game.slp#2", "game.slp#3"), "kept"
    )
    assert len({o.packed.content_id for o in outcomes if o.packed}) == 3


def test_one_source_that_fails_in_this_process_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            archive.write(folder / f"good{number}.slp", f"{number}.slp")

    def known(source: ReplaySource) -> bool:
        if source.member == "1.slp" or source.path.endswith("good2.slp"):
            raise ZeroDivisionError("of ours")
        return False

    outcomes = list(ingest([path, folder], workers=2, options=IngestOptions(), known=known))
    assert by_name(outcomes) == {
        "set.zip": ("refused", "reader_failed"),
        "good2.slp": ("refused", "reader_failed"),
        **dict.fromkeys(("good0.slp", "good1.slp", "good3.slp"), ("kept", "")),
    }


def test_an_unpacker_that_says_what_it_was_not_asked_costs_its_archive(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for number in range(2):
                archive.write(folder / f"good{number}.slp", f"{name}-{number}.slp")
    real = _WorkerPool.ask

    def ask(crew: _WorkerPool, message: Mapping[str, Any], size: int) -> dict[str, Any]:
        answer = real(crew, message, size)
        return (
            {"member": 99, "path": "/"}
            if message.get("path", "").endswith("a.zip") and "into" in message
            else answer
        )

    monkeypatch.setattr(_WorkerPool, "ask", ask)
    found = by_name(
        list(ingest([tmp_path / "a.zip", tmp_path / "b.zip"], workers=1, options=IngestOptions()))
    )
    assert found == {
        **dict.fromkeys(("a.zip-0.slp", "a.zip-1.slp"), ("refused", "reader_failed")),
        **dict.fromkeys(("b.zip-0.slp", "b.zip-1.slp"), ("kept", "")),
    }


def test_an_archive_that_goes_while_it_is_read_costs_itself(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "good0.slp", "0.slp")

    def known(source: ReplaySource) -> bool:
        path.unlink(missing_ok=True)  # between its listing and its unpacking
        return False

    found = by_name(list(ingest([path, folder], workers=1, options=IngestOptions(), known=known)))
    assert found["0.slp"] == ("refused", "vanished")
    assert list(found.values()).count(("kept", "")) == 4


def test_games_that_are_held_hold_no_descriptors(folder: Path) -> None:
    """A build holds hundreds of short ones, and macOS lets a process open 256 files."""
    outcomes, descriptors = [], []
    for outcome in ingest([folder], workers=1, options=IngestOptions()):
        outcomes.append(outcome)
        descriptors.append(psutil.Process().num_fds())
    assert len(outcomes) == 4
    assert descriptors[-1] <= descriptors[0]


def test_a_7z_is_unpacked_in_order(folder: Path, tmp_path: Path) -> None:
    py7zr = pytest.importorskip("py7zr")
    path = tmp_path / "set.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writeall(folder, "set")
    found = {str(o.source.member): o.status for o in ingest([path], workers=1, options=IngestOptions())}
    assert found == {f"set/good{number}.slp": "kept" for number in range(4)}


def test_a_broken_archive_is_one_refused_source(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and then nothing")
    (outcome,) = ingest([tmp_path], workers=1, options=IngestOptions())
    assert (outcome.status, outcome.reason) == ("refused", "archive_corrupt")


def test_a_closed_iterator_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("exphil_core.replays.ingest._spool_parent", lambda: spool)
    outcomes = ingest([folder], workers=2, options=IngestOptions())
    first = next(outcomes)
    assert list(spool.iterdir())
    outcomes.close()  # type: ignore[attr-defined]
    assert not list(spool.iterdir())
    assert first.packed is not None
    assert np.isfinite(first.packed.groups["f32"][:, 0]).all(), "what was handed out stays readable"


def test_wrong_calls_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workers"):
        list(ingest([tmp_path], workers=0, options=IngestOptions()))
    with pytest.raises(DataError, match="no such file"):
        list(ingest([tmp_path / "nowhere"], workers=1, options=IngestOptions()))


def test_the_key_follows_what_outcomes_depend_on() -> None:
    assert IngestOptions().key != IngestOptions(min_frames=601).key
    assert IngestOptions().key == IngestOptions(seconds_per_file=5).key
