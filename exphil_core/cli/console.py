"""Console output of a run's events: JSON lines, plain lines, or a rich progress bar on a terminal.

Results and plain lines go to stdout, warnings and the progress bar to stderr. When the reader of a stream goes away
(`| head`, a closed terminal), printing stops and the run continues.
"""

import errno
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from exphil_core.cli.format import console, counted
from exphil_core.cli.report import evaluation_table, neighbours_table
from exphil_core.melee import characters

Record = dict[str, Any]
Sink = Callable[[Record], None]

SHARES_SHOWN = 6
"""Maximum number of character shares in a run's first line."""

_UNREAD = (errno.EPIPE, errno.EIO)
"""Write errors of a pipe without a reader (EPIPE) and of a closed terminal (EIO)."""


@contextmanager
def console_sink(*, as_json: bool) -> Iterator[Sink]:
    """Yield a JSON sink, a progress bar where stdout and stderr are terminals, or else a plain-line sink."""
    if as_json:
        yield _until_unread(_write_json)
    elif sys.stderr.isatty() and sys.stdout.isatty():
        with _progress() as progress:
            yield _until_unread(RichSink(progress))
    else:
        yield _until_unread(PlainSink())


def _until_unread(sink: Sink) -> Sink:
    """Wrap `sink` so that it stops printing once its stream has no reader."""
    silent = False

    def write(record: Record) -> None:
        nonlocal silent
        if silent:
            return
        try:
            sink(record)
        except OSError as error:
            if error.errno not in _UNREAD:
                raise
            silent = True
            _close_unread()

    return write


def _close_unread() -> None:
    """Redirect streams without a reader to /dev/null; Python would fail at exit otherwise, and rich right away."""
    for stream in (sys.stdout, sys.stderr):
        try:
            handle = stream.fileno()
        except (OSError, ValueError):
            continue
        asked = select.poll()
        asked.register(handle, 0)
        if any(found & (select.POLLERR | select.POLLHUP) for _, found in asked.poll(0)):
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), handle)


def _write_json(record: Record) -> None:
    print(json.dumps(record, separators=(",", ":"), allow_nan=False), flush=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("step {task.fields[step]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} frames/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _per_character(record: Record) -> str:
    losses = record["per_character"]
    ordered = sorted(losses, key=characters.low_tier_first)
    return " ".join(f"{name} {losses[name]['loss']:.3f}" for name in ordered)


def _drawn(dataset: Mapping[str, Any]) -> str:
    """Format the share of windows drawn per character, for the first `SHARES_SHOWN` characters."""
    shares = dataset["shares"]
    named = [f"{name} {share['drawn']:.1%}" for name, share in list(shares.items())[:SHARES_SHOWN]]
    more = f" and {len(shares) - SHARES_SHOWN} more" if len(shares) > SHARES_SHOWN else ""
    return f"; windows: {', '.join(named)}{more}"


def describe(record: Record) -> str | None:
    """Return one plain line for an event, or None for event types that are not printed."""
    match record["type"]:
        case "run_started":
            dataset = record["dataset"]
            kernel = f", {record['kernel']} scan kernel" if record.get("kernel") else ""
            resumed = f", resumed at step {record['resumed_from']:,}" if record.get("resumed_from") else ""
            return (
                f"run {record['run']}: {record['backbone']}, window {record['window_size']}, "
                f"{record['parameters']:,} parameters on {record['device']} in {record['precision']}{kernel}; "
                f"{counted(dataset['games'], 'game')}, {counted(dataset['frames'], 'frame')}"
                f"{resumed}{_drawn(dataset)}"
            )
        case "preparing":
            return str(record["message"])
        case "step":
            return (
                f"step {record['step']:,} epoch {record['epoch']:.2f} loss {record['loss']:.4f} "
                f"[{_per_character(record)}] {record['frames_per_s']:,.0f} frames/s "
                f"wait {record['data_wait']:.1%} eta {_duration(record['eta_s'])}"
            )
        case "evaluated":
            return (
                f"validation at step {record['step']:,}: loss {record['loss']:.4f} [{_per_character(record)}] "
                f"marginal {record['baseline_marginal']:.4f} repeat {record['baseline_repeat']:.4f} "
                f"markov {record['baseline_markov']:.4f}"
            )
        case "checkpoint_saved":
            return f"checkpoint at step {record['step']:,}{' (best so far)' if record['best'] else ''}"
        case "command":
            why = f": {record['reason']}" if record.get("reason") else ""
            return f"{record['command'] or 'a command'} {record['state']}{why}"
        case "run_finished":
            step = "" if record["step"] is None else f" at step {record['step']:,}"
            return f"{record['status']}{step}"
    return None


def _summary(record: Record) -> None:
    validation = record["summary"].get("validation")
    if validation is None:
        return
    best = record["summary"]["best_step"]
    out = console()
    out.print()
    out.print(evaluation_table(validation, title=f"Held-out games, best checkpoint (step {best:,})"))
    if neighbours := record["summary"].get("neighbours"):
        out.print()
        out.print(neighbours_table(neighbours))


def _warn(record: Record) -> None:
    # The worker prints errors itself: they must show even without a sink.
    if record["type"] == "warning":
        print(f"warning: {record['message']}", file=sys.stderr, flush=True)


class PlainSink:
    """Print one line per event; step lines at most every `EVERY_SECONDS`, to keep logs short."""

    EVERY_SECONDS = 5.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def __call__(self, record: Record) -> None:
        _warn(record)
        if record["type"] == "step":
            if self._clock() < self._next:
                return
            self._next = self._clock() + self.EVERY_SECONDS
        line = describe(record)
        if line is not None:
            print(line, flush=True)
        if record["type"] == "run_finished":
            _summary(record)


class RichSink:
    """Progress bar at the bottom of the terminal, with the other events' lines above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("train", total=1.0, step="0", loss="–", speed="–")

    def __call__(self, record: Record) -> None:
        if record["type"] == "step":
            self._progress.update(
                self._task,
                completed=record["progress"],
                step=f"{record['step']:,}",
                loss=f"{record['loss']:.4f}",
                speed=f"{record['frames_per_s']:,.0f}",
            )
            return
        if record["type"] == "warning":
            self._progress.console.print(f"warning: {record['message']}", style="yellow", markup=False)
            return
        line = describe(record)
        if line is not None:
            self._progress.console.print(line, markup=False, highlight=False)
        if record["type"] == "run_finished":
            self._progress.stop()
            _summary(record)
