"""Parse a `.slp` replay into a `Game`. The only module that imports peppi_py.

Of repeated (rolled back) frames the last occurrence is kept, which has the inputs that were really pressed. peppi
holds the GIL, may panic with a `BaseException` and prints to file descriptor 2: see `isolation` for subprocesses.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from peppi_py._peppi import read_slippi  # the public reader builds an object per field, twice as slow

from exphil_core.melee import stages
from exphil_core.melee.frames import FIRST_FRAME_ID
from exphil_core.replays.arrow import (
    NOTHING_ABSENT,
    OutOfRange,
    field_names,
    finalised_rows,
    forward_fill,
    read_columns,
    read_events,
    values_of,
)
from exphil_core.replays.columns import (
    DTYPES,
    ITEM_COLUMNS,
    MISSING,
    PLAYER_COLUMNS,
    STAGE_COLUMNS,
    Version,
)
from exphil_core.replays.event_stream import EMPTY_METADATA, HEADER, POST_FRAME, PRE_FRAME
from exphil_core.replays.game import Columns, Floor, Game, Items, Player
from exphil_core.replays.identity import content_id
from exphil_core.replays.plausible import check_plausible, impossible
from exphil_core.replays.refusals import Refused
from exphil_core.replays.regular_file import open_regular, read_failure
from exphil_core.replays.repair import Half, repair
from exphil_core.replays.salvage import is_truncated, salvage
from exphil_core.replays.text import sanitise

_PARSER_ERRORS: tuple[tuple[str, str], ...] = (
    ("invalid game end method", "bad_game_end"),
    ("invalid payload size", "bad_payload_size"),
    ("zero-size event payload", "bad_payload_size"),
)
"""Refusal reason by substring of peppi's error message. Any other message is `corrupt`."""

_TYPES: dict[str, Literal["human", "cpu", "demo"]] = {"Human": "human", "Cpu": "cpu", "Demo": "demo"}

_END_METHODS = {
    "Unresolved": "unresolved",
    "Time": "time",
    "Game": "game",
    "Resolved": "resolved",
    "NoContest": "no_contest",
}


_PASSING = (OSError, MemoryError, KeyboardInterrupt, SystemExit)
"""Errors that are not the replay's fault: a full disk, too little memory, an interrupt."""

_FRAME_ENDS_SINCE = Version(3, 0)
_CODES = {"pre": PRE_FRAME, "post": POST_FRAME}

FOUNTAIN = stages.by_name("fountain").external_id
FOUNTAIN_PLATFORMS: dict[str, tuple[int, float]] = {"fod_right": (0, 28.0), "fod_left": (1, 20.0)}
"""Platform number in the events, and height until the first event, which is the same in every game."""


def parse_replay(path: str | Path) -> Game:
    """Parse a replay.

    A truncated file is cut to its last complete frame and marked `salvaged`. A file that the parser refuses or
    misreads is repaired if possible; `Game.repaired` lists the repairs. A parser panic propagates.

    Raises:
        Refused: The file is not a readable game; `reason` is stable.
    """
    subject = str(path)
    try:
        with open_regular(path) as file:
            head = file.read(64)
            size = file.seek(0, 2)
        if not head.startswith(HEADER):
            raise Refused("not_slippi", subject)
        truncated = is_truncated(head, size)
        data = salvage(Path(path).read_bytes(), subject) if truncated else None
    except OSError as error:
        raise read_failure(error, subject) from error
    failure: BaseException | None = None
    try:
        raw = _read(subject, subject) if data is None else _read_rewritten(data, subject)
    except _PASSING:
        raise
    except BaseException as error:  # pyo3's PanicException derives from BaseException
        failure = error
    else:
        if not _gaps_were_closed(raw):
            return _game(raw, subject, salvaged=truncated)
    if data is None:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise read_failure(error, subject) from error
    return _read_repaired(data, subject, truncated, failure)


def _read_repaired(data: bytes, subject: str, salvaged: bool, error: BaseException | None = None) -> Game:
    """Parse the repaired file. If that fails too, raise `error`, the failure of the first attempt."""
    try:
        repaired = repair(data, subject)
    except Refused as refusal:
        if isinstance(error, Refused) and refusal.reason != error.reason:
            raise error from None
        raise
    for metadata, marks in ((repaired.metadata, ()), (EMPTY_METADATA, ("metadata",))):
        try:
            raw = _read_rewritten(repaired.stream + metadata, subject)
        except _PASSING:
            raise
        except BaseException as again:
            error = error or again
            continue
        return _game(
            raw, subject, salvaged=salvaged, repaired=(*repaired.marks, *marks), absent=repaired.absent
        )
    assert error is not None
    raise error


def _read_rewritten(data: bytes, subject: str) -> Any:
    with tempfile.NamedTemporaryFile(suffix=".slp") as rewritten:
        rewritten.write(data)
        rewritten.flush()
        return _read(rewritten.name, subject)


def _read(path: str, subject: str) -> Any:
    try:
        return read_slippi(path, False)
    except MemoryError:
        raise
    except Exception as error:
        message = str(error)
        reason = next((name for text, name in _PARSER_ERRORS if text in message), "corrupt")
        raise Refused(reason, subject, sanitise(message, limit=160)) from error


def _gaps_were_closed(raw: Any) -> bool:
    """Whether rows may be assigned to the wrong frames.

    Before 3.0 the parser writes the rows of a character that was temporarily absent without gaps, and puts all
    nulls at the end.
    """
    if raw.frames is None or Version(*raw.start["slippi"]["version"]) >= _FRAME_ENDS_SINCE:
        return False
    ports = raw.frames.field("ports")
    return any(
        ports.field(port.name).field(character.name).null_count
        for port in ports.type
        for character in ports.field(port.name).type
    )


def _game(
    raw: Any,
    subject: str,
    *,
    salvaged: bool,
    repaired: tuple[str, ...] = (),
    absent: Mapping[Half, np.ndarray] = NOTHING_ABSENT,
) -> Game:
    try:
        return _checked_game(raw, subject, salvaged=salvaged, repaired=repaired, absent=absent)
    except (KeyError, IndexError, TypeError, AttributeError, pa.ArrowException) as error:
        # A file with a flipped bit may still parse; a field that violates the format fails only here.
        raise Refused("corrupt", subject, sanitise(f"{type(error).__name__}: {error}", limit=160)) from error


def _checked_game(
    raw: Any, subject: str, *, salvaged: bool, repaired: tuple[str, ...], absent: Mapping[Half, np.ndarray]
) -> Game:
    start, frames = raw.start, raw.frames
    if frames is None or len(frames) == 0:
        raise Refused("no_frames", subject)
    version = Version(*start["slippi"]["version"])
    all_ids = values_of(frames.field("id")).astype(np.int32, copy=False)
    rows = finalised_rows(all_ids)
    frame_id = all_ids if rows is None else all_ids[rows]
    if frame_id[0] != FIRST_FRAME_ID or frame_id[-1] - frame_id[0] != len(frame_id) - 1:
        raise Refused(
            "bad_frame_ids", subject, f"{len(frame_id)} frames from {frame_id[0]} to {frame_id[-1]}"
        )
    metadata = raw.metadata if isinstance(raw.metadata, Mapping) else {}
    floors = _floors(metadata, subject)
    ports = frames.field("ports")
    source = _Source(subject=subject, version=version, rows=rows, frame_id=frame_id, absent=absent)
    players = tuple(
        _player(player, ports.field(player["port"]), source, metadata, floors)
        for player in sorted(start["players"], key=lambda player: player["port"])
    )
    slots = {player.port_index: slot for slot, player in enumerate(players)}
    fields = field_names(frames)
    end_method = _END_METHODS[raw.end["method"]] if raw.end else None
    if "end_method" in repaired:
        end_method = "unknown"
    match = start.get("match") or {}
    match_id = sanitise(match.get("id"), limit=64)
    game = Game(
        content_id="",  # computed from the finished game below
        version=version,
        external_stage_id=start["stage"],
        is_teams=bool(start["is_teams"]),
        is_pal=start.get("is_pal"),
        random_seed=start["random_seed"],
        match_id=match_id,
        game_number=match["game"] if match_id else None,
        tiebreak_number=match["tiebreaker"] if match_id else None,
        played_on=sanitise(metadata.get("playedOn")),
        started_at=sanitise(metadata.get("startAt"), limit=64),
        end_method=end_method,
        frame_id=frame_id,
        players=players,
        items=_items(frames.field("item"), source, slots) if "item" in fields else None,
        stage=_stage(frames, source, start["stage"]),
        rollback_rows=len(all_ids) - len(frame_id),
        salvaged=salvaged,
        repaired=repaired,
    )
    check_plausible(game, subject)
    return replace(game, content_id=content_id(game))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Shared inputs for reading the columns of one file."""

    subject: str
    version: Version
    rows: np.ndarray | None
    """Indices of the parser's rows that are kept; None for all."""
    frame_id: np.ndarray
    """Frame ids of the kept rows."""
    absent: Mapping[Half, np.ndarray]

    def impossible(self, error: OutOfRange, whose: str, frame_index: int) -> Refused:
        low, high = error.column.low, error.column.high
        what = f"{error.column.name} of {whose}"
        expected = f"{low:g} to {high:g}"
        return impossible(self.subject, self.frame_id, frame_index, what, error.value, expected)


def _player(
    start: Mapping[str, Any],
    port: pa.StructArray,
    source: _Source,
    metadata: Mapping[str, Any],
    floors: Mapping[int, Floor],
) -> Player:
    port_index = int(start["port"][1:]) - 1
    netplay = start.get("netplay") or {}
    # Netplay names are in Game Start since 3.9; before, only in the metadata.
    names = _mapping(_mapping(_mapping(metadata, "players"), str(port_index)), "names")
    name = netplay.get("name") or names.get("netplay") or start.get("name_tag")
    team = start.get("team")

    def columns(character: str) -> Columns:
        halves = {
            half: source.absent[key]
            for half, code in _CODES.items()
            if (key := (port_index, character == "follower", code)) in source.absent
        }
        try:
            return read_columns(
                port.field(character),
                PLAYER_COLUMNS,
                source.version,
                source.rows,
                len(source.frame_id),
                halves,
            )
        except OutOfRange as error:
            whose = f"{'the follower of ' if character == 'follower' else ''}port {port_index + 1}"
            raise source.impossible(error, whose, error.row) from error

    return Player(
        port_index=port_index,
        external_id=start["character"],
        type=_TYPES[start["type"]],
        costume=start["costume"],
        team=None if team is None else team["color"],
        start_stocks=start["stocks"],
        name=sanitise(name),
        code=sanitise(netplay.get("code") or names.get("code")).replace("＃", "#"),
        leader=columns("leader"),
        follower=columns("follower") if "follower" in field_names(port) else None,
        floor=floors.get(port_index),
    )


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    child = parent.get(key)
    return child if isinstance(child, Mapping) else {}


def _floors(metadata: Mapping[str, Any], subject: str) -> dict[int, Floor]:
    """Loss floors that the dojo wrote for its bots, by port index. Its numbers are decimal strings."""
    if "dojo" not in metadata:
        return {}
    try:
        return {
            int(port_index): Floor(
                entropy=float(floor["entropy"]),
                surprisal=float(floor["surprisal"]),
                stderr=float(floor["stderr"]),
                frames=int(floor["frames"]),
            )
            for port_index, floor in metadata["dojo"]["players"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        detail = sanitise(f"{type(error).__name__}: {error}", limit=160)
        raise Refused("bad_dojo_metadata", subject, detail) from error


def _items(table: pa.ListArray, source: _Source, slots: Mapping[int, int]) -> Items:
    rows = source.rows
    offsets = values_of(table.offsets).astype(np.int64)
    entries: np.ndarray | None = None
    if rows is not None:
        counts = np.diff(offsets)[rows]
        kept = np.concatenate(([0], np.cumsum(counts)))
        # The n-th entry of a kept row is the n-th entry of the same row in the parser's table.
        entries = np.repeat(offsets[rows] - kept[:-1], counts) + np.arange(kept[-1])
        offsets = kept
    length = int(offsets[-1])
    try:
        columns = read_columns(table.values, ITEM_COLUMNS, source.version, entries, length)
    except OutOfRange as error:
        frame_index = int(np.searchsorted(offsets, error.row, side="right")) - 1
        raise source.impossible(error, "an item", frame_index) from error
    slot_of_port = np.full(256, MISSING["u8"], np.uint8)
    for port_index, slot in slots.items():
        slot_of_port[port_index] = slot
    columns["owner"] = slot_of_port[columns["owner"]]
    spawn_id = values_of(table.values.field("id"))
    return Items(
        offsets=offsets, spawn_id=spawn_id if entries is None else spawn_id[entries], columns=columns
    )


def _stage(frames: pa.StructArray, source: _Source, external_stage_id: int) -> dict[str, np.ndarray]:
    """Read the stage columns. An event's value holds until the next event, so columns are filled forward."""
    length = len(source.frame_id)
    stage = {column.name: np.full(length, column.missing, DTYPES[column.group]) for column in STAGE_COLUMNS}
    columns = {column.name: column for column in STAGE_COLUMNS if source.version >= column.since}
    fields = field_names(frames)
    filled: list[tuple[str, np.ndarray, np.ndarray]] = []
    if external_stage_id == FOUNTAIN and "fod_platform" in fields and "fod_left" in columns:
        row, events = read_events(frames.field("fod_platform"), source.rows)
        platform, height = events["platform"], events["height"]
        for name, (number, at_start) in FOUNTAIN_PLATFORMS.items():
            stage[name][:] = at_start
            filled.append((name, row[platform == number], height[platform == number]))
    if "stadium_transformation" in fields and "stadium_event" in columns:
        row, events = read_events(frames.field("stadium_transformation"), source.rows)
        filled += [("stadium_event", row, events["event"]), ("stadium_type", row, events["type"])]
    for name, row, values in filled:
        try:
            forward_fill(stage[name], row, values, columns[name], source.version)
        except OutOfRange as error:
            raise source.impossible(error, "the stage", error.row) from error
    return stage
