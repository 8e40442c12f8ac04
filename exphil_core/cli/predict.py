"""`exphil predict`: write a checkpoint's predictions for both players of a replay to a file.

Any two-player replay is accepted, also one that a dataset would reject; characters and stages that the policy was
not trained on cause a warning.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exphil_core.cli.options import RunsDir
from exphil_core.cpu import core_count
from exphil_core.errors import DataError, UsageError
from exphil_core.inference.cpu_affinity import set_play_spin_count
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    import numpy as np

    from exphil_core.replays.pack import PackedGame
    from exphil_core.runs.prediction_layout import Layout
    from exphil_core.runs.predictions import Meta, PredictionFile


def predict_command(
    checkpoint: Annotated[str, typer.Argument(help="A run's name or directory, or a checkpoint directory.")],
    replay: Annotated[Path, typer.Argument(help="A replay (.slp) of two players.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write (default: one in the run's folder 'predictions').")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(help="CPU threads; more than one helps where nothing else runs.")
    ] = 1,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict both players' controllers in every frame of a replay, step by step as in play."""
    set_play_spin_count()
    cores = core_count()
    if not 1 <= threads <= cores:
        raise UsageError(f"--threads {threads}: expected 1 to {cores}, the cores that this process may use")
    if not replay.is_file():
        raise DataError(f"{replay}: no such file; expected a replay (.slp)")

    import torch

    from exphil_core.cli.progress import progress_lines
    from exphil_core.inference.offline import describe, predict_replay
    from exphil_core.inference.predictor import Predictor
    from exphil_core.models.weights import checksum
    from exphil_core.replays.isolation.sandbox import load_two_player_game
    from exphil_core.runs.predictions import prediction_path
    from exphil_core.training.checkpoint_manager import find_checkpoint, load_for_play
    from exphil_core.training.device import choose_device

    run, directory = find_checkpoint(runs_dir, checkpoint)
    where = choose_device(device)
    game = load_two_player_game(replay)
    # Default 1: beside a training run, two threads were ten times slower, as they wait for each other.
    torch.set_num_threads(threads)
    loaded, preset, policy = load_for_play(directory, where)
    predictor = Predictor(policy, weights=checksum(policy.state_dict()), step=loaded.step)
    meta = describe(predictor, preset, game, run=run.name)
    for warning in _warnings(meta, preset.data.characters, game.external_stage_id):
        print(f"warning: {replay}: {warning}", file=sys.stderr)
    path = prediction_path(run.path, game.content_id, loaded.step) if out is None else out
    began = time.monotonic()
    kept = _reusable(path, predictor.layout, meta)
    with progress_lines(f"predicting {meta.frames} frames") as say:
        file = kept or predict_replay(
            predictor, game, path, meta, progress=lambda done: say(f"predicted {done} of {meta.frames}")
        )
    if as_json:
        seconds = time.monotonic() - began
        print(json.dumps(_object(file, game, reused=kept is not None, seconds=seconds), allow_nan=False))
    else:
        print(path)


def _warnings(meta: "Meta", learned: Sequence[str], external_stage_id: int) -> Iterator[str]:
    from exphil_core.melee import characters, stages

    if not any(side.known for side in meta.sides):
        playing = " and ".join(characters.by_external_id(side.external_id).title for side in meta.sides)
        yield f"{playing} play here, but {meta.run} was trained on {', '.join(learned)} only: expect poor predictions"
    if not stages.is_supported(external_stage_id):
        yield f"{meta.run} was not trained on this stage: expect poor predictions"


def _reusable(path: Path, layout: "Layout", meta: "Meta") -> "PredictionFile | None":
    """Return the existing file at `path` if it has the same layout and metadata; otherwise delete it.

    Raises:
        UsageError: `path` is not a prediction file, which must not be overwritten.
    """
    from exphil_core.runs.predictions import PredictionFile, is_predictions

    if not path.exists():
        return None
    if not is_predictions(path):
        raise UsageError(f"{path} exists and is not a prediction file: give another file with --out")
    try:
        found = PredictionFile.open(path)
        if (found.layout, found.meta) == (layout, meta):
            return found
    except DataError as error:
        print(f"warning: {error}; it is written anew", file=sys.stderr)
    # Readers must find the predictions that are being written now, not the outdated ones.
    path.unlink()
    return None


def _characters_by_frame(game: "PackedGame") -> "tuple[np.ndarray, ...]":
    """Return the external ids, shape [frames], of each player's character on the stage."""
    import torch

    from exphil_core.encoding.batch import Who, characters_by_frame
    from exphil_core.replays.columns import Group

    columns: dict[Group, torch.Tensor] = {"u8": torch.from_numpy(game.groups["u8"])[None]}
    players: tuple[Who, Who] = ("p0", "p1")
    return tuple(
        characters_by_frame(columns, torch.tensor([side.external_id]), who)[0].numpy()
        for side, who in zip(game.sides, players, strict=True)
    )


def _per_character(nll: "np.ndarray", observed: "np.ndarray", horizon: int) -> dict[str, dict[str, float]]:
    """Return frames and mean loss by the character on the stage in the observed frame, as in `exphil eval`."""
    import numpy as np

    from exphil_core.melee import characters

    nll, observed = nll[horizon:], observed[:-horizon]
    counted = ~np.isnan(nll)
    played = [characters.by_external_id(found) for found in np.unique(observed[counted]).tolist()]
    found = {}
    for character in sorted(played, key=lambda character: characters.low_tier_first(character.name)):
        own = nll[counted & (observed == character.external_id)]
        found[character.name] = {"loss": float(own.mean()), "frames": len(own)}
    return found


def _object(file: "PredictionFile", game: "PackedGame", *, reused: bool, seconds: float) -> dict[str, object]:
    import numpy as np

    from exphil_core.melee import characters

    observed = _characters_by_frame(game)
    sides = []
    for side in file.meta.sides:
        nll = file.nll(side.slot).sum(axis=1, dtype=np.float64)
        counted = nll[~np.isnan(nll)]
        agreement = file.agreement(side.slot)
        sides.append(
            {
                "slot": side.slot,
                "port": side.port,
                "character": characters.by_external_id(side.external_id).name,
                "per_character": _per_character(nll, observed[side.slot], file.layout.horizon),
                "type": side.type,
                "known": side.known,
                "frames": len(counted),
                "loss": float(counted.mean()) if len(counted) else None,
                "agreement": float(np.nanmean(agreement)) if len(counted) else None,
            }
        )
    meta = file.meta
    return {
        "path": str(file.path),
        "run": meta.run,
        "step": meta.step,
        "weights": f"{meta.weights:016x}",
        "content_id": meta.content_id,
        "frames": meta.frames,
        "horizon": file.layout.horizon,
        "sides": sides,
        "reused": reused,
        "seconds": round(seconds, 3),
    }
