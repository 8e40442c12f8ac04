"""A study's run that starts from another's: a real one, which has really taken the weights over."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from exphil_core.dataset.index import DatasetIndex
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.studies.aggregate import report_of
from exphil_core.studies.data import StudyData
from exphil_core.studies.plan import trial_specs
from exphil_core.studies.storage import StudyStorage
from exphil_core.studies.study import load_study
from exphil_core.studies.worker import ProgressCallbacks, StudyWorker
from exphil_core.worker import work
from tests.studies.tiny import AFTER


def first_loss(run: RunDirectory) -> float:
    return next(event["loss"] for event in read_events(run.events_path) if event["type"] == "step")


@pytest.mark.slow
@pytest.mark.usefixtures("from_nothing")
def test_a_run_begins_with_what_the_one_it_starts_from_has_learned(
    tmp_path: Path, write_study: Callable[..., Path], dojo_dataset: Path
) -> None:
    study = load_study(
        str(
            write_study(
                ("seeds = [0, 1]", "seeds = [0]"),
                ("warmup_steps = 2", "warmup_steps = 2\nlog_every_steps = 1\nlr = 3e-3\nema_decay = 0.9"),
                ("frames = 6_400", "frames = 12_800"),
                more=AFTER,
            )
        )
    )
    index = DatasetIndex.open(dojo_dataset)
    storage = StudyStorage(tmp_path / "runs" / "studies" / "tiny")
    storage.describe(
        about="?", decides="!", data="the dojo", against=study.against, references=study.references
    )
    specs = trial_specs(study)
    storage.extend(specs)
    worker = StudyWorker(
        study=study,
        data=StudyData(
            dataset=dojo_dataset, replays=(), fingerprint=index.fingerprint, games=1, frames=1, description=""
        ),
        storage=storage,
        runs_dir=tmp_path / "runs",
        progress=ProgressCallbacks(line=lambda text: None, state=lambda text: None),
        launch=work,
        latency=lambda run, frames: {
            "p50_ms": 1.0, "p99_ms": 2.0, "budget_ms": 16.67, "within_budget": True, "threads": 1, "frames": 1
        },
    )  # fmt: skip
    assert worker.work(specs) == {}
    narrow, after = (RunDirectory.open(tmp_path / "runs" / f"tiny.{name}.0") for name in ("narrow", "after"))
    # The same seed draws the same first batch.
    assert first_loss(after) < 0.8 * first_loss(narrow)
    begun = after.preset().train.init_from
    assert begun is not None
    taken, best = load_file(Path(begun) / "model.safetensors"), narrow.best_step()
    assert best is not None
    own = load_file(narrow.step_directory(best) / "model.safetensors")
    assert all((tensor == own[name]).all() for name, tensor in taken.items())

    report = report_of("tiny", storage.described(), storage.trials())
    rows = {row.name: row for row in report.groups[0].rows}
    assert rows["after"].starts_from == "narrow"
    assert {row.frames for row in rows.values()} == {12_800.0}
