"""Checkpoint directories: complete or absent, with a manifest of sizes and hashes.

`step-000012000/` holds model.safetensors (the evaluation weights), config.json, optimizer.safetensors,
rng-RANK.safetensors, carried-RANK.safetensors (where state is carried), trainer.json and, written last,
MANIFEST.json with every file's size and sha256. safetensors neither fsyncs nor detects a flipped bit, so saving
writes, fsyncs, verifies and only then renames, and loading checks the hashes again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from exphil_core.atomic import DISK_FULL_ERRNOS, fsync_directory, remove_tree
from exphil_core.errors import CheckpointError, DiskFullError, InaccessibleCheckpointError, explain_os_error

FORMAT_VERSION = 2
"""Format 2 has the settings' present names in config.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The contents of a checkpoint directory."""

    step: int
    model: Mapping[str, Tensor]
    """Evaluation weights (EMA weights where EMA is on)."""
    config: Mapping[str, object]
    """The resolved preset; enough to build the policy without the run directory."""
    optimizer: Mapping[str, Tensor]
    rng: Mapping[str, Tensor]
    trainer: Mapping[str, object]
    """The loop's counters: step, seconds trained, frames seen, best loss, patience."""
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    """The backbone's state of every stream; empty where no state is carried."""


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        # safetensors refuses two names for one memory, so shared tensors are copied for each name.
        found[name] = own.clone() if own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    return found


def save_checkpoint(directory: Path, checkpoint: Checkpoint, *, rank: int = 0) -> Path:
    """Write `checkpoint` to `directory` (its final name), completely or not at all.

    Raises:
        DiskFullError: there is no room; earlier checkpoints are untouched.
    """
    files = {
        "model.safetensors": save(_contiguous(checkpoint.model)),
        "config.json": _json(checkpoint.config),
        "optimizer.safetensors": save(_contiguous(checkpoint.optimizer)),
        f"rng-{rank}.safetensors": save(_contiguous(checkpoint.rng)),
        "trainer.json": _json({"version": FORMAT_VERSION, "step": checkpoint.step, **checkpoint.trainer}),
    }
    if checkpoint.carried:
        files[f"carried-{rank}.safetensors"] = save(_contiguous(checkpoint.carried))
    manifest = {
        "version": FORMAT_VERSION,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
    }
    temporary = directory.with_name(f"{directory.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, data in [*files.items(), ("MANIFEST.json", _json(manifest))]:
            _write(temporary / name, data)
        fsync_directory(temporary)
        _verify(temporary)
        if directory.exists():
            # A run resumed from an older checkpoint takes this step again.
            remove_tree(directory)
        temporary.rename(directory)
        fsync_directory(directory.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno in DISK_FULL_ERRNOS:
            need = sum(map(len, files.values())) / 2**20
            raise DiskFullError(
                f"{directory}: no room for a checkpoint of {need:.1f} MiB; free some space and resume the run: "
                "the checkpoint before it is intact"
            ) from error
        raise
    return directory


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _verify(directory: Path) -> None:
    """Raise CheckpointError unless every file has the size and hash of the manifest."""
    try:
        manifest = json.loads((directory / "MANIFEST.json").read_bytes())
        files = manifest["files"]
        version = manifest["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and explain_os_error(error) is not None:
            raise
        raise CheckpointError(f"{directory}: MANIFEST.json is missing or unreadable ({error})") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{directory}: checkpoint format {version}, of another version of exphil; this one reads format "
            f"{FORMAT_VERSION}: train a new policy, or use the exphil that wrote it"
        )
    for name, expected in files.items():
        path = directory / name
        size = path.stat().st_size if path.is_file() else None
        if size != expected["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise CheckpointError(f"{path} {found}; the manifest says {expected['bytes']} bytes")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected["sha256"]:
            raise CheckpointError(f"{path} is damaged: its sha256 is not the manifest's")


def load_checkpoint(directory: Path, *, rank: int = 0, training: bool = True) -> Checkpoint:
    """Read and verify a checkpoint.

    Args:
        training: whether to load what only training needs: optimiser, random state and carried state.

    Raises:
        CheckpointError: a file, which is named, is missing, truncated, damaged or of another format.
        InaccessibleCheckpointError: the system does not allow it to be read.
    """
    try:
        if not directory.is_dir():
            raise CheckpointError(f"{directory}: no such checkpoint directory")
        _verify(directory)
        trainer = json.loads((directory / "trainer.json").read_bytes())
        carried = directory / f"carried-{rank}.safetensors"
        return Checkpoint(
            step=trainer["step"],
            model=_tensors(directory / "model.safetensors"),
            config=json.loads((directory / "config.json").read_bytes()),
            optimizer=_tensors(directory / "optimizer.safetensors") if training else {},
            rng=_tensors(directory / f"rng-{rank}.safetensors") if training else {},
            trainer=trainer,
            carried=_tensors(carried) if training and carried.is_file() else {},
        )
    except OSError as error:
        if (why := explain_os_error(error)) is None:
            raise
        raise InaccessibleCheckpointError(f"{directory}: the checkpoint cannot be read: {why}") from error


def _tensors(path: Path) -> dict[str, Tensor]:
    # As bytes: by path, safetensors accepts only UTF-8 names.
    return load(path.read_bytes())


def load_newest(
    directories: list[Path], *, warn: Callable[[str, str], None], training: bool = True
) -> Checkpoint | None:
    """Load the first complete checkpoint of `directories`, which are sorted newest first.

    Args:
        warn: called with a code and a sentence for every damaged one.

    Returns:
        None where `directories` is empty.

    Raises:
        CheckpointError: all of them are damaged.
    """
    failure: CheckpointError | None = None
    for directory in directories:
        try:
            return load_checkpoint(directory, training=training)
        except CheckpointError as error:
            failure = error
            warn("checkpoint_damaged", f"{error}; falling back to the checkpoint before it")
    if failure is not None:
        raise CheckpointError(f"no whole checkpoint is left: {failure}")
    return None
