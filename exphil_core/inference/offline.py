"""Offline prediction of a whole replay, as fast as the machine allows, into a `PredictionFile`.

The state is carried through the game one step per frame, as in play; only work that does not depend on the previous
frame (encoding, sampling, probabilities) is batched over several frames.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exphil_core.config.preset import Preset
from exphil_core.inference.ego_frames import build_ego_frames
from exphil_core.inference.predictor import Predictor
from exphil_core.melee import characters
from exphil_core.replays.pack import PackedGame
from exphil_core.runs.predictions import Meta, PredictedSide, PredictionFile

_FIRST_STRETCH, _LONGEST_STRETCH = 8, 64
_STRETCH_SECONDS = 0.25
"""Upper bound on the time of a stretch, in seconds, so that a reader sees the file grow."""


def describe(
    predictor: Predictor,
    preset: Preset,
    game: PackedGame,
    *,
    run: str,
    slots: Sequence[int] = (0, 1),
    since: int = 0,
) -> Meta:
    """Return the metadata of this predictor's predictions for a replay."""
    learned = {characters.by_name(name).external_id for name in preset.data.characters}
    sides = [(slot, game.sides[slot]) for slot in slots]
    return Meta(
        content_id=game.content_id,
        frames=game.frames,
        run=run,
        step=predictor.step,
        weights=predictor.weights,
        backbone=preset.backbone.kind,
        window_size=preset.backbone.window_size,
        seed=predictor.seed,
        since=since,
        sides=tuple(
            PredictedSide(
                slot=slot,
                port=side.port_index + 1,
                external_id=side.external_id,
                type=side.type,
                # A preset without characters learns from all of them.
                known=not learned or side.external_id in learned,
            )
            for slot, side in sides
        ),
    )


def predict_replay(
    predictor: Predictor,
    game: PackedGame,
    path: Path,
    meta: Meta,
    *,
    progress: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.perf_counter,
) -> PredictionFile:
    """Predict every frame of the game from `meta.since` on, for all of its sides at once.

    Args:
        path: The finished file; until then it is named `PATH.partial`.
        progress: Called with the number of frames done. An exception from it ends the work and removes the file.
    """
    slots = tuple(side.slot for side in meta.sides)
    sides = build_ego_frames(game, slots, predictor.codec, horizon=predictor.policy.horizon)
    file = PredictionFile.create(path, predictor.layout, meta)
    try:
        state = predictor.initial_state(len(slots))
        start, length = meta.since, _FIRST_STRETCH
        while start < game.frames:
            began = clock()
            stop = min(start + length, game.frames)
            seen, state = predictor.watch(
                sides.stretch(start, stop, since=meta.since), state, predictor.uniform(sides, start, stop)
            )
            records = predictor.records(seen, sides, start, since=meta.since)
            for row, slot in enumerate(slots):
                file.write(slot, start, records[row])
            took = max(clock() - began, 1e-6)
            length = max(1, min(_LONGEST_STRETCH, int((stop - start) * _STRETCH_SECONDS / took)))
            start = stop
            progress(start)
        file.finish()
    except BaseException:
        file.abandon()
        raise
    return file
