"""Cuts a truncated replay to its last complete frame.

In: the bytes of a file whose recording was cut off (the length of its event stream is still 0, as the console
writes it during play, or promises more than is there). Out: bytes of a well-formed replay. Damage in the
middle is not a truncation: a stream that stops making sense before its end is refused, since what would be
cut off there is not known to be the end of anything.
"""

import struct
from dataclasses import dataclass

from exphil_core.replays.refusals import Refused

HEADER = b"{U\x03raw[$U#l"
"""A replay is UBJSON: an object whose `raw` is the event stream and whose `metadata` follows it."""

STREAM_START = len(HEADER) + 4

_METADATA_KEY = b"U\x08metadata"

PAYLOADS, GAME_START, PRE_FRAME, POST_FRAME, GAME_END, FRAME_END = 0x35, 0x36, 0x37, 0x38, 0x39, 0x3C


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    cut: int
    """Position after the last complete frame."""
    frames: int


def is_truncated(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that starts with `head` holds less than it promises."""
    if len(head) < STREAM_START or not head.startswith(HEADER):
        return False
    (length,) = struct.unpack_from(">I", head, len(HEADER))
    return length == 0 or STREAM_START + length > size


def salvage(data: bytes, subject: str = "replay") -> bytes:
    """The replay up to its last complete frame. Raises `Refused` where there is none."""
    sizes, position = _payload_sizes(data, subject)
    stream = _walk(data, sizes, position, subject)
    if stream.frames == 0:
        raise Refused("no_frames", subject, "recording stopped before the first frame was complete")
    length = struct.pack(">I", stream.cut - STREAM_START)
    return HEADER + length + data[STREAM_START : stream.cut] + _METADATA_KEY + b"{}}"


def _payload_sizes(data: bytes, subject: str) -> tuple[dict[int, int], int]:
    """The size of every event's payload, and where the first event starts."""
    if len(data) < STREAM_START + 2 or not data.startswith(HEADER):
        raise Refused("not_slippi", subject)
    if data[STREAM_START] != PAYLOADS:
        raise Refused("corrupt", subject, "the event stream does not start with its table of sizes")
    end = STREAM_START + 1 + data[STREAM_START + 1]
    if end > len(data):
        raise Refused("no_frames", subject, "the file ends within its table of sizes")
    table = data[STREAM_START + 2 : end]
    sizes: dict[int, int] = dict(struct.iter_unpack(">BH", table[: len(table) - len(table) % 3]))
    if 0 in sizes.values() or not {GAME_START, PRE_FRAME, POST_FRAME} <= sizes.keys():
        raise Refused("bad_payload_size", subject, "the table of sizes is damaged")
    return sizes, end


def _walk(data: bytes, sizes: dict[int, int], position: int, subject: str) -> _Stream:
    """Steps over whole events. A frame is complete at its Frame End event or, before 3.0, when the next frame
    has started; the last one, when every character of the frame before has its Post event in it."""
    has_frame_end = FRAME_END in sizes
    cut, frames = position, 0
    current: int | None = None
    seen: set[tuple[int, int]] = set()
    expected: set[tuple[int, int]] = set()
    ended = False
    while position < len(data) and not ended:
        code = data[position]
        if code not in sizes:
            rest = data[position:]
            if rest.startswith(_METADATA_KEY[:2]) or not any(rest):
                break
            raise Refused("corrupt", subject, f"unknown event 0x{code:02x} in the middle of the stream")
        end = position + 1 + sizes[code]
        if end > len(data):
            break
        if code == FRAME_END:
            cut, frames = end, frames + 1
        elif code in (PRE_FRAME, POST_FRAME) and not has_frame_end:
            (frame_id,) = struct.unpack_from(">i", data, position + 1)
            if frame_id != current:
                if current is not None:
                    cut, frames = position, frames + 1
                current, expected, seen = frame_id, seen, set()
            if code == POST_FRAME:
                seen.add((data[position + 5], data[position + 6]))
        ended = code == GAME_END
        position = end
    if current is not None and len(seen) >= 2 and seen >= expected:
        cut, frames = position, frames + 1
    elif ended and frames:
        cut = position
    return _Stream(cut=cut, frames=frames)
