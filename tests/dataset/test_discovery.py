"""What is known of a dataset by its description alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_core.dataset.discovery import default_dataset_dir, list_datasets, summarize_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.replays.columns import SCHEMA_VERSION


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


def _described(path: Path, said: object, age: float = 0.0) -> None:
    path.mkdir(parents=True)
    (path / "dataset.json").write_text(json.dumps(said) if not isinstance(said, str) else said)
    os.utime(path / "dataset.json", (1e9 - age, 1e9 - age))


def test_a_listed_dataset_has_the_counts_of_its_index(dojo_dataset: Path) -> None:
    listed, index = summarize_dataset(dojo_dataset), DatasetIndex.open(dojo_dataset)
    assert not listed.problem
    assert (listed.games, listed.frames) == (len(index.games), index.frames)
    assert listed.per_character == index.per_character()
    assert len(listed.sources) == 1


def test_the_newest_comes_first_and_a_damaged_one_says_so(cache: Path) -> None:
    assert list_datasets() == []
    _described(cache / "old", {"schema_version": 99, "paths": ["/games"]}, age=100)
    _described(cache / "torn", '{"schema_version": 1, "comp', age=50)
    _described(cache / "list", [1, 2], age=10)
    _described(cache / "broken-off", {"schema_version": SCHEMA_VERSION, "complete": False, "paths": []})
    found = list_datasets()
    assert [dataset.path.name for dataset in found] == ["broken-off", "list", "torn", "old"]
    for dataset, word in zip(found, ("interrupted", "damaged", "damaged", "version 99"), strict=True):
        assert word in dataset.problem
    assert found[-1].sources == ("/games",)


def test_looking_into_the_catalog_imports_neither_pyarrow_nor_torch() -> None:
    asked = "import sys, exphil_core.dataset.discovery; print([n for n in ('pyarrow', 'torch') if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_path_that_is_no_text_has_a_dataset_of_its_own(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert default_dataset_dir([odd]) != default_dataset_dir([tmp_path / "café"])
