"""The pilot process beside a run: `python -m exphil_core.pilot RUN [OPTIONS]`.

It plays clips of held-out games with the run's newest weights and writes the files of `pilot.directory`; one pilot
per run at a time. It never writes to the run itself, waits for it or signals it.
"""

import argparse
import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from exphil_core.cpu import available_cores, limit_openmp_spins
from exphil_core.dataset.discovery import cache_root
from exphil_core.errors import ExphilError, UsageError
from exphil_core.inference.cpu_affinity import (
    busiest_threads,
    pin_threads,
    realtime_priority,
    set_play_spin_count,
)
from exphil_core.inference.latency import gc_disabled
from exphil_core.lock import hold
from exphil_core.pilot.directory import PilotDirectory, Until
from exphil_core.pilot.recorder import PilotStop, Recorder
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.stop_signals import stop_signals

SWITCH_SECONDS = 0.0005
"""Thread switch interval: the recorder's thread yields to the playing thread after this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    device: str
    threads: int
    until: Until | None
    frames: int | None
    replay: Path | None
    eager: bool


def run_pilot(run: RunDirectory, options: Options) -> None:
    """Play until the stop flag is set. UsageError if another pilot of the run is already playing."""
    pilot = PilotDirectory(run)
    pilot.path.mkdir(exist_ok=True)
    stop = PilotStop()

    def asked(asking: signal.Signals) -> None:
        stop.why = f"it was asked to ({asking.name})"

    with (
        hold(pilot.lock_path, f"the pilot of run {run.name}"),
        stop_signals(asked, always=signal.SIGTERM),
    ):
        for name in ("status.json", "frames.ring"):
            # Only these: the trainer writes its own partial file in this folder.
            for partial in pilot.path.glob(f"{name}.*.partial"):
                partial.unlink(missing_ok=True)
        pilot.events_path.unlink(missing_ok=True)
        with _output_to(pilot.log_path), Recorder(pilot, stop, options.until) as recorder:
            try:
                _play(run, pilot, options, stop, recorder)
            except ExphilError as error:
                code, message = type(error).__name__, str(error)
                recorder.write(lambda: recorder.event("error", code=code, message=message))
                raise
            if stop():
                print(f"the pilot of run {run.name} ends: {stop.why}", file=sys.stderr, flush=True)


def _play(
    run: RunDirectory, pilot: PilotDirectory, options: Options, stop: PilotStop, recorder: Recorder
) -> None:
    import torch

    from exphil_core.inference.predictor import layout_of
    from exphil_core.pilot.clips import cut_clips, held_out_sides, replay_sides
    from exphil_core.pilot.loader import PolicyLoader, fastest_runtime, read_checkpoint
    from exphil_core.pilot.player import PilotPlayer
    from exphil_core.pilot.weight_watcher import WeightWatcher
    from exphil_core.runs.predictions import PredictionRing
    from exphil_core.training.checkpoint_manager import playable_preset
    from exphil_core.training.device import choose_device

    preset = playable_preset(run.preset())
    device = choose_device(preset.train.device if options.device == "auto" else options.device)
    runtime = "eager" if options.eager else fastest_runtime(device)
    pilot.write_status(device.type, runtime)
    torch.set_num_threads(options.threads)
    loader = PolicyLoader(preset, device, runtime, threads=options.threads)
    policy = loader.policy
    facts: dict[str, object] = {
        "device": device.type,
        "backbone": preset.backbone.kind,
        "runtime": runtime,
        "parameters": sum(policy.describe().values()),
        "window_size": preset.backbone.window_size,
        "threads": options.threads,
    }
    ring = PredictionRing.create(
        pilot.frames_path,
        layout_of(policy.codec, horizon=policy.horizon),
        {"run": run.name, "backbone": preset.backbone.kind},
    )

    def warn(code: str, message: str) -> None:
        recorder.write(lambda: recorder.event("warning", code=code, message=message))

    sides = held_out_sides(run, preset) if options.replay is None else replay_sides(options.replay, preset)
    watcher = WeightWatcher(run, like=policy.state_dict(), read_checkpoint=read_checkpoint, warn=warn)
    sys.setswitchinterval(SWITCH_SECONDS)
    with _own_cores(options.threads) as cores, gc_disabled():

        @contextmanager
        def undisturbed(trial_frame: Callable[[], object]) -> Iterator[None]:
            # What was loaded before the first clip is frozen, so this is short.
            gc.collect()
            helpers = busiest_threads(trial_frame, len(cores) - 1) if len(cores) > 1 else ()
            # Two pilots with real-time priority on one core would starve each other.
            first = realtime_priority(helpers) if cores else nullcontext(False)
            with pin_threads(cores, helpers), first as realtime:
                facts["realtime"] = realtime
                yield

        PilotPlayer(
            cut_clips(sides, policy.codec, horizon=policy.horizon),
            watcher.poll,
            loader.load,
            keep=lambda record: recorder.write(lambda: ring.append(record)),
            say=lambda felt, played: recorder.write(lambda: recorder.latency(felt, played, facts)),
            loading=lambda step: recorder.write(lambda: recorder.event("loading", step=step)),
            undisturbed=undisturbed,
            clock=time.perf_counter,
            sleep=time.sleep,
        ).play(stop, frames=options.frames)


@contextmanager
def _own_cores(threads: int) -> Iterator[tuple[int, ...]]:
    """Reserve the last `threads` cores that no other pilot holds; yield none if there are too few."""
    folder = cache_root() / "cores"
    with ExitStack() as held:
        found: list[int] = []
        for core in reversed(available_cores()) if hasattr(os, "sched_setaffinity") else ():
            with suppress(UsageError, OSError):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(hold(folder / f"core-{core}", f"core {core}"))
                found.append(core)
            if len(found) == threads:
                break
        yield tuple(sorted(found)) if len(found) == threads else ()


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Redirect stdout and stderr of this process to a file; the terminal may show a screen."""
    kept = [os.dup(number) for number in (1, 2)]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    try:
        for number in (1, 2):
            os.dup2(log, number)
        yield
    finally:
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        os.close(log)


def _options(arguments: Sequence[str]) -> tuple[Path, Options]:
    parser = argparse.ArgumentParser(prog="python -m exphil_core.pilot", allow_abbrev=False)
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until", choices=("run", "stdin"))
    parser.add_argument("--frames", type=int)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--eager", action="store_true")
    found = parser.parse_args(arguments)
    for name in ("threads", "frames"):
        value = getattr(found, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: expected at least 1")
    return found.run, Options(
        device=found.device,
        threads=found.threads,
        until=found.until,
        frames=found.frames,
        replay=found.replay,
        eager=found.eager,
    )


def main() -> int:
    # A crash inside a library leaves its stack trace in the log.
    faulthandler.enable()
    limit_openmp_spins()
    set_play_spin_count()
    try:
        path, options = _options(sys.argv[1:])
        run_pilot(RunDirectory.open(path), options)
    except ExphilError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or sys.argv[1:]}: {error.strerror or error}", file=sys.stderr, flush=True)
        return ExphilError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
