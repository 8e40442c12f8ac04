"""One run's process: `python -m exphil_core.worker RUN_DIRECTORY`, and what `exphil train` calls in its own.

In: a run directory that `RunDirectory.create` made. Out: events, checkpoints and an exit code (CLI.md). Whatever
happens ends in a `run_finished` event if anything can still be written, and in a checkpoint where that helps. What a
reader gets wrong: torch is imported only once the run is held and says so, since that takes seconds.
"""

import faulthandler
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from exphil_core.atomic import NO_ROOM, remove_partials
from exphil_core.errors import DiskFullError, DivergedError, ExphilError, UsageError
from exphil_core.runs.control import Inbox
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.heartbeat import Heartbeat
from exphil_core.runs.helm import Helm
from exphil_core.runs.launcher import UNLESS_DONE
from exphil_core.runs.summary import has_said_done

if TYPE_CHECKING:
    import torch

    from exphil_core.runs.helm import Save
    from exphil_core.training.loop import Finished

PREEMPTED = 75
INTERRUPTED = 130

Sink = Callable[[dict[str, object]], None]
"""Takes each event's record after it is on disk."""

Emit = Callable[..., None]


def work(run: RunDirectory, *, sinks: Sequence[Sink] = (), unless_done: bool = False) -> int:
    """Train `run` from where it stands to its end, in this process. Returns the exit code.

    With `unless_done`, a run that has said that it is done is left as it is. Raises UsageError when another process
    holds the run.
    """
    with run.lock(), EventLog(run.events_path) as log:
        # Under the lock: who else was about to start it may have come first, and ended.
        if unless_done and has_said_done(run):
            return 0
        speaking = threading.Lock()

        def emit(kind: str, **fields: object) -> None:
            # The heartbeat speaks, too: who listens hears the events one by one and in order.
            with speaking:
                record = log.append(kind, **fields)
                for sink in sinks:
                    sink(record)

        return _hold(run, emit)


def _hold(run: RunDirectory, emit: Emit) -> int:
    """The run from its first heartbeat to its last word."""
    heartbeat = Heartbeat(run, emit=emit)
    helm = Helm(Inbox(run), emit=emit, say=heartbeat.say)
    heartbeat.look = helm.look

    def lose() -> None:
        helm.lost = f"{run.path} was deleted while the run went on: it ends, for nothing can be saved there"

    heartbeat.gone = lose
    error: Exception | None = None
    try:
        with _signals(helm), heartbeat:
            finished = _train(run, emit, helm, heartbeat)
    except KeyboardInterrupt:
        status, code = "stopped", INTERRUPTED
    except ExphilError as expected:
        status = "diverged" if isinstance(expected, DivergedError) else "failed"
        code, error = expected.exit_code, expected
    except OSError as refused:
        # The disk or the folder: who can mend that needs the path and the reason, not our lines.
        kind = DiskFullError if refused.errno in NO_ROOM else ExphilError
        error = kind(f"{refused.filename or run.path}: {refused.strerror or refused}")
        status, code = "failed", kind.exit_code
    except Exception as unexpected:
        traceback.print_exc()
        status, code, error = "failed", 1, unexpected
    else:
        code = PREEMPTED if finished.status == "preempted" else 0
        helm.close(finished.status)
        run.write_status(finished.status, step=finished.step)
        emit("run_finished", status=finished.status, step=finished.step, summary=_summary(finished))
        return code
    return _end(run, emit, helm, status=status, code=code, error=error)


def _train(run: RunDirectory, emit: Emit, helm: Helm, heartbeat: Heartbeat) -> "Finished":
    remove_partials(run.path)
    preset = run.preset()
    from exphil_core.cpu import available_cores
    from exphil_core.runs.pilot import PilotDirectory
    from exphil_core.runs.pilot_place import pilot_place
    from exphil_core.runs.pilot_watch import PilotWatch
    from exphil_core.training.data import open_run_data
    from exphil_core.training.device import choose_device
    from exphil_core.training.keeper import Keeper
    from exphil_core.training.kept_split import read_split, write_split
    from exphil_core.training.loop import train
    from exphil_core.training.publisher import Publisher

    device = choose_device(preset.train.device)
    place = pilot_place(preset.pilot, trains_on=device.type, cores=available_cores())
    with _keeping_to(place.run_cores):
        data = open_run_data(run, preset)
        if read_split(run.path) != data.split:
            write_split(run.path, data.split)
        heartbeat.measure_gpu(lambda: _gpu(device))
        publisher = Publisher(PilotDirectory(run), every_seconds=preset.pilot.save_seconds, emit=emit)
        watch = PilotWatch(run, place, emit=emit, snapshot_ms=lambda: publisher.snapshot_ms)
        heartbeat.look_at_pilot = watch.look

        def between_steps(step: int, save: "Save") -> None:
            helm.between_steps(step, save)
            watch.begin()

        with closing(publisher), closing(watch):
            return train(
                preset,
                data,
                Keeper(run, keep=preset.train.keep_checkpoints, emit=emit),
                device=device,
                run_name=run.name,
                emit=emit,
                between_steps=between_steps,
                between_chunks=helm.between_chunks,
                publish=publisher.between_steps,
            )


@contextmanager
def _keeping_to(cores: Sequence[int]) -> Iterator[None]:
    """This process and torch's threads keep to `cores`; without any, all stays as it is."""
    import torch

    from exphil_core.runs.pilot_place import process_on

    if not cores:
        yield
        return
    before = torch.get_num_threads()
    with process_on(cores):
        # Threads that torch starts from now on keep to the cores of who starts them.
        torch.set_num_threads(min(before, len(cores)))
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _gpu(device: "torch.device") -> Mapping[str, object]:
    """Memory of the whole device, whoever uses it, and how busy it is where that can be asked."""
    import torch

    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    found: dict[str, object] = {"gpu_memory_bytes": total - free, "gpu_memory_total_bytes": total}
    try:
        found["gpu_utilization"] = torch.cuda.utilization(device) / 100
    except Exception:  # without pynvml, or a driver that does not tell it
        return found
    return found


def _summary(finished: "Finished") -> dict[str, object]:
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
    if finished.neighbours:
        summary["neighbours"] = {name: dict(nearest) for name, nearest in finished.neighbours.items()}
    return summary


def _end(
    run: RunDirectory, emit: Emit, helm: Helm, *, status: str, code: int, error: Exception | None
) -> int:
    """Say how it ended as far as that can still be written: a full disk must not hide the reason."""
    if error is not None:
        print(error, file=sys.stderr, flush=True)
    try:
        helm.close(status)
        if error is not None:
            emit("error", code=type(error).__name__, message=str(error))
        emit("run_finished", status=status, step=run.latest_step(), summary={})
        run.write_status(status, step=None)
    except (ExphilError, OSError) as second:
        print(f"{run.path}: the end of the run could not be written: {second}", file=sys.stderr, flush=True)
    return code


@contextmanager
def _signals(helm: Helm) -> Iterator[None]:
    """The first SIGTERM, Ctrl-C or closed terminal asks the run to save and end; a second Ctrl-C ends it at once."""

    def handle(signum: int, frame: FrameType | None) -> None:
        if helm.preempted and signum == signal.SIGINT:
            raise KeyboardInterrupt
        helm.preempted = True

    before: dict[int, Any] = {}
    for asking in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # What was set to be ignored stays so: that is how nohup works.
        if asking == signal.SIGINT or signal.getsignal(asking) != signal.SIG_IGN:
            before[asking] = signal.signal(asking, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    words = [word for word in sys.argv[1:] if word != UNLESS_DONE]
    if len(words) != 1:
        print(f"usage: python -m exphil_core.worker RUN_DIRECTORY [{UNLESS_DONE}]", file=sys.stderr)
        return UsageError.exit_code
    # A crash inside a library leaves its stack in the log.
    faulthandler.enable()
    try:
        return work(RunDirectory.open(Path(words[0])), unless_done=UNLESS_DONE in sys.argv)
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or words[0]}: {error.strerror or error}", file=sys.stderr)
        return DiskFullError.exit_code if error.errno in NO_ROOM else ExphilError.exit_code


if __name__ == "__main__":
    sys.exit(main())
