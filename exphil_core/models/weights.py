"""Weight file that the trainer publishes for the pilot: safetensors with the step and a checksum of the tensors.

Unlike a checkpoint it holds only the weights, is replaced every few seconds and is not durable. safetensors does not
detect flipped bits, so reading verifies the checksum.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from exphil_core.atomic import disk_full_errors
from exphil_core.errors import CheckpointError

VERSION = 1

_LONGEST_HEADER = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Content of a weight file."""

    step: int
    checksum: int
    """`checksum(tensors)`."""
    tensors: Mapping[str, Tensor]


def checksum(weights: Mapping[str, Tensor]) -> int:
    """Hash names, dtypes, shapes and values to 64 bits; the same on every device."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        tensor = weights[name].detach()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return int.from_bytes(digest.digest(), "big")


def write_weights(path: Path, weights: Mapping[str, Tensor], *, step: int) -> int:
    """Replace the file atomically.

    Returns:
        The checksum of the weights.

    Raises:
        DiskFullError: No space left.
    """
    tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    found = checksum(tensors)
    content = save(tensors, {"v": str(VERSION), "step": str(step), "checksum": f"{found:016x}"})
    # A fixed name, since a run has one trainer: leftovers of a killed trainer are overwritten.
    partial = path.with_name(f"{path.name}.partial")
    with disk_full_errors(path):
        try:
            # No fsync: it would block the trainer, and the checksum detects a torn file.
            partial.write_bytes(content)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return found


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Clone tensors that share memory, because safetensors refuses them: a shared table is saved under both names."""
    found: dict[int, Tensor] = {}
    return {
        name: tensor.clone() if found.setdefault(tensor.data_ptr(), tensor) is not tensor else tensor
        for name, tensor in tensors.items()
    }


def read_weights(path: Path) -> Weights:
    """Read and verify a weight file.

    Raises:
        CheckpointError: The file is missing, truncated, damaged or of another version.
    """
    try:
        # Not memory-mapped: reading past the end of a truncated file would kill the process (SIGBUS).
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there are no weights yet") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    said = _header(path, content)
    try:
        tensors = load(content)
    except Exception as error:  # safetensors raises its own type, torch others
        raise CheckpointError(f"{path} is cut off or damaged ({error})") from error
    if checksum(tensors) != said.checksum:
        raise CheckpointError(f"{path} is damaged: its weights are not those of its checksum")
    return Weights(step=said.step, checksum=said.checksum, tensors=tensors)


def read_step(path: Path) -> int | None:
    """Read only the step from the file's header; None if the header cannot be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start = file.read(length) if length <= _LONGEST_HEADER else b""
        return _header(path, length.to_bytes(8, "little") + start).step
    except (OSError, CheckpointError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _WeightsHeader:
    step: int
    checksum: int


def _header(path: Path, content: bytes) -> _WeightsHeader:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_LONGEST_HEADER, len(content) - 8):
        raise CheckpointError(
            f"{path} is cut off or no weights at all: {len(content):,} bytes, and its header is not whole"
        )
    try:
        values = json.loads(content[8 : 8 + length])["__metadata__"]
        version = values["v"]
        header = _WeightsHeader(step=int(values["step"]), checksum=int(values["checksum"], 16))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged or no weights for a pilot: its header cannot be read"
        ) from error
    if version != str(VERSION):
        raise CheckpointError(f"{path} is of version {version}; this exphil reads version {VERSION}")
    return header
