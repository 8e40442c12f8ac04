"""Live predictions of a run's pilot, read from its prediction ring, as `Predicted` for the current game.

The ring holds 17 seconds. Agreement and probability of earlier frames are kept for the tracks; their predictions
are not.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from exphil_core.errors import DataError
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.runs.prediction_layout import UNKNOWN, Layout
from exphil_core.runs.predictions import PredictionRing
from exphil_core.runs.records import LatencyEvent, LoadingWeights, Record, decode
from exphil_core.runs.tail import Tail

_INITIAL_CAPACITY = 2**14
"""Initial capacity of the tracks: four and a half minutes. They grow with the game."""

RETRY_S = 0.5
"""Seconds between two attempts to open a missing ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotFrame:
    """The newest frame that the pilot has observed."""

    content_id: str
    slot: int
    frame_index: int
    step: int
    weights: str
    """First eight hex digits of the weights' checksum."""


class PilotFeed:
    """`Predicted` for the current game and player; a new game starts with empty tracks."""

    def __init__(self, pilot: PilotDirectory, clock: Callable[[], float]) -> None:
        self._pilot, self._clock = pilot, clock
        self._ring: PredictionRing | None = None
        self._layout: Layout | None = None
        self._retry_at = 0.0
        self._tail: Tail[Record] = Tail(pilot.events_path, decode=decode)
        self.loading: int | None = None
        """Step of the weights that the pilot loads between two clips; None while it plays."""
        self.missed = self.skipped = 0
        """Frames of the current game without an answer in time, and those among them that were never played."""
        self._last_number = 0
        """Number of the newest record read."""
        self._numbers = np.zeros(0, np.int64)
        self._agreement = self._probability = np.zeros(0, np.float32)
        self.newest: PilotFrame | None = None
        self.last_update: float | None = None
        """Time of the last frame on `clock`."""
        self.problem = ""
        """Why no predictions can be read; empty if they can."""

    def poll(self) -> None:
        """Read new records from the ring; cheap if there are none."""
        if self._ring is not None and self._ring.replaced():
            self.close()
        if self._ring is None and not self._open():
            return
        assert self._ring is not None
        records = self._ring.last(self._ring.count - self._last_number)
        for record in records:
            self._add(record)
        if records:
            self.loading = None
        elif self._clock() - (self.last_update or 0.0) > RETRY_S:
            self._read_events()

    def _read_events(self) -> None:
        """Find out why the ring is silent."""
        with suppress(OSError):
            for event in self._tail.read():
                if isinstance(event, LoadingWeights):
                    self.loading = event.step
                elif isinstance(event, LatencyEvent):
                    self.loading = None

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._ring, self._last_number = None, 0

    def _open(self) -> bool:
        if self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + RETRY_S
        try:
            self._ring = PredictionRing.open(self._pilot.frames_path)
        except DataError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        self._layout = self._ring.layout
        # Record numbers from the previous ring are invalid.
        self._numbers[:] = 0
        return True

    def _add(self, record: np.void) -> None:
        assert self._ring is not None
        # False where this process was suspended until the ring wrapped around.
        follows = int(record["number"]) == self._last_number + 1
        self._last_number = int(record["number"])
        frame = PilotFrame(
            content_id=record["content_id"].decode("ascii", "replace"),
            slot=int(record["slot"]),
            frame_index=int(record["frame_index"]),
            step=int(record["step"]),
            weights=f"{int(record['weights']):016x}"[:8],
        )
        before = self.newest
        same_game = before is not None and (frame.content_id, frame.slot) == (before.content_id, before.slot)
        if before is None or not same_game or frame.frame_index < before.frame_index:
            self._reset_tracks()
        elif follows:
            skipped = frame.frame_index - before.frame_index - 1
            self.missed, self.skipped = self.missed + skipped, self.skipped + skipped
        self.missed += int(record["missed"])
        self.newest, self.last_update = frame, self._clock()
        target = frame.frame_index + self._ring.layout.horizon
        self._grow(target + 1)
        self._numbers[target] = self._last_number
        known = record["human"] != UNKNOWN
        self._agreement[target] = (record["likeliest"] == record["human"]).mean() if known.all() else np.nan
        self._probability[target] = np.exp(-record["nll"].sum())

    def _reset_tracks(self) -> None:
        self.missed = self.skipped = 0
        self._numbers = np.zeros(_INITIAL_CAPACITY, np.int64)
        self._agreement = np.full(_INITIAL_CAPACITY, np.nan, np.float32)
        self._probability = np.full(_INITIAL_CAPACITY, np.nan, np.float32)

    def _grow(self, frames: int) -> None:
        while len(self._numbers) < frames:
            more = len(self._numbers)
            unknown = np.full(more, np.nan, np.float32)
            self._numbers = np.append(self._numbers, np.zeros(more, np.int64))
            self._agreement = np.append(self._agreement, unknown)
            self._probability = np.append(self._probability, unknown)

    # The `Predicted` protocol.

    @property
    def layout(self) -> Layout:
        assert self._layout is not None, "`layout` is read only after the first frame"
        return self._layout

    def done(self, slot: int) -> int:
        return 0 if self.newest is None or slot != self.newest.slot else self.newest.frame_index + 1

    def for_frame(self, slot: int, frame_index: int) -> np.void | None:
        if self._ring is None or self.newest is None or slot != self.newest.slot:
            return None
        number = int(self._numbers[frame_index]) if frame_index < len(self._numbers) else 0
        return self._ring.at(number) if number else None

    def agreement(self, slot: int) -> np.ndarray:
        return self._agreement if self.done(slot) else np.zeros(0, np.float32)

    def human_probability(self, slot: int) -> np.ndarray:
        return self._probability if self.done(slot) else np.zeros(0, np.float32)
