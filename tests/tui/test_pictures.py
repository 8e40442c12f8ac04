"""The pictures of the documents are of what was named, and of nothing else."""

import sys
from pathlib import Path

import pytest

from exphil_tui import pictures
from tests.tui.made_study import finished_with_ties, of_one_seed


@pytest.fixture
def taking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes `main` read the test's own runs at once; where its pictures come to lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "SETTLE_S", 0.3)
    return tmp_path / "pictures"


def take(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures", "--out", "pictures", *words])
    pictures.main()


def test_a_study_is_pictured_with_its_variants_and_its_verdict(
    taking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_with_ties(Path("checkpoints"))
    of_one_seed(Path("checkpoints"))
    take(monkeypatch, "--study", "context_length-quick")
    assert [found.name for found in taking.iterdir()] == ["studies.svg"]
    drawn = (taking / "studies.svg").read_text().replace("&#160;", " ")
    for words in ("w180", "0.5198 ± 0.0024", "w300 and w180 tie", "finished"):
        assert words in drawn


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --run NAME, --study NAME, or both"),
        (["--study", "context_lenght"], "no study of that name was begun in checkpoints/studies"),
        (["--study", "context_length-quick", "--pilot"], "give --run NAME, too"),
    ],
)
def test_what_cannot_be_pictured_is_refused_in_a_sentence(
    words: list[str],
    said: str,
    taking: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished_with_ties(Path("checkpoints"))
    with pytest.raises(SystemExit):
        take(monkeypatch, *words)
    assert said in " ".join(capsys.readouterr().err.split())
    assert not taking.exists()
