"""Checkpoint manager: save, promote and prune a run's checkpoints, and load the newest or the best.

The newest checkpoint may be damaged (a failing disk, an interrupted copy), so loading falls back to the newest
complete one and warns.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from exphil_core.atomic import atomic_write
from exphil_core.config.backbones import JambaConfig, Mamba2Config, MambaConfig
from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.config.problems import BACKBONES
from exphil_core.errors import CheckpointError
from exphil_core.models.backbone import build_backbone
from exphil_core.models.policy import Policy, build_policy
from exphil_core.runs.directory import RunDirectory
from exphil_core.training.baselines import Baselines, baselines_from_tensors
from exphil_core.training.checkpoint import Checkpoint, load_checkpoint, load_newest, save_checkpoint


class CheckpointManager:
    """The checkpoints of one run."""

    def __init__(self, run: RunDirectory, *, keep: int, emit: Callable[..., None]) -> None:
        self._run = run
        self._keep = keep
        self._emit = emit

    @property
    def newest_step(self) -> int | None:
        """Step of the checkpoint that was promoted last."""
        return self._run.latest_step()

    def save(self, checkpoint: Checkpoint, *, best_loss: float | None = None) -> None:
        """Write a checkpoint, promote it in latest.json and best.json, then prune the old ones.

        Args:
            best_loss: its validation loss, where that is the lowest so far.

        Raises:
            DiskFullError: there is no room.
        """
        path = save_checkpoint(self._run.step_directory(checkpoint.step), checkpoint)
        self._run.write_latest(checkpoint.step)
        if best_loss is not None:
            self._run.write_best(checkpoint.step, best_loss)
        self._emit("checkpoint_saved", step=checkpoint.step, path=str(path), best=best_loss is not None)
        self._run.prune(keep=self._keep)

    def load_newest(self) -> Checkpoint | None:
        """Load the newest complete checkpoint; None when the run has none yet."""
        directories = [self._run.step_directory(step) for step in sorted(self._run.steps(), reverse=True)]
        return load_newest(
            directories, warn=lambda code, text: self._emit("warning", code=code, message=text)
        )

    def load_best(self) -> Checkpoint:
        """Load the checkpoint with the lowest validation loss, without its training state.

        Falls back to the newest complete one, with a warning, where the best is damaged.

        Raises:
            CheckpointError: there is no complete checkpoint.
        """
        best = self._run.best_step()
        if best is not None:
            try:
                return load_checkpoint(self._run.step_directory(best), training=False)
            except CheckpointError as error:
                self._emit(
                    "warning",
                    code="checkpoint_damaged",
                    message=f"{error}; taking the newest whole one instead",
                )
        newest = self.load_newest()
        if newest is None:
            raise CheckpointError(f"{self._run.path}: there is no checkpoint yet")
        return newest

    def baselines(self, fit: Callable[[], Baselines]) -> Baselines:
        """Return the run's baselines; fit and save them the first time."""
        path = baselines_path(self._run.path)
        if path.is_file():
            return read_baselines(self._run.path)
        fitted = fit()
        atomic_write(path, save(fitted.tensors()))
        return fitted


def baselines_path(run: Path) -> Path:
    """Return the path of a run's baselines."""
    return run / "baselines.safetensors"


def read_baselines(run: Path) -> Baselines:
    """Read a run's baselines.

    Raises:
        CheckpointError: they are missing or unreadable.
    """
    path = baselines_path(run)
    try:
        return baselines_from_tensors(load(path.read_bytes()))
    except Exception as error:  # safetensors raises its own type, the file system another
        raise CheckpointError(f"{path}: the run's baselines cannot be read ({error})") from error


def load_for_play(directory: Path, device: torch.device) -> tuple[Checkpoint, Preset, Policy]:
    """Load a checkpoint directory's policy, in evaluation mode on `device`.

    Raises:
        CheckpointError: it is damaged, or its weights do not fit its config.json.
    """
    checkpoint = load_checkpoint(directory, training=False)
    preset = playable_preset(preset_from_tables(checkpoint.config, where=str(directory / "config.json")))
    policy = build_policy(preset)
    _refuse_other_weights(policy, checkpoint.model, kind=preset.backbone.kind, where=directory)
    policy.load_state_dict(dict(checkpoint.model))
    return checkpoint, preset, policy.to(device).eval()


def init_weights(policy: Policy, directory: Path) -> None:
    """Initialise a policy with a checkpoint's weights.

    Raises:
        CheckpointError: it is damaged, or of a policy of another size.
    """
    weights, own = load_checkpoint(directory, training=False).model, policy.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        found, wanted = _shape(weights.get(name)), _shape(own.get(name))
        if found != wanted:
            raise CheckpointError(
                f"train.init_from: the policy of {directory} is not of this preset's size: its {name} is {found}, "
                f"and this preset's is {wanted}. Take its [encoder], [backbone] and [policy] over, or leave "
                "train.init_from out"
            )
    policy.load_state_dict(dict(weights))


def _refuse_other_weights(policy: Policy, weights: Mapping[str, Tensor], *, kind: str, where: Path) -> None:
    expected = policy.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        found, wanted = (_shape(tensors.get(name)) for tensors in (weights, expected))
        if found == wanted:
            continue
        others = [other for other in _kinds_with(weights) if other != kind]
        advice = f"; these are weights of backbone.kind {' or '.join(map(repr, others))}" if others else ""
        raise CheckpointError(
            f"{where}: model.safetensors does not match config.json, whose backbone.kind is {kind!r}: "
            f"{name} is {found} and should be {wanted}{advice}. Expected both files of one checkpoint"
        )


def _kinds_with(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the kinds of backbone whose parameters have these names."""

    def unnumbered(names: Iterable[str]) -> set[str]:
        return {re.sub(r"\.\d+\.", ".", name) for name in names}

    names = unnumbered(name for name in weights if name.startswith("backbone."))
    kinds = []
    for kind, config in BACKBONES.items():
        with torch.device("meta"):
            backbone = build_backbone(config())
        if unnumbered(f"backbone.{name}" for name, _ in backbone.named_parameters()) == names:
            kinds.append(kind)
    return kinds


def _shape(part: Tensor | None) -> str:
    return "absent" if part is None else str(list(part.shape))


def playable_preset(preset: Preset) -> Preset:
    """Return the preset with `kernel` on auto: the machine that plays may lack the training kernel."""
    backbone = preset.backbone
    if not isinstance(backbone, MambaConfig | Mamba2Config | JambaConfig):
        return preset
    return preset.model_copy(update={"backbone": backbone.model_copy(update={"kernel": "auto"})})


def find_checkpoint(runs_dir: Path, name: str) -> tuple[RunDirectory, Path]:
    """Resolve a step directory, or a run's name or directory (its best checkpoint).

    Raises:
        UsageError: there is no such run.
        CheckpointError: the run has no checkpoint yet.
    """
    run, step = RunDirectory.find_checkpoint(runs_dir, name)
    for found in (step, run.best_step(), run.latest_step()):
        if found is not None:
            return run, run.step_directory(found)
    raise CheckpointError(f"{run.path}: there is no checkpoint yet")
