"""Workers of a study: by which command one joins in, starting one, and asking those of this machine to end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from exphil_core.config.loader import load_preset
from exphil_core.errors import UsageError
from exphil_core.runs.directory import RunDirectory
from exphil_tui.model.shipped_studies import shipped_studies
from exphil_tui.model.study_snapshot import StudySnapshot
from exphil_tui.services.study_watch import StudyWatch
from exphil_tui.services.study_worker import StartedWorker, StudyCommand, command_of, start, stop
from tests.tui.made_study import StudyMaker


def sight(runs_dir: Path) -> StudySnapshot:
    (found,) = StudyWatch(runs_dir).poll()
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert holds()


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Processes that are ended with the test, whatever becomes of it."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_command_is_as_one_types_it() -> None:
    command = StudyCommand(
        study="context_length", runs_dir=Path("my runs"), quick=True, seeds=(0, 4), replays=("a b.slp", "c")
    )
    assert command.line == (
        "exphil study run context_length --quick --replays 'a b.slp' c --seeds 0,4 --runs-dir 'my runs'"
    )
    assert command.folder == Path("my runs/studies/context_length-quick-replays")


@pytest.mark.parametrize(
    ("name", "study", "quick"),
    [("context_length", "context_length", False), ("multi_vs_single-quick", "multi_vs_single", True)],
)
def test_the_folder_tells_the_command(runs_dir: Path, name: str, study: str, quick: bool) -> None:
    made = StudyMaker(runs_dir, name, quick=quick)
    made.wants("a", "b", seeds=[2, 0])
    found = command_of(sight(runs_dir), runs_dir)
    assert (found.study, found.quick, found.seeds, found.replays) == (study, quick, (0, 2), ())
    assert found.name == name


def test_a_run_tells_which_replays_are_learned_from(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "context_length-quick-replays", quick=True)
    made.wants("a", seeds=[0])
    with pytest.raises(UsageError, match="context_length-quick-replays has no run that names its replays"):
        command_of(sight(runs_dir), runs_dir)
    preset = load_preset("quick")
    data = preset.data.model_copy(update={"replays": ("my/replays",)})
    preset = preset.model_copy(update={"data": data})
    RunDirectory.create(
        runs_dir, preset, name=made.run("a", 0), dataset=Path("cache/dataset"), fingerprint="f"
    )
    assert command_of(sight(runs_dir), runs_dir).replays == ("my/replays",)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "my study.toml"
    found.touch()
    return found


def test_a_study_of_a_file_of_one_s_own_is_gone_on_with(runs_dir: Path, file: Path) -> None:
    made = StudyMaker(
        runs_dir, "mine", quick=True, study=str(file), replays=["/games/a b", "/games/c"], seeds=[0, 1]
    )
    made.wants("a", seeds=[0, 4])
    found = command_of(sight(runs_dir), runs_dir)
    assert found.folder == made.storage.folder
    assert found.line == (
        f"exphil study run '{file}' --quick --replays '/games/a b' /games/c --seeds 0,1,4 --name mine "
        f"--runs-dir {runs_dir}"
    )


def test_a_name_that_a_study_was_given_is_given_again_and_its_own_is_not(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "another", quick=False, study="context_length", replays=[], seeds=[2])
    found = command_of(sight(runs_dir), runs_dir)
    assert (found.study, found.custom_name, found.seeds, found.folder) == (
        "context_length", "another", (2,), made.storage.folder
    )  # fmt: skip
    own = StudyMaker(
        runs_dir, "context_length-quick-replays", study="context_length", quick=True, replays=["/x"]
    )
    (_, named) = StudyWatch(runs_dir).poll()
    found = command_of(named, runs_dir)
    assert (found.custom_name, found.folder) == (None, own.storage.folder)
    assert "--name" not in found.line


def test_a_study_that_cannot_be_continued_is_a_sentence(runs_dir: Path, file: Path) -> None:
    made = StudyMaker(runs_dir, "mine", study=str(file), replays=[], seeds=[0])
    made.wants("a", seeds=[0])
    file.unlink()
    with pytest.raises(
        UsageError, match=r"study\.toml does not exist; 'exphil study run FILE --name mine --runs-dir "
    ):
        command_of(sight(runs_dir), runs_dir)
    made.storage.describe(study="context_lenght", fingerprint="f")
    with pytest.raises(UsageError, match="this exphil ships no study context_lenght"):
        command_of(sight(runs_dir), runs_dir)
    made.storage.describe(study="context_length", fingerprint="f")
    made.storage.folder.rename(runs_dir / "studies" / "renamed")
    with pytest.raises(UsageError, match="renamed: its runs belong to mine, so its folder was renamed"):
        command_of(sight(runs_dir), runs_dir)


@pytest.mark.parametrize(("name", "quick"), [("my_own", False), ("context_length-quick", False)])
def test_a_name_that_no_study_has_by_itself_is_a_sentence(runs_dir: Path, name: str, quick: bool) -> None:
    made = StudyMaker(runs_dir, name, quick=quick)
    made.wants("a", seeds=[0])
    with pytest.raises(UsageError, match=f"exphil study run FILE --name {name}"):
        command_of(sight(runs_dir), runs_dir)


def test_a_worker_that_cannot_work_says_why(tmp_path: Path) -> None:
    command = StudyCommand(study="context_lenght", runs_dir=tmp_path)
    worker = start(command)
    until(lambda: worker.ended)
    assert "did you mean 'context_length'?" in worker.problem
    assert "did you mean" in (command.folder / "worker.log").read_text()


def test_only_the_output_of_this_worker_counts(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("the worker before\n")
    silent = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    worker = StartedWorker(silent, log, log_offset=log.stat().st_size)
    until(lambda: worker.ended)
    assert worker.problem == "The worker exited with code 3 and printed nothing."


@pytest.mark.parametrize("code", [0, 75])
def test_a_worker_that_finished_or_was_stopped_has_no_problem(tmp_path: Path, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    worker = StartedWorker(process, tmp_path / "worker.log", log_offset=0)
    assert worker.problem == ""
    until(lambda: worker.ended)
    assert worker.problem == ""


def test_a_worker_is_in_a_session_of_its_own(tmp_path: Path, ended: list[int]) -> None:
    worker = start(StudyCommand(study="no such study", runs_dir=tmp_path))
    ended.append(worker.pid)
    assert os.getsid(worker.pid) == worker.pid != os.getsid(0)


WORKER = """
import json, signal, socket, sys, time
from pathlib import Path
from exphil_core.studies.trial_lock import Claim
asked = []
signal.signal(signal.SIGTERM, lambda signum, frame: asked.append(signum))
claim = Claim.take(Path(sys.argv[3]), "one.a.0")
print("claimed", flush=True)
while not asked:
    time.sleep(0.02)
sys.exit(75)
"""


def test_workers_of_this_machine_are_asked_to_end(runs_dir: Path, ended: list[int]) -> None:
    made = StudyMaker(runs_dir, "one")
    made.wants("a", seeds=[0])
    folder = made.storage.folder
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, "study", "run", str(folder / "claims")], stdout=subprocess.PIPE
    )
    ended.append(process.pid)
    assert process.stdout is not None
    process.stdout.readline()
    assert stop(folder) == 1
    assert process.wait(30) == 75
    process.stdout.close()
    # It has left its claim behind, which nobody holds any more.
    assert list((folder / "claims").glob("*.json"))
    assert stop(folder) == 0


def test_a_process_that_is_no_worker_is_left_alone(runs_dir: Path) -> None:
    made = StudyMaker(runs_dir, "one")
    made.wants("a", seeds=[0])
    claim = made.begins("a", 0)
    # This process holds it, and is a test.
    assert stop(made.storage.folder) == 0
    claim.release()


def test_every_shipped_study_is_listed() -> None:
    found = {study.name: study for study in shipped_studies()}
    assert {"context_length", "multi_vs_single", "attention_vs_mamba", "backbones"} <= found.keys()
    assert found["multi_vs_single"].full.variants == 7
    assert found["multi_vs_single"].full.budget == "4,000,000 frames"
    assert found["multi_vs_single"].quick.games == 60
    # Some of the values of its axis are left out.
    assert found["held_out_character"].quick.variants < found["held_out_character"].full.variants
    assert " or " in found["attention_vs_mamba"].quick.budget
