"""Synthetic predictions of a game: a policy that repeats the human's inputs, with periodic deviations.

They are a function of the game and the frame index alone, so snapshots stay the same. The horizon is three frames:
the record at frame t predicts the input of frame t + 3.
"""

from pathlib import Path

import numpy as np

from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.replays.game import Game
from exphil_core.runs.prediction_layout import UNKNOWN, ComponentLayout, Layout
from exphil_core.runs.predictions import Meta, PredictedSide, PredictionFile

HORIZON = 3
WEIGHTS = 0x1234_5678_9ABC_DEF0

_MAIN = ((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
_BUTTONS = (0, BUTTON_BITS["A"], BUTTON_BITS["B"], BUTTON_BITS["X"], BUTTON_BITS["L"])

LAYOUT = Layout(
    codec="test",
    horizon=HORIZON,
    components=(
        ComponentLayout(
            name="main",
            size=len(_MAIN),
            kind="stick",
            labels=tuple(f"{x:+.2f} {y:+.2f}" if x or y else "–" for x, y in _MAIN),
            points=_MAIN,
        ),
        ComponentLayout(
            name="buttons",
            size=len(_BUTTONS),
            kind="buttons",
            labels=("–", "A", "B", "X", "L"),
            points=None,
        ),
    ),
)


def records(game: Game, slot: int, *, step: int = 1200) -> np.ndarray:
    """One a frame, by the frame that is observed."""
    frames = np.arange(game.frames)
    wanted = frames + HORIZON
    there = wanted < game.frames
    held = game.players[slot].leader
    at = np.minimum(wanted, game.frames - 1)
    stick = np.stack((held["main_x"][at], held["main_y"][at]), axis=1)
    stick = np.nan_to_num(stick)
    distances = ((stick[:, None] - np.array(_MAIN)) ** 2).sum(axis=2)
    buttons = held["buttons"][at]
    pressed = np.stack([(buttons & bit) != 0 for bit in _BUTTONS[1:]], axis=1)
    human = np.stack(
        (distances.argmin(axis=1), np.where(pressed.any(axis=1), pressed.argmax(axis=1) + 1, 0)), axis=1
    )
    # Every forty frames it looks to the right for ten, and five times as long it holds A.
    away = wanted % 40 < 10
    likeliest = human.copy()
    likeliest[away, 0] = 1
    likeliest[wanted % 400 < 50, 1] = 1
    found = np.zeros(game.frames, LAYOUT.dtype)
    found["frame_index"], found["frame_id"] = frames, game.frame_id
    found["content_id"], found["slot"] = game.content_id, slot
    found["weights"], found["step"], found["since"] = WEIGHTS, step, 0
    found["human"] = np.where(there[:, None], human, UNKNOWN)
    found["likeliest"] = found["sampled"] = likeliest
    chances = np.concatenate(
        [_chances(likeliest[:, k], human[:, k], size) for k, size in enumerate(LAYOUT.sizes)], 1
    )
    found["probabilities"] = chances
    spans = LAYOUT.spans
    for k, span in enumerate(spans):
        picked = np.take_along_axis(chances[:, span], human[:, k : k + 1], axis=1)[:, 0]
        found["nll"][:, k] = np.where(there, -np.log(picked), np.nan)
    found["presses"][:, 0] = chances[:, spans[1]][:, 1]
    for name, tokens in (("likely", likeliest), ("sampled", likeliest), ("human", human)):
        controller = found[f"{name}_controller"]
        controller["axes"][:, :2] = np.array(_MAIN)[tokens[:, 0]]
        controller["buttons"] = np.array(_BUTTONS)[tokens[:, 1]]
    found["human_controller"]["buttons"] = np.where(there, buttons & 0x0FFF, 65535)
    found["took_ms"] = 4.0
    return found


def _chances(likeliest: np.ndarray, human: np.ndarray, size: int) -> np.ndarray:
    """Six tenths for what is likeliest, two for what the human did, the rest for all."""
    chances = np.full((len(human), size), 0.2 / size)
    np.put_along_axis(chances, human[:, None], 0.2 + 0.2 / size, axis=1)
    rows = np.arange(len(human))
    chances[rows, likeliest] += 0.6
    return chances


def meta(game: Game, *, known: tuple[int, ...], step: int) -> Meta:
    return Meta(
        content_id=game.content_id,
        frames=game.frames,
        run="quick",
        step=step,
        weights=WEIGHTS,
        backbone="attention",
        window_size=60,
        seed=0,
        since=0,
        sides=tuple(
            PredictedSide(
                slot=slot,
                port=player.port_index + 1,
                external_id=next(iter(player.played)),
                type=player.type,
                known=slot in known,
            )
            for slot, player in enumerate(game.players)
        ),
    )


def begin(
    path: Path,
    game: Game,
    *,
    step: int = 1200,
    until: int | None = None,
    known: tuple[int, ...] = (0, 1),
) -> PredictionFile:
    """A file whose frames up to `until` are predicted, still to be finished."""
    file = PredictionFile.create(path, LAYOUT, meta(game, known=known, step=step))
    for slot in range(len(game.players)):
        file.write(slot, 0, records(game, slot, step=step)[:until])
    return file


def write(path: Path, game: Game, *, step: int = 1200, known: tuple[int, ...] = (0, 1)) -> None:
    begin(path, game, step=step, known=known).finish()
