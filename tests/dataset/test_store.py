"""Shards and the store: what is written is what is read, whoever is the ego."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.discovery import default_dataset_dir, is_dataset
from exphil_core.dataset.index import INDEX_FILE, DatasetIndex, write_index
from exphil_core.dataset.shards import SHARD_FOLDER
from exphil_core.dataset.sources import SOURCES_FILE, read_sources, write_sources
from exphil_core.dataset.store import MISSING_FRAME_ID, ColumnStore
from exphil_core.errors import DataError, InaccessibleError
from exphil_core.replays.columns import GROUPS, HALF, MISSING, SCHEMA_VERSION
from exphil_core.replays.game import Floor
from exphil_core.replays.ingest import IngestOptions
from tests.dataset.conftest import packed_game
from tests.dataset.test_build import Folder

Make = Callable[..., DatasetIndex]


def _games() -> list:
    return [packed_game(number, frames=610 + number) for number in range(4)]


def test_a_stored_game_is_the_packed_game(make_dataset: Make) -> None:
    games = {game.content_id: game for game in _games()}
    index = make_dataset(list(games.values()))
    store = ColumnStore(index)
    for number, entry in enumerate(index.games):
        rows = store.game(number)
        np.testing.assert_array_equal(rows.frame_id, games[entry.content_id].frame_id)
        for group in GROUPS:
            np.testing.assert_array_equal(rows.columns[group], games[entry.content_id].groups[group])
            assert not rows.columns[group].flags.writeable


def test_a_shard_is_an_ordinary_safetensors_file(make_dataset: Make) -> None:
    games = _games()
    index = make_dataset(games)
    found = load_file(index.path / SHARD_FOLDER / index.games[0].shard)
    for group in GROUPS:
        np.testing.assert_array_equal(found[group], np.concatenate([game.groups[group] for game in games]))
    np.testing.assert_array_equal(found["frame_id"], np.concatenate([game.frame_id for game in games]))


def test_the_other_ego_swaps_the_halves_and_nothing_else(make_dataset: Make) -> None:
    store = ColumnStore(make_dataset(_games()))
    first, second = (store.window(1, 30, 50, slot) for slot in (0, 1))
    for group in GROUPS:
        half = HALF[group]
        one, two = first.columns[group], second.columns[group]
        np.testing.assert_array_equal(one[:, :half], two[:, half : 2 * half])
        np.testing.assert_array_equal(one[:, half : 2 * half], two[:, :half])
        np.testing.assert_array_equal(one[:, 2 * half :], two[:, 2 * half :])
    np.testing.assert_array_equal(first.frame_id, second.frame_id)


def test_past_the_end_of_a_game_is_missing_not_the_next_game(make_dataset: Make) -> None:
    index = make_dataset(_games())
    store = ColumnStore(index)
    frames = index.games[0].frames
    window = store.window(0, frames - 10, 25, 1)
    assert window.valid.tolist() == [True] * 10 + [False] * 15
    assert set(window.frame_id[10:]) == {MISSING_FRAME_ID}
    for group in GROUPS:
        tail = window.columns[group][10:]
        np.testing.assert_array_equal(tail, np.full_like(tail, MISSING[group]))


def test_the_index_survives_its_round_trip(make_dataset: Make, tmp_path: Path) -> None:
    index = make_dataset(_games())
    floor = Floor(entropy=2.5, surprisal=2.4, stderr=0.01, frames=600)
    game = index.games[0]
    sheik = replace(
        game.sides[0],
        external_id=19,
        selected_external_id=18,
        frames_by_character={19: game.frames - 91, 18: 91},
        floor=floor,
    )
    changed = replace(
        game,
        salvaged=True,
        repaired="missing_event text",
        sides=(sheik, game.sides[1]),
        match_key="match",
        twin_keys=("one", "another"),
    )
    gone = replace(index.games[1], current=False)
    write_index(tmp_path, index.key, [changed, gone, *index.games[2:]])
    again = DatasetIndex.open(tmp_path)
    assert again.games == (changed, *index.games[2:])
    assert again.fingerprint != index.fingerprint


def test_another_schema_version_is_refused_with_the_way_out(make_dataset: Make) -> None:
    index = make_dataset(_games())
    (index.path / "dataset.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(DataError, match=rf"version 99.*reads version {SCHEMA_VERSION}.*data build"):
        DatasetIndex.open(index.path)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    assert not is_dataset(tmp_path)
    with pytest.raises(DataError, match="not a dataset"):
        DatasetIndex.open(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        DatasetIndex.open(tmp_path / "nowhere")


def test_a_damaged_index_is_refused(make_dataset: Make) -> None:
    index = make_dataset(_games())
    (index.path / "index.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="damaged"):
        DatasetIndex.open(index.path)


def test_an_index_without_a_column_is_refused(make_dataset: Make) -> None:
    path = make_dataset(_games()).path / "index.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["repaired"]), path)
    with pytest.raises(DataError, match=r"the index is damaged.*repaired"):
        DatasetIndex.open(path.parent)


def test_a_truncated_shard_is_refused(make_dataset: Make) -> None:
    index = make_dataset(_games())
    shard = index.path / SHARD_FOLDER / index.games[0].shard
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(DataError, match="missing or damaged"):
        ColumnStore(index)


def _fails(monkeypatch: pytest.MonkeyPatch, number: int, *, when: str) -> None:
    """Opening a file whose name ends so fails with that error of the system."""
    real = Path.open

    def open_or_not(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name.endswith(when):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_or_not)


TROUBLE = [
    pytest.param(errno.EMFILE, "ulimit -n", id="too many of the process"),
    pytest.param(errno.ENFILE, "too many files are open", id="too many of the system"),
    pytest.param(errno.ENOMEM, "not enough memory", id="no memory"),
    pytest.param(errno.EACCES, "may not be read", id="no permission"),
    pytest.param(errno.EIO, "disk does not answer", id="disk"),
]


@pytest.mark.parametrize(("number", "helps"), TROUBLE)
@pytest.mark.parametrize("file", [".safetensors", INDEX_FILE, SOURCES_FILE])
def test_what_keeps_a_file_from_being_opened_is_not_damage(
    make_dataset: Make, monkeypatch: pytest.MonkeyPatch, number: int, helps: str, file: str
) -> None:
    index = make_dataset(_games())
    write_sources(index.path, [])
    _fails(monkeypatch, number, when=file)
    act = {".safetensors": lambda: ColumnStore(index), INDEX_FILE: lambda: DatasetIndex.open(index.path)}
    with pytest.raises(InaccessibleError, match=helps) as caught:
        act.get(file, lambda: read_sources(index.path))()
    assert "damage" not in str(caught.value).replace("nothing is damaged", "").replace(
        "it is not known to be damaged", ""
    ).replace("the file is not known to be damaged", "")
    assert "delete" not in str(caught.value)
    assert str(index.path) in str(caught.value)


def test_too_many_open_shards_are_told_as_such(tmp_path: Path) -> None:
    """By the system itself, in a process that may open few files."""
    script = """
import resource, sys
from pathlib import Path
from exphil_core.dataset.index import BuildKey
from exphil_core.dataset.shards import open_shard, write_shard
from exphil_core.errors import InaccessibleError
from tests.dataset.conftest import packed_game
from tests.dataset.test_build import Folder

path = Path(sys.argv[1]) / "one.safetensors"
write_shard(path, [packed_game(0)])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
shards = []
try:
    while len(shards) < 100:
        shards.append(open_shard(path))
except InaccessibleError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "a process may open 64 (`ulimit -n`)" in done.stdout


@pytest.mark.parametrize("file", [INDEX_FILE, SOURCES_FILE])
def test_a_build_does_not_replace_what_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    ingested = Folder(files={f"{number}.slp": packed_game(number) for number in range(3)})
    build_dataset([tmp_path], tmp_path / "out", workers=1, options=IngestOptions(), source=ingested)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file()}
    with monkeypatch.context() as patch:
        _fails(patch, errno.EIO, when=file)
        with pytest.raises(InaccessibleError):
            build_dataset([tmp_path], tmp_path / "out", workers=1, options=IngestOptions(), source=ingested)
    after = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file()}
    assert after == before


def test_the_default_place_depends_on_the_replays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    one, two = tmp_path / "one", tmp_path / "two"
    assert default_dataset_dir([one, two]) == default_dataset_dir([two, one, one])
    assert default_dataset_dir([one]) != default_dataset_dir([two])
    assert default_dataset_dir([one]).is_relative_to(tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    assert default_dataset_dir([Path("one")]) == default_dataset_dir([one])
