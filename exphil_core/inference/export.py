"""Policy export: one file that plays without its run, preset file or data.

Formats are safetensors (weights for exphil's own code) and ONNX (the whole act, for ONNX Runtime), each with a
header. The written file is read back, plays a few hundred frames and is compared with the policy's `forward`; an fp32
file outside the tolerance is never kept. The error of int8 weights is reported only.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from exphil_core.atomic import atomic_open
from exphil_core.config.preset import Preset
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.inference.exported import Header, Precision, read_header
from exphil_core.inference.frames import dojo_game
from exphil_core.inference.graph import build_graph, quantized, require
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.inference.parity import TOLERANCE, max_abs_error
from exphil_core.inference.runtime import EagerRuntime, Runtime
from exphil_core.models.policy import Policy, build_policy

ExportFormat = Literal["safetensors", "onnx"]

FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

CHECKED_FRAMES = 300
"""Minimum number of frames compared; more for windows longer than a third of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Result of an export."""

    path: Path
    format: ExportFormat
    precision: Precision
    rows: int
    bytes: int
    frames: int
    """Frames compared, in each row."""
    max_abs_error: float


def export_policy(
    policy: Policy, preset: Preset, out: Path, *, format: ExportFormat, int8: bool = False, rows: int = 1
) -> Exported:
    """Write `policy` to the file `out` atomically and check it.

    Args:
        policy: Policy on the CPU.
        rows: Games that an ONNX graph plays at once.

    Raises:
        UsageError: The combination of options does not exist, or a package is missing.
        CheckpointError: The serialised policy does not play like `policy`.
    """
    if format == "safetensors" and int8:
        raise UsageError(
            "--int8 is for --format onnx: weights for exphil's own code stay as they were trained"
        )
    if format == "safetensors" and rows != 1:
        raise UsageError("--rows is for --format onnx: weights for exphil's own code play any number of rows")
    if rows < 1:
        raise UsageError(f"--rows is {rows}; expected 1 or more games to be played at once")
    if format == "onnx":
        require("onnxruntime", what="checking an ONNX file")
    if out.is_dir():
        raise UsageError(
            f"--out {out} is a folder; expected the name of a file, such as {out / f'policy.{format}'}"
        )
    precision: Precision = "int8" if int8 else "fp32"
    content = _serialised(policy, preset, format, precision=precision, rows=rows)
    frames = max(CHECKED_FRAMES, round(3.5 * preset.backbone.window_size))
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(out) as file:
        file.write(content)
        file.flush()
        runtime = _opened(Path(file.name), format)
        error = max_abs_error(runtime, policy, dojo_game(), rows=rows, frames=frames)
        if precision == "fp32" and not error < TOLERANCE:
            raise CheckpointError(
                f"{out} was not written: what would have been in it differs from the policy by {error:.2g}, and "
                f"float32 allows {TOLERANCE:g}; this is a fault of exphil: please report it with the run's preset"
            )
    return Exported(
        path=out,
        format=format,
        precision=precision,
        rows=rows,
        bytes=len(content),
        frames=frames,
        max_abs_error=error,
    )


def read_weights(path: Path) -> tuple[Header, Policy]:
    """Load the policy of an exported safetensors file onto the CPU in eval mode. CheckpointError if it is not one."""
    try:
        # Read as bytes: safetensors accepts only UTF-8 paths.
        content = path.read_bytes()
        weights = load(content)
        length = int.from_bytes(content[:8], "little")
        strings = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: it cannot be read as safetensors ({error})") from error
    header = read_header(strings, where=str(path))
    policy = build_policy(header.preset)
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights are not those of its own preset ({error})") from error
    return header, policy.eval()


def _serialised(
    policy: Policy, preset: Preset, format: ExportFormat, *, precision: Precision, rows: int
) -> bytes:
    match format:
        case "onnx":
            graph = build_graph(policy, preset, rows=rows)
            return quantized(graph) if precision == "int8" else graph
        case "safetensors":
            # Clones: safetensors refuses two names for one tensor.
            weights = {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
            return save(weights, metadata=Header(preset=preset).strings())
        case _:
            assert_never(format)


def _opened(path: Path, format: ExportFormat) -> Runtime:
    match format:
        case "onnx":
            return OnnxRuntime(path, threads=torch.get_num_threads())
        case "safetensors":
            return EagerRuntime(read_weights(path)[1])
        case _:
            assert_never(format)
