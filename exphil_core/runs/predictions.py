"""Prediction files: predictions of a whole replay (`PredictionFile`) and a ring of the pilot's newest ones. No torch.

A record is stored under the frame that was *observed*, and predicts the frame `horizon` later. To compare frame f
with what the human did in f, use `for_frame(slot, f)`. `nll`, `agreement` and `human_probability` are indexed by
predicted frame.

Legend: K components.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from exphil_core.atomic import disk_full_errors, fsync_directory
from exphil_core.errors import DataError
from exphil_core.lock import is_held
from exphil_core.runs.prediction_layout import UNKNOWN, Layout
from exphil_core.runs.record_file import (
    MAX_SLOTS,
    RecordFile,
    allocate,
    checksums,
    create_locked,
    find_record_file,
    header_bytes,
    open_record_file,
    was_replaced,
)

CAPACITY = 1024
"""Records in a ring: 17 seconds."""


_RING, _WHOLE = b"exphil:R", b"exphil:P"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSide:
    """A player of the replay whose controllers are predicted."""

    slot: int
    port: int
    """1 to 4."""
    external_id: int
    type: str
    known: bool
    """Whether the policy was trained on this character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Description of a whole replay's predictions."""

    content_id: str
    frames: int
    run: str
    step: int
    weights: int
    """Checksum of the weights."""
    backbone: str
    window_size: int
    seed: int
    since: int
    """Frame index of the first frame that was observed."""
    sides: tuple[PredictedSide, ...]


def prediction_path(run: Path, content_id: str, step: int) -> Path:
    """Return the path of a checkpoint's predictions for a replay."""
    return run / "predictions" / f"{content_id}-step-{step:09d}.predictions"


def partial_of(path: Path) -> Path:
    """Return the name of a prediction file while it is being written."""
    return path.with_name(f"{path.name}.partial")


def is_predictions(path: Path) -> bool:
    """Return whether `PredictionFile.create` has made a file there; it writes these bytes last."""
    try:
        with path.open("rb") as file:
            return file.read(len(_WHOLE)) == _WHOLE
    except FileNotFoundError:
        return False


@dataclass(slots=True)
class _Tracks:
    """Values read so far of a slot, indexed by predicted frame."""

    nll: np.ndarray
    agreement: np.ndarray
    probability: np.ndarray
    end: int
    """Frame index of the first observed frame that was not read yet."""

    @classmethod
    def none_yet(cls, frames: int, components: int, since: int) -> "_Tracks":
        return cls(
            nll=np.full((frames, components), np.nan, np.float32),
            agreement=np.full(frames, np.nan, np.float32),
            probability=np.full(frames, np.nan, np.float32),
            end=since,
        )

    def add(self, first: int, records: np.ndarray) -> None:
        """Add the records that predict the frames from `first` on; damaged ones stay NaN."""
        place = first + np.flatnonzero(checksums(records) == records["crc"])
        records = records[place - first]
        self.nll[place] = records["nll"]
        hits = np.where(records["human"] != UNKNOWN, records["likeliest"] == records["human"], np.nan)
        self.agreement[place] = hits.mean(axis=1)
        self.probability[place] = np.exp(-records["nll"].sum(axis=1))


class PredictionRing:
    """Ring buffer of the newest predictions: one process writes, others read at the same time."""

    def __init__(self, mapped: RecordFile) -> None:
        self._mapped = mapped
        self._number = mapped.count(0)
        self.path = mapped.path
        self.layout = mapped.layout
        self.capacity = len(mapped.records)

    @property
    def meta(self) -> Mapping[str, Any]:
        return self._mapped.described

    @classmethod
    def create(
        cls, path: Path, layout: Layout, meta: Mapping[str, Any], capacity: int = CAPACITY
    ) -> "PredictionRing":
        """Create an empty ring in place of any previous one, which its readers keep reading."""
        header = header_bytes(_RING, layout, meta, capacity)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with disk_full_errors(path):
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                allocate(handle, header, len(header) + capacity * layout.dtype.itemsize)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                os.close(handle)
                raise
        return cls(RecordFile(path, handle, _RING))

    @classmethod
    def open(cls, path: Path) -> "PredictionRing":
        """Open a ring to read. DataError if there is none or it cannot be read."""
        return cls(open_record_file(path, _RING))

    def append(self, record: np.ndarray | np.void) -> int:
        """Store one record and return its number, from 1."""
        self._number += 1
        numbered = np.array(record, ndmin=1)
        numbered["number"] = self._number
        at = (self._number - 1) % self.capacity
        self._mapped.write(at, numbered, 0, self._number)
        return self._number

    @property
    def count(self) -> int:
        """Number of records ever stored, which is the number of the newest one."""
        return self._mapped.count(0)

    def newest(self) -> np.void | None:
        return self.at(self.count)

    def at(self, number: int) -> np.void | None:
        """Return the record of that number; None if it was overwritten or does not exist yet."""
        if number < 1:
            return None
        return self._mapped.whole((number - 1) % self.capacity, number)

    def last(self, n: int) -> list[np.void]:
        """Return up to `n` of the newest records, oldest first."""
        newest = self.count
        first = max(1, newest - min(n, self.capacity) + 1)
        found = (self.at(number) for number in range(first, newest + 1))
        return [record for record in found if record is not None]

    def replaced(self) -> bool:
        """Return whether `path` is now another ring, or none: the player has restarted."""
        return was_replaced(self.path, self._mapped.handle)

    def close(self) -> None:
        self._mapped.close()


class PredictionFile:
    """The predictions of one replay by one checkpoint, for one side or both.

    While it is written, it is named `PATH.partial` and locked by its writer; one without a lock was left by a killed
    writer.
    """

    def __init__(self, path: Path, mapped: RecordFile) -> None:
        self._mapped = mapped
        self.path = path
        """Its name once complete."""
        self.layout = mapped.layout
        try:
            self.meta = msgspec.convert(mapped.described, Meta)
        except msgspec.ValidationError as error:
            raise DataError(f"{mapped.path} is damaged: {error}. Predict again") from error
        self.frames = self.meta.frames
        self.slots = tuple(side.slot for side in self.meta.sides)
        if len(self.slots) > MAX_SLOTS or len(mapped.records) != self.frames * len(self.slots):
            raise DataError(
                f"{mapped.path} has {len(mapped.records)} records for {self.frames} frames of "
                f"{len(self.slots)} sides: delete it and predict again"
            )
        self._tracks = {
            slot: _Tracks.none_yet(self.frames, len(self.layout.components), self.meta.since)
            for slot in self.slots
        }

    @classmethod
    def create(cls, path: Path, layout: Layout, meta: Meta) -> "PredictionFile":
        """Create an empty `PATH.partial`, replacing one that a killed writer left.

        UsageError if another process is writing the same file, DiskFullError if there is no room.
        """
        partial = partial_of(path)
        records = meta.frames * len(meta.sides)
        header = header_bytes(_WHOLE, layout, asdict(meta), records)
        with disk_full_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = create_locked(partial)
            try:
                allocate(handle, header, len(header) + records * layout.dtype.itemsize)
            except BaseException:
                partial.unlink(missing_ok=True)
                os.close(handle)
                raise
        return cls(path, RecordFile(partial, handle, _WHOLE))

    @classmethod
    def open(
        cls, path: Path, *, content_id: str | None = None, frames: int | None = None
    ) -> "PredictionFile":
        """Open the complete file to read. DataError if it is missing, of another replay, truncated or damaged."""
        found = cls(path, open_record_file(path, _WHOLE))
        found._refuse_other(content_id, frames)
        if any(found.done(slot) != found.frames for slot in found.slots):
            raise DataError(f"{path} is not whole, though it has the name of a whole file: delete it")
        return found

    @classmethod
    def find(
        cls, path: Path, *, content_id: str | None = None, frames: int | None = None
    ) -> "PredictionFile | None":
        """Open the complete file, or the one being written; None if neither exists yet."""
        partial = partial_of(path)
        if not path.is_file() and is_predictions(partial):
            mapped = find_record_file(partial, _WHOLE)
            if mapped is not None:
                found = cls(path, mapped)
                found._refuse_other(content_id, frames)
                return found
        # Checked last: an unfinished file may have been completed just now.
        return cls.open(path, content_id=content_id, frames=frames) if path.is_file() else None

    def _refuse_other(self, content_id: str | None, frames: int | None) -> None:
        if content_id is not None and content_id != self.meta.content_id:
            raise DataError(
                f"{self.path} holds predictions of another replay: {self.meta.content_id}, expected {content_id}"
            )
        if frames is not None and frames != self.frames:
            raise DataError(f"{self.path} is for {self.frames} frames; the replay has {frames}")

    def write(self, slot: int, frame_index: int, records: np.ndarray) -> None:
        """Write the records [N] of the frames from `frame_index` on, which must follow the previous ones."""
        assert frame_index == max(self.done(slot), self.meta.since), "records are filed in order"
        end = frame_index + len(records)
        numbered = records.copy()
        numbered["number"] = np.arange(frame_index + 1, end + 1)
        with disk_full_errors(self.path):
            self._mapped.write(self._place(slot, frame_index), numbered, self.slots.index(slot), end)

    def finish(self) -> None:
        """Rename the file to its final name. It is on disk when this returns."""
        assert all(self.done(slot) == self.frames for slot in self.slots), "frames are missing"
        with disk_full_errors(self.path):
            os.fsync(self._mapped.handle)
            partial_of(self.path).replace(self.path)
            fsync_directory(self.path.parent)

    def abandon(self) -> None:
        """Remove the unfinished file."""
        partial_of(self.path).unlink(missing_ok=True)

    def being_written(self) -> bool:
        """Return whether a process is writing the file; an unfinished file without one will not grow."""
        return is_held(partial_of(self.path))

    def done(self, slot: int) -> int:
        """Return the end of the slot's predictions: frames `meta.since` to `done(slot) - 1` exist."""
        return min(self._mapped.count(self.slots.index(slot)), self.frames)

    def record(self, slot: int, frame_index: int) -> np.void | None:
        """Return what was predicted when this frame was observed; None if it does not exist (yet)."""
        if slot not in self.slots or not self.meta.since <= frame_index < self.done(slot):
            return None
        return self._mapped.whole(self._place(slot, frame_index), frame_index + 1)

    def for_frame(self, slot: int, frame_index: int) -> np.void | None:
        """Return what was predicted *for* this frame."""
        return self.record(slot, frame_index - self.layout.horizon)

    def nll(self, slot: int) -> np.ndarray:
        """Return nats [frames, K] of the human's tokens; NaN where no target counts or nothing is predicted yet."""
        return self._read_on(slot).nll

    def agreement(self, slot: int) -> np.ndarray:
        """Return the share [frames] of components whose likeliest token is the human's; NaN as in `nll`."""
        return self._read_on(slot).agreement

    def human_probability(self, slot: int) -> np.ndarray:
        """Return the probability [frames] of the human's whole controller; NaN as in `nll`."""
        return self._read_on(slot).probability

    def _read_on(self, slot: int) -> "_Tracks":
        """Return the slot's values, updated with the records written since the last call."""
        tracks, done = self._tracks[slot], self.done(slot)
        begin, tracks.end = tracks.end, max(tracks.end, done)
        # Indexed by predicted frame; predictions for frames past the end are dropped.
        end = min(done, self.frames - self.layout.horizon)
        if begin < end:
            at = self._place(slot, begin)
            records = self._mapped.records[at : at + end - begin].copy()
            tracks.add(begin + self.layout.horizon, records)
        return tracks

    def _place(self, slot: int, frame_index: int) -> int:
        return self.slots.index(slot) * self.frames + frame_index

    def close(self) -> None:
        self._mapped.close()
