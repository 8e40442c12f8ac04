"""One run's process: `python -m exphil_core.worker RUN_DIRECTORY`, and what `exphil train` calls in its own.

In: a run directory that `RunDirectory.create` made. Out: events, checkpoints and an exit code (CLI.md). Whatever
happens ends in a `run_finished` event if anything can still be written, and in a checkpoint where that helps.
"""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from exphil_core.atomic import remove_partials
from exphil_core.errors import DivergedError, ExphilError, UsageError
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.training.data import open_run_data
from exphil_core.training.device import choose_device
from exphil_core.training.keeper import Keeper
from exphil_core.training.kept_split import read_split, write_split
from exphil_core.training.loop import Finished, train

PREEMPTED = 75
INTERRUPTED = 130

HEARTBEAT_SECONDS = 2.0

Sink = Callable[[dict[str, object]], None]
"""Takes each event's record after it is on disk."""


@dataclass(slots=True)
class StopRequest:
    """What the first SIGTERM or Ctrl-C leaves behind: the run saves and ends at its next step."""

    requested: bool = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def work(run: RunDirectory, *, sinks: Sequence[Sink] = ()) -> int:
    """Train `run` from where it stands to its end, in this process. Returns the exit code.

    Raises UsageError when another process holds the run.
    """
    stop = StopRequest()
    with run.lock(), EventLog(run.events_path) as log, _signals(stop):

        def emit(kind: str, **fields: object) -> None:
            record = log.append(kind, **fields)
            for sink in sinks:
                sink(record)

        try:
            finished = _train(run, emit, stop)
        except KeyboardInterrupt:
            return _end(run, emit, status="stopped", code=INTERRUPTED)
        except ExphilError as error:
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            return _end(run, emit, status=status, code=error.exit_code, error=error)
        except Exception as error:
            traceback.print_exc()
            return _end(run, emit, status="failed", code=1, error=error)
        code = PREEMPTED if finished.status == "preempted" else 0
        run.write_status(finished.status, step=finished.step)
        emit("run_finished", status=finished.status, step=finished.step, summary=_summary(finished))
        return code


def _train(run: RunDirectory, emit: Callable[..., None], stop: StopRequest) -> Finished:
    remove_partials(run.path)
    preset = run.preset()
    device = choose_device(preset.train.device)

    run.write_status("starting", step=0)
    data = open_run_data(run, preset)
    if read_split(run.path) != data.split:
        write_split(run.path, data.split)
    last_beat = 0.0

    def beat(step: int) -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat >= HEARTBEAT_SECONDS:
            last_beat = time.monotonic()
            run.write_status("running", step=step)

    return train(
        preset,
        data,
        Keeper(run, keep=preset.train.keep_checkpoints, emit=emit),
        device=device,
        run_name=run.name,
        emit=emit,
        stopped=lambda: stop.requested,
        beat=beat,
    )


def _summary(finished: Finished) -> dict[str, object]:
    state = finished.state
    summary: dict[str, object] = {
        "best_loss": state.best_loss,
        "best_step": state.best_step,
        "seconds": state.seconds,
        "frames": state.frames,
    }
    if finished.evaluation is not None:
        fields = finished.evaluation.fields(step=state.best_step or 0, split="validation")
        summary["validation"] = {key: value for key, value in fields.items() if key != "step"}
    return summary


def _end(
    run: RunDirectory, emit: Callable[..., None], *, status: str, code: int, error: Exception | None = None
) -> int:
    """Say how it ended as far as that can still be written: a full disk must not hide the reason."""
    if error is not None:
        print(error, file=sys.stderr)
    try:
        if error is not None:
            emit("error", code=type(error).__name__, message=str(error))
        emit("run_finished", status=status, step=run.latest_step(), summary={})
        run.write_status(status, step=None)
    except (ExphilError, OSError) as second:
        print(f"{run.path}: the end of the run could not be written: {second}", file=sys.stderr)
    return code


@contextmanager
def _signals(stop: StopRequest) -> Iterator[None]:
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m exphil_core.worker RUN_DIRECTORY", file=sys.stderr)
        return UsageError.exit_code
    try:
        return work(RunDirectory.open(Path(sys.argv[1])))
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
