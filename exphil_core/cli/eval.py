"""`exphil eval`: what a checkpoint's policy loses on replays, beside the baselines of its run.

Games that the run was trained on flatter it, as other recordings and other games of their matches do: there is a
warning with their number.
"""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from exphil_core.cli.format import console
from exphil_core.cli.options import RunsDir
from exphil_core.cpu import core_count
from exphil_core.errors import DataError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    from exphil_core.dataset.index import DatasetIndex
    from exphil_core.runs.directory import RunDirectory


def eval_command(
    checkpoint: Annotated[str, typer.Argument(help="A run's name or directory, or a checkpoint directory.")],
    replays: Annotated[
        list[str] | None,
        typer.Option(help="What to evaluate on; several may follow (default: the run's held-out games)."),
    ] = None,
    character: Annotated[
        str | None, typer.Option(help="Whose inputs: mewtwo,link,… (default: those of the run's preset).")
    ] = None,
    regime: Annotated[
        str,
        typer.Option(
            help="How games are shown: carried (in chunks, state carried on), windows (each from a cleared state, as "
            "in training without train.carry_state) or stepped (frame by frame, as in play; slow)."
        ),
    ] = "carried",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a trained policy on replays: nats per frame, per head and per character."""
    from exphil_core.cli.choices import chosen_characters
    from exphil_core.cli.options import dataset_of
    from exphil_core.cli.report import evaluation_table
    from exphil_core.dataset.index import DatasetIndex
    from exphil_core.dataset.split import select_egos
    from exphil_core.dataset.store import ColumnStore
    from exphil_core.melee import characters
    from exphil_core.training.data import open_run_data
    from exphil_core.training.device import choose_device
    from exphil_core.training.evaluate import evaluate, regime_of
    from exphil_core.training.keeper import find_checkpoint, load_for_play, read_baselines

    # Mistakes in what was typed are found before anything is loaded.
    wanted = None if character is None else chosen_characters("--character", character)
    shown = regime_of(regime)
    run, directory = find_checkpoint(runs_dir, checkpoint)
    where = choose_device(device)
    loaded, preset, policy = load_for_play(directory, where)
    if wanted is None:
        wanted = preset.data.characters
    ids = tuple(characters.by_name(name).external_id for name in wanted)

    if replays:
        path = dataset_of(replays, min_frames=preset.data.min_frames, workers=core_count(), quiet=as_json)
        index = DatasetIndex.open(path)
        games = tuple(range(len(index.games)))
        for message in _seen_in_training(index, run):
            print(f"warning: {message}", file=sys.stderr)
    else:
        data = open_run_data(run, preset)
        for notice in data.warnings:
            print(f"warning: {notice.message}", file=sys.stderr)
        index = data.store.index
        # All that are held out, whoever plays: --character may ask for others than the run has learned.
        held_out = data.split.validation
        games = tuple(number for number, game in enumerate(index.games) if game.content_id in held_out)
    egos = select_egos(
        index,
        games,
        characters=ids,
        include_cpu=preset.data.include_cpu,
        include_idle=preset.data.include_idle,
    )
    if not egos:
        names = ", ".join(wanted) or "any character"
        raise DataError(
            f"{index.path}: no usable side of {names} to evaluate; 'exphil data stats' says who plays there"
        )
    found = evaluate(
        policy,
        ColumnStore(index),
        egos,
        read_baselines(run.path),
        rows=preset.evaluation.rows,
        device=where,
        regime=shown,
        chunk_length=preset.chunk_length,
    )
    fields = found.fields(step=loaded.step, split="replays" if replays else "validation")
    if as_json:
        print(json.dumps({**fields, "regime": shown}, allow_nan=False))
        return
    console().print(evaluation_table(fields, title=f"{run.name}, step {loaded.step:,}, {shown}"))


def _seen_in_training(index: "DatasetIndex", run: "RunDirectory") -> Iterator[str]:
    from exphil_core.training.kept_split import SPLIT_FILE, read_split

    kept = read_split(run.path)
    if kept is None:
        yield f"{run.path / SPLIT_FILE} is missing: whether these games were trained on is not known"
        return
    learned, related = kept.learned_from(index)
    if learned:
        yield f"{learned} of {len(index.games)} games were trained on by {run.name}: their loss flatters it"
    if related:
        yield (
            f"{related} of {len(index.games)} games are of matches whose other games {run.name} was trained on: "
            "their loss flatters it a little"
        )
