"""A build accounts for every source, reads only what is new, and survives being killed at any moment."""

import errno
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from exphil_core import atomic
from exphil_core.dataset import build
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.build_report import BuildReport
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.shards import SHARD_FOLDER
from exphil_core.dataset.store import ColumnStore
from exphil_core.errors import DataError, DiskFullError
from exphil_core.lock import hold
from exphil_core.replays.columns import GROUPS
from exphil_core.replays.filters import SideQuality
from exphil_core.replays.ingest import IngestOptions, Outcome, ReplaySource
from exphil_core.replays.pack import PackedGame
from tests.dataset.conftest import packed_game

ACTIVE = SideQuality(human=True, active=True, plausible=True, activity=0.4)


@dataclass
class Folder:
    """An ingest that reads from a table instead of a disk: name → game, or (status, reason)."""

    files: dict[str, PackedGame | tuple[str, str]] = field(default_factory=dict)
    mtimes: dict[str, int] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    """What was read since the last look."""
    fails_after: int | None = None

    def __call__(
        self,
        paths: Sequence[Path],
        *,
        workers: int,
        options: IngestOptions,
        known: Callable[[ReplaySource], bool],
        ignored: Callable[[int], None],
    ) -> Iterator[Outcome]:
        for name, content in self.files.items():
            source = ReplaySource(path=name, member=None, size=100, mtime_ns=self.mtimes.get(name, 1))
            if known(source):
                continue
            if self.fails_after is not None and len(self.read) == self.fails_after:
                raise KeyboardInterrupt
            self.read.append(name)
            if isinstance(content, tuple):
                status, reason = content
                yield _outcome(source, status=status, reason=reason, detail="because")
            else:
                yield _outcome(source, packed=content)

    def taken(self) -> list[str]:
        read, self.read = self.read, []
        return read


def _outcome(
    source: ReplaySource,
    *,
    status: str = "kept",
    reason: str = "",
    detail: str = "",
    packed: PackedGame | None = None,
) -> Outcome:
    return Outcome(
        source=source,
        status=status,  # type: ignore[arg-type]
        reason=reason,
        detail=detail,
        packed=packed,
        sides=(ACTIVE, ACTIVE) if packed else None,
        salvaged=bool(packed and packed.salvaged),
    )


@pytest.fixture
def folder() -> Folder:
    return Folder(
        files={
            "b.slp": packed_game(1, frames=650, characters=(10, 2)),
            "a.slp": packed_game(1, frames=650, characters=(10, 2)),
            "c.slp": packed_game(2, frames=700, characters=(6, 6), salvaged=True),
            "short.slp": ("filtered", "too_short"),
            "tiny.slp": ("filtered", "too_short"),
            "broken.slp": ("refused", "corrupt"),
        }
    )


def _build(folder: Folder, out: Path, **changes: object) -> BuildReport:
    options = IngestOptions(**changes)  # type: ignore[arg-type]
    return build_dataset([Path("replays")], out, workers=1, options=options, source=folder)


def _state(out: Path) -> dict[str, bytes]:
    """Every file of the dataset but the lock."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_every_source_is_accounted_for(folder: Folder, tmp_path: Path) -> None:
    fields = _build(folder, tmp_path / "out").fields()
    assert {name: fields[name] for name in ("kept", "filtered", "refused", "salvaged", "duplicates")} == {
        "kept": 2,
        "filtered": {"too_short": 2},
        "refused": {"corrupt": 1},
        "salvaged": 1,
        "duplicates": 1,
    }
    assert fields["sources"] == 6
    assert (fields["games"], fields["frames"]) == (2, 1350)
    assert fields["per_character"] == {
        "mewtwo": {"games": 1, "frames": 650},
        "fox": {"games": 1, "frames": 650},
        "link": {"games": 1, "frames": 1400},
    }
    json.dumps(fields)


def test_the_index_lists_the_games_with_their_rows(folder: Folder, tmp_path: Path) -> None:
    _build(folder, tmp_path)
    index = DatasetIndex.open(tmp_path)
    store = ColumnStore(index)
    packed = {game.content_id: game for game in folder.files.values() if isinstance(game, PackedGame)}
    assert {game.content_id for game in index.games} == set(packed)
    for number, entry in enumerate(index.games):
        for group in GROUPS:
            np.testing.assert_array_equal(
                store.game(number).columns[group], packed[entry.content_id].groups[group]
            )
    # Of two equal replays the first by name is the source, whichever was read first.
    assert {game.source for game in index.games} == {"a.slp", "c.slp"}


def test_building_again_reads_nothing_and_says_the_same(folder: Folder, tmp_path: Path) -> None:
    first = _build(folder, tmp_path)
    before = _state(tmp_path)
    assert len(folder.taken()) == 6
    again = _build(folder, tmp_path)
    assert folder.taken() == []
    differ = ("seconds", "frames_per_s", "new_sources")
    one, two = ({k: v for k, v in report.fields().items() if k not in differ} for report in (first, again))
    assert one == two
    after = _state(tmp_path)
    assert after["index.parquet"] == before["index.parquet"]
    assert set(after) == set(before)


def test_only_what_is_new_or_changed_is_read(folder: Folder, tmp_path: Path) -> None:
    _build(folder, tmp_path)
    folder.taken()
    shards = {name for name in _state(tmp_path) if name.startswith(SHARD_FOLDER)}
    folder.files["new.slp"] = packed_game(3)
    folder.mtimes["c.slp"] = 2
    report = _build(folder, tmp_path)
    assert sorted(folder.taken()) == ["c.slp", "new.slp"]
    assert report.games == 3
    # The touched file holds the game it held: its rows are not written again.
    assert len({name for name in _state(tmp_path) if name.startswith(SHARD_FOLDER)} - shards) == 1


def test_a_removed_replay_leaves_the_dataset_and_comes_back_unread(folder: Folder, tmp_path: Path) -> None:
    whole = _build(folder, tmp_path)
    fingerprint = DatasetIndex.open(tmp_path).fingerprint
    folder.taken()
    gone = folder.files.pop("c.slp")
    report = _build(folder, tmp_path)
    assert (report.games, report.unlisted, report.kept) == (1, 1, 1)
    assert DatasetIndex.open(tmp_path).fingerprint != fingerprint
    folder.files["c.slp"] = gone
    assert _build(folder, tmp_path).games == whole.games
    assert folder.taken() == []
    assert DatasetIndex.open(tmp_path).fingerprint == fingerprint


def test_when_a_kept_replay_goes_its_duplicate_takes_its_place(folder: Folder, tmp_path: Path) -> None:
    _build(folder, tmp_path)
    del folder.files["a.slp"]
    report = _build(folder, tmp_path)
    assert (report.games, report.duplicates) == (2, 0)
    assert {game.source for game in DatasetIndex.open(tmp_path).games} == {"b.slp", "c.slp"}


def test_the_order_of_reading_does_not_matter(folder: Folder, tmp_path: Path) -> None:
    _build(folder, tmp_path / "one")
    folder.files = dict(reversed(folder.files.items()))
    _build(folder, tmp_path / "two")
    one, two = DatasetIndex.open(tmp_path / "one"), DatasetIndex.open(tmp_path / "two")
    assert one.fingerprint == two.fingerprint
    assert [game.content_id for game in one.games] == [game.content_id for game in two.games]


def test_other_options_build_anew(folder: Folder, tmp_path: Path) -> None:
    _build(folder, tmp_path)
    fingerprint = DatasetIndex.open(tmp_path).fingerprint
    old = {name for name in _state(tmp_path) if name.startswith(SHARD_FOLDER)}
    folder.taken()
    _build(folder, tmp_path, min_frames=60)
    assert len(folder.taken()) == 6
    assert DatasetIndex.open(tmp_path).fingerprint != fingerprint
    assert not old & set(_state(tmp_path))


def test_another_schema_version_is_built_anew(folder: Folder, tmp_path: Path) -> None:
    _build(folder, tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema_version": 99}')
    folder.taken()
    assert _build(folder, tmp_path).games == 2
    assert len(folder.taken()) == 6
    assert len(DatasetIndex.open(tmp_path).games) == 2


def test_full_shards_are_closed_while_the_build_goes_on(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", 600)
    _build(folder, tmp_path)
    assert len(list((tmp_path / SHARD_FOLDER).iterdir())) == 2
    assert len({game.shard for game in DatasetIndex.open(tmp_path).games}) == 2


def test_an_interrupted_build_keeps_what_it_has_read(folder: Folder, tmp_path: Path) -> None:
    folder.fails_after = 3
    with pytest.raises(KeyboardInterrupt):
        _build(folder, tmp_path)
    assert folder.taken() == ["b.slp", "a.slp", "c.slp"]
    assert len(DatasetIndex.open(tmp_path).games) == 2
    folder.fails_after = None
    assert _build(folder, tmp_path).games == 2
    assert folder.taken() == ["short.slp", "tiny.slp", "broken.slp"]


KILLED = """
import os, signal, sys
from pathlib import Path
from exphil_core import atomic
from exphil_core.dataset import build
from exphil_core.replays.ingest import IngestOptions
from tests.dataset.test_build import Folder
from tests.dataset.conftest import packed_game

out, moment = Path(sys.argv[1]), int(sys.argv[2])
moments = 0

def maybe_die(*_):
    global moments
    moments += 1
    if moments == moment:
        os.kill(os.getpid(), signal.SIGKILL)

real_fsync, real_replace = os.fsync, Path.replace

def fsync(handle):
    maybe_die()
    real_fsync(handle)
    maybe_die()

def replace(self, target):
    maybe_die()
    return real_replace(self, target)

atomic.os.fsync, Path.replace = fsync, replace
build.SHARD_ROWS, build.SAVE_SECONDS = 600, 0.0
files = {f"{number}.slp": packed_game(number, frames=650) for number in range(int(sys.argv[3]))}
build.build_dataset(
    [Path("replays")], out, workers=1, options=IngestOptions(), source=Folder(files=files)
)
"""


def _run_killed(out: Path, moment: int, games: int) -> int:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(out), str(moment), str(games)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("moment", [1, 3, 4, 6, 8, 11, 14, 17, 21])
def test_a_build_killed_at_any_moment_leaves_a_whole_dataset(tmp_path: Path, moment: int) -> None:
    assert _run_killed(tmp_path, 0, 2) == 0
    before = DatasetIndex.open(tmp_path)
    assert len(before.games) == 2
    assert _run_killed(tmp_path, moment, 4) == -signal.SIGKILL
    after = DatasetIndex.open(tmp_path)
    assert {game.content_id for game in before.games} <= {game.content_id for game in after.games}
    ColumnStore(after)
    files: dict[str, PackedGame | tuple[str, str]] = {
        f"{number}.slp": packed_game(number, frames=650) for number in range(4)
    }
    assert _build(Folder(files=files), tmp_path).games == 4
    index = DatasetIndex.open(tmp_path)
    ColumnStore(index)
    expected = {f"{SHARD_FOLDER}/{game.shard}" for game in index.games}
    assert set(_state(tmp_path)) == {"dataset.json", "index.parquet", "sources.parquet"} | expected


def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _build(folder, tmp_path)
    before = _state(tmp_path)
    folder.files["new.slp"] = packed_game(3)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        with pytest.raises(DiskFullError, match="no room left"):
            _build(folder, tmp_path)
    assert _state(tmp_path) == before
    assert _build(folder, tmp_path).games == 3


def test_paths_without_replays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no replays found"):
        _build(Folder(), tmp_path / "out")


def test_a_folder_of_other_things_is_not_built_into(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not delete")
    with pytest.raises(DataError, match="thesis"):
        _build(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_builder_waits_for_the_first_and_says_for_whom(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / SHARD_FOLDER).mkdir()
    found: list[BuildReport] = []
    said: queue.Queue[str] = queue.Queue()

    def build_too() -> None:
        options = IngestOptions()
        found.append(
            build_dataset(
                [Path("replays")], tmp_path, workers=1, options=options, source=folder, waiting=said.put
            )
        )

    with hold(tmp_path / ".lock", "dataset"):
        second = threading.Thread(target=build_too)
        second.start()
        sentence = said.get(timeout=30)
        assert f"dataset {tmp_path} is held by process {os.getpid()} on" in sentence
        assert sentence.endswith("waiting for it to end")
        assert folder.taken() == []
    second.join()
    assert found[0].games == 2
    # Said once, however long it takes.
    assert said.empty()


def test_a_transient_refusal_is_tried_again(folder: Folder, tmp_path: Path) -> None:
    folder.files["busy.slp"] = ("refused", "unreadable")
    _build(folder, tmp_path)
    folder.taken()
    _build(folder, tmp_path)
    assert folder.taken() == ["busy.slp"]
