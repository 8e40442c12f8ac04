"""A run's pilot as a process: `python -m exphil_core.pilot RUN [OPTIONS]`, beside whatever else the run is doing.

In: a run directory and how long to play. Out: the files of `runs.pilot`, and an exit code (CLI.md). One pilot a run
plays at a time. What a reader gets wrong: the run is never written to, waited for or signalled from here, so nothing
that becomes of a pilot becomes of its run. What goes to the disk does so from another thread than the one that plays,
since a disk may take as long as it likes.
"""

import argparse
import faulthandler
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import psutil

from exphil_core.cpu import available_cores
from exphil_core.dataset.catalog import cache_root
from exphil_core.errors import ExphilError, UsageError
from exphil_core.inference.cores import ahead_of_others, helpers_in, kept_to, wait_awake
from exphil_core.lock import hold
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.pilot import PilotDirectory, Until

if TYPE_CHECKING:
    from exphil_core.inference.pilot import Now
    from exphil_core.inference.recent import Felt
    from exphil_core.inference.stagehand import Memories

EVENTS_BYTES = 4 << 20
"""Of events, after which a new file takes the place of the old one."""

LOOK_SECONDS = 1.0
"""Between two looks at whether the run still is there."""

CPU_SECONDS = 1.0
"""That the cores in use are reckoned over."""

END_SECONDS = 2.0
"""That the stagehand is given to end."""

SWITCH_SECONDS = 0.0005
"""After so long a thread hands over to the one that plays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    device: str
    threads: int
    until: Until | None
    frames: int | None
    replay: Path | None


class Over:
    """Whether, and why, it is time to end."""

    def __init__(self) -> None:
        self.why = ""

    def __call__(self) -> bool:
        return bool(self.why)


def fly(run: RunDirectory, options: Options) -> None:
    """Plays until it is over. UsageError where a pilot of the run plays already."""
    pilot = PilotDirectory(run)
    pilot.path.mkdir(exist_ok=True)
    over = Over()
    with hold(pilot.lock_path, f"the pilot of run {run.name}"), _signals(over):
        for name in ("status.json", "frames.ring"):
            # Not every partial file: the trainer's is in this folder, too.
            for partial in pilot.path.glob(f"{name}.*.partial"):
                partial.unlink(missing_ok=True)
        pilot.events_path.unlink(missing_ok=True)
        with _output_to(pilot.log_path), _Notes(pilot, over, options.until) as notes:
            try:
                _play(run, pilot, options, over, notes)
            except ExphilError as error:
                code, message = type(error).__name__, str(error)
                notes.write(lambda: notes.event("error", code=code, message=message))
                raise
            if over():
                print(f"the pilot of run {run.name} ends: {over.why}", file=sys.stderr, flush=True)


def _play(run: RunDirectory, pilot: PilotDirectory, options: Options, over: Over, notes: "_Notes") -> None:
    import torch

    from exphil_core.inference.latency import without_collector
    from exphil_core.inference.pilot import Pilot
    from exphil_core.inference.stagehand import Memories
    from exphil_core.models.policy import build_policy
    from exphil_core.runs.predictions import Ring
    from exphil_core.training.device import choose_device
    from exphil_core.training.keeper import playable_preset

    preset = playable_preset(run.preset())
    device = choose_device(preset.train.device if options.device == "auto" else options.device)
    pilot.write_status(device.type)
    torch.set_num_threads(options.threads)
    memories = Memories.new()
    with _stagehand(run, memories, options.replay) as (link, process):
        policies = (build_policy(preset).to(device).eval(), build_policy(preset).to(device).eval())
        player = Pilot(
            policies,
            link,
            memories,
            keep=lambda record: notes.write(lambda: ring.append(record)),
            say=lambda felt, now: notes.write(lambda: notes.latency(felt, now, facts)),
            warn=lambda code, message: notes.write(
                lambda: notes.event("warning", code=code, message=message)
            ),
            clock=time.perf_counter,
            sleep=time.sleep,
        )
        ring = Ring.create(
            pilot.frames_path, player.layout, {"run": run.name, "backbone": preset.backbone.kind}
        )
        facts: dict[str, object] = {
            "device": device.type,
            "backbone": preset.backbone.kind,
            "runtime": "eager",
            "parameters": sum(policies[0].describe().values()),
            "window_size": preset.backbone.window_size,
            "threads": options.threads,
        }
        notes.others = (psutil.Process(process.pid),)
        try:
            if not player.prepare(over):
                return
            sys.setswitchinterval(SWITCH_SECONDS)
            with _own_cores(options.threads) as cores, without_collector():
                helpers = helpers_in(player.rehearse, len(cores) - 1) if len(cores) > 1 else ()
                # Of two pilots on one core that go before all others, neither would have its time.
                first = ahead_of_others(helpers) if cores else nullcontext(False)
                with kept_to(cores, helpers), first as realtime:
                    facts["realtime"] = realtime
                    player.play(over, frames=options.frames)
        except (EOFError, ConnectionError) as error:
            code = process.wait(END_SECONDS)
            raise ExphilError(
                f"the process that prepares what the pilot of run {run.name} plays ended with exit code {code}; "
                f"{pilot.log_path} has what it said last"
            ) from error


@contextmanager
def _own_cores(threads: int) -> Iterator[tuple[int, ...]]:
    """The last cores, where a run leaves its pilot some, that no other pilot has; none where there are too few."""
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
def _stagehand(
    run: RunDirectory, memories: "Memories", replay: Path | None
) -> Iterator[tuple["Connection[Any, Any]", "subprocess.Popen[bytes]"]]:
    """The process that prepares what is played. It ends with this one, however this one ends."""
    link, other = Pipe()
    handles = ",".join(map(str, memories.handles))
    arguments = [str(run.path.absolute()), str(other.fileno()), handles, *([str(replay)] if replay else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "exphil_core.stagehand", *arguments],
        stdin=subprocess.DEVNULL,
        pass_fds=(other.fileno(), *memories.handles),
    )
    # Only the child has it now: its end is an end of file here, and ours is one there.
    other.close()
    try:
        yield link, process
    finally:
        link.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Notes:
    """All that a pilot writes while it plays, and its look at the run, in a thread of their own."""

    def __init__(self, pilot: PilotDirectory, over: Over, until: Until | None) -> None:
        self.others: tuple[psutil.Process, ...] = ()
        """Whose time on a core counts as the pilot's."""
        self._pilot, self._over, self._until = pilot, over, until
        self._log = EventLog(pilot.events_path)
        self._waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._complained: set[str] = set()
        self._cpu: float | None = None
        self._cpu_read = (time.monotonic(), 0.0)
        self._thread = threading.Thread(target=self._work, name="notes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._until == "stdin":
            threading.Thread(target=self._follow_input, name="stdin", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        with suppress(OSError):
            self._log.close()

    def write(self, note: Callable[[], object]) -> None:
        """Soon, and in order."""
        self._waiting.put(note)

    def event(self, kind: str, **fields: object) -> None:
        if self._pilot.events_path.exists() and self._pilot.events_path.stat().st_size > EVENTS_BYTES:
            self._log.close()
            self._pilot.events_path.unlink(missing_ok=True)
            self._log = EventLog(self._pilot.events_path)
        self._log.append(kind, **fields)

    def latency(self, felt: "Felt", now: "Now", facts: dict[str, object]) -> None:
        self.event(
            "latency",
            **facts,
            step=now.step,
            weights=f"{now.weights:016x}",
            game=now.game,
            character=now.character,
            frame_index=now.frame_index,
            cpu=self._cores_in_use(),
            **felt.fields(),
        )

    def _work(self) -> None:
        looked = time.monotonic()
        while True:
            with suppress(queue.Empty):
                note = self._waiting.get(timeout=LOOK_SECONDS)
                if note is None:
                    return
                self._guard(note)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                self._guard(self._look)

    def _look(self) -> None:
        run = self._pilot.run
        if not (run.path / "run.toml").exists():
            self._over.why = f"{run.path} was deleted"
        elif self._until == "run" and not run.alive():
            self._over.why = "the run has ended"

    def _follow_input(self) -> None:
        with suppress(OSError):
            # Not through a buffered file, whose lock the end of the interpreter would wait for.
            while os.read(0, 4096):
                pass
        self._over.why = "its standard input ended"

    def _cores_in_use(self) -> float | None:
        """On average over the last second or so."""
        read, before = self._cpu_read
        now = time.monotonic()
        if now - read < CPU_SECONDS:
            return self._cpu
        seconds = time.process_time()
        for other in self.others:
            with suppress(psutil.Error):
                times = other.cpu_times()
                seconds += times.user + times.system
        if before:
            self._cpu = round((seconds - before) / (now - read), 3)
        self._cpu_read = (now, seconds)
        return self._cpu

    def _guard(self, work: Callable[[], object]) -> None:
        """A full disk or a deleted folder is no reason to stop playing."""
        try:
            work()
        except (OSError, ExphilError) as error:
            said = f"the pilot of run {self._pilot.run.name}: {error}"
            if said not in self._complained:
                self._complained.add(said)
                print(said, file=sys.stderr, flush=True)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """What this process and its child print goes to a file: their terminal, if any, may be a screen."""
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


@contextmanager
def _signals(over: Over) -> Iterator[None]:
    """SIGTERM, Ctrl-C and a closed terminal end the play."""

    def handle(number: int, frame: FrameType | None) -> None:
        over.why = f"it was asked to ({signal.Signals(number).name})"

    before: dict[int, Any] = {}
    for asking in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # What was set to be ignored stays so: that is how nohup works.
        if asking == signal.SIGTERM or signal.getsignal(asking) != signal.SIG_IGN:
            before[asking] = signal.signal(asking, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _options(arguments: Sequence[str]) -> tuple[Path, Options]:
    parser = argparse.ArgumentParser(prog="python -m exphil_core.pilot", allow_abbrev=False)
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until", choices=("run", "stdin"))
    parser.add_argument("--frames", type=int)
    parser.add_argument("--replay", type=Path)
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
    )


def main() -> int:
    # A crash inside a library leaves its stack in the log.
    faulthandler.enable()
    wait_awake()
    try:
        path, options = _options(sys.argv[1:])
        fly(RunDirectory.open(path), options)
    except ExphilError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or sys.argv[1:]}: {error.strerror or error}", file=sys.stderr, flush=True)
        return ExphilError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
