"""What a worker makes of a run that does not simply end: a result, no result for ever, or something for a person."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from exphil_core.errors import UsageError
from exphil_core.runs.directory import RunDirectory, run_directories
from exphil_core.runs.events import EventLog
from exphil_core.studies.data import StudyData
from exphil_core.studies.plan import trial_specs
from exphil_core.studies.storage import StudyStorage
from exphil_core.studies.study import Study, load_study
from exphil_core.studies.subprocesses import Unmeasured
from exphil_core.studies.trials import TrialSpec
from exphil_core.studies.worker import MOST_STARTS, ProgressCallbacks, StudyWorker
from tests.studies.tiny import AFTER

LATENCY = {"p50_ms": 1.0, "p99_ms": 2.0, "budget_ms": 16.67, "within_budget": True, "threads": 1, "frames": 1}


def finish(run: RunDirectory, *, last_word: bool = True) -> None:
    with EventLog(run.events_path) as log:
        log.append("run_started", parameters=10, device="cpu", precision="fp32", resumed_from=None)
        log.append("evaluated", step=50, loss=0.5, per_character={}, best=True)
        run.write_status("done", step=50)
        if last_word:
            log.append("run_finished", status="done", step=50, summary={"frames": 6400, "seconds": 1.0})


def fail(run: RunDirectory, code: str, message: str, status: str = "failed") -> None:
    with EventLog(run.events_path) as log:
        log.append("error", code=code, message=message)
        log.append("run_finished", status=status, step=None, summary={})
    run.write_status(status, step=None)


@pytest.fixture
def study(write_study: Callable[..., Path]) -> Study:
    return load_study(str(write_study(("seeds = [0, 1]", "seeds = [0]"))))


@pytest.fixture
def storage(tmp_path: Path) -> StudyStorage:
    return StudyStorage(tmp_path / "runs" / "studies" / "tiny")


@pytest.fixture
def work(tmp_path: Path, study: Study, storage: StudyStorage) -> Callable[..., Mapping[str, str]]:
    """One worker with this launcher on the study's first trial, or on all of another study."""

    def work(
        launch: Callable[[RunDirectory], object], *, of: Study | None = None, **children: Any
    ) -> Mapping[str, str]:
        specs = trial_specs(study)[:1] if of is None else trial_specs(of)
        storage.extend(specs)
        data = StudyData(
            dataset=tmp_path, replays=("games",), fingerprint="f", games=1, frames=1, description=""
        )
        quiet = ProgressCallbacks(line=lambda text: None, state=lambda text: None)
        children = {"latency": lambda run, frames: LATENCY, **children}
        worker = StudyWorker(
            study=study if of is None else of,
            data=data,
            storage=storage,
            runs_dir=tmp_path / "runs",
            progress=quiet,
            launch=launch,
            **children,
        )
        return worker.work(specs)

    return work


Work = Callable[..., Mapping[str, str]]


@pytest.fixture
def chained(write_study: Callable[..., Path]) -> Study:
    """`wide`, and `third` that starts from `after`, which starts from `narrow`."""
    third = AFTER.replace("values.after", "values.third").replace('"narrow"', '"after"')
    return load_study(str(write_study(("seeds = [0, 1]", "seeds = [0]"), more=third + AFTER)))


def finish_with_a_checkpoint(run: RunDirectory) -> None:
    run.step_directory(50).mkdir(exist_ok=True)
    run.write_best(50)
    finish(run)


def starts(runs: Path) -> dict[str, str]:
    """By run, that and the checkpoint that it begins with, as its run.toml says."""
    found = {run.name: run.preset().train.init_from for run in run_directories(runs)}
    return {name: "/".join(Path(begun).parts[-2:]) for name, begun in found.items() if begun is not None}


def test_a_run_that_is_done_is_a_result(work: Work, storage: StudyStorage) -> None:
    assert work(finish) == {}
    (trial,) = storage.trials()
    assert trial.state == "complete"
    assert trial.measures is not None
    assert (trial.measures["loss"], trial.measures["frames"]) == (0.5, 6400)
    assert trial.measures["latency"]["p99_ms"] == 2.0


@pytest.mark.parametrize(
    ("code", "status"), [("DataError", "failed"), ("UsageError", "failed"), ("DivergedError", "diverged")]
)
def test_what_would_fail_again_has_no_result_for_ever(
    work: Work, storage: StudyStorage, code: str, status: str
) -> None:
    assert work(lambda run: fail(run, code, "no side plays link", status)) == {}
    (trial,) = storage.trials()
    assert trial.state == "failed"
    assert "no side plays link" in trial.why


def test_what_a_person_can_mend_is_left_open_and_goes_on_when_it_is_mended(
    work: Work, storage: StudyStorage
) -> None:
    left = work(lambda run: fail(run, "DiskFullError", "no room left"))
    assert left == {"tiny.narrow.0": "no room left"}
    assert storage.trials()[0].state == "running"
    assert work(finish) == {}
    assert storage.trials()[0].state == "complete"


def test_a_run_that_was_stopped_by_hand_is_not_started_again_at_once(
    work: Work, storage: StudyStorage
) -> None:
    started: list[str] = []

    def launch(run: RunDirectory) -> None:
        started.append(run.name)
        run.write_status("stopped", step=3)

    assert "it was stopped" in work(launch)["tiny.narrow.0"]
    assert len(started) == 1
    assert work(finish) == {}


def test_a_run_that_is_killed_again_and_again_is_left_to_a_person(work: Work) -> None:
    started: list[str] = []

    def launch(run: RunDirectory) -> None:
        started.append(run.name)
        # What a killed process said last, which is not there any more.
        run.write_status("running", step=3)
        status = json.loads((run.path / "status.json").read_text())
        (run.path / "status.json").write_text(
            json.dumps({**status, "pid": os.getpid(), "process_identity": ""})
        )

    assert f"exited early {MOST_STARTS} times" in work(launch)["tiny.narrow.0"]
    assert len(started) == MOST_STARTS


def test_a_run_that_was_killed_before_its_last_word_says_it_again(work: Work, storage: StudyStorage) -> None:
    started: list[str] = []

    def launch(run: RunDirectory) -> None:
        started.append(run.name)
        finish(run, last_word=len(started) > 1)

    assert work(launch) == {}
    assert len(started) == 2
    assert storage.trials()[0].state == "complete"


def test_a_folder_that_a_killed_worker_left_without_a_run_in_it_is_no_obstacle(
    work: Work, tmp_path: Path, storage: StudyStorage
) -> None:
    folder = tmp_path / "runs" / "tiny.narrow.0"
    folder.mkdir(parents=True)
    (folder / "run.toml.123.partial").touch()
    assert work(finish) == {}
    assert storage.trials()[0].state == "complete"


def test_another_run_of_that_name_is_not_taken_for_the_study_s(
    work: Work, tmp_path: Path, study: Study, storage: StudyStorage
) -> None:
    other: TrialSpec = trial_specs(study)[1]
    RunDirectory.create(
        tmp_path / "runs", other.preset, name="tiny.narrow.0", dataset=tmp_path, fingerprint="f"
    )
    left = work(lambda run: pytest.fail("it was started"))
    assert "another run of this name" in left["tiny.narrow.0"]
    assert "backbone.width = 32 then and 16 now" in left["tiny.narrow.0"]


def test_a_run_that_cannot_be_started_is_left_with_the_reason(work: Work) -> None:
    def launch(run: RunDirectory) -> None:
        raise UsageError("its process ended at once")

    assert work(launch) == {"tiny.narrow.0": "its process ended at once"}


def test_a_measurement_that_fails_does_not_undo_the_run(work: Work, storage: StudyStorage) -> None:
    def latency(run: RunDirectory, frames: int) -> Mapping[str, Any]:
        raise Unmeasured("exit code 2: no core")

    assert work(finish, latency=latency) == {}
    (trial,) = storage.trials()
    assert trial.measures is not None
    assert trial.measures["notes"] == ["latency: exit code 2: no core"]


def test_runs_begin_with_the_best_checkpoint_of_the_run_that_they_start_from(
    work: Work, chained: Study, tmp_path: Path, storage: StudyStorage
) -> None:
    assert work(finish_with_a_checkpoint, of=chained) == {}
    assert starts(tmp_path / "runs") == {
        "tiny.after.0": "tiny.narrow.0/step-000000050",
        "tiny.third.0": "tiny.after.0/step-000000050",
    }
    assert {trial.state for trial in storage.trials()} == {"complete"}


def test_what_starts_from_a_run_without_a_result_has_none_and_says_why(
    work: Work, chained: Study, storage: StudyStorage
) -> None:
    def launch(run: RunDirectory) -> None:
        if run.name == "tiny.narrow.0":
            fail(run, "DataError", "no side plays link")
        else:
            finish_with_a_checkpoint(run)

    assert work(launch, of=chained) == {}
    why = {trial.run: trial.why for trial in storage.trials() if trial.state == "failed"}
    assert why == {
        "tiny.narrow.0": "no side plays link",
        "tiny.after.0": "it starts from tiny.narrow.0, which has no result: no side plays link",
        "tiny.third.0": "it starts from tiny.after.0, which has no result: it starts from tiny.narrow.0, which has "
        "no result: no side plays link",
    }


def test_what_starts_from_a_run_that_had_to_be_left_is_left_too_and_goes_on_after_it(
    work: Work, chained: Study, storage: StudyStorage
) -> None:
    def launch(run: RunDirectory) -> None:
        if run.name == "tiny.narrow.0":
            fail(run, "DiskFullError", "no room left")
        else:
            finish_with_a_checkpoint(run)

    assert work(launch, of=chained) == {
        "tiny.narrow.0": "no room left",
        "tiny.after.0": "tiny.narrow.0 has to end first",
        "tiny.third.0": "tiny.after.0 has to end first",
    }
    assert [trial.run for trial in storage.trials() if trial.ended] == ["tiny.wide.0"]
    assert work(finish_with_a_checkpoint, of=chained) == {}


def test_a_run_that_was_begun_elsewhere_goes_on_with_the_checkpoint_where_it_lies_here(
    work: Work, chained: Study, tmp_path: Path
) -> None:
    def killed(run: RunDirectory) -> None:
        if run.name == "tiny.narrow.0":
            finish_with_a_checkpoint(run)
        else:
            raise UsageError("its machine is gone")

    runs = tmp_path / "runs"
    assert "tiny.after.0" in work(killed, of=chained)
    told = runs / "tiny.after.0" / "run.toml"
    told.write_text(told.read_text().replace(str(runs), "/of/another/machine"))
    assert work(finish_with_a_checkpoint, of=chained) == {}
    begun = RunDirectory(runs / "tiny.after.0").preset().train.init_from
    assert begun == str(runs / "tiny.narrow.0" / "step-000000050")


def test_a_run_with_a_checkpoint_of_its_own_does_not_look_for_its_start_again(
    work: Work, chained: Study, tmp_path: Path
) -> None:
    def launch(run: RunDirectory) -> None:
        if run.name == "tiny.narrow.0":
            finish_with_a_checkpoint(run)
        else:
            run.step_directory(10).mkdir()
            raise UsageError("its machine is gone")

    runs = tmp_path / "runs"
    work(launch, of=chained)
    told = runs / "tiny.after.0" / "run.toml"
    elsewhere = told.read_text().replace(str(runs), "/of/another/machine")
    told.write_text(elsewhere)
    assert work(finish_with_a_checkpoint, of=chained) == {}
    assert told.read_text() == elsewhere


def test_a_run_that_starts_from_another_one_than_the_study_s_is_not_taken_for_it(
    work: Work, chained: Study, tmp_path: Path
) -> None:
    (after,) = (spec for spec in trial_specs(chained) if spec.variant == "after")
    for start in (None, "/runs/tiny.wide.0/step-000000050"):
        train = after.preset.train.model_copy(update={"init_from": start})
        preset = after.preset.model_copy(update={"train": train})
        other = RunDirectory.create(
            tmp_path / "runs", preset, name="tiny.after.0", dataset=tmp_path, fingerprint="f"
        )
        left = work(finish_with_a_checkpoint, of=chained)
        assert "another run of this name, which does not start from tiny.narrow.0" in left["tiny.after.0"]
        other.delete()


def test_a_checkpoint_to_start_from_that_is_gone_is_left_to_a_person(
    work: Work, chained: Study, tmp_path: Path
) -> None:
    # As if its run had been deleted since.
    left = work(finish, of=chained)
    assert "it starts from tiny.narrow.0, whose best checkpoint is missing from" in left["tiny.after.0"]
    assert work(finish, of=chained).keys() == {"tiny.after.0", "tiny.third.0"}


def test_weights_that_do_not_fit_have_no_result_for_ever(
    work: Work, chained: Study, storage: StudyStorage
) -> None:
    def launch(run: RunDirectory) -> None:
        if run.name == "tiny.after.0":
            fail(run, "CheckpointError", "train.init_from: not of this preset's size")
        else:
            finish_with_a_checkpoint(run)

    assert work(launch, of=chained) == {}
    why = {trial.run: trial.why for trial in storage.trials() if trial.state == "failed"}
    assert why["tiny.after.0"] == "train.init_from: not of this preset's size"
    assert why.keys() == {"tiny.after.0", "tiny.third.0"}
