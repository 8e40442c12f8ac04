"""A policy's weights as one file for who plays them while others still learn, and the number that tells them apart.

In: tensors by name. Out: a safetensors file with the step and a checksum of what lies in memory, and the same back. A
checkpoint is complete and durable; this is neither: it holds the weights alone, is replaced every few seconds, and
after a crash it is worth nothing.

What a reader gets wrong: safetensors does not notice a flipped bit, and a name in a folder says nothing about what is
behind it. So what was read is hashed tensor by tensor and believed only where the file's own checksum agrees.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from exphil_core.atomic import room_on_disk
from exphil_core.errors import CheckpointError

VERSION = 1

_LONGEST_HEADER = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What such a file holds."""

    step: int
    checksum: int
    """Of the tensors: `checksum(tensors)`."""
    tensors: Mapping[str, Tensor]


def checksum(weights: Mapping[str, Tensor]) -> int:
    """64 bits that two different sets of weights do not share, wherever they lie."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in hashed_pieces(weights):
        digest.update(piece)
    return int.from_bytes(digest.digest(), "big")


def hashed_pieces(
    weights: Mapping[str, Tensor], *, piece_bytes: int = 1 << 24
) -> Iterator[bytes | memoryview]:
    """What the checksum is of, in order: for each tensor by name its name, type and shape, then its bytes."""
    for name in sorted(weights):
        tensor = weights[name].detach()
        yield f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode()
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
        for start in range(0, len(flat), piece_bytes):
            yield flat[start : start + piece_bytes].cpu().numpy().data


def write_weights(path: Path, weights: Mapping[str, Tensor], *, step: int) -> int:
    """Replaces the file, whole or not at all, and returns the checksum. DiskFullError where there is no room."""
    tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    found = checksum(tensors)
    content = save(tensors, {"v": str(VERSION), "step": str(step), "checksum": f"{found:016x}"})
    # One name, since a run has one trainer: what a killed one left is written over, and nobody has to clear it away.
    partial = path.with_name(f"{path.name}.partial")
    with room_on_disk(path):
        try:
            # Not flushed to the disk: that would hold up the trainer, and a torn file is told by its checksum.
            partial.write_bytes(content)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return found


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """None in the memory of another: a table that two parts of a policy share has two names, and is saved twice."""
    found: dict[int, Tensor] = {}
    return {
        name: tensor.clone() if found.setdefault(tensor.data_ptr(), tensor) is not tensor else tensor
        for name, tensor in tensors.items()
    }


def read_weights(path: Path) -> Weights:
    """The weights in `path`. CheckpointError where they are missing, cut off, damaged or of another version."""
    try:
        # Not mapped: a file that somebody cuts short would end the process that looks at its missing end.
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
    """The step that the file says it is of, without a look at its weights; None where it cannot be told."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start = file.read(length) if length <= _LONGEST_HEADER else b""
        return _header(path, length.to_bytes(8, "little") + start).step
    except (OSError, CheckpointError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    step: int
    checksum: int


def _header(path: Path, content: bytes) -> _Header:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_LONGEST_HEADER, len(content) - 8):
        raise CheckpointError(
            f"{path} is cut off or no weights at all: {len(content):,} bytes, and its header is not whole"
        )
    try:
        values = json.loads(content[8 : 8 + length])["__metadata__"]
        version = values["v"]
        header = _Header(step=int(values["step"]), checksum=int(values["checksum"], 16))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged or no weights for a pilot: its header cannot be read"
        ) from error
    if version != str(VERSION):
        raise CheckpointError(f"{path} is of version {version}; this exphil reads version {VERSION}")
    return header
