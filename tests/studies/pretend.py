"""`python tests/studies/pretend.py STUDY_FILE RUNS_DIR`: a study's worker whose runs pretend to learn.

With RUN_DIRECTORY alone it is such a run: it takes the run's lock, counts steps, keeps what a resume needs and tells
of it in events, as `exphil_core.worker` does, but in a second instead of minutes.
"""

import json
import signal
import sys
import time
from pathlib import Path

from exphil_core.atomic import atomic_write
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.summary import is_finished

STEP_SECONDS = 0.004
IMPORT_SECONDS = 0.6
"""Of torch, in a run that does not pretend: longer than a second process waits for the first one's lock."""


def train(run: RunDirectory) -> int:
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: ending.append(signum))
    preset = run.preset()
    steps = preset.train.max_steps
    assert steps is not None
    kept = run.path / "kept.json"
    with run.lock(), EventLog(run.events_path) as log:
        if is_finished(run):
            return 0
        step = json.loads(kept.read_text())["step"] if kept.exists() else 0
        if preset.train.init_from is not None and not kept.exists():
            before = RunDirectory.open(Path(preset.train.init_from).parent)
            assert before.standing()[0] == "done"
            assert Path(preset.train.init_from).is_dir()
        run.write_status("running", step=step)
        time.sleep(IMPORT_SECONDS)
        log.append(
            "run_started", run=run.name, preset=preset.name, backbone="attention", window_size=16, parameters=1000,
            device="cpu", precision="fp32", dataset={}, resumed_from=step or None,
        )  # fmt: skip
        while step < steps:
            time.sleep(STEP_SECONDS)
            step += 1
            if step % 10 == 0:
                atomic_write(kept, json.dumps({"step": step}).encode())
                log.append("checkpoint_saved", step=step, path="", best=False)
                log.append(
                    "evaluated", step=step, split="validation", loss=2 - step / steps, per_character={}
                )
                run.write_status("running", step=step)
            if ending:
                atomic_write(kept, json.dumps({"step": step}).encode())
                run.write_status("preempted", step=step)
                log.append("run_finished", status="preempted", step=step, summary={})
                return 75
        loss = 1 + preset.train.seed / 1000 + preset.backbone.width / 100
        zelda = {"loss": loss, "frames": 100}
        log.append(
            "evaluated", step=step, split="validation", loss=loss, per_character={"zelda": zelda}, best=True
        )
        run.step_directory(step).mkdir(exist_ok=True)
        run.write_best(step)
        run.write_status("done", step=step)
        frames = step * preset.train.batch_size * preset.chunk_length
        log.append("run_finished", status="done", step=step, summary={"frames": frames, "seconds": 1.0})
    return 0


def work(file: Path, runs_dir: Path) -> None:
    import subprocess

    from exphil_core.studies.data import StudyData
    from exphil_core.studies.plan import trial_specs
    from exphil_core.studies.storage import StudyStorage
    from exphil_core.studies.study import load_study
    from exphil_core.studies.worker import ProgressCallbacks, StudyWorker, stop_on_signals

    def launch(run: RunDirectory) -> None:
        process = subprocess.Popen(
            [sys.executable, __file__, str(run.path)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=(run.path / "worker.log").open("ab"),
        )
        while process.poll() is None and not (run.alive() and (s := run.status()) and s.pid == process.pid):
            time.sleep(0.01)

    study = load_study(str(file))
    specs = trial_specs(study)
    storage = StudyStorage(runs_dir / "studies" / study.name)
    storage.extend(specs)
    data = StudyData(
        dataset=runs_dir.parent, replays=("games",), fingerprint="f", games=1, frames=1, description="made up"
    )
    told = ProgressCallbacks(
        line=lambda text: print(text, file=sys.stderr, flush=True), state=lambda text: None
    )
    told.line(f"study {study.name}: {len(specs)} runs")
    latency = {
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "budget_ms": 16.67,
        "within_budget": True,
        "threads": 1,
        "frames": 1,
    }
    with stop_on_signals() as stop_flag:
        worker = StudyWorker(
            study=study, data=data, storage=storage, runs_dir=runs_dir, progress=told, stop_flag=stop_flag,
            launch=launch, latency=lambda run, frames: latency,
        )  # fmt: skip
        left = worker.work(specs)
    assert not left, left


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(train(RunDirectory.open(Path(sys.argv[1]))))
    work(Path(sys.argv[1]), Path(sys.argv[2]))
