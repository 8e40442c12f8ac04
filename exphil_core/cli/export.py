"""`exphil export`: export a checkpoint's policy to safetensors or ONNX.

The file is checked against the policy before it is moved to its final name.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from exphil_core.cli.format import size
from exphil_core.cli.options import RunsDir
from exphil_core.errors import UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR


def export_command(
    checkpoint: Annotated[str, typer.Argument(help="A run's name or directory, or a checkpoint directory.")],
    format: Annotated[
        str,
        typer.Option(
            "--format", help="safetensors (weights) or onnx (the whole policy step, for ONNX Runtime)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="ONNX with 8-bit weights: a quarter of the size, slightly different outputs."
        ),
    ] = False,
    rows: Annotated[int, typer.Option(help="Games that an ONNX file plays at once (batch size).")] = 1,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a policy as one file, checked against the checkpoint frame by frame."""
    import torch

    from exphil_core.inference.export import FORMATS, export_policy
    from exphil_core.training.checkpoint_manager import find_checkpoint, load_for_play

    chosen = next((known for known in FORMATS if known == format), None)
    if chosen is None:
        raise UsageError(f"--format {format}: expected {' or '.join(FORMATS)}")
    run, directory = find_checkpoint(runs_dir, checkpoint)
    loaded, preset, policy = load_for_play(directory, torch.device("cpu"))
    found = export_policy(policy, preset, out, format=chosen, int8=int8, rows=rows)
    if as_json:
        print(
            json.dumps(
                {
                    "run": run.name,
                    "step": loaded.step,
                    "path": str(found.path),
                    "format": found.format,
                    "precision": found.precision,
                    "rows": found.rows,
                    "bytes": found.bytes,
                    "checked_frames": found.frames,
                    "max_abs_error": found.max_abs_error,
                }
            )
        )
        return
    print(
        f"{found.path}: {run.name} at step {loaded.step:,}, {found.format} {found.precision}, {size(found.bytes)}"
    )
    print(
        f"largest error against the checkpoint's forward pass over {found.frames} frames with resets: "
        f"{found.max_abs_error:.2g} nats"
    )
