"""`exphil predict`: what a checkpoint's policy would press in every frame of a replay, kept for whoever shows it.

In: a checkpoint as `exphil eval` takes it, and a replay of two players. Out: a file of predictions of both sides,
beside the run unless told otherwise, and its path. What a reader gets wrong: the replay need not be one to learn
from; it may have CPU players, idle ones, or characters that the policy has never seen, about which there is a
warning.
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
from exphil_core.inference.cores import wait_awake
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    import numpy as np

    from exphil_core.replays.pack import PackedGame
    from exphil_core.runs.predictions import Layout, Meta, PredictionFile


def predict_command(
    checkpoint: Annotated[str, typer.Argument(help="A run's name or directory, or a checkpoint directory.")],
    replay: Annotated[Path, typer.Argument(help="A replay (.slp) of two players.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write (default: one in the run's folder 'predictions').")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(help="Processor threads; more than one pays where nothing else runs.")
    ] = 1,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict both players' controllers in every frame of a replay, as a player meets them."""
    wait_awake()
    cores = core_count()
    if not 1 <= threads <= cores:
        raise UsageError(f"--threads {threads}: expected 1 to {cores}, the cores that this process may use")
    if not replay.is_file():
        raise DataError(f"{replay}: no such file; expected a replay (.slp)")

    import torch

    from exphil_core.cli.progress import told
    from exphil_core.inference.offline import describe, predict_replay
    from exphil_core.inference.predictor import Predictor
    from exphil_core.models.weights import checksum
    from exphil_core.runs.predictions import prediction_path
    from exphil_core.training.device import choose_device
    from exphil_core.training.keeper import find_checkpoint, load_for_play

    run, directory = find_checkpoint(runs_dir, checkpoint)
    where = choose_device(device)
    game = two_players(replay)
    # One unless told otherwise: beside a training, two threads that wait for each other were ten times as slow.
    torch.set_num_threads(threads)
    loaded, preset, policy = load_for_play(directory, where)
    predictor = Predictor(policy, weights=checksum(policy.state_dict()), step=loaded.step)
    meta = describe(predictor, preset, game, run=run.name)
    for warning in _warnings(meta, preset.data.characters, game.external_stage_id):
        print(f"warning: {replay}: {warning}", file=sys.stderr)
    path = prediction_path(run.path, game.content_id, loaded.step) if out is None else out
    began = time.monotonic()
    kept = _reusable(path, predictor.layout, meta)
    with told(f"predicting {meta.frames} frames") as say:
        file = kept or predict_replay(
            predictor, game, path, meta, progress=lambda done: say(f"predicted {done} of {meta.frames}")
        )
    if as_json:
        seconds = time.monotonic() - began
        print(json.dumps(_object(file, game, reused=kept is not None, seconds=seconds), allow_nan=False))
    else:
        print(path)


def two_players(replay: Path) -> "PackedGame":
    """The replay's game, parsed in a process of its own. DataError where it cannot be, or is not of two players."""
    from exphil_core.replays.pack import pack_game
    from exphil_core.replays.viewing import load_game

    game = load_game(replay)
    if len(game.players) != 2:
        raise DataError(f"{replay} has {len(game.players)} players; a policy predicts games of two")
    return pack_game(game)


def _warnings(meta: "Meta", learned: Sequence[str], external_stage_id: int) -> Iterator[str]:
    from exphil_core.melee import characters, stages

    if not any(side.known for side in meta.sides):
        playing = " and ".join(characters.by_external_id(side.external_id).title for side in meta.sides)
        yield f"{playing} play here, and {meta.run} learned from {', '.join(learned)} alone: expect little"
    if not stages.is_supported(external_stage_id):
        yield f"{meta.run} has never seen this stage: expect little"


def _reusable(path: Path, layout: "Layout", meta: "Meta") -> "PredictionFile | None":
    """The finished file of the same weights and replay, where it is there. Another one is taken away.

    UsageError where `path` is something else than predictions, which is not for us to write over.
    """
    from exphil_core.runs.predictions import PredictionFile, is_predictions

    if not path.exists():
        return None
    if not is_predictions(path):
        raise UsageError(f"{path} is there and holds no predictions: give another file with --out")
    try:
        found = PredictionFile.open(path)
        if (found.layout, found.meta) == (layout, meta):
            return found
    except DataError as error:
        print(f"warning: {error}; it is written anew", file=sys.stderr)
    # Whoever looks for predictions now is to find those that are being made.
    path.unlink()
    return None


def _characters_by_frame(game: "PackedGame") -> "tuple[np.ndarray, ...]":
    """External ids [frames] of the characters that the players have on the stage."""
    import torch

    from exphil_core.encoding.batch import Who, characters_on_stage
    from exphil_core.replays.columns import Group

    columns: dict[Group, torch.Tensor] = {"u8": torch.from_numpy(game.groups["u8"])[None]}
    players: tuple[Who, Who] = ("p0", "p1")
    return tuple(
        characters_on_stage(columns, torch.tensor([side.external_id]), who)[0].numpy()
        for side, who in zip(game.sides, players, strict=True)
    )


def _per_character(nll: "np.ndarray", observed: "np.ndarray", horizon: int) -> dict[str, dict[str, float]]:
    """Frames and loss by the character on the stage in the observed frame, as `exphil eval` counts them."""
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
