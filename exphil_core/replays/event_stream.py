"""Slippi's file format: a UBJSON object with the event stream `raw`, followed by `metadata`.

Only salvage and repair read these bytes directly; everything else uses the parser.
"""

import struct
from collections.abc import Iterator

from exphil_core.replays.refusals import Refused

HEADER = b"{U\x03raw[$U#l"

STREAM_START = len(HEADER) + 4

METADATA_KEY = b"U\x08metadata"
EMPTY_METADATA = METADATA_KEY + b"{}}"

PAYLOADS, GAME_START, PRE_FRAME, POST_FRAME, GAME_END = 0x35, 0x36, 0x37, 0x38, 0x39
FRAME_START, ITEM, FRAME_END = 0x3A, 0x3B, 0x3C
FOUNTAIN_PLATFORM, WHISPY, STADIUM = 0x3F, 0x40, 0x41
SPLIT_MESSAGE, GECKO_CODES = 0x10, 0x3D

FRAME_EVENTS = frozenset(
    (PRE_FRAME, POST_FRAME, FRAME_START, ITEM, FRAME_END, FOUNTAIN_PLATFORM, WHISPY, STADIUM)
)
"""Events whose payload starts with their frame id."""

_SMALLEST: dict[int, int] = {GAME_START: 320, PRE_FRAME: 58, POST_FRAME: 33}
"""Payload sizes in the oldest version; later versions only append."""


def payload_sizes(data: bytes, subject: str) -> tuple[dict[int, int], int]:
    """Read the Event Payloads table: payload size by event code, and the position of the first event."""
    if len(data) < STREAM_START + 2 or not data.startswith(HEADER):
        raise Refused("not_slippi", subject)
    if data[STREAM_START] != PAYLOADS:
        raise Refused("corrupt", subject, "the event stream does not start with its table of sizes")
    end = STREAM_START + 1 + data[STREAM_START + 1]
    if end > len(data):
        raise Refused("no_frames", subject, "the file ends within its table of sizes")
    table = data[STREAM_START + 2 : end]
    sizes: dict[int, int] = dict(struct.iter_unpack(">BH", table[: len(table) - len(table) % 3]))
    if any(sizes.get(code, 0) < size for code, size in _SMALLEST.items()):
        raise Refused("bad_payload_size", subject, "the table of sizes is damaged")
    return sizes, end


def iterate_events(
    data: bytes, sizes: dict[int, int], position: int, end: int, subject: str
) -> Iterator[tuple[int, int, int]]:
    """Yield (code, start, end) of every complete event. Raises `Refused` for an unknown event in mid-stream."""
    while position < end:
        code = data[position]
        if code not in sizes:
            rest = data[position:end]
            if rest.startswith(METADATA_KEY[:2]) or not any(rest):
                return
            raise Refused("corrupt", subject, f"unknown event 0x{code:02x} in the middle of the stream")
        following = position + 1 + sizes[code]
        if following > end:
            return
        yield code, position, following
        position = following
