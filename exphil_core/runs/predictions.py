"""What a policy says of frames, on disk: a whole replay's predictions beside a run, and the pilot's newest ones.

In: records as `inference.predictor` makes them. Out: the same records by frame, for whoever shows them without torch.
What a reader gets wrong: a record is filed under the frame that was *observed*, and is for the frame `horizon` later.
Whoever shows frame f beside what the human held in f takes `for_frame(slot, f)`; `nll`, `agreement` and
`human_probability` are by the frame that they are for.

A file is a prefix, a header in JSON, and records of one size. A record ends with a checksum over what is before it:
one that was read while it was being written is never given out.

Legend: K components, V the sizes of all components together.
"""

import fcntl
import json
import mmap
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from exphil_core.atomic import fsync_directory, room_on_disk
from exphil_core.errors import DataError, UsageError
from exphil_core.lock import is_held
from exphil_core.melee.controller import BUTTON_BITS, Controller
from exphil_core.replays.columns import MISSING

VERSION = 1

CAPACITY = 1024
"""Predictions that a ring keeps: 17 seconds."""

UNKNOWN = -1
"""The human's token where none counts as a target."""

Kind = Literal["stick", "trigger", "buttons", "button", "axis"]
Who = Literal["human", "likely", "sampled"]

_RING, _WHOLE = b"exphil:R", b"exphil:P"
_PAGE = 4096
_MAX_HEADER = 2**22
_SLOTS = 4

_PREFIX = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("header_bytes", "<u4"),
        ("header_crc", "<u4"),
        ("records_at", "<u4"),
        ("record_bytes", "<u4"),
        ("unused", "<u4"),
        ("records", "<u8"),
        # Of a ring, the number of its newest record; of a whole replay's file, per slot the end of what is predicted.
        ("counts", "<u8", (_SLOTS,)),
    ]
)

_FIELDS = _PREFIX.fields
assert _FIELDS is not None
_COUNTS_AT = _FIELDS["counts"][1]

_CONTROLLER = np.dtype([("axes", "<f4", (6,)), ("buttons", "<u2")])
_CRC_BYTES = 4
_AXES = ("main_x", "main_y", "c_x", "c_y", "trigger_l", "trigger_r")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentLayout:
    """One component of a codec, and what each of its tokens stands for."""

    name: str
    size: int
    kind: Kind
    labels: tuple[str, ...]
    """One a token, for people: `A+B`, `+0.95 -0.29`, `L 0.35`; `–` where nothing is held."""
    points: tuple[tuple[float, float], ...] | None
    """One a token. Of a stick or one of its axes (x, y), of triggers the levels (left, right); None of buttons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a record holds of each component. Of two files with the same layout, records mean the same."""

    codec: str
    components: tuple[ComponentLayout, ...]
    horizon: int
    """Frames from the one that was observed to the one that a prediction is for."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(component.size for component in self.components)

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where each component's `probabilities` are."""
        ends = tuple(accumulate(self.sizes))
        return tuple(slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True))

    @property
    def dtype(self) -> np.dtype:
        count = len(self.components)
        return np.dtype(
            [
                ("number", "<u8"),
                ("frame_index", "<i4"),
                ("frame_id", "<i4"),
                ("content_id", "S32"),
                ("slot", "u1"),
                ("weights", "<u8"),
                ("step", "<i8"),
                ("since", "<i4"),
                ("human", "<i2", (count,)),
                ("likeliest", "<i2", (count,)),
                ("sampled", "<i2", (count,)),
                ("nll", "<f4", (count,)),
                ("presses", "<f4", (len(BUTTON_BITS),)),
                ("probabilities", "<f2", (sum(self.sizes),)),
                ("human_controller", _CONTROLLER),
                ("likely_controller", _CONTROLLER),
                ("sampled_controller", _CONTROLLER),
                ("took_ms", "<f4"),
                ("late_ms", "<f4"),
                ("missed", "u1"),
                ("crc", "<u4"),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A player of the replay whose controllers are predicted."""

    slot: int
    port: int
    """1 to 4."""
    external_id: int
    type: str
    known: bool
    """Whether the policy learned from this character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What the predictions of a whole replay are of."""

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
    sides: tuple[Side, ...]


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    layout: Layout
    meta: dict[str, Any]


def prediction_path(run: Path, content_id: str, step: int) -> Path:
    """Where the predictions of a run's checkpoint for a replay lie."""
    return run / "predictions" / f"{content_id}-step-{step:09d}.predictions"


def controller_of(record: np.void, who: Who) -> Controller | None:
    """What the human held, or what the policy would have; None where the human's is not a target."""
    found = record[f"{who}_controller"]
    buttons = int(found["buttons"])
    if buttons == MISSING["u16"]:
        return None
    return Controller(**dict(zip(_AXES, found["axes"].tolist(), strict=True)), buttons=buttons)


def _sealed(records: np.ndarray) -> bytes:
    """The records [N] with their checksums."""
    sealed = np.array(records)
    sealed["crc"] = _checksums(sealed)
    return sealed.tobytes()


def _checksums(records: np.ndarray) -> np.ndarray:
    size = records.dtype.itemsize
    data = np.ascontiguousarray(records).view(np.uint8).data
    found = [zlib.crc32(data[at : at + size - _CRC_BYTES]) for at in range(0, len(data), size)]
    return np.array(found, np.uint32)


class _Mapped:
    """A file of records, mapped. The number of records and their size never change while it has its name.

    It is read through the mapping and written past it: to touch a mapped page may wait for the disk, and all of the
    process with it, since only a call to the system lets go of the interpreter.
    """

    def __init__(self, path: Path, handle: int, magic: bytes) -> None:
        self.path = path
        self.handle = handle
        size = os.fstat(handle).st_size
        if size < _PREFIX.itemsize:
            raise DataError(f"{path} is cut short: {size} bytes, and its prefix alone has {_PREFIX.itemsize}")
        self._map = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
        self._prefix = np.frombuffer(self._map, _PREFIX, 1)
        prefix = self._prefix[0]
        if bytes(prefix["magic"]) != magic:
            raise DataError(f"{path} does not hold predictions of this kind: delete it and predict again")
        if prefix["version"] != VERSION:
            raise DataError(
                f"{path} is of version {prefix['version']}; this exphil reads version {VERSION}: predict again"
            )
        start, length = _PREFIX.itemsize, int(prefix["header_bytes"])
        data = self._map[start : start + length]
        if length > _MAX_HEADER or len(data) < length or zlib.crc32(data) != prefix["header_crc"]:
            raise DataError(f"{path} is damaged: its header is not what was written. Predict again")
        try:
            header = msgspec.json.decode(data, type=_Header)
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{path} is damaged: its header cannot be read ({error}). Predict again"
            ) from error
        self.layout = header.layout
        self.described = header.meta
        dtype = self.layout.dtype
        if prefix["record_bytes"] != dtype.itemsize:
            raise DataError(
                f"{path} has records of {prefix['record_bytes']} bytes, and its components need {dtype.itemsize}: "
                "delete it and predict again"
            )
        count, at = int(prefix["records"]), int(prefix["records_at"])
        expected = at + count * dtype.itemsize
        if size != expected:
            raise DataError(f"{path} is cut short: {size} bytes of {expected}. Delete it and predict again")
        self._records_at = at
        self.records = np.frombuffer(self._map, dtype, count, at)

    def count(self, which: int) -> int:
        return int(self._prefix["counts"][0, which])

    def write(self, at: int, records: np.ndarray, which: int, count: int) -> None:
        """Files records, and then says so."""
        data = memoryview(_sealed(records))
        place = self._records_at + at * records.dtype.itemsize
        while data:
            written = os.pwrite(self.handle, data, place)
            place, data = place + written, data[written:]
        os.pwrite(self.handle, count.to_bytes(8, "little"), _COUNTS_AT + 8 * which)

    def whole(self, at: int, number: int) -> np.void | None:
        """A copy of the record at a place; None where it is not that one, or is being written."""
        found = self.records[at : at + 1].copy()
        if found["number"][0] != number or found["crc"][0] != _checksums(found)[0]:
            return None
        record: np.void = found[0]
        return record

    def close(self) -> None:
        """Only for whoever holds no array of it any more."""
        del self._prefix, self.records
        self._map.close()
        os.close(self.handle)


def _open(path: Path, magic: bytes) -> _Mapped:
    found = _open_if_there(path, magic)
    if found is None:
        raise DataError(f"{path}: no predictions there yet")
    return found


def _open_if_there(path: Path, magic: bytes) -> _Mapped | None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _Mapped(path, handle, magic)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, OSError):
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        raise


def _own(partial: Path) -> int:
    """A new empty file of that name, open and locked. Who has mapped the one before keeps it as it was."""
    while True:
        try:
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if is_held(partial):
                raise UsageError(
                    f"{partial} is being written by another process: wait for it, or stop it first"
                ) from None
            partial.unlink(missing_ok=True)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another process took it for one without an owner in the instant before the lock.
            os.close(handle)
            continue
        if not _is_other(partial, handle):
            return handle
        os.close(handle)


def _is_other(path: Path, handle: int) -> bool:
    """Whether the open file no longer is what goes by that name."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return True
    mine = os.fstat(handle)
    return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)


def partial_of(path: Path) -> Path:
    """The name of a whole file while it is being written."""
    return path.with_name(f"{path.name}.partial")


def is_predictions(path: Path) -> bool:
    """Whether a file is there that `PredictionFile.create` has made, which writes this last."""
    try:
        with path.open("rb") as file:
            return file.read(len(_WHOLE)) == _WHOLE
    except FileNotFoundError:
        return False


def _header_bytes(magic: bytes, layout: Layout, meta: Mapping[str, Any], records: int) -> bytes:
    described = json.dumps({"layout": asdict(layout), "meta": meta}, ensure_ascii=False).encode()
    at = -(-(_PREFIX.itemsize + len(described)) // _PAGE) * _PAGE
    prefix = np.zeros(1, _PREFIX)
    prefix["magic"], prefix["version"] = magic, VERSION
    prefix["header_bytes"], prefix["header_crc"] = len(described), zlib.crc32(described)
    prefix["records_at"], prefix["records"] = at, records
    prefix["record_bytes"] = layout.dtype.itemsize
    return (prefix.tobytes() + described).ljust(at, b"\0")


def _fill(handle: int, header: bytes, size: int) -> None:
    """Zeros, so that a disk without room says so here and not by a signal later; then the header."""
    zeros = memoryview(bytes(2**20))
    at = len(header)
    while at < size:
        at += os.pwrite(handle, zeros[: size - at], at)
    os.pwrite(handle, header[_PREFIX.itemsize :], _PREFIX.itemsize)
    os.pwrite(handle, header[: _PREFIX.itemsize], 0)


@dataclass(slots=True)
class _Tracks:
    """What was read of a slot so far, by the frame that it is for."""

    nll: np.ndarray
    agreement: np.ndarray
    probability: np.ndarray
    end: int
    """Frame index of the first observed frame that was not looked at."""

    @classmethod
    def none_yet(cls, frames: int, components: int, since: int) -> "_Tracks":
        return cls(
            nll=np.full((frames, components), np.nan, np.float32),
            agreement=np.full(frames, np.nan, np.float32),
            probability=np.full(frames, np.nan, np.float32),
            end=since,
        )

    def add(self, first: int, records: np.ndarray) -> None:
        """The records for the frames from `first` on; damaged ones stay unknown."""
        place = first + np.flatnonzero(_checksums(records) == records["crc"])
        records = records[place - first]
        self.nll[place] = records["nll"]
        hits = np.where(records["human"] != UNKNOWN, records["likeliest"] == records["human"], np.nan)
        self.agreement[place] = hits.mean(axis=1)
        self.probability[place] = np.exp(-records["nll"].sum(axis=1))


class Ring:
    """The last predictions of something that plays: one writes, others read as it does."""

    def __init__(self, mapped: _Mapped) -> None:
        self._mapped = mapped
        self._number = mapped.count(0)
        self.path = mapped.path
        self.layout = mapped.layout
        self.capacity = len(mapped.records)

    @property
    def meta(self) -> Mapping[str, Any]:
        return self._mapped.described

    @classmethod
    def create(cls, path: Path, layout: Layout, meta: Mapping[str, Any], capacity: int = CAPACITY) -> "Ring":
        """An empty ring in the place of whatever was there. Who reads the old one goes on reading the old one."""
        header = _header_bytes(_RING, layout, meta, capacity)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with room_on_disk(path):
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                _fill(handle, header, len(header) + capacity * layout.dtype.itemsize)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                os.close(handle)
                raise
        return cls(_Mapped(path, handle, _RING))

    @classmethod
    def open(cls, path: Path) -> "Ring":
        """To read. DataError where there is none, or one that is not to be read."""
        return cls(_open(path, _RING))

    def append(self, record: np.ndarray | np.void) -> int:
        """Files one record and gives its number, from 1 on."""
        self._number += 1
        numbered = np.array(record, ndmin=1)
        numbered["number"] = self._number
        at = (self._number - 1) % self.capacity
        self._mapped.write(at, numbered, 0, self._number)
        return self._number

    @property
    def count(self) -> int:
        """How many records were ever filed: the number of the newest one."""
        return self._mapped.count(0)

    def newest(self) -> np.void | None:
        return self.at(self.count)

    def at(self, number: int) -> np.void | None:
        """The record of that number; None where it is gone or not there yet."""
        if number < 1:
            return None
        return self._mapped.whole((number - 1) % self.capacity, number)

    def last(self, n: int) -> list[np.void]:
        """At most the `n` newest records, the oldest first."""
        newest = self.count
        first = max(1, newest - min(n, self.capacity) + 1)
        found = (self.at(number) for number in range(first, newest + 1))
        return [record for record in found if record is not None]

    def replaced(self) -> bool:
        """Whether `path` now is another ring, or none: who plays has begun anew."""
        return _is_other(self.path, self._mapped.handle)

    def close(self) -> None:
        self._mapped.close()


class PredictionFile:
    """The predictions of one replay by one checkpoint, of one side or both.

    While it is being written it has the name `PATH.partial`, whose writer holds a lock on it; one without a lock is
    what a killed writer left.
    """

    def __init__(self, path: Path, mapped: _Mapped) -> None:
        self._mapped = mapped
        self.path = path
        """Its name when it is whole."""
        self.layout = mapped.layout
        try:
            self.meta = msgspec.convert(mapped.described, Meta)
        except msgspec.ValidationError as error:
            raise DataError(f"{mapped.path} is damaged: {error}. Predict again") from error
        self.frames = self.meta.frames
        self.slots = tuple(side.slot for side in self.meta.sides)
        if len(self.slots) > _SLOTS or len(mapped.records) != self.frames * len(self.slots):
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
        """An empty `path.partial`, in the place of what a killed writer left.

        UsageError where another process writes the same file, DiskFullError where there is no room.
        """
        partial = partial_of(path)
        records = meta.frames * len(meta.sides)
        header = _header_bytes(_WHOLE, layout, asdict(meta), records)
        with room_on_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = _own(partial)
            try:
                _fill(handle, header, len(header) + records * layout.dtype.itemsize)
            except BaseException:
                partial.unlink(missing_ok=True)
                os.close(handle)
                raise
        return cls(path, _Mapped(partial, handle, _WHOLE))

    @classmethod
    def open(
        cls, path: Path, *, content_id: str | None = None, frames: int | None = None
    ) -> "PredictionFile":
        """The whole file to read. DataError where there is none, or it is not of this replay, cut or damaged."""
        found = cls(path, _open(path, _WHOLE))
        found._refuse_other(content_id, frames)
        if any(found.done(slot) != found.frames for slot in found.slots):
            raise DataError(f"{path} is not whole, though it has the name of a whole file: delete it")
        return found

    @classmethod
    def find(
        cls, path: Path, *, content_id: str | None = None, frames: int | None = None
    ) -> "PredictionFile | None":
        """The whole file, or the one that is being written; None where neither is there yet."""
        partial = partial_of(path)
        if not path.is_file() and is_predictions(partial):
            mapped = _open_if_there(partial, _WHOLE)
            if mapped is not None:
                found = cls(path, mapped)
                found._refuse_other(content_id, frames)
                return found
        # Looked for last: an unfinished file may have got its name just now.
        return cls.open(path, content_id=content_id, frames=frames) if path.is_file() else None

    def _refuse_other(self, content_id: str | None, frames: int | None) -> None:
        if content_id is not None and content_id != self.meta.content_id:
            raise DataError(
                f"{self.path} holds predictions of another replay: {self.meta.content_id}, expected {content_id}"
            )
        if frames is not None and frames != self.frames:
            raise DataError(f"{self.path} is for {self.frames} frames; the replay has {frames}")

    def write(self, slot: int, frame_index: int, records: np.ndarray) -> None:
        """Files the records [N] of frames `frame_index` and on, which follow what was filed before."""
        assert frame_index == max(self.done(slot), self.meta.since), "records are filed in order"
        end = frame_index + len(records)
        numbered = records.copy()
        numbered["number"] = np.arange(frame_index + 1, end + 1)
        with room_on_disk(self.path):
            self._mapped.write(self._place(slot, frame_index), numbered, self.slots.index(slot), end)

    def finish(self) -> None:
        """Gives the file its name. It is on the disk when this returns."""
        assert all(self.done(slot) == self.frames for slot in self.slots), "frames are missing"
        with room_on_disk(self.path):
            os.fsync(self._mapped.handle)
            partial_of(self.path).replace(self.path)
            fsync_directory(self.path.parent)

    def abandon(self) -> None:
        """Takes the unfinished file away."""
        partial_of(self.path).unlink(missing_ok=True)

    def being_written(self) -> bool:
        """Whether a process is at it; of an unfinished file without one, no more will come."""
        return is_held(partial_of(self.path))

    def done(self, slot: int) -> int:
        """Frame index up to which the slot is predicted: frames `meta.since` to `done(slot) - 1` are there."""
        return min(self._mapped.count(self.slots.index(slot)), self.frames)

    def record(self, slot: int, frame_index: int) -> np.void | None:
        """What was predicted when this frame was observed; None where nothing is there (yet)."""
        if slot not in self.slots or not self.meta.since <= frame_index < self.done(slot):
            return None
        return self._mapped.whole(self._place(slot, frame_index), frame_index + 1)

    def for_frame(self, slot: int, frame_index: int) -> np.void | None:
        """What was predicted *for* this frame."""
        return self.record(slot, frame_index - self.layout.horizon)

    def nll(self, slot: int) -> np.ndarray:
        """Nats [frames, K] of what the human held in each frame; NaN where it is no target or not predicted yet."""
        return self._read_on(slot).nll

    def agreement(self, slot: int) -> np.ndarray:
        """Share [frames] of the components whose likeliest token is the human's; NaN as in `nll`."""
        return self._read_on(slot).agreement

    def human_probability(self, slot: int) -> np.ndarray:
        """Probability [frames] of the whole controller that the human held; NaN as in `nll`."""
        return self._read_on(slot).probability

    def _read_on(self, slot: int) -> "_Tracks":
        """The slot's tracks, with what has come since they were last asked for."""
        tracks, done = self._tracks[slot], self.done(slot)
        begin, tracks.end = tracks.end, max(tracks.end, done)
        # By the frame that a prediction is for; those of the last frames are for frames that are not there.
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
