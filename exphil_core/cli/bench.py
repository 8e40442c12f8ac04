"""`exphil bench`: measure training throughput of the backbones; `bench latency` measures play.

Compare figures within one invocation only: other load on the machine shifts them as much as the backbone does.
"""

import json
import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from exphil_core.cli.choices import chosen_names
from exphil_core.cli.format import console, counted, table
from exphil_core.cli.latency import latency_command
from exphil_core.config.backbones import ALIASES, BACKBONE_KINDS
from exphil_core.errors import UsageError

if TYPE_CHECKING:
    import torch

    from exphil_core.training.throughput import Measured, Throughput

bench_app = typer.Typer(
    help="Measure the speed of the backbones on this machine.", no_args_is_help=True, rich_markup_mode=None
)
bench_app.command("latency")(latency_command)

PRECISIONS = ("auto", "fp32", "bf16")


@bench_app.command("train")
def train_command(
    backbone: Annotated[str, typer.Option(help="Backbones, separated by commas, or all.")] = "all",
    batch_size: Annotated[int, typer.Option(help="Windows per step.")] = 8,
    chunk_length: Annotated[int, typer.Option(help="Frames per window.")] = 256,
    seconds: Annotated[float, typer.Option(help="Seconds to measure each backbone.")] = 10.0,
    precision: Annotated[str, typer.Option(help="auto (the faster one), fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure training throughput (frames/s) at 20 million parameters, with a plain transformer as the reference."""
    named = ",".join(ALIASES.get(name.strip(), name.strip()) for name in backbone.split(","))
    kinds = chosen_names("--backbone", named, BACKBONE_KINDS)
    for option, value in (("--batch-size", batch_size), ("--chunk-length", chunk_length)):
        if value < 1:
            raise UsageError(f"{option} {value}: expected at least 1")
    if not (seconds > 0 and math.isfinite(seconds)):
        raise UsageError(f"--seconds {seconds}: expected a number above 0")
    if precision not in PRECISIONS:
        raise UsageError(
            f"--precision {precision}: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
        )

    import torch

    from exphil_core.config.loader import load_preset
    from exphil_core.training.device import choose_device
    from exphil_core.training.throughput import PEER_PRESET, measure_training

    where, threads = choose_device(device), torch.get_num_threads()
    found = measure_training(
        [load_preset(f"{kind}_20m") for kind in kinds],
        load_preset(PEER_PRESET),
        batch_size=batch_size,
        chunk_length=chunk_length,
        seconds=seconds,
        precision=precision,
        device=where,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    if as_json:
        told = _object(found, where, threads=threads, batch_size=batch_size, chunk_length=chunk_length)
        print(json.dumps(told, allow_nan=False))
        return
    _print(found, where, threads=threads, batch_size=batch_size, chunk_length=chunk_length)


def _object(
    found: "Measured", device: "torch.device", *, threads: int, batch_size: int, chunk_length: int
) -> dict[str, object]:
    return {
        "device": str(device),
        "threads": threads,
        "batch_size": batch_size,
        "chunk_length": chunk_length,
        "matmul_flops_per_s": found.matmul_flops_per_s,
        "backbones": [_row(row, found) for row in found.rows if not row.peer],
        "peers": [_row(row, found) for row in found.rows if row.peer],
    }


def _row(row: "Throughput", found: "Measured") -> dict[str, object]:
    peers = {
        f"of_{peer.name.replace(', ', '_').replace(' ', '_')}": row.frames_per_s / peer.frames_per_s
        for peer in found.rows
        if peer.peer
    }
    return {
        "backbone": row.name,
        "parameters": row.parameters,
        "window_size": row.window_size,
        "kernel": row.kernel,
        "precision": row.precision,
        "flops_per_frame": row.flops_per_frame,
        "steps": row.steps,
        "step_ms": row.step_ms,
        "frames_per_s": row.frames_per_s,
        "model_flops_utilisation": row.utilisation,
        **peers,
    }


def _print(
    found: "Measured", device: "torch.device", *, threads: int, batch_size: int, chunk_length: int
) -> None:
    rates = ", ".join(
        f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in found.matmul_flops_per_s.items()
    )
    on = f"{counted(threads, 'thread')}" if device.type == "cpu" else str(device)
    shown = table(
        ("backbone", "in", "scan"),
        right=("parameters", "ms a step", "frames/s", "of plain", "MFLOP a frame", "MFU"),
        title=f"Training, {batch_size} × {chunk_length} frames per step, {on}",
    )
    plain = next(row for row in found.rows if row.peer)
    for row in sorted(found.rows, key=lambda row: -row.frames_per_s):
        shown.add_row(
            Text(row.name, style="dim" if row.peer else ""),
            row.precision,
            row.kernel or "",
            f"{row.parameters:,}",
            f"{row.step_ms:,.0f}",
            f"{row.frames_per_s:,.0f}",
            f"{row.frames_per_s / plain.frames_per_s:.2f}×",
            f"{row.flops_per_frame / 1e6:,.0f}",
            f"{row.utilisation:.0%}",
        )
    out = console()
    out.print(shown)
    out.print(
        "\nA step: encoder, backbone, head, loss, backward pass, clipping, AdamW; medians of interleaved steps.\n"
        "plain: torch's TransformerEncoder between the same encoder and head; bare: without them.\n"
        f"MFU: the model's FLOPs as a share of the machine's matrix products ({rates}).",
        markup=False,
    )
