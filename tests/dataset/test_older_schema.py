"""A dataset of schema version 1 is built again where its replays are known, and refused where it is opened itself."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exphil_core.cli.main import run
from exphil_core.cli.options import dataset_of
from exphil_core.dataset.discovery import default_dataset_dir, summarize_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.shards import SHARD_FOLDER
from exphil_core.errors import DataError
from exphil_core.replays.columns import SCHEMA_VERSION


def write_version_1(out: Path, source: Path) -> None:
    """What the first exphil with datasets left: its index knows neither who is played nor other recordings."""
    (out / SHARD_FOLDER).mkdir(parents=True)
    (out / SHARD_FOLDER / "0123456789abcdef01234567.safetensors").write_bytes(bytes(64))
    row: dict[str, object] = {
        "content_id": "0" * 32,
        "shard": "0123456789abcdef01234567.safetensors",
        "row_start": 0,
        "frames": 700,
        "external_stage_id": 31,
        "version": "3.16.0",
        "salvaged": False,
        "source": str(source),
        "current": True,
    }
    for slot in (0, 1):
        row |= {
            f"side{slot}_external_id": 18,
            f"side{slot}_port_index": slot,
            f"side{slot}_type": "human",
            f"side{slot}_human": True,
            f"side{slot}_active": True,
            f"side{slot}_plausible": True,
            f"side{slot}_activity": 0.4,
        }
        row |= {f"side{slot}_floor_{name}": None for name in ("entropy", "surprisal", "stderr", "frames")}
    about = {"schema_version": "1", "parser_version": "reader 1", "options": "min_frames=600; schema 1"}
    table = pa.Table.from_pylist([row]).replace_schema_metadata(about)
    pq.write_table(table, out / "index.parquet")
    described = {**about, "schema_version": 1, "complete": True, "paths": [str(source)], "fingerprint": "x"}
    (out / "dataset.json").write_text(json.dumps(described))


@pytest.fixture
def replay(dojo_replays: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "replays"
    folder.mkdir()
    found = min(dojo_replays.glob("*.slp"), key=lambda path: path.stat().st_size)
    (folder / found.name).write_bytes(found.read_bytes())
    return folder


def test_it_is_refused_where_it_is_opened_itself(
    tmp_path: Path, replay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    write_version_1(old, replay)
    sentence = rf"schema version 1, this exphil reads version {SCHEMA_VERSION}; build it again"
    with pytest.raises(DataError, match=sentence):
        DatasetIndex.open(old)
    (old / "dataset.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION, "complete": True}))
    with pytest.raises(DataError, match=sentence):  # the index itself says so, too
        DatasetIndex.open(old)
    (old / "dataset.json").write_text(json.dumps({"schema_version": 1, "complete": True}))
    assert "version 1" in summarize_dataset(old).problem
    words = ["--preset", "quick", "--replays", str(old), "--runs-dir", str(tmp_path / "runs"), "--headless"]
    assert run(["train", *words, "--max-steps", "1", "--device", "cpu"]) == 3
    assert "schema version 1" in capsys.readouterr().err
    assert run(["data", "stats", str(old)]) == 3


def test_it_is_built_again_from_its_replays(
    tmp_path: Path, replay: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    write_version_1(old, replay)
    assert run(["data", "build", str(replay), "--out", str(old), "--workers", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["games"], report["new_sources"]) == (1, 1)
    assert [game.source for game in DatasetIndex.open(old).games] != []
    assert not (old / SHARD_FOLDER / "0123456789abcdef01234567.safetensors").exists()

    # The cache of `train --replays FOLDER`.
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    cached = default_dataset_dir([replay])
    write_version_1(cached, replay)
    assert dataset_of([str(replay)], min_frames=600, workers=1, quiet=True) == cached
    assert len(DatasetIndex.open(cached).games) == 1
