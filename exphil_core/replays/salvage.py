"""Cut a truncated replay, whose recording stopped early, to its last complete frame.

Its stream length is still 0, as the console writes it during play, or larger than the file. Damage in mid-stream is
not truncation: such a file is refused, since a cut there could drop more than an incomplete end.
"""

import struct
from dataclasses import dataclass

from exphil_core.replays.event_stream import (
    EMPTY_METADATA,
    FRAME_END,
    GAME_END,
    HEADER,
    POST_FRAME,
    PRE_FRAME,
    STREAM_START,
    iterate_events,
    payload_sizes,
)
from exphil_core.replays.refusals import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    cut: int
    """Position after the last complete frame."""
    frames: int


def is_truncated(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes starting with `head` is shorter than its header says, or has no length yet."""
    if len(head) < STREAM_START or not head.startswith(HEADER):
        return False
    (length,) = struct.unpack_from(">I", head, len(HEADER))
    truncated: bool = length == 0 or STREAM_START + length > size
    return truncated


def salvage(data: bytes, subject: str = "replay") -> bytes:
    """Cut the replay after its last complete frame. Raises `Refused` if there is none."""
    sizes, position = payload_sizes(data, subject)
    stream = _walk(data, sizes, position, subject)
    if stream.frames == 0:
        raise Refused("no_frames", subject, "recording stopped before the first frame was complete")
    length = struct.pack(">I", stream.cut - STREAM_START)
    return HEADER + length + data[STREAM_START : stream.cut] + EMPTY_METADATA


def _walk(data: bytes, sizes: dict[int, int], position: int, subject: str) -> _Stream:
    """Find the end of the last complete frame.

    A frame is complete at its Frame End event or, before 3.0, when the next frame starts. The last frame is complete
    if it has a Post event for every character of the frame before.
    """
    has_frame_end = FRAME_END in sizes
    cut, frames = position, 0
    current: int | None = None
    seen: set[tuple[int, int]] = set()
    expected: set[tuple[int, int]] = set()
    ended = False
    for code, begin, end in iterate_events(data, sizes, position, len(data), subject):
        if code == FRAME_END:
            cut, frames = end, frames + 1
        elif code in (PRE_FRAME, POST_FRAME) and not has_frame_end:
            (frame_id,) = struct.unpack_from(">i", data, begin + 1)
            if frame_id != current:
                if current is not None:
                    cut, frames = begin, frames + 1
                current, expected, seen = frame_id, seen, set()
            if code == POST_FRAME:
                seen.add((data[begin + 5], data[begin + 6]))
        position = end
        if code == GAME_END:
            ended = True
            break
    if current is not None and len(seen) >= 2 and seen >= expected:
        cut, frames = position, frames + 1
    elif ended and frames:
        cut = position
    return _Stream(cut=cut, frames=frames)
