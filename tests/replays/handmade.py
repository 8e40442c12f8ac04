"""Replays written byte by byte for tests: of the versions in `SIZES`, of whatever length, players and damage.

Not a copy of any real file. Field order and sizes are those of the public Slippi specification.
"""

import struct
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exphil_core.melee.characters import by_external_id

Fields = Mapping[str, Any]
SIZES = {
    (1, 0, 0): {0x36: 352, 0x37: 58, 0x38: 37, 0x39: 1},
    (2, 0, 1): {0x36: 418, 0x37: 63, 0x38: 51, 0x39: 2},
    (3, 7, 0): {0x36: 420, 0x37: 63, 0x38: 72, 0x39: 2, 0x3A: 8, 0x3B: 42, 0x3C: 8},
    (3, 14, 0): {0x36: 760, 0x37: 63, 0x38: 80, 0x39: 6, 0x3A: 12, 0x3B: 42, 0x3C: 8},
    (3, 18, 0): {
        0x36: 760,
        0x37: 66,
        0x38: 84,
        0x39: 6,
        0x3A: 12,
        0x3B: 44,
        0x3C: 8,
        0x3F: 9,
        0x40: 5,
        0x41: 8,
    },
}
"""Payload sizes. Every version only appends to the events of the one before, so that a newer event cut short is an
older one."""
NOTHING: Fields = {}


def _no_fields(row: int, port_index: int) -> Fields:
    return NOTHING


def _no_items(row: int) -> Sequence[Fields]:
    return ()


def _no_stage_events(row: int) -> Sequence[tuple[int, bytes]]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handmade:
    version: tuple[int, int, int] = (3, 7, 0)
    frame_ids: Iterable[int] = field(default_factory=lambda: range(-123, 677))
    ports: tuple[int, ...] = (0, 1)
    external_ids: tuple[int, ...] = (2, 20)
    internal_ids: tuple[int, ...] | None = None
    """None: those of the characters."""
    types: tuple[int, ...] = (0, 0)
    stage: int = 32
    teams: bool = False
    seed: int = 12345
    match: tuple[str, int, int] = ("", 0, 0)
    """Match id, game number and tiebreak number (3.14)."""
    tag: str = "ABC"
    pre: Callable[[int, int], Fields] = _no_fields
    """Of the row (counted with repeats) and the port index: fields that differ from neutral."""
    post: Callable[[int, int], Fields] = _no_fields
    items: Callable[[int], Sequence[Fields]] = _no_items
    stage_events: Callable[[int], Sequence[tuple[int, bytes]]] = _no_stage_events
    """Of the row: code, and what follows the frame id (3.18)."""
    followers: Mapping[int, Container[int]] = field(default_factory=dict)
    """By port index, the rows on which Nana is there."""
    away: Mapping[int, Container[int]] = field(default_factory=dict)
    """By port index, the rows on which a player is not."""
    end_method: int | None = 2
    metadata: Mapping[str, Any] = field(default_factory=lambda: {"playedOn": "hand"})
    live: bool = False
    """Stop as a recording does that was cut off: length 0, no metadata."""

    def events(self) -> list[bytes]:
        """Game Start, then the events of all rows, then Game End."""
        events = [self._start()]
        for row, frame_id in enumerate(self.frame_ids):
            events += self._row(row, frame_id)
        if self.end_method is not None and not self.live:
            events.append(self._event(0x39, bytes([self.end_method, 255, 0, 1, 255, 255])))
        return events

    def build(self) -> bytes:
        stream = self._sizes() + b"".join(self.events())
        if self.live:
            return b"{U\x03raw[$U#l" + bytes(4) + stream
        length = struct.pack(">I", len(stream))
        return b"{U\x03raw[$U#l" + length + stream + b"U\x08metadata" + ubjson(self.metadata) + b"}"

    def _sizes(self) -> bytes:
        sizes = SIZES[self.version]
        table = b"".join(struct.pack(">BH", code, size) for code, size in sizes.items())
        return bytes([0x35, len(table) + 1]) + table

    def _event(self, code: int, payload: bytes) -> bytes:
        """The event as this version has it, or nothing where it does not have it."""
        size = SIZES[self.version].get(code)
        return b"" if size is None else bytes([code]) + payload[:size]

    def _start(self) -> bytes:
        info = bytearray(312)
        info[0:4] = bytes([50, 1, 134, 76])
        info[0x8] = self.teams
        info[0xB] = info[0xC] = 255
        struct.pack_into(">H", info, 0xE, self.stage)
        struct.pack_into(">I", info, 0x10, 480)
        struct.pack_into(">f", info, 0x30, 1.0)
        for port_index in range(4):
            at = 0x60 + 0x24 * port_index
            info[at + 1] = 3
            if port_index in self.ports:
                slot = self.ports.index(port_index)
                info[at : at + 3] = bytes([self.external_ids[slot], self.types[slot], 4])
                info[at + 9] = slot % 2 if self.teams else 0
                struct.pack_into(">fff", info, at + 0x14, 1.0, 1.0, 1.0)
        start = bytes([*self.version, 0]) + bytes(info) + struct.pack(">I", self.seed) + bytes(32)
        tag = "".join(chr(ord(letter) + 0xFEE0) for letter in self.tag).encode("shift_jis")
        start += (tag.ljust(16, b"\0")) * 4 + bytes([0, 0, 2, 2])
        names = bytes(31 * 4 + 10 * 4 + 29 * 4 + 1)
        match_id, game_number, tiebreak_number = self.match
        start += names + struct.pack(">51sII", match_id.encode(), game_number, tiebreak_number)
        return self._event(0x36, start)

    def _row(self, row: int, frame_id: int) -> list[bytes]:
        slots = [
            (slot, port_index, 0)
            for slot, port_index in enumerate(self.ports)
            if row not in self.away.get(port_index, ())
        ]
        slots += [
            (self.ports.index(port_index), port_index, 1)
            for port_index, rows in self.followers.items()
            if row in rows
        ]
        slots.sort()
        events = [self._event(0x3A, struct.pack(">iII", frame_id, self.seed, row))]
        for _, port_index, follower in slots:
            events.append(self._pre(frame_id, port_index, follower, self.pre(row, port_index)))
        events += [self._item(frame_id, item) for item in self.items(row)]
        events += [
            self._event(code, struct.pack(">i", frame_id) + rest) for code, rest in self.stage_events(row)
        ]
        internal_ids = self.internal_ids or [
            by_external_id(number).internal_id for number in self.external_ids
        ]
        for slot, port_index, follower in slots:
            post = {"internal_id": internal_ids[slot] + follower, **self.post(row, port_index)}
            events.append(self._post(frame_id, port_index, follower, post))
        events.append(self._event(0x3C, struct.pack(">ii", frame_id, frame_id)))
        return [event for event in events if event]

    def _pre(self, frame_id: int, port_index: int, follower: int, pre: Fields) -> bytes:
        value = {"main_x": 0.0, "main_y": 0.0, "c_x": 0.0, "c_y": 0.0, "trigger_l": 0.0, **pre}
        event = struct.pack(
            ">iBBIHffffffffIHffbfbbb",
            *(frame_id, port_index, follower, 12345, 14, 0.0, 0.0, 1.0),
            *(value["main_x"], value["main_y"], value["c_x"], value["c_y"], value["trigger_l"]),
            *(0, value.get("buttons", 0), value["trigger_l"], value.get("trigger_r", 0.0)),
            *(0, 0.0, 0, 0, 0),
        )
        return self._event(0x37, event)

    def _post(self, frame_id: int, port_index: int, follower: int, post: Fields) -> bytes:
        event = struct.pack(
            ">iBBBHfffffBBBBf",
            *(frame_id, port_index, follower, post["internal_id"], post.get("action_state", 14)),
            *(post.get("x", 10.0 * port_index), post.get("y", 0.0), 1.0, post.get("percent", 0.0)),
            post.get("shield", 60.0),
            *(0, 0, 6, post.get("stocks", 4), post.get("state_age", 1.0)),
        )
        flags = bytes(post.get("flags", (1, 2, 3, 4, 5)))
        event += flags + struct.pack(">fBHBBB", post.get("misc_as", float("nan")), 0, 1, 2, 0, 0)
        event += struct.pack(">fffff", *post.get("velocities", (0.1, 0.2, 0.3, 0.4, 0.5)))
        return self._event(0x38, event + struct.pack(">fIHH", post.get("hitlag", 0.0), 14, 0, 0))

    def _item(self, frame_id: int, item: Fields) -> bytes:
        event = struct.pack(
            ">iHBfffffHfI4BbH",
            *(frame_id, item.get("type", 54), 1, 1.0, 0.5, 0.25, item.get("x", 0.0), 0.0, 0, 60.0),
            *(item["spawn_id"], 0, 0, 0, 0, item.get("owner", 0), 0),
        )
        return self._event(0x3B, event)


def ubjson(value: Any) -> bytes:
    if isinstance(value, Mapping):
        return b"{" + b"".join(_text(key) + ubjson(child) for key, child in value.items()) + b"}"
    if isinstance(value, int):
        return struct.pack(">Bi", ord("l"), value)
    return b"S" + _text(str(value))


def _text(text: str) -> bytes:
    data = text.encode()
    return bytes([ord("U"), len(data)]) + data
