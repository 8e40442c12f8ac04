"""`exphil train --dry-run [--probe SECONDS]`: estimate a run's cost, memory and duration without training.

Without --probe nothing is measured, and the duration is known only where the preset limits it.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exphil_core.cli.format import console, size
from exphil_core.config.loader import preset_to_toml
from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError

if TYPE_CHECKING:
    from exphil_core.training.data import TrainingData
    from exphil_core.training.estimate import RunEstimate

    Shares = Mapping[str, Mapping[str, float]]


def dry_run(
    preset: Preset,
    dataset: Path | None,
    *,
    probe_seconds: float | None,
    as_json: bool,
    reasons: Sequence[str] = (),
) -> int:
    """Print what would be trained; without a dataset, only what follows from the preset. Return the exit code."""
    if probe_seconds is not None:
        if not (probe_seconds > 0 and math.isfinite(probe_seconds)):
            raise UsageError(f"--probe {probe_seconds}: expected a number of seconds above 0")
        if dataset is None:
            raise UsageError("--probe takes real steps, which needs data: name it with --replays PATH")

    from exphil_core.models.backbone import resolve_kernel
    from exphil_core.training.data import open_training_data
    from exphil_core.training.device import choose_device
    from exphil_core.training.estimate import estimate_run, with_measured_speed
    from exphil_core.training.shares import balance_notices, sampling_for, shares_of

    data = None if dataset is None else open_training_data(preset, dataset)
    device = choose_device(preset.train.device)
    resolve_kernel(preset.backbone, device)
    found = estimate_run(preset, data)
    if probe_seconds is not None:
        assert data is not None
        found = with_measured_speed(found, preset, data, device=device, seconds=probe_seconds)
    pool = None if data is None else sampling_for(preset, data)
    if data is not None and pool is not None:
        data = replace(data, warnings=(*data.warnings, *balance_notices(preset, data, pool)))
    shares = {} if pool is None else shares_of(pool)
    if as_json:
        told = {
            **_object(preset, data, shares, found, str(device)),
            "size": preset.size,
            "reasons": list(reasons),
        }
        print(json.dumps(told, allow_nan=False))
    else:
        _print(preset, data, shares, found)
    return 0


def _object(
    preset: Preset, data: "TrainingData | None", shares: "Shares", found: "RunEstimate", device: str
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "preset": preset.model_dump(mode="json"),
        "parameters": found.parameters,
        "frames_per_step": found.frames_per_step,
        "flops_per_frame": found.flops_per_frame,
        "flops_per_step": found.flops_per_step,
        "steps": found.estimated_steps,
        "epochs": found.estimated_epochs,
        "limit_seconds": found.limit_seconds,
        "memory_bytes": found.memory_bytes,
        "memory": dict(found.memory),
        "memory_measured": found.memory_measured is not None,
        "state_bytes": found.state_bytes,
        "device": device,
        "dataset": None if data is None else {**data.summary(), "shares": shares},
        "warnings": [] if data is None else [notice.message for notice in data.warnings],
        "estimated_seconds": found.estimated_seconds,
        "probe": None,
    }
    if found.pace is not None:
        told |= {
            "probe": {
                "steps": found.pace.steps,
                "precision": found.pace.precision,
                "kernel": found.pace.kernel,
                "data_wait": found.pace.data_wait,
            },
            "seconds_per_step": found.pace.seconds_per_step,
            "frames_per_s": found.pace.frames_per_s,
        }
    return told


def _print(preset: Preset, data: "TrainingData | None", shares: "Shares", found: "RunEstimate") -> None:
    for notice in () if data is None else data.warnings:
        print(f"warning: {notice.message}", file=sys.stderr)
    out = console()
    out.print(preset_to_toml(preset), markup=False, soft_wrap=True)
    for name, entry in ({} if data is None else data.per_character()).items():
        out.print(
            f"{name}: {entry['frames']:,} training frames (games: {entry['games']}); "
            f"{entry['validation_frames']:,} held out (games: {entry['validation_games']}){_share(shares.get(name))}",
        )
    for sentence in sentences(found):
        out.print(sentence, markup=False, soft_wrap=True)


def _share(share: Mapping[str, float] | None) -> str:
    """Format a character's share of the training windows; empty where it is only in held-out games."""
    if share is None:
        return ""
    asked = f" ({share['asked']:.1%} asked)" if abs(share["asked"] - share["reachable"]) >= 0.0005 else ""
    return f"; {share['reachable']:.1%} of the windows{asked}"


def sentences(found: "RunEstimate") -> list[str]:
    """Return sentences on the run's size, cost, speed and length; each says whether it is measured."""
    told = [
        f"{found.parameters:,} parameters",
        f"{found.frames_per_step:,} frames a step",
        *cost_sentences(found),
    ]
    pace = found.pace
    if pace is not None:
        told.append(
            f"{pace.frames_per_s:,.0f} frames/s, {pace.seconds_per_step:.3f} s a step on {pace.device} in "
            f"{pace.precision}, {pace.data_wait:.0%} of it waiting for data (measured over {pace.steps} steps)"
        )
    told.append(_length(found))
    return told


def cost_sentences(found: "RunEstimate") -> list[str]:
    """Return sentences on the FLOPs per frame and step, the training memory and the memory in play."""
    told = [f"{flops(found.flops_per_frame)} a frame, {flops(found.flops_per_step)} a step"]
    if found.memory_measured is None:
        told.append(
            f"about {size(found.memory_bytes)} of memory ({size(found.memory['activations'])} of it activations), "
            "estimated from one window"
        )
    else:
        told.append(f"{size(found.memory_bytes)} of memory at the peak, measured")
    return [*told, f"{size(found.state_bytes)} of memory in play"]


def flops(value: float) -> str:
    """Format a number of floating-point operations: `950 FLOP`, `11.7 MFLOP`, `45.0 GFLOP`."""
    for scale, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g} {unit}FLOP"
    return f"{value:.0f} FLOP"


def _length(found: "RunEstimate") -> str:
    seconds, steps, epochs = found.estimated_seconds, found.estimated_steps, found.estimated_epochs
    parts = []
    if steps is not None:
        parts.append(f"{steps:,} updates")
    if epochs is not None:
        parts.append(f"{epochs:.2f} passes over the data")
    if seconds is not None:
        parts.append(f"about {duration(seconds)} of training, evaluations aside")
    if found.pace is None and seconds is None:
        parts.append("--probe 10 measures how long that takes")
    return "the run: " + ", ".join(parts)


def duration(seconds: float) -> str:
    """Format a duration in at most two units: `42 s`, `3 min 20 s`, `5 h 12 min`, `2 d 3 h`."""
    whole = round(seconds)
    for unit, name, smaller, smaller_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit:
            count, rest = divmod(whole, unit)
            return (
                f"{count} {name} {rest // smaller} {smaller_name}" if rest // smaller else f"{count} {name}"
            )
    return f"{whole} s"
