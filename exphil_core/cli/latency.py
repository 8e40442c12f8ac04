"""`exphil bench latency`: what one frame costs each backbone in each runtime, as a player feels it.

In: backbones by name, sizes, windows and runtimes, or one checkpoint, or a run's pilot. Out: a table and gauges a
window, or one JSON object. What a reader gets wrong: weights are fresh unless a run is named. What a frame costs does
not depend on what they have learned, and the step-against-forward error is of the same weights on both sides.
"""

import json
import math
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from exphil_core.cli.choices import chosen_names
from exphil_core.cli.format import console, table
from exphil_core.cli.gauge import STYLES, WIDEST, GaugeView
from exphil_core.cli.options import RunsDir
from exphil_core.config.backbones import ALIASES, BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.config.sizes import named_at_size, size_overrides
from exphil_core.cpu import core_count
from exphil_core.errors import ExphilError, UsageError
from exphil_core.inference.cores import wait_awake
from exphil_core.runs import records
from exphil_core.runs.commands import DEFAULT_RUNS_DIR
from exphil_core.runs.gauge import gauge_lines
from exphil_core.studies.benched import BenchedRow, keep_benched, shape_of

if TYPE_CHECKING:
    from exphil_core.inference.measure import Latency
    from exphil_core.inference.runtimes import RuntimeName
    from exphil_core.models.policy import Policy

SIZES = {"first": "first_{}", "20m": "{}_20m"}
"""Sizes and the presets that have them."""

DEFAULT_SIZE, DEFAULT_WINDOW = "20m", "180"
WARMUP_FRAMES = 120
PLAY_THREADS = 2
"""At most, unless told otherwise: a policy plays beside a game that wants the other cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured: a policy of this preset, in every runtime."""

    preset: Preset
    size: str
    """`first` or `20m`, or the name of the preset or run whose it is."""
    policy: "Policy | None" = None
    """Of a checkpoint; else one with fresh weights is made when its turn comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    backbone: str
    window_size: int
    size: str
    latency: "Latency"


def latency_command(
    backbone: Annotated[
        str | None, typer.Option(help="Which, separated by commas, or all (the default).")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="first, 20m or all (default: 20m); a size of --preset.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of this preset instead, with each backbone in it.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Window sizes, separated by commas (default: 180).")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="eager, onnx, onnx_int8, cuda_graph or all (default: all that this machine has)."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Measured frames a row, at 60 a second.")] = 600,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Measure a run's policy instead: its name or directory, or a checkpoint's."),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(help="Measure what plays beside this run, or the run's newest weights for a while."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Processor threads of a policy (default: two, or one where there is one core)."),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure encode + step + sample + decode of one frame at 60 Hz, beside the budget of 16.67 ms."""
    wait_awake()
    cores = core_count()
    if pilot is not None:
        _refuse_beside_pilot(
            ("--backbone", backbone),
            ("--size", size),
            ("--preset", preset),
            ("--window", window),
            ("--runtime", runtime),
            ("--checkpoint", checkpoint),
        )
    wanted_threads = threads
    threads = min(PLAY_THREADS, cores) if threads is None else threads
    if not 1 <= threads <= cores:
        raise UsageError(f"--threads {threads}: expected 1 to {cores}, the cores that this process may use")
    if frames < 1:
        raise UsageError(f"--frames {frames}: expected at least 1 (600 are ten seconds)")
    if checkpoint is not None and (backbone, size, preset, window) != (None, None, None, None):
        raise UsageError(
            "--checkpoint says which policy is measured: leave out --backbone, --size, --preset and --window"
        )
    if pilot is not None:
        _measure_pilot(runs_dir, pilot, frames=frames, threads=wanted_threads, cores=cores, as_json=as_json)
        return

    import torch

    from exphil_core.inference.frames import dojo_game
    from exphil_core.inference.measure import measure, random_policy
    from exphil_core.inference.runtimes import RUNTIMES, PolicyRuntimes, has_runtime, require_runtime

    names: tuple[RuntimeName, ...]
    if runtime is None or runtime == "all":
        names = tuple(name for name in RUNTIMES if has_runtime(name))
    else:
        wanted = chosen_names("--runtime", runtime, RUNTIMES)
        names = tuple(name for name in RUNTIMES if name in wanted)
    for name in names:
        require_runtime(name)
    if checkpoint is None:
        subjects = _presets(backbone or "all", size, preset, window or DEFAULT_WINDOW)
    else:
        subjects = [_of_checkpoint(runs_dir, checkpoint)]
    places = [(name, device) for name in names for device in _devices(name)]

    game = dojo_game()
    rows: list[Row] = []
    kept: list[BenchedRow] = []
    with _torch_threads(threads), _progress(len(subjects) * len(places)) as say:
        for subject in subjects:
            policy = subject.policy or random_policy(subject.preset)
            runtimes = PolicyRuntimes(policy, subject.preset, rows=1, threads=threads)
            kind, window_size = subject.preset.backbone.kind, subject.preset.backbone.window_size
            for name, device in places:
                say(f"{kind} {subject.size}, window {window_size}, {name} on {device}")
                found = measure(
                    name,
                    torch.device(device),
                    runtimes,
                    game,
                    window_size=window_size,
                    frames=frames,
                    warmup=WARMUP_FRAMES,
                )
                rows.append(Row(backbone=kind, window_size=window_size, size=subject.size, latency=found))
                kept.append(_benched(rows[-1], subject.preset, threads=threads))
    if as_json:
        print(json.dumps(_object(rows, threads=threads, cores=cores), allow_nan=False))
    else:
        console().print(latency_report(rows, threads=threads))
    if checkpoint is None:
        _keep(kept, cores=cores)


def _refuse_beside_pilot(*options: tuple[str, str | None]) -> None:
    beside = [option for option, value in options if value is not None]
    if beside:
        raise UsageError(
            f"--pilot measures what a run's pilot plays, so {', '.join(beside)} would be ignored: leave it out"
        )


def _measure_pilot(
    runs_dir: Path, name: str, *, frames: int, threads: int | None, cores: int, as_json: bool
) -> None:
    from exphil_core.cli.pilot_latency import measure_pilot, pilot_report, pilot_result, watching
    from exphil_core.inference.latency import BUDGET_MS, RATE
    from exphil_core.runs.directory import RunDirectory

    run = RunDirectory.find(runs_dir, name)
    with watching(run, frames, quiet=as_json) as see:
        played = measure_pilot(run, frames=frames, threads=threads, see=see)
    if not as_json:
        console().print(pilot_report(run, played))
        return
    told = {
        "machine": machine(cores),
        "threads": played.said.threads,
        "rate_hz": RATE,
        "budget_ms": BUDGET_MS,
        "results": [pilot_result(run, played)],
    }
    print(json.dumps(told, allow_nan=False))


def _benched(row: Row, preset: Preset, *, threads: int) -> BenchedRow:
    took = row.latency.took
    return BenchedRow(
        shape=shape_of(preset),
        backbone=row.backbone,
        window_size=row.window_size,
        size=row.size,
        parameters=row.latency.parameters,
        device=row.latency.device,
        runtime=row.latency.runtime,
        threads=threads,
        frames=took.frames,
        p50_ms=took.p50_ms,
        p95_ms=took.p95_ms,
        p99_ms=took.p99_ms,
        max_ms=took.max_ms,
        missed=took.missed,
        realtime=row.latency.realtime,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _keep(rows: Sequence[BenchedRow], *, cores: int) -> None:
    """For `exphil advise`; that it cannot be kept does not undo what was measured."""
    try:
        keep_benched(machine(cores), rows)
    except (OSError, ExphilError) as error:
        print(f"the figures were not kept for 'exphil advise': {error}", file=sys.stderr)


def _presets(backbone: str, size: str | None, preset: str | None, window: str) -> list[Subject]:
    """Every backbone, size and window that was asked for and exists; of that preset, at that size of it, where one
    is named."""
    from exphil_core.config.loader import list_presets, load_preset, resolve_preset

    named = ",".join(ALIASES.get(kind.strip(), kind.strip()) for kind in backbone.split(","))
    kinds = chosen_names("--backbone", named, BACKBONE_KINDS)
    windows = _windows(window)
    known, shapes = set(list_presets()), []
    if preset is not None:
        shapes = [
            (
                named_at_size(preset, size),
                resolve_preset(
                    preset,
                    {"backbone.kind": kind, **size_overrides(size)},
                    {"backbone.kind": "--backbone", "size": "--size"},
                ).preset,
            )
            for kind in kinds
        ]
    for each_size in chosen_names("--size", size or DEFAULT_SIZE, tuple(SIZES)) if preset is None else ():
        for kind in kinds:
            preset_name = SIZES[each_size].format(kind)
            if preset_name not in known:
                if backbone != "all":
                    raise UsageError(
                        f"--backbone {kind} --size {each_size}: there is no preset '{preset_name}'"
                    )
                continue
            shapes.append((each_size, load_preset(preset_name)))
    found = []
    for named, shape in shapes:
        for window_size in windows:
            changed = {
                "backbone": shape.backbone.model_copy(update={"window_size": window_size}),
                # What it is trained on goes with the window, where the preset's own might be too short.
                "train": shape.train.model_copy(update={"chunk_length": None}),
            }
            found.append(Subject(preset=shape.model_copy(update=changed), size=named))
    return sorted(found, key=lambda subject: subject.preset.backbone.window_size)


def _windows(text: str) -> tuple[int, ...]:
    try:
        windows = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        windows = []
    if not windows or windows[0] < 2:
        raise UsageError(
            f"--window {text}: expected frames, separated by commas, each at least 2, such as 60,180"
        )
    return tuple(windows)


def _of_checkpoint(runs_dir: Path, checkpoint: str) -> Subject:
    import torch

    from exphil_core.training.keeper import find_checkpoint, load_for_play

    run, directory = find_checkpoint(runs_dir, checkpoint)
    _, preset, policy = load_for_play(directory, torch.device("cpu"))
    return Subject(preset=preset, size=run.name, policy=policy)


def _devices(runtime: "RuntimeName") -> tuple[str, ...]:
    """Where a runtime is measured on this machine."""
    import torch

    if runtime == "cuda_graph":
        return ("cuda",)
    return ("cpu", "cuda") if runtime == "eager" and torch.cuda.is_available() else ("cpu",)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Says on stderr what is being measured: one line that changes on a terminal, lines elsewhere."""
    begun = 0

    def line(text: str) -> str:
        nonlocal begun
        begun += 1
        return f"measuring {begun} of {total}: {text}"

    if not sys.stderr.isatty():
        yield lambda text: print(line(text), file=sys.stderr, flush=True)
        return
    # Drawn when the text changes and at no other time: a thread that draws would be measured too.
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(line(text), overflow="ellipsis", no_wrap=True), refresh=True)


def latency_report(rows: Sequence[Row], *, threads: int) -> RenderableType:
    """A table a window and size, the backbone that is done first at the top, and what its columns mean."""
    parts: list[RenderableType] = []
    for window_size, size in sorted({(row.window_size, row.size) for row in rows}):
        group = _ordered([row for row in rows if (row.window_size, row.size) == (window_size, size)])
        parts += [_figures(group, title=f"Window {window_size}, {size}: milliseconds a frame"), Text()]
        told = [_told(row, threads) for row in group]
        parts += [GaugeView(latency=told[0]) if len(rows) == 1 else _Bars(told), Text()]
        if any(row.latency.parts_p50_ms for row in group):
            parts += [_parts(group), Text()]
    return Group(*parts, *(Text(line) for line in _notes(rows, threads)))


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Backbones by the p99 of their fastest runtime, and each one's runtimes together."""
    fastest: dict[str, float] = {}
    for row in rows:
        fastest[row.backbone] = min(fastest.get(row.backbone, math.inf), row.latency.took.p99_ms)
    return sorted(rows, key=lambda row: (fastest[row.backbone], row.backbone))


def _figures(rows: Sequence[Row], *, title: str) -> RenderableType:
    found = table(
        ("backbone", "runtime"), right=("p50", "p95", "p99", "max", "missed", "floor", "error"), title=title
    )
    above = ""
    for row in rows:
        latency, took = row.latency, row.latency.took
        late = "" if took.within_budget else "!"
        found.add_row(
            "" if row.backbone == above else row.backbone,
            f"{latency.runtime}{_on_gpu(latency.device, latency.runtime)}",
            f"{took.p50_ms:.2f}",
            f"{took.p95_ms:.2f}",
            Text(f"{late}{took.p99_ms:.2f}", style="bold red" if late else ""),
            f"{took.max_ms:.2f}",
            f"{took.missed}",
            f"{latency.floor_ms:.2f}",
            f"{latency.max_abs_error:.0e}",
        )
        above = row.backbone
    return found


def _told(row: Row, threads: int) -> records.Latency:
    """A row as a pilot would say it."""
    from exphil_core.inference.latency import BUDGET_MS

    latency, took = row.latency, row.latency.took
    return records.Latency(
        seq=0,
        ts="",
        device=latency.device,
        backbone=row.backbone,
        frames=took.frames,
        p50_ms=took.p50_ms,
        p95_ms=took.p95_ms,
        p99_ms=took.p99_ms,
        max_ms=took.max_ms,
        missed=took.missed,
        budget_ms=BUDGET_MS,
        histogram=list(latency.histogram),
        runtime=latency.runtime,
        window_size=row.window_size,
        late_p99_ms=latency.late_p99_ms,
        realtime=latency.realtime,
        threads=threads,
    )


class _Bars:
    """The gauges of several rows on one scale: a bar up to the p95, a notch at the p50, a line at the budget."""

    def __init__(self, rows: Sequence[records.Latency]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [f"{row.backbone} {row.runtime}{_on_gpu(row.device, row.runtime)}" for row in self._rows]
        left = max(map(len, names))
        width = min(options.max_width, WIDEST) - left
        for place, (name, row) in enumerate(zip(names, self._rows, strict=True)):
            scale, bar = gauge_lines(row, (), width=width, height=2, ascii=options.ascii_only)
            for heading, line in ((" ", scale), (name, bar)) if place == 0 else ((name, bar),):
                parts = [(text, STYLES[look]) for text, look in line]
                yield Text.assemble(heading.ljust(left), *parts, no_wrap=True, overflow="crop")


def _on_gpu(device: str, runtime: str) -> str:
    return " (GPU)" if device != "cpu" and runtime != "cuda_graph" else ""


def _parts(rows: Sequence[Row]) -> RenderableType:
    found = table(
        ("eager torch, p50 of each part",), right=("encode", "step", "sample", "decode", "parameters")
    )
    for row in rows:
        if row.latency.parts_p50_ms is not None and row.latency.device == "cpu":
            parts = [f"{value:.2f}" for value in row.latency.parts_p50_ms.values()]
            found.add_row(row.backbone, *parts, f"{row.latency.parameters:,}")
    return found


def _notes(rows: Sequence[Row], threads: int) -> list[str]:
    from exphil_core.inference.latency import BUDGET_MS, RATE

    first = rows[0].latency
    over = [row for row in rows if not row.latency.took.within_budget]
    verdict = f"{len(over)} of {len(rows)} are not (!)" if over else "all are"
    return [
        f"Paced at {RATE:.0f} Hz with {threads} {'thread' if threads == 1 else 'threads'}: {first.took.frames} "
        f"frames a row, after {first.warmup} of warm-up that do not count. Where cores can be chosen, the player's "
        f"threads keep to one each; {_priority(first.realtime)}.",
        f"Within the budget of {BUDGET_MS:.2f} ms is what takes less in 99 of 100 frames, and meets as many "
        f"deadlines: {verdict}.",
        "missed: frames that were done after the next tick. floor: reading the weights once, at the best rate of "
        "this machine's memory.",
        "error: of the step against the forward pass, in nats, over three windows and a half with resets.",
    ]


def _priority(realtime: bool) -> str:
    if realtime:
        return "they had real-time priority, as a player asks for"
    return "they had no more than the usual priority, since this system grants no other ('ulimit -r' is 0)"


def _object(rows: Sequence[Row], *, threads: int, cores: int) -> dict[str, object]:
    from exphil_core.inference.latency import BUDGET_MS, RATE

    return {
        "machine": machine(cores),
        "threads": threads,
        "rate_hz": RATE,
        "budget_ms": BUDGET_MS,
        "results": [_result(row) for row in rows],
    }


def _result(row: Row) -> dict[str, object]:
    latency, took = row.latency, row.latency.took
    return {
        "backbone": row.backbone,
        "size": row.size,
        "parameters": latency.parameters,
        "window_size": row.window_size,
        "device": latency.device,
        "runtime": latency.runtime,
        "frames": took.frames,
        "warmup": latency.warmup,
        "p50_ms": took.p50_ms,
        "p95_ms": took.p95_ms,
        "p99_ms": took.p99_ms,
        "max_ms": took.max_ms,
        "missed": took.missed,
        "within_budget": took.within_budget,
        "realtime": latency.realtime,
        "histogram": latency.histogram,
        "late_p99_ms": latency.late_p99_ms,
        "parts_p50_ms": latency.parts_p50_ms,
        # JSON has no infinity, which is what an error is where a result is not a number.
        "max_abs_error": latency.max_abs_error if math.isfinite(latency.max_abs_error) else None,
        "floor_ms": latency.floor_ms,
        "bandwidth_gb_per_s": latency.bandwidth_gb_per_s,
    }


def machine(cores: int) -> dict[str, object]:
    """What the figures were taken on."""
    import torch

    return {
        "processor": _processor(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": metadata.version("onnxruntime") if find_spec("onnxruntime") else None,
    }


def _processor() -> str:
    """Its name, where the system says one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
