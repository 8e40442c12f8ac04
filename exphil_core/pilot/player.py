"""Real-time player: plays clips at 60 Hz with one policy and takes newer weights between two clips.

A frame is timed from its columns to its controller: encode, step, sample, decode. Its prediction record is computed
afterwards, in the time left until the next tick. A player that is behind takes the newest frame, as in a live game;
the policy never observes the frames that were skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from exphil_core.encoding.batch import to_tensors
from exphil_core.inference.agent import to_controllers
from exphil_core.inference.latency import FrameTiming
from exphil_core.inference.predictor import ObservedFrames, Predictor
from exphil_core.models.weights import Weights
from exphil_core.pilot.clips import Clip
from exphil_core.pilot.frame_clock import frame_ticks
from exphil_core.pilot.latency_window import LatencySnapshot, LatencyWindow

WARM_UPS = 30
"""Frames played after new weights were loaded, before the clip; not counted."""

SAY_FRAMES = 6
"""Frames between two latency reports: ten reports per second."""

POLL_SECONDS = 0.5
"""Interval between checks for the first weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedFrame:
    """Step, weights, game and frame in play."""

    step: int
    weights: int
    game: str
    """Content id."""
    character: str
    frame_index: int


class PilotPlayer:
    """Plays clips, measures their frames and loads newer weights between two clips."""

    def __init__(
        self,
        clips: Iterator[Clip],
        newest: Callable[[], Weights | None],
        load: Callable[[Weights], Predictor],
        *,
        keep: Callable[[np.ndarray], object],
        say: Callable[[LatencySnapshot, PlayedFrame], object],
        loading: Callable[[int], object],
        undisturbed: Callable[[Callable[[], object]], AbstractContextManager[object]],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        """Create a player.

        Args:
            newest: Returns each new set of weights once, and None if there is none.
            load: Returns a predictor with these weights; earlier predictors become invalid.
            keep: Called with each frame's record [1].
            say: Called ten times a second with latency statistics.
            loading: Called with the step of the weights before they are loaded.
            undisturbed: Context in which a clip is played; called with a function that plays one frame without side
                effects.
        """
        self._clips = clips
        self._newest, self._load = newest, load
        self._keep, self._say, self._loading = keep, say, loading
        self._pinned = undisturbed
        self._clock, self._sleep = clock, sleep
        self._predictor: Predictor | None = None
        self._window = LatencyWindow()
        self._played = 0

    def play(self, over: Callable[[], bool], *, frames: int | None = None) -> None:
        """Play until `over` returns True or `frames` frames were played. Waits for the first weights."""
        clip: Clip | None = None
        until = None if frames is None else self._played + frames
        while not over() and (until is None or self._played < until):
            # Before the weights, so that a replay that cannot be played is an error at once.
            clip = clip or next(self._clips)
            weights = self._newest()
            if weights is not None:
                self._loading(weights.step)
                self._predictor = self._load(weights)
                _warm_up(self._predictor, clip)
            if self._predictor is None:
                self._sleep(POLL_SECONDS)
                continue
            self._play_clip(self._predictor, clip, over, until)
            clip = None

    def _play_clip(
        self, predictor: Predictor, clip: Clip, over: Callable[[], bool], until: int | None
    ) -> None:
        state = predictor.initial_state(1)
        uniform_BTK = predictor.uniform(clip.frames, clip.start, clip.stop)

        def trial_frame() -> None:
            _act(predictor, clip, clip.start, predictor.initial_state(1), uniform_BTK[:, 0])

        with self._pinned(trial_frame):
            for tick in frame_ticks(clip.stop - clip.start, clock=self._clock, sleep=self._sleep):
                if over() or self._played == until:
                    return
                at = clip.start + tick.number
                observed, state = _act(predictor, clip, at, state, uniform_BTK[:, tick.number])
                timing = FrameTiming(due=tick.due, began=tick.began, done=self._clock())
                self._played += 1
                self._window.add(timing, skipped=tick.skipped)
                (record,) = predictor.records(observed, clip.frames, at, since=clip.start)
                record["took_ms"], record["late_ms"] = timing.took_ms, timing.late_ms
                record["missed"] = timing.missed
                self._keep(record)
                if self._played % SAY_FRAMES == 0:
                    played = PlayedFrame(
                        step=predictor.step,
                        weights=predictor.weights,
                        game=clip.frames.game.content_id,
                        character=clip.character,
                        frame_index=at,
                    )
                    self._say(self._window.taken(), played)


def _act(
    predictor: Predictor, clip: Clip, at: int, state: Any, uniform_BK: Tensor
) -> tuple[ObservedFrames, Any]:
    """Compute one frame's controllers: the timed part."""
    frame = to_tensors(clip.frames.live(at, since=clip.start), "cpu")
    observed, state = predictor.act(frame, state, uniform_BK)
    to_controllers(observed.controllers(predictor.codec))
    return observed, state


def _warm_up(predictor: Predictor, clip: Clip) -> None:
    """Play and record frames that do not count."""
    state = predictor.initial_state(1)
    stop = min(clip.start + WARM_UPS, clip.stop)
    uniform_BTK = predictor.uniform(clip.frames, clip.start, stop)
    for at in range(clip.start, stop):
        observed, state = _act(predictor, clip, at, state, uniform_BTK[:, at - clip.start])
        predictor.records(observed, clip.frames, at, since=clip.start)
