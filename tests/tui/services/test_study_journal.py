"""The journal as a screen reads it: the same trials as the storage's, without a lock and whatever stands in it."""

import json
from pathlib import Path

import pytest

from exphil_core.studies.storage import StudyStorage
from exphil_tui.services.study_journal import StudyJournal
from tests.tui.made_study import StudyMaker, cross_evaluated, finished_with_ties, measured


def read(made: StudyMaker) -> StudyJournal:
    journal = StudyJournal(made.journal)
    journal.poll()
    return journal


def test_it_reads_what_the_storage_reads(runs_dir: Path) -> None:
    made = cross_evaluated(runs_dir)
    made.wants("more", "failing", seeds=[7, 8])
    made.fails("failing", 7, "no usable side plays link")
    claim = made.begins("more", 8)
    journal = read(made)
    assert list(journal.trials) == made.storage.trials()
    assert journal.described == made.storage.described()
    assert {trial.state for trial in journal.trials} == {"complete", "waiting", "running", "failed"}
    assert journal.bad == 0
    claim.release()


def test_what_is_new_is_read_and_nothing_else(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "one")
    made.wants("a", "b")
    journal = StudyJournal(made.journal)
    assert journal.poll()
    assert not journal.poll()
    made.ends("a", 0, measured(0.5))
    assert journal.poll()
    assert [trial.state for trial in journal.trials].count("complete") == 1
    assert list(journal.trials) == made.storage.trials()


def test_what_has_ended_stays_as_it_is(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "one")
    made.wants("a", seeds=[0])
    made.ends("a", 0, measured(0.5))
    late = {"op_code": 8, "worker_id": "x", "trial_id": 0, "user_attr": {"measures": {"loss": 9.0}}}
    again = {
        "op_code": 6,
        "worker_id": "x",
        "trial_id": 0,
        "state": 0,
        "datetime_start": "2026-01-01T00:00:00",
    }
    with made.journal.open("a") as file:
        file.write(json.dumps(late) + "\n" + json.dumps(again | {"values": None}) + "\n")
    journal = read(made)
    assert list(journal.trials) == StudyStorage(made.storage.folder).trials()
    (trial,) = journal.trials
    assert trial.state == "complete"
    assert trial.measures is not None
    assert trial.measures["loss"] == 0.5


def test_a_line_that_is_half_written_is_read_once_it_is_whole(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "one")
    made.wants("a", seeds=[0])
    whole = made.journal.read_bytes()
    made.journal.write_bytes(whole[:-20])
    journal = read(made)
    assert journal.trials == ()
    assert journal.bad == 0
    made.journal.write_bytes(whole)
    assert journal.poll()
    assert [trial.run for trial in journal.trials] == ["one.a.0"]


@pytest.mark.parametrize(
    "line",
    [
        "not JSON", "[1]", "{}", '{"op_code": "6"}', '{"op_code": 4, "study_id": 0, "user_attrs": {"run": 7}}',
        '{"op_code": 4, "study_id": 0, "user_attrs": [1]}', '{"op_code": 6, "trial_id": "x", "state": 1}',
        '{"op_code": 6, "trial_id": 99999, "state": 1}', '{"op_code": 6, "trial_id": -1, "state": 1}',
        '{"op_code": 6, "trial_id": 0, "state": [1]}', '{"op_code": 8, "trial_id": 0, "user_attr": "x"}',
        '{"op_code": 2, "study_id": 0, "user_attr": null}', '{"op_code": 99}', '{"op_code": 4, "study_id": 5}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_line_that_is_none_harms_no_other(runs_dir: Path, line: str) -> None:
    made = finished_with_ties(runs_dir)
    lines = made.journal.read_text().splitlines()
    made.journal.write_text("\n".join([*lines, line]) + "\n")
    assert [trial.state for trial in read(made).trials] == ["complete"] * 12


def test_a_journal_that_was_written_anew_is_read_from_its_start(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    journal = read(made)
    other = StudyMaker(runs_dir, "other")
    other.wants("a", seeds=[0])
    other.journal.replace(made.journal)
    assert journal.poll()
    assert [trial.run for trial in journal.trials] == ["other.a.0"]


def test_a_journal_that_is_gone_is_said(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    journal = read(made)
    made.journal.unlink()
    with pytest.raises(OSError, match="No such file"):
        journal.poll()
    assert len(journal.trials) == 12


def test_looking_writes_nothing(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    before = {path: path.stat().st_mtime_ns for path in made.storage.folder.rglob("*")}
    read(made)
    assert {path: path.stat().st_mtime_ns for path in made.storage.folder.rglob("*")} == before
