"""Rebuild, frame by frame, the event stream of a replay that the parser refuses or misreads.

The parser needs both halves (Pre and Post) of every frame for every player, and before 3.0 it closes the gaps that an
absent follower leaves. Gaps are filled with placeholders, and `Repaired.absent` marks the rows to read as missing.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from exphil_core.replays.columns import Version
from exphil_core.replays.event_stream import (
    FOUNTAIN_PLATFORM,
    FRAME_END,
    FRAME_EVENTS,
    FRAME_START,
    GAME_END,
    GAME_START,
    GECKO_CODES,
    HEADER,
    ITEM,
    PAYLOADS,
    POST_FRAME,
    PRE_FRAME,
    SPLIT_MESSAGE,
    STADIUM,
    STREAM_START,
    WHISPY,
    iterate_events,
    payload_sizes,
)
from exphil_core.replays.refusals import Refused

REPAIRS: dict[str, str] = {
    "missing_event": "half of a frame was not written for a player: there its columns are missing",
    "repeated_event": "half of a frame was written twice for a player: the second was kept",
    "frame_bounds": "the start or the end of a frame was not written",
    "unknown_event": "events that no version of the format has were left out",
    "older_version": "its events are shorter than those of its version: it was read as an older one",
    "text": "names or identifiers that are not text were left out",
    "end_method": "it ends by a method that is not known",
    "metadata": "its metadata is missing or cannot be read, and was left out",
}
"""Repairs by the name that a game is marked with. The names are an interface: datasets store them."""

Half = tuple[int, bool, int]
"""Port index, whether it is the follower's, and the event code: PRE_FRAME or POST_FRAME."""

_KNOWN_EVENTS = FRAME_EVENTS | {GAME_START, GAME_END}
_NOT_NEEDED = (SPLIT_MESSAGE, GECKO_CODES)
_STAGE_EVENTS_SINCE = Version(3, 18)
_STAGE_EVENTS = frozenset((FOUNTAIN_PLATFORM, WHISPY, STADIUM))

_SIZES_SINCE: tuple[tuple[Version, Mapping[int, int]], ...] = (
    (Version(0, 1), {GAME_START: 320, PRE_FRAME: 58, POST_FRAME: 33}),
    (Version(0, 2), {POST_FRAME: 37}),
    (Version(1, 0), {GAME_START: 352}),
    (Version(1, 2), {PRE_FRAME: 59}),
    (Version(1, 3), {GAME_START: 416}),
    (Version(1, 4), {PRE_FRAME: 63}),
    (Version(1, 5), {GAME_START: 417}),
    (Version(2, 0), {GAME_START: 418, POST_FRAME: 51}),
    (Version(2, 1), {POST_FRAME: 52}),
    (Version(3, 0), {ITEM: 37}),
    (Version(3, 2), {ITEM: 41}),
    (Version(3, 5), {POST_FRAME: 72}),
    (Version(3, 6), {ITEM: 42}),
    (Version(3, 7), {GAME_START: 420}),
    (Version(3, 8), {POST_FRAME: 76}),
    (Version(3, 9), {GAME_START: 584}),
    (Version(3, 11), {GAME_START: 700, POST_FRAME: 80}),
    (Version(3, 12), {GAME_START: 701}),
    (Version(3, 14), {GAME_START: 760}),
    (Version(3, 15), {PRE_FRAME: 64}),
    (Version(3, 16), {POST_FRAME: 84, ITEM: 44}),
    (Version(3, 17), {PRE_FRAME: 66}),
)
"""Payload sizes that grew with a version, from Slippi's specification."""

_STAGE_AT = 0x13
_PORT_TYPE_AT, _PORT_SIZE, _EMPTY_PORT = 0x66, 0x24, 3
_TEXTS: tuple[tuple[int, int, int, str], ...] = (
    (0x161, 4, 16, "cp932"),  # name tags
    (0x1A5, 4, 31, "cp932"),  # netplay names
    (0x221, 4, 10, "cp932"),  # connect codes
    (0x249, 4, 29, "utf-8"),  # user ids
    (0x2BE, 1, 51, "utf-8"),  # match id
)
"""Offset in the Game Start event, number of texts, bytes per text, encoding."""

_END_METHODS = (0, 1, 2, 3, 7)
_LAST_VERSUS_STAGE = 32
"""Higher external ids are target tests, adventure mode and the home-run contest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    stream: bytes
    """The file up to the end of its events."""
    metadata: bytes
    """The rest of the file after the events, unread."""
    marks: tuple[str, ...]
    """Keys of `REPAIRS`."""
    absent: Mapping[Half, np.ndarray]
    """Bool array over the parser's rows, True where the half is a placeholder; only for halves that have any."""


def repair(data: bytes, subject: str = "replay") -> Repaired:
    """Rebuild a replay so that the parser can read it.

    Args:
        data: A whole file; cut a truncated one with `salvage` first.

    Raises:
        Refused: The replay is not a match, or is damaged beyond repair.
    """
    sizes, position = payload_sizes(data, subject)
    (length,) = struct.unpack_from(">I", data, len(HEADER))
    end = STREAM_START + length
    marks: set[str] = set()
    start, game_end = b"", b""
    frames: list[bytes] = []
    for code, begin, stop in iterate_events(data, sizes, position, end, subject):
        if code == GAME_START and not start:
            start = data[begin:stop]
        elif code == GAME_END:
            game_end = data[begin:stop]
            break
        elif code in FRAME_EVENTS and sizes[code] >= 4:
            frames.append(data[begin:stop])
        elif code not in _NOT_NEEDED:
            marks.add("unknown_event")
    if not start or not frames:
        raise Refused("no_frames", subject)

    version = _version(start, sizes)
    if version < Version(*start[1:4]):
        marks.add("older_version")
        start = start[:1] + bytes(version) + start[4:]
    known = _KNOWN_EVENTS & sizes.keys()
    if version < _STAGE_EVENTS_SINCE and known & _STAGE_EVENTS:
        known -= _STAGE_EVENTS
        frames = [event for event in frames if event[0] not in _STAGE_EVENTS]
        marks.add("older_version")

    start, texts_repaired = _with_readable_texts(start)
    if texts_repaired:
        marks.add("text")
    ports = {n for n in range(4) if start[_PORT_TYPE_AT + _PORT_SIZE * n] != _EMPTY_PORT}
    if game_end and game_end[1] not in _END_METHODS:
        (stage,) = struct.unpack_from(">H", start, _STAGE_AT)
        if len(ports) < 2 or stage > _LAST_VERSUS_STAGE:
            raise Refused("bad_game_end", subject, f"method {game_end[1]}")
        game_end = bytes((GAME_END, 0)) + game_end[2:]
        marks.add("end_method")

    stray = [event for event in frames if event[0] in (PRE_FRAME, POST_FRAME) and not _is_of(event, ports)]
    if stray:
        marks.add("unknown_event")
        frames = [
            event for event in frames if event[0] not in (PRE_FRAME, POST_FRAME) or _is_of(event, ports)
        ]
    bound_sizes = {code: sizes[code] for code in (FRAME_START, FRAME_END) if code in known}
    played = _group(frames)
    _check_ids(played, subject)
    rebuilt, absent = _rebuild(played, bound_sizes, marks)
    table = b"".join(struct.pack(">BH", code, sizes[code]) for code in sorted(known))
    events = b"".join((bytes((PAYLOADS, len(table) + 1)), table, start, *rebuilt, game_end))
    return Repaired(
        stream=HEADER + struct.pack(">I", len(events)) + events,
        metadata=data[end:],
        marks=tuple(name for name in REPAIRS if name in marks),
        absent=absent,
    )


def _version(start: bytes, sizes: Mapping[int, int]) -> Version:
    """Version of the file, or the newest older version whose events are no longer than the file's."""
    said = Version(*start[1:4])
    fitting = Version(0, 1)
    for version, needed in _SIZES_SINCE:
        if version > said:
            break
        if any(sizes.get(code, size) < size for code, size in needed.items()):
            return fitting
        fitting = version
    return said


def _with_readable_texts(start: bytes) -> tuple[bytes, bool]:
    """Blank undecodable texts in the Game Start event; also return whether there were any."""
    repaired = bytearray(start)
    for first, count, size, encoding in _TEXTS:
        for at in range(first, min(first + count * size, len(start) - size + 1), size):
            text = bytes(start[at : at + size]).split(b"\0", 1)[0]
            try:
                text.decode(encoding)
            except UnicodeDecodeError:
                repaired[at : at + size] = bytes(size)
    return bytes(repaired), repaired != start


def _is_of(event: bytes, ports: set[int]) -> bool:
    return event[5] in ports and event[6] in (0, 1)


def _frame_id(event: bytes) -> bytes:
    return event[1:5]


def _group(events: Iterable[bytes]) -> list[list[bytes]]:
    """Group events by frame; a frame that is played again gets a new group. Before 3.0 no event marks a start."""
    found: list[list[bytes]] = []
    for event in events:
        if (
            event[0] == FRAME_START
            or not found
            or _frame_id(found[-1][0]) != _frame_id(event)
            or found[-1][-1][0] == FRAME_END
        ):
            found.append([])
        found[-1].append(event)
    return found


def _check_ids(frames: list[list[bytes]], subject: str) -> None:
    """Refuse a stream that lacks a whole frame: it has no half to build the frame from."""
    ids = np.frombuffer(b"".join(_frame_id(frame[0]) for frame in frames), ">i4")
    gaps = np.flatnonzero(np.diff(ids) > 1)
    if len(gaps):
        raise Refused("bad_frame_ids", subject, f"{ids[gaps[0]]} is followed by {ids[gaps[0] + 1]}")


def _rebuild(
    frames: list[list[bytes]], bound_sizes: Mapping[int, int], marks: set[str]
) -> tuple[list[bytes], dict[Half, np.ndarray]]:
    """Rebuild the events so that every player has both halves of every frame.

    Args:
        bound_sizes: Payload sizes of Frame Start and Frame End, if the version has them.

    Returns:
        The events, and the rows that are placeholders, as in `Repaired.absent`.
    """
    latest: dict[Half, bytes] = {}
    bound = {code: bytes((code,)) + bytes(size) for code, size in bound_sizes.items()}
    for frame in reversed(frames):  # so that a gap at the very start has a placeholder
        for event in frame:
            if event[0] in (PRE_FRAME, POST_FRAME):
                latest[_half(event)] = event
            elif event[0] in bound:
                bound[event[0]] = event
    characters = [
        (port_index, follower)
        for port_index, follower in sorted({half[:2] for half in latest})
        if all((port_index, follower, code) in latest for code in (PRE_FRAME, POST_FRAME))
    ]
    absent: dict[Half, np.ndarray] = {}
    events: list[bytes] = []
    for row, frame in enumerate(frames):
        frame_id = _frame_id(frame[0])
        halves: dict[Half, bytes] = {}
        bounds: dict[int, bytes] = {}
        others: list[bytes] = []
        for event in frame:
            if event[0] in (PRE_FRAME, POST_FRAME):
                if _half(event) in halves:
                    marks.add("repeated_event")
                halves[_half(event)] = latest[_half(event)] = event
            elif event[0] in bound:
                bounds[event[0]] = event
            else:
                others.append(event)
        if len(bounds) < len(bound):
            marks.add("frame_bounds")
        kept: list[Half] = []
        for port_index, follower in characters:
            both: list[Half] = [(port_index, follower, code) for code in (PRE_FRAME, POST_FRAME)]
            missing = [half for half in both if half not in halves]
            if len(missing) == 1:
                marks.add("missing_event")
            elif missing and FRAME_END in bound:
                continue  # from 3.0 on the parser itself leaves a gap for an absent character
            for half in missing:
                absent.setdefault(half, np.zeros(len(frames), bool))[row] = True
                halves[half] = _moved(latest[half], frame_id)
            kept += both
        events += [bounds.get(code, _moved(bound[code], frame_id)) for code in bound if code == FRAME_START]
        events += [halves[half] for half in kept if half[2] == PRE_FRAME]
        events += others
        events += [halves[half] for half in kept if half[2] == POST_FRAME]
        events += [bounds.get(code, _moved(bound[code], frame_id)) for code in bound if code == FRAME_END]
    return events, absent


def _moved(event: bytes, frame_id: bytes) -> bytes:
    return event[:1] + frame_id + event[5:]


def _half(event: bytes) -> Half:
    return event[5], bool(event[6]), event[0]
