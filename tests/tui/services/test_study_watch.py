"""Studies as they stand: who works on what, how far that is, and what is broken, in a sentence."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.runs.directory import RunDirectory
from exphil_tui.model.study_budget import budgets_of, curve_of
from exphil_tui.model.study_snapshot import StudySnapshot
from exphil_tui.services.study_watch import StudyWatch
from tests.tui.conftest import NOW
from tests.tui.made_study import (
    StudyMaker,
    cross_evaluated,
    finished_with_ties,
    measured,
    of_one_seed,
    running,
)

MakeRun = Callable[..., RunDirectory]


@pytest.fixture
def run_of(make_run: MakeRun) -> Callable[[str], RunDirectory]:
    return lambda name: make_run("running", name=name)


def look(runs_dir: Path) -> dict[str, StudySnapshot]:
    return {snapshot.name: snapshot for snapshot in StudyWatch(runs_dir, clock=lambda: NOW).poll()}


def test_each_run_stands_as_it_does(runs_dir: Path, run_of: Callable[[str], RunDirectory]) -> None:
    made, claim = running(runs_dir, run_of)
    (snapshot,) = look(runs_dir).values()
    states = {run.trial.run.removeprefix(f"{made.name}."): run.state for run in snapshot.runs}
    assert states["w60.0"] == "complete"
    assert states["w300.0"] == "failed"
    assert states["w120.1"] == "orphaned"
    assert states["w180.1"] == "running"
    assert states["w300.2"] == "waiting"
    assert (snapshot.state, snapshot.workers, snapshot.ended) == ("running", 1, 5)
    claim.release()
    assert look(runs_dir)[made.name].workers == 0


def test_a_running_run_has_a_progress_and_a_curve(
    runs_dir: Path, run_of: Callable[[str], RunDirectory]
) -> None:
    _, claim = running(runs_dir, run_of)
    (snapshot,) = look(runs_dir).values()
    (run,) = [run for run in snapshot.runs if run.state == "running"]
    assert run.progress is not None
    assert 0.5 < run.progress < 1
    assert run.curve
    assert run.loss == run.curve[-1].loss
    assert all(point.frames > 0 for point in run.curve)
    claim.release()


def test_a_run_that_outlives_its_worker_runs(runs_dir: Path, run_of: Callable[[str], RunDirectory]) -> None:
    made, claim = running(runs_dir, run_of)
    claim.release()
    snapshot = look(runs_dir)[made.name]
    assert snapshot.count("running") == 1
    assert snapshot.state == "running"


def test_a_study_without_a_worker_is_idle_and_one_whose_runs_have_ended_is_finished(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "half")
    made.wants("a", seeds=[0, 1])
    made.ends("a", 0, measured(0.5))
    assert look(runs_dir)["half"].state == "idle"
    made.ends("a", 1, measured(0.5))
    assert look(runs_dir)["half"].state == "finished"


def test_a_report_is_current_until_the_journal_goes_on(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    assert not look(runs_dir)[made.name].reported
    (made.storage.folder / "report.md").write_text("# report\n")
    assert look(runs_dir)[made.name].reported
    time.sleep(0.01)
    made.wants("more", seeds=[0])
    assert not look(runs_dir)[made.name].reported


def test_what_has_not_changed_is_not_read_again(runs_dir: Path) -> None:
    finished_with_ties(runs_dir)
    watch = StudyWatch(runs_dir)
    (before,), (after,) = watch.poll(), watch.poll()
    assert before.report is after.report
    assert before == after


def test_a_folder_without_studies_has_none(runs_dir: Path) -> None:
    assert look(runs_dir) == {}
    (runs_dir / "studies" / "empty").mkdir(parents=True)
    assert look(runs_dir) == {}


def test_a_study_that_is_deleted_is_there_no_more(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    watch = StudyWatch(runs_dir)
    assert watch.poll()
    made.journal.unlink()
    assert watch.poll() == ()


def test_measures_of_another_version_are_a_sentence(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    text = made.journal.read_text().replace('"baseline":0.8', '"baseline":"high"')
    made.journal.write_text(text)
    snapshot = look(runs_dir)[made.name]
    assert "results cannot be read" in snapshot.problem
    assert snapshot.report is None
    assert len(snapshot.runs) == 12


def test_damaged_lines_are_counted(runs_dir: Path) -> None:
    made = finished_with_ties(runs_dir)
    with made.journal.open("a") as file:
        file.write("x\ny\n")
    assert "Ignored 2 unreadable lines in its journal.log" in look(runs_dir)[made.name].problem


def test_a_run_whose_name_leads_elsewhere_is_not_looked_at(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "odd")
    made.wants("a", seeds=[0])
    made.begins("a", 0).release()
    made.journal.write_text(made.journal.read_text().replace('"odd.a.0"', json.dumps("../../etc")))
    (run,) = look(runs_dir)["odd"].runs
    assert (run.trial.run, run.state, run.curve) == ("../../etc", "running", ())


def test_a_variant_is_there_before_its_first_result_and_keeps_its_letter(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "some")
    made.wants("a", "b")
    (view,) = budgets_of(look(runs_dir)["some"])
    assert [(variant.name, variant.mark.letter, variant.row) for variant in view.variants] == [
        ("a", "A", None),
        ("b", "B", None),
    ]
    made.ends("b", 0, measured(0.5))
    (view,) = budgets_of(look(runs_dir)["some"])
    assert [(variant.name, variant.mark.letter) for variant in view.variants] == [("b", "B"), ("a", "A")]


def test_each_budget_is_a_view_of_its_own(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "two")
    made.wants("a-frames", seeds=[0])
    made.wants("a-minutes", seeds=[0], budget="minutes")
    assert [view.budget for view in budgets_of(look(runs_dir)["two"])] == ["frames", "minutes"]


def test_the_matrix_and_the_front_are_known(runs_dir: Path) -> None:
    cross_evaluated(runs_dir)
    of_one_seed(runs_dir)
    snapshots = look(runs_dir)
    (matrix,) = budgets_of(snapshots["multi_vs_single-quick"])
    assert matrix.has_matrix
    (backbones,) = budgets_of(snapshots["backbones-quick"])
    assert not backbones.has_matrix
    assert {v.name for v in backbones.variants if v.on_pareto_front} == {
        "mlp", "gru", "mamba", "attention", "jamba", "transformer_xl"
    }  # fmt: skip


def test_a_curve_is_the_mean_of_its_seeds_where_all_have_been(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "c")
    made.wants("a", seeds=[0, 1])
    made.ends("a", 0, measured(0.5))
    made.ends("a", 1, measured(0.6))
    (view,) = budgets_of(look(runs_dir)["c"])
    curve = curve_of(view.variants[0], by_minutes=False)
    assert curve is not None
    assert len(curve.x) == 20
    assert curve.mean[-1] == pytest.approx((0.52 + 0.62) / 2, abs=0.01)
    by_minutes = curve_of(view.variants[0], by_minutes=True)
    assert by_minutes is not None
    assert by_minutes.x[-1] == pytest.approx(96 / 60)


def test_neither_optuna_nor_torch_is_needed_to_look(runs_dir: Path) -> None:
    finished_with_ties(runs_dir)
    code = """
import sys
from pathlib import Path
from exphil_tui.services.study_watch import StudyWatch
import exphil_tui.screens.studies.screen, exphil_tui.services.study_worker, exphil_tui.model.shipped_studies
(snapshot,) = StudyWatch(Path(sys.argv[1])).poll()
assert snapshot.report is not None
assert not {"optuna", "torch", "sqlalchemy", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(runs_dir)], check=True)
