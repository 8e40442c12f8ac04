"""The training process of a run: `python -m exphil_core.worker RUN_DIRECTORY`.

`exphil train` calls `work` in its own process. Every outcome ends in a `run_finished` event, if it can still be
written, and an exit code. Torch is imported only after the run is locked and its status written,
since the import takes seconds.
"""

import faulthandler
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_core.atomic import DISK_FULL_ERRNOS, remove_partials
from exphil_core.config.preset import Preset
from exphil_core.cpu import limit_openmp_spins
from exphil_core.errors import DiskFullError, DivergedError, ExphilError, UsageError
from exphil_core.runs.command_handler import CommandHandler
from exphil_core.runs.control import CommandInbox
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.heartbeat import Heartbeat
from exphil_core.runs.launcher import UNLESS_DONE
from exphil_core.runs.stop_signals import stop_signals
from exphil_core.runs.summary import is_finished

if TYPE_CHECKING:
    import torch

    from exphil_core.runs.command_handler import Save
    from exphil_core.training.trainer import TrainResult

PREEMPTED = 75
INTERRUPTED = 130

Sink = Callable[[dict[str, object]], None]
"""Receives each event's record after it is on disk."""

Emit = Callable[..., None]


def work(run: RunDirectory, *, sinks: Sequence[Sink] = (), unless_done: bool = False) -> int:
    """Train `run` from its current state to its end in this process and return the exit code.

    Args:
        sinks: Called with each event's record, in order and one at a time.
        unless_done: Leave a run whose events say that it is done unchanged and return 0.

    Raises:
        UsageError: Another process holds the run, or its `run.toml` is damaged or of another version.
    """
    with run.lock():
        # Under the lock: another process may have trained the run to its end meanwhile.
        if unless_done and is_finished(run):
            return 0
        # Before anything is written: a run of another version stays as its exphil left it.
        preset = run.preset()
        return _work(run, preset, sinks)


def _work(run: RunDirectory, preset: Preset, sinks: Sequence[Sink]) -> int:
    with EventLog(run.events_path) as log:
        speaking = threading.Lock()

        def emit(kind: str, **fields: object) -> None:
            # The heartbeat thread emits too; sinks get events in order, one at a time.
            with speaking:
                record = log.append(kind, **fields)
                for sink in sinks:
                    sink(record)

        return _hold(run, preset, emit)


def _hold(run: RunDirectory, preset: Preset, emit: Emit) -> int:
    """Run the locked run from its first heartbeat to its last event."""
    heartbeat = Heartbeat(run, emit=emit)
    command_handler = CommandHandler(CommandInbox(run), emit=emit, say=heartbeat.say)
    heartbeat.poll = command_handler.poll

    def lose() -> None:
        command_handler.lost = (
            f"{run.path} was deleted while the run was training: it ends, because nothing can be saved there"
        )

    heartbeat.on_run_deleted = lose

    def preempt(asking: signal.Signals) -> None:
        # The first signal saves and ends the run; a second Ctrl-C ends it at once.
        if command_handler.preempted and asking == signal.SIGINT:
            raise KeyboardInterrupt
        command_handler.preempted = True

    error: Exception | None = None
    try:
        with stop_signals(preempt, always=signal.SIGINT), heartbeat:
            finished = _train(run, preset, emit, command_handler, heartbeat)
    except KeyboardInterrupt:
        status, code = "stopped", INTERRUPTED
    except ExphilError as expected:
        status = "diverged" if isinstance(expected, DivergedError) else "failed"
        code, error = expected.exit_code, expected
    except OSError as refused:
        # The user can fix the disk or the folder from the path and the reason; a traceback does not help.
        kind = DiskFullError if refused.errno in DISK_FULL_ERRNOS else ExphilError
        error = kind(f"{refused.filename or run.path}: {refused.strerror or refused}")
        status, code = "failed", kind.exit_code
    except Exception as unexpected:
        traceback.print_exc()
        status, code, error = "failed", 1, unexpected
    else:
        code = PREEMPTED if finished.status == "preempted" else 0
        command_handler.close(finished.status)
        run.write_status(finished.status, step=finished.step)
        emit("run_finished", status=finished.status, step=finished.step, summary=_summary(finished))
        return code
    return _end(run, emit, command_handler, status=status, code=code, error=error)


def _train(
    run: RunDirectory, preset: Preset, emit: Emit, command_handler: CommandHandler, heartbeat: Heartbeat
) -> "TrainResult":
    remove_partials(run.path)
    from exphil_core.cpu import available_cores
    from exphil_core.pilot.directory import PilotDirectory
    from exphil_core.pilot.placement import pilot_place
    from exphil_core.pilot.publisher import Publisher
    from exphil_core.pilot.supervisor import PilotSupervisor
    from exphil_core.training.checkpoint_manager import CheckpointManager
    from exphil_core.training.data import open_run_data
    from exphil_core.training.device import choose_device
    from exphil_core.training.loop import train
    from exphil_core.training.split_file import read_split, write_split

    device = choose_device(preset.train.device)
    place = pilot_place(preset.pilot, trains_on=device.type, cores=available_cores())
    with _pinned_to(place.run_cores):
        data = open_run_data(run, preset)
        if read_split(run.path) != data.split:
            write_split(run.path, data.split)
        heartbeat.measure_gpu(lambda: _gpu(device))
        publisher = Publisher(PilotDirectory(run), every_seconds=preset.pilot.save_seconds, emit=emit)
        watch = PilotSupervisor(run, place, emit=emit, snapshot_ms=lambda: publisher.snapshot_ms)
        heartbeat.poll_pilot = watch.poll

        def between_steps(step: int, save: "Save") -> None:
            command_handler.between_steps(step, save)
            watch.begin()

        with closing(publisher), closing(watch):
            return train(
                preset,
                data,
                CheckpointManager(run, keep=preset.train.keep_checkpoints, emit=emit),
                device=device,
                run_name=run.name,
                emit=emit,
                between_steps=between_steps,
                between_chunks=command_handler.between_chunks,
                publish=publisher.between_steps,
            )


@contextmanager
def _pinned_to(cores: Sequence[int]) -> Iterator[None]:
    """Restrict this process and torch's threads to `cores`; an empty sequence changes nothing."""
    import torch

    from exphil_core.pilot.placement import pin_process

    if not cores:
        yield
        return
    before = torch.get_num_threads()
    with pin_process(cores):
        # New torch threads inherit the affinity of the thread that starts them.
        torch.set_num_threads(min(before, len(cores)))
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _gpu(device: "torch.device") -> Mapping[str, object]:
    """Return memory use of the whole GPU, all processes included, and its utilization where available."""
    import torch

    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    found: dict[str, object] = {"gpu_memory_bytes": total - free, "gpu_memory_total_bytes": total}
    try:
        found["gpu_utilization"] = torch.cuda.utilization(device) / 100
    except Exception:  # pynvml is missing, or the driver does not report it
        return found
    return found


def _summary(finished: "TrainResult") -> dict[str, object]:
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
    run: RunDirectory,
    emit: Emit,
    command_handler: CommandHandler,
    *,
    status: str,
    code: int,
    error: Exception | None,
) -> int:
    """Write how the run ended as far as possible; a full disk must not hide the reason."""
    if error is not None:
        print(error, file=sys.stderr, flush=True)
    try:
        command_handler.close(status)
        if error is not None:
            emit("error", code=type(error).__name__, message=str(error))
        emit("run_finished", status=status, step=run.latest_step(), summary={})
        run.write_status(status, step=None)
    except (ExphilError, OSError) as second:
        print(f"{run.path}: the end of the run could not be written: {second}", file=sys.stderr, flush=True)
    return code


def main() -> int:
    words = [word for word in sys.argv[1:] if word != UNLESS_DONE]
    if len(words) != 1:
        print(f"usage: python -m exphil_core.worker RUN_DIRECTORY [{UNLESS_DONE}]", file=sys.stderr)
        return UsageError.exit_code
    # A crash inside a library leaves its stack trace in the log.
    faulthandler.enable()
    limit_openmp_spins()
    try:
        return work(RunDirectory.open(Path(words[0])), unless_done=UNLESS_DONE in sys.argv)
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or words[0]}: {error.strerror or error}", file=sys.stderr)
        return DiskFullError.exit_code if error.errno in DISK_FULL_ERRNOS else ExphilError.exit_code


if __name__ == "__main__":
    sys.exit(main())
