"""`exphil bench latency`: per-frame latency of each backbone in each runtime at 60 Hz.

Weights are randomly initialised unless --checkpoint or --pilot names a run; latency does not depend on their values.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from exphil_core.advise.latency_cache import CachedLatency, shape_of, write_latency_cache
from exphil_core.cli.choices import chosen_names
from exphil_core.cli.format import console
from exphil_core.cli.latency_report import LatencyRow, latency_object, latency_report
from exphil_core.cli.machine import machine
from exphil_core.cli.options import RunsDir
from exphil_core.config.backbones import ALIASES, BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.config.sizes import named_at_size, size_overrides
from exphil_core.cpu import core_count
from exphil_core.errors import ExphilError, UsageError
from exphil_core.inference.cpu_affinity import set_play_spin_count
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    from exphil_core.inference.runtimes import RuntimeName
    from exphil_core.models.policy import Policy

SIZES = {"first": "first_{}", "20m": "{}_20m"}
"""Size name → preset name pattern."""

DEFAULT_SIZE, DEFAULT_WINDOW = "20m", "180"
WARMUP_FRAMES = 120
PLAY_THREADS = 2
"""Default maximum of processor threads; the game that runs beside the policy needs the other cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One policy to measure in every runtime."""

    preset: Preset
    size: str
    """`first` or `20m`, or the name of the preset or run."""
    policy: "Policy | None" = None
    """Policy of a checkpoint; None: one with random weights is built right before it is measured."""


def latency_command(
    backbone: Annotated[
        str | None, typer.Option(help="Backbones, separated by commas, or all (default: all).")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="first, 20m or all (default: 20m); with --preset, a size of the preset."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Measure each backbone in this preset instead.")] = None,
    window: Annotated[
        str | None, typer.Option(help="Window sizes, separated by commas (default: 180).")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="eager, onnx, onnx_int8, cuda_graph or all (default: all that this machine has)."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames to measure per row, at 60 per second.")] = 600,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Measure a trained policy instead: a run's name or directory, or a checkpoint directory."
        ),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(help="Measure the pilot of this run, or start one on the run's newest weights."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads of a policy (default: 2, or 1 on one core)."),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the latency of encode + step + sample + decode per frame at 60 Hz, against the budget of 16.67 ms."""
    set_play_spin_count()
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

    names = _runtimes(runtime)
    if checkpoint is None:
        subjects = _presets(backbone or "all", size, preset, window or DEFAULT_WINDOW)
    else:
        subjects = [_of_checkpoint(runs_dir, checkpoint)]
    rows, cached = _measure(subjects, names, frames=frames, threads=threads)
    if as_json:
        print(json.dumps(latency_object(rows, threads=threads, cores=cores), allow_nan=False))
    else:
        console().print(latency_report(rows, threads=threads))
    if checkpoint is None:
        _keep(cached, cores=cores)


def _runtimes(runtime: str | None) -> tuple["RuntimeName", ...]:
    """Return the runtimes that --runtime names; all that this machine has by default."""
    from exphil_core.inference.runtimes import RUNTIMES, has_runtime, require_runtime

    if runtime is None or runtime == "all":
        return tuple(name for name in RUNTIMES if has_runtime(name))
    wanted = chosen_names("--runtime", runtime, RUNTIMES)
    names = tuple(name for name in RUNTIMES if name in wanted)
    for name in names:
        require_runtime(name)
    return names


def _measure(
    subjects: Sequence[Subject], names: Sequence["RuntimeName"], *, frames: int, threads: int
) -> tuple[list[LatencyRow], list[CachedLatency]]:
    """Measure every subject in every runtime, on every device that the runtime has.

    Returns the rows of the report, and the same figures for the latency cache.
    """
    import torch

    from exphil_core.inference.frames import dojo_game
    from exphil_core.inference.latency_benchmark import benchmark_latency, random_policy
    from exphil_core.inference.runtimes import PolicyRuntimes

    devices = [(name, device) for name in names for device in _devices(name)]
    game = dojo_game()
    rows: list[LatencyRow] = []
    cached: list[CachedLatency] = []
    with _torch_threads(threads), _progress(len(subjects) * len(devices)) as say:
        for subject in subjects:
            policy = subject.policy or random_policy(subject.preset)
            runtimes = PolicyRuntimes(policy, subject.preset, rows=1, threads=threads)
            kind, window_size = subject.preset.backbone.kind, subject.preset.backbone.window_size
            for name, device in devices:
                say(f"{kind} {subject.size}, window {window_size}, {name} on {device}")
                found = benchmark_latency(
                    name,
                    torch.device(device),
                    runtimes,
                    game,
                    window_size=window_size,
                    frames=frames,
                    warmup=WARMUP_FRAMES,
                )
                rows.append(
                    LatencyRow(backbone=kind, window_size=window_size, size=subject.size, latency=found)
                )
                cached.append(_cached(rows[-1], subject.preset, threads=threads))
    return rows, cached


def _refuse_beside_pilot(*options: tuple[str, str | None]) -> None:
    beside = [option for option, value in options if value is not None]
    if beside:
        raise UsageError(
            f"--pilot measures what a run's pilot plays, so {', '.join(beside)} would be ignored: leave it out"
        )


def _measure_pilot(
    runs_dir: Path, name: str, *, frames: int, threads: int | None, cores: int, as_json: bool
) -> None:
    from exphil_core.cli.pilot_latency import live_gauge, measure_pilot, pilot_report, pilot_result
    from exphil_core.inference.latency import BUDGET_MS, RATE
    from exphil_core.runs.directory import RunDirectory

    run = RunDirectory.find(runs_dir, name)
    with live_gauge(run, frames, quiet=as_json) as see:
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


def _cached(row: LatencyRow, preset: Preset, *, threads: int) -> CachedLatency:
    took = row.latency.took
    return CachedLatency(
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


def _keep(rows: Sequence[CachedLatency], *, cores: int) -> None:
    """Store the rows in the latency cache for `exphil advise`; a failure to write is only reported."""
    try:
        write_latency_cache(machine(cores), rows)
    except (OSError, ExphilError) as error:
        print(f"the results were not saved for 'exphil advise': {error}", file=sys.stderr)


def _presets(backbone: str, size: str | None, preset: str | None, window: str) -> list[Subject]:
    """Return a subject per backbone, size and window, sorted by window.

    With `preset`, every backbone is put into that preset at that size. Otherwise sizes are the keys of `SIZES`, and
    backbones without a preset of a size are skipped for "all", or else are a UsageError.
    """
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
                # None: derived from the window, as the preset's own chunk length might be too short.
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

    from exphil_core.training.checkpoint_manager import find_checkpoint, load_for_play

    run, directory = find_checkpoint(runs_dir, checkpoint)
    _, preset, policy = load_for_play(directory, torch.device("cpu"))
    return Subject(preset=preset, size=run.name, policy=policy)


def _devices(runtime: "RuntimeName") -> tuple[str, ...]:
    """Return the devices on which a runtime is measured on this machine."""
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
    """Show on stderr what is being measured: one updated line on a terminal, one line per message elsewhere."""
    begun = 0

    def line(text: str) -> str:
        nonlocal begun
        begun += 1
        return f"measuring {begun} of {total}: {text}"

    if not sys.stderr.isatty():
        yield lambda text: print(line(text), file=sys.stderr, flush=True)
        return
    # Redraw only when the text changes: a refresh thread would disturb the measurement.
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(line(text), overflow="ellipsis", no_wrap=True), refresh=True)
