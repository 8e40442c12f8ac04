"""Evaluate a checkpoint on its run's held-out games, or on other games."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import select_egos
from exphil_core.dataset.store import ColumnStore
from exphil_core.errors import DataError
from exphil_core.melee import characters
from exphil_core.runs.directory import RunDirectory
from exphil_core.training.checkpoint_manager import find_checkpoint, load_for_play, read_baselines
from exphil_core.training.data import open_run_data
from exphil_core.training.evaluate import Evaluation, evaluate, regime_of
from exphil_core.training.split_file import SPLIT_FILE, read_split


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointEvaluation:
    run: RunDirectory
    step: int
    evaluation: Evaluation
    warnings: tuple[str, ...]
    """Why the loss may flatter the policy, and what changed in its data; a sentence each."""


def evaluate_checkpoint(
    runs_dir: Path,
    checkpoint: str,
    *,
    device: torch.device,
    dataset: Path | None = None,
    wanted: Sequence[str] | None = None,
    regime: str = "carried",
) -> CheckpointEvaluation:
    """Evaluate a checkpoint in float32.

    Args:
        checkpoint: A run's name or directory (its best checkpoint), or a checkpoint directory.
        dataset: The games to play through; None is the run's held-out games.
        wanted: Names of the characters whose inputs are predicted; None is the preset's own.
        regime: carried, windows or stepped.

    Raises:
        DataError: The games hold no usable side of these characters.
    """
    shown = regime_of(regime)
    run, directory = find_checkpoint(runs_dir, checkpoint)
    loaded, preset, policy = load_for_play(directory, device)
    names = preset.data.characters if wanted is None else wanted
    if dataset is None:
        data = open_run_data(run, preset)
        warnings = [warning.message for warning in data.warnings]
        index = data.store.index
        # All held-out games: the requested characters may differ from those that the run was trained on.
        held_out = data.split.validation
        games = tuple(number for number, game in enumerate(index.games) if game.content_id in held_out)
    else:
        index = DatasetIndex.open(dataset)
        games = tuple(range(len(index.games)))
        warnings = list(_trained_on(index, run))
    egos = select_egos(
        index,
        games,
        characters=tuple(characters.by_name(name).external_id for name in names),
        include_cpu=preset.data.include_cpu,
        include_idle=preset.data.include_idle,
    )
    if not egos:
        raise DataError(
            f"{index.path}: no usable side of {', '.join(names) or 'any character'} to evaluate; 'exphil data stats' "
            "lists the characters"
        )
    found = evaluate(
        policy,
        ColumnStore(index),
        egos,
        read_baselines(run.path),
        rows=preset.evaluation.batch_size,
        device=device,
        regime=shown,
        chunk_length=preset.chunk_length,
    )
    return CheckpointEvaluation(run=run, step=loaded.step, evaluation=found, warnings=tuple(warnings))


def _trained_on(index: DatasetIndex, run: RunDirectory) -> Iterator[str]:
    split = read_split(run.path)
    if split is None:
        yield f"{run.path / SPLIT_FILE} is missing: it is unknown whether these games were trained on"
        return
    learned, related = split.learned_from(index)
    if learned:
        yield f"{learned} of {len(index.games)} games were trained on by {run.name}: their loss is too low"
    if related:
        yield (
            f"{related} of {len(index.games)} games are of matches whose other games {run.name} was trained on: "
            "their loss is slightly too low"
        )
