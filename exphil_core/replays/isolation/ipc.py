"""Messages between the ingest processes: length-prefixed JSON, and packed games as a header and a column file.

No pickle: even a parser process that a hostile replay has taken over can pass only numbers and text.
"""

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from exphil_core.replays.columns import DTYPES, GROUPS, LAYOUT, Version
from exphil_core.replays.game import Floor
from exphil_core.replays.pack import PackedGame, PackedSide

_LENGTH = struct.Struct("<I")


def send(descriptor: int, message: Mapping[str, Any]) -> None:
    """Write a message, preceded by its length, to a file descriptor."""
    data = json.dumps(message).encode()
    remaining = memoryview(_LENGTH.pack(len(data)) + data)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


class InvalidMessage(Exception):
    """The data is not a valid message: a file has damaged the sending process."""


class MessageBuffer:
    """Splits the data read from a pipe into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> dict[str, Any] | None:
        """Return the next complete message, or None until more data is fed. Raises Garbled."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        try:
            message = json.loads(self._buffer[_LENGTH.size : end])
        except (ValueError, RecursionError) as error:
            raise InvalidMessage(str(error)) from error
        if not isinstance(message, dict):
            raise InvalidMessage(f"found {type(message).__name__}, expected an object")
        del self._buffer[:end]
        return message


def receive(descriptor: int, inbox: MessageBuffer) -> dict[str, Any] | None:
    """Wait for the next message; None when the other side has closed the pipe."""
    while (message := inbox.take()) is None:
        data = os.read(descriptor, 2**16)
        if not data:
            return None
        inbox.feed(data)
    return message


def write_packed(packed: PackedGame, path: Path) -> dict[str, Any]:
    """Write the columns to `path` and return the other fields of the game as its header."""
    with path.open("wb", buffering=0) as file:
        for array in (packed.frame_id, *(packed.groups[group] for group in GROUPS)):
            remaining = np.ascontiguousarray(array).data.cast("B")
            while remaining:
                remaining = remaining[file.write(remaining) :]
    return {
        "content_id": packed.content_id,
        "version": list(packed.version),
        "external_stage_id": packed.external_stage_id,
        "end_method": packed.end_method,
        "salvaged": packed.salvaged,
        "rollback_rows": packed.rollback_rows,
        "sides": [asdict(side) for side in packed.sides],
        "frames": packed.frames,
        "repaired": packed.repaired,
        "match_key": packed.match_key,
        "twin_keys": packed.twin_keys,
    }


def read_packed(header: Mapping[str, Any], path: Path) -> PackedGame:
    """Read a game that `write_packed` wrote. The file may be deleted afterwards.

    The file is not memory-mapped: a mapping holds a descriptor, and a build may hold more games than open files.
    """
    data = path.read_bytes()
    frames = int(header["frames"])
    frame_id = np.frombuffer(data, np.int32, frames)
    position = frame_id.nbytes
    groups = {}
    for group in GROUPS:
        width = len(LAYOUT[group])
        groups[group] = np.frombuffer(data, DTYPES[group], frames * width, position).reshape(frames, width)
        position += groups[group].nbytes
    first, second = (_side(side) for side in header["sides"])
    return PackedGame(
        content_id=header["content_id"],
        version=Version(*header["version"]),
        external_stage_id=header["external_stage_id"],
        end_method=header["end_method"],
        salvaged=header["salvaged"],
        rollback_rows=header["rollback_rows"],
        sides=(first, second),
        frame_id=frame_id,
        groups=groups,
        repaired=tuple(header["repaired"]),
        match_key=header["match_key"],
        twin_keys=tuple(header["twin_keys"]),
    )


def _side(side: Mapping[str, Any]) -> PackedSide:
    floor = side["floor"]
    return PackedSide(
        port_index=side["port_index"],
        selected_external_id=side["selected_external_id"],
        frames_by_character={int(key): frames for key, frames in side["frames_by_character"].items()},
        type=side["type"],
        floor=None if floor is None else Floor(**floor),
    )
