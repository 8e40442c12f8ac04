"""`exphil eval`: evaluate a checkpoint's policy on replays, next to the baselines of its run.

Games that the run was trained on, other recordings of them and other games of their matches lower the loss; the
command warns with their number.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from exphil_core.cli.format import console
from exphil_core.cli.options import RunsDir
from exphil_core.cpu import core_count
from exphil_core.runs.commands import DEFAULT_RUNS_DIR


def eval_command(
    checkpoint: Annotated[str, typer.Argument(help="A run's name or directory, or a checkpoint directory.")],
    replays: Annotated[
        list[str] | None,
        typer.Option(
            help="Replays or a dataset to evaluate on; several may follow (default: the run's held-out games)."
        ),
    ] = None,
    character: Annotated[
        str | None,
        typer.Option(help="Characters to evaluate: mewtwo,link,… (default: those of the run's preset)."),
    ] = None,
    regime: Annotated[
        str,
        typer.Option(
            help="How games are evaluated: carried (chunk by chunk with carried state), windows (each from a cleared "
            "state, as in training without train.carry_state) or stepped (frame by frame, as in play; slow)."
        ),
    ] = "carried",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Evaluate a trained policy on replays: nats per frame, per head and per character."""
    from exphil_core.cli.choices import chosen_characters
    from exphil_core.cli.options import dataset_of
    from exphil_core.cli.report import evaluation_table
    from exphil_core.training.checkpoint_evaluation import evaluate_checkpoint
    from exphil_core.training.checkpoint_manager import find_checkpoint
    from exphil_core.training.device import choose_device
    from exphil_core.training.evaluate import regime_of

    # Check the options before anything is loaded.
    wanted = None if character is None else chosen_characters("--character", character)
    shown = regime_of(regime)
    run, _ = find_checkpoint(runs_dir, checkpoint)
    where = choose_device(device)
    dataset: Path | None = None
    if replays:
        min_frames = run.preset().data.min_frames
        dataset = dataset_of(replays, min_frames=min_frames, workers=core_count(), quiet=as_json)
    found = evaluate_checkpoint(
        runs_dir, checkpoint, device=where, dataset=dataset, wanted=wanted, regime=shown
    )
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    fields = found.evaluation.fields(step=found.step, split="replays" if replays else "validation")
    if as_json:
        print(json.dumps({**fields, "regime": shown}, allow_nan=False))
        return
    console().print(evaluation_table(fields, title=f"{run.name}, step {found.step:,}, {shown}"))
