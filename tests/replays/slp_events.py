"""A replay's event stream read and written byte by byte, independently of the parser, for tests."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

GAME_START, PRE, POST, GAME_END, FRAME_START, ITEM, FRAME_END = 0x36, 0x37, 0x38, 0x39, 0x3A, 0x3B, 0x3C
FRAME_EVENTS = (PRE, POST, FRAME_START, ITEM, FRAME_END, 0x3F, 0x40, 0x41)
"""Events that start with their frame id."""
_STREAM_START = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    sizes_event: bytes
    events: tuple[bytes, ...]
    """Whole events in order, from Game Start on."""
    after: bytes
    """The metadata and whatever else follows the stream."""

    @classmethod
    def of(cls, data: bytes) -> Self:
        (length,) = struct.unpack_from(">I", data, 11)
        end = _STREAM_START + length if length else len(data)
        first = _STREAM_START + 1 + data[_STREAM_START + 1]
        sizes = dict(struct.iter_unpack(">BH", data[_STREAM_START + 2 : first]))
        events, position = [], first
        while position < end:
            following = position + 1 + sizes[data[position]]
            events.append(data[position:following])
            position = following
        return cls(sizes_event=data[_STREAM_START:first], events=tuple(events), after=data[end:])

    def with_events(self, events: Iterable[bytes]) -> "EventStream":
        return EventStream(sizes_event=self.sizes_event, events=tuple(events), after=self.after)

    def build(self) -> bytes:
        stream = self.sizes_event + b"".join(self.events)
        return b"{U\x03raw[$U#l" + struct.pack(">I", len(stream)) + stream + self.after


def frame_id_of(event: bytes) -> int | None:
    """None for events that belong to no frame."""
    return struct.unpack_from(">i", event, 1)[0] if event[0] in FRAME_EVENTS else None


def occurrences(events: Iterable[bytes]) -> list[tuple[int, list[bytes]]]:
    """(frame id, events) of every time that a frame was played, in the order of the file.

    A new one begins with a Frame Start, or, before 3.0, where the frame id changes.
    """
    found: list[tuple[int, list[bytes]]] = []
    for event in events:
        frame_id = frame_id_of(event)
        if frame_id is None:
            continue
        if event[0] == FRAME_START or not found or found[-1][0] != frame_id:
            found.append((frame_id, []))
        found[-1][1].append(event)
    return found


def finalised(stream: EventStream) -> EventStream:
    """The stream with every frame once, as it was played last."""
    last = dict(occurrences(stream.events))
    head = [event for event in stream.events if event[0] == GAME_START]
    tail = [event for event in stream.events if event[0] == GAME_END][:1]
    frames = [event for frame_id in sorted(last) for event in last[frame_id]]
    others = [
        event
        for event in stream.events
        if frame_id_of(event) is None and event[0] not in (GAME_START, GAME_END)
    ]
    return stream.with_events([*head, *others, *frames, *tail])


def finalised_copy(path: Path, folder: Path) -> Path:
    """A copy of the replay in which no frame repeats, for readers that do not know of rollback."""
    copy = folder / path.name
    copy.write_bytes(finalised(EventStream.of(path.read_bytes())).build())
    return copy


_PRE = {
    "main_x": (0x19, ">f4"),
    "main_y": (0x1D, ">f4"),
    "c_x": (0x21, ">f4"),
    "c_y": (0x25, ">f4"),
    "buttons": (0x31, ">u2"),
    "trigger_l": (0x33, ">f4"),
    "trigger_r": (0x37, ">f4"),
}
_POST = {
    "internal_id": (0x7, ">u1"),
    "action_state": (0x8, ">u2"),
    "position_x": (0xA, ">f4"),
    "position_y": (0xE, ">f4"),
    "direction": (0x12, ">f4"),
    "percent": (0x16, ">f4"),
    "shield": (0x1A, ">f4"),
    "last_attack_landed": (0x1E, ">u1"),
    "combo_count": (0x1F, ">u1"),
    "last_hit_by": (0x20, ">u1"),
    "stocks": (0x21, ">u1"),
    "state_age": (0x22, ">f4"),
    "flags_1": (0x26, ">u1"),
    "flags_2": (0x27, ">u1"),
    "flags_3": (0x28, ">u1"),
    "flags_4": (0x29, ">u1"),
    "flags_5": (0x2A, ">u1"),
    "misc_as": (0x2B, ">f4"),
    "airborne": (0x2F, ">u1"),
    "jumps": (0x32, ">u1"),
    "l_cancel": (0x33, ">u1"),
    "hurtbox_state": (0x34, ">u1"),
    "velocity_air_x": (0x35, ">f4"),
    "velocity_y": (0x39, ">f4"),
    "knockback_x": (0x3D, ">f4"),
    "knockback_y": (0x41, ">f4"),
    "velocity_ground_x": (0x45, ">f4"),
    "hitlag": (0x49, ">f4"),
}
_ITEM = {
    "type": (0x5, ">u2"),
    "state": (0x7, ">u1"),
    "velocity_x": (0xC, ">f4"),
    "velocity_y": (0x10, ">f4"),
    "position_x": (0x14, ">f4"),
    "position_y": (0x18, ">f4"),
    "spawn_id": (0x22, ">u4"),
    "owner": (0x2A, ">i1"),
}
"""Offset within the event, its code included, and type of our columns: Slippi's specification."""

Fields = Mapping[str, np.ndarray]


def _fields(events: list[bytes], layout: Mapping[str, tuple[int, str]]) -> Fields:
    rows = np.frombuffer(b"".join(events), np.uint8).reshape(len(events), len(events[0]))
    read = {}
    for name, (offset, kind) in layout.items():
        dtype = np.dtype(kind)
        if offset + dtype.itemsize <= rows.shape[1]:
            column = np.ascontiguousarray(rows[:, offset : offset + dtype.itemsize])
            read[name] = column.view(dtype)[:, 0].astype(dtype.newbyteorder("="))
    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalised:
    """What was played, frame by frame: of repeated frames the last occurrence."""

    frame_ids: list[int]
    players: Mapping[tuple[int, bool], tuple[list[int], Fields]]
    """(port index, whether it is the follower) → frame ids of its rows, and its fields; raw, as in the file."""
    items: Fields
    items_of: list[int]
    """The frame id of each item, in order."""


def read_finalised(stream: EventStream) -> Finalised:
    last = dict(occurrences(stream.events))
    frame_ids = sorted(last)
    halves: dict[tuple[int, bool], tuple[list[int], list[bytes], list[bytes]]] = {}
    items: list[bytes] = []
    items_of: list[int] = []
    for frame_id in frame_ids:
        for event in last[frame_id]:
            if event[0] in (PRE, POST):
                rows = halves.setdefault((event[5], bool(event[6])), ([], [], []))
                if event[0] == PRE:
                    rows[0].append(frame_id)
                rows[1 if event[0] == PRE else 2].append(event)
            elif event[0] == ITEM:
                items.append(event)
                items_of.append(frame_id)
    players = {
        who: (ids, {**_fields(pre, _PRE), **_fields(post, _POST)}) for who, (ids, pre, post) in halves.items()
    }
    return Finalised(
        frame_ids=frame_ids,
        players=players,
        items=_fields(items, _ITEM) if items else {},
        items_of=items_of,
    )
