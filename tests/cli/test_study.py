"""`exphil study` as people and scripts call it: real runs, small ones."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.cli.main import run
from exphil_core.runs.directory import run_directories
from exphil_core.studies import worker
from exphil_core.studies.storage import StudyStorage
from tests.studies.tiny import TINY

Write = Callable[..., str]

FOX = '\ndata.characters = ["fox"]\n\n'


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(worker, "LATENCY_FRAMES", {True: 5, False: 5})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*changes: tuple[str, str]) -> str:
        text = TINY
        for old, new in (("seeds = [0, 1]", "seeds = [0]"), ("frames = 6_400", "frames = 1_280"), *changes):
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.slow
def test_a_study_of_real_runs_is_reported_extended_and_not_run_again(
    tmp_path: Path, write: Write, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    # Zelda's own policy beside one for all; nobody plays Fox in the dojo.
    file = write(
        ('against = "narrow"', 'against = "narrow"\ncross = ["zelda", "mewtwo"]'),
        (
            "[axes.width.values.wide]",
            '[axes.width.values.fox]\ndata.characters = ["fox"]\n\n[axes.width.values.wide]',
        ),
    )
    study = ["study", "run", file, "--replays", str(dojo_dataset), "--name", "mine", "--runs-dir", str(runs)]
    assert run([*study, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["ended"], found["of"]) == (3, 3)
    assert "no usable side plays fox" in found["lost"]["mine.fox.0"]
    (group,) = found["groups"]
    rows = {row["name"]: row for row in group["rows"]}
    assert set(rows) == {"narrow", "wide"}
    for row in rows.values():
        assert row["frames"] == 1280
        assert row["latency"]["p99_ms"] > 0
        assert set(row["cross"]) == {"zelda", "mewtwo"}
        assert row["parameters"] > 10_000
    assert {each.name for each in run_directories(runs)} == {"mine.narrow.0", "mine.fox.0", "mine.wide.0"}
    folder = runs / "studies" / "mine"
    assert json.loads((folder / "report.json").read_text()) == found
    assert "one seed only" in (folder / "report.md").read_text()

    told = StudyStorage(folder).described()
    assert (told["study"], told["replays"], told["seeds"]) == (file, [str(dojo_dataset)], [0])

    before = {each.name: each.events_path.read_bytes() for each in run_directories(runs)}
    assert run(study) == 0
    said = capsys.readouterr()
    assert "3 runs, 0 of them new" in said.err
    assert ": started" not in said.err
    assert {each.name: each.events_path.read_bytes() for each in run_directories(runs)} == before
    for words in ("A lower loss does not rank play", "Trained on", "Zelda", "60 FPS", "narrow"):
        assert words in said.out

    assert run(["runs", "list", "--runs-dir", str(runs)]) == 0
    assert "mine.narrow.0" in capsys.readouterr().out
    assert run(["study", "list", "--runs-dir", str(runs)]) == 0
    said = capsys.readouterr()
    assert "mine: 3 of 3 runs have ended" in said.out
    assert "context_length" in said.out
    assert run(["study", "report", "mine", "--runs-dir", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_the_dojo_s_games_are_made_once(tmp_path: Path, write: Write) -> None:
    from exphil_core.studies.data import prepare
    from exphil_core.studies.study import load_study

    study = load_study(write())
    said: list[str] = []
    first = prepare(study, say=said.append)
    assert len(said) == 6
    assert prepare(study, say=said.append) == first
    assert len(said) == 6
    assert first.dataset.is_relative_to(tmp_path / "cache")
    assert first.description.startswith("dojo games with seed 0: 6 games, ")


def test_mistakes_are_sentences(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--runs-dir", str(tmp_path / "runs")]
    assert run(["study", "run", "context_lenght", *runs]) == 2
    assert "did you mean 'context_length'?" in capsys.readouterr().err
    assert run(["study", "run", write(), "--seeds", "one", *runs]) == 2
    assert "--seeds one: expected numbers" in capsys.readouterr().err
    assert run(["study", "run", write(), "--name", "a/b", *runs]) == 2
    assert "study name 'a/b'" in capsys.readouterr().err
    assert run(["study", "run", write(), "--replays", str(tmp_path / "nothing"), *runs]) == 3
    assert "no such file or folder" in capsys.readouterr().err
    assert run(["study", "report", "mine", *runs]) == 2
    assert "no study 'mine' was run" in capsys.readouterr().err


def test_what_a_run_left_undone_is_said_with_its_reason_and_tried_again(
    tmp_path: Path,
    write: Write,
    dojo_dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = tmp_path / "runs"
    # In the way of one of the runs.
    (runs / "mine.narrow.0").mkdir(parents=True)
    (runs / "mine.narrow.0" / "something").touch()
    monkeypatch.setattr(
        worker.StudyWorker, "_measured", lambda self, cell: self._run_of(cell) and pytest.fail("it ran")
    )
    file = write(("[axes.width.values.wide]\nbackbone.width = 32\nencoder.width = 32\n", ""))
    study = ["study", "run", file, "--replays", str(dojo_dataset), "--name", "mine", "--runs-dir", str(runs)]
    for _ in range(2):
        assert run(study) == 1
        said = capsys.readouterr().err
        assert "study mine: not every run has ended" in said
        assert "mine.narrow.0" in said
