"""What a run's pilot plays now, read from the ring that it writes, as predictions of the game that is on.

In: the pilot's folder, looked at as often as one paints. Out: the newest frame, and `Predicted` for the game that
it is of. What a reader gets wrong: the ring holds seventeen seconds. What was seen of the game before is kept as
numbers for its tracks, but the prediction of an old frame is gone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exphil_core.errors import DataError
from exphil_core.runs.pilot import PilotDirectory
from exphil_core.runs.predictions import UNKNOWN, Layout, Ring

_FIRST_FRAMES = 2**14
"""Tracks begin with room for four and a half minutes and grow with the game."""

RETRY_S = 0.5
"""Between two looks for a ring that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnAir:
    """The newest frame that the pilot has observed."""

    content_id: str
    slot: int
    frame_index: int
    step: int
    weights: str
    """The beginning of their checksum."""


class Broadcast:
    """`Predicted` of the one game and side that are on; another game begins with empty tracks."""

    def __init__(self, pilot: PilotDirectory, clock: Callable[[], float]) -> None:
        self._pilot, self._clock = pilot, clock
        self._ring: Ring | None = None
        self._layout: Layout | None = None
        self._look_again = 0.0
        self._seen = 0
        """Number of the newest record that was taken."""
        self._numbers = np.zeros(0, np.int64)
        self._agreement = self._probability = np.zeros(0, np.float32)
        self.now: OnAir | None = None
        self.heard: float | None = None
        """When the last frame came, on `clock`."""
        self.problem = ""
        """Why there is nothing to read."""

    def look(self) -> None:
        """Take what has come since. Costs nothing where nothing has."""
        if self._ring is not None and self._ring.replaced():
            self.close()
        if self._ring is None and not self._open():
            return
        assert self._ring is not None
        for record in self._ring.last(self._ring.count - self._seen):
            self._take(record)

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._ring, self._seen = None, 0

    def _open(self) -> bool:
        if self._clock() < self._look_again:
            return False
        self._look_again = self._clock() + RETRY_S
        try:
            self._ring = Ring.open(self._pilot.frames_path)
        except DataError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        self._layout = self._ring.layout
        # What it numbered before belongs to another ring.
        self._numbers[:] = 0
        return True

    def _take(self, record: np.void) -> None:
        assert self._ring is not None
        self._seen = int(record["number"])
        now = OnAir(
            content_id=record["content_id"].decode("ascii", "replace"),
            slot=int(record["slot"]),
            frame_index=int(record["frame_index"]),
            step=int(record["step"]),
            weights=f"{int(record['weights']):016x}"[:8],
        )
        again = self.now is not None and (now.content_id, now.slot) == (self.now.content_id, self.now.slot)
        if self.now is None or not again or now.frame_index < self.now.frame_index:
            self._begin()
        self.now, self.heard = now, self._clock()
        wanted = now.frame_index + self._ring.layout.horizon
        self._make_room(wanted + 1)
        self._numbers[wanted] = self._seen
        known = record["human"] != UNKNOWN
        self._agreement[wanted] = (record["likeliest"] == record["human"]).mean() if known.all() else np.nan
        self._probability[wanted] = np.exp(-record["nll"].sum())

    def _begin(self) -> None:
        self._numbers = np.zeros(_FIRST_FRAMES, np.int64)
        self._agreement = np.full(_FIRST_FRAMES, np.nan, np.float32)
        self._probability = np.full(_FIRST_FRAMES, np.nan, np.float32)

    def _make_room(self, frames: int) -> None:
        while len(self._numbers) < frames:
            more = len(self._numbers)
            unknown = np.full(more, np.nan, np.float32)
            self._numbers = np.append(self._numbers, np.zeros(more, np.int64))
            self._agreement = np.append(self._agreement, unknown)
            self._probability = np.append(self._probability, unknown)

    # `Predicted`.

    @property
    def layout(self) -> Layout:
        assert self._layout is not None, "no frame is asked for before one has come"
        return self._layout

    def done(self, slot: int) -> int:
        return 0 if self.now is None or slot != self.now.slot else self.now.frame_index + 1

    def for_frame(self, slot: int, frame_index: int) -> np.void | None:
        if self._ring is None or self.now is None or slot != self.now.slot:
            return None
        number = int(self._numbers[frame_index]) if frame_index < len(self._numbers) else 0
        return self._ring.at(number) if number else None

    def agreement(self, slot: int) -> np.ndarray:
        return self._agreement if self.done(slot) else np.zeros(0, np.float32)

    def human_probability(self, slot: int) -> np.ndarray:
        return self._probability if self.done(slot) else np.zeros(0, np.float32)
