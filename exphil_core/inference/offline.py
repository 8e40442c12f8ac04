"""A whole replay predicted at once: frame by frame in the streaming form, as fast as the machine does it.

In: a predictor and a packed game. Out: a `PredictionFile`, whole, or none. What a reader gets wrong: the state is
carried through the game one step a frame, as a player meets it; only what does not depend on the frame before
(encoding, sampling, probabilities) is done for some frames at once.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exphil_core.config.preset import Preset
from exphil_core.inference.predictor import Predictor
from exphil_core.inference.sides import sides_of
from exphil_core.melee import characters
from exphil_core.replays.pack import PackedGame
from exphil_core.runs.predictions import Meta, PredictionFile, Side

_FIRST_STRETCH, _LONGEST_STRETCH = 8, 64
_STRETCH_SECONDS = 0.25
"""A stretch takes about this long at most, so that who reads the file meanwhile sees it grow."""


def describe(
    predictor: Predictor,
    preset: Preset,
    game: PackedGame,
    *,
    run: str,
    slots: Sequence[int] = (0, 1),
    since: int = 0,
) -> Meta:
    """What the predictions of a replay by this predictor are of."""
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
            Side(
                slot=slot,
                port=side.port_index + 1,
                external_id=side.external_id,
                type=side.type,
                # A preset that names nobody learns from everybody.
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
    """Predicts every frame of the game from `meta.since` on, for all of its sides side by side.

    `progress` hears how many frames are done; what it raises ends the work, and the unfinished file goes with it.
    """
    slots = tuple(side.slot for side in meta.sides)
    sides = sides_of(game, slots, predictor.codec, horizon=predictor.policy.horizon)
    file = PredictionFile.create(path, predictor.layout, meta)
    try:
        state = predictor.initial_state(len(slots))
        start, length = meta.since, _FIRST_STRETCH
        while start < game.frames:
            began = clock()
            stop = min(start + length, game.frames)
            seen, state = predictor.watch(
                sides.stretch(start, stop, since=meta.since), state, predictor.chance(sides, start, stop)
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
