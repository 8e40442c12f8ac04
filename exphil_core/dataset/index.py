"""The index of a dataset: one entry a game, and the versions under which it was built.

`index.parquet` is the truth, its metadata carries the versions; `dataset.json` repeats them for people. The order of
`games` depends on their content alone, so builds of the same replays give the same indices.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from exphil_core.atomic import replacing
from exphil_core.dataset.catalog import DATASET_FILE
from exphil_core.errors import DataError, InaccessibleError, obstacle
from exphil_core.melee.characters import by_external_id
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.replays.game import Floor

INDEX_FILE = "index.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One player of a game, and whether its inputs are worth imitating."""

    external_id: int
    """The character played most: what the side is counted, selected and held out as."""
    selected_external_id: int
    """The character that was selected: a selected Zelda may play Sheik from the first frame."""
    frames_by_character: Mapping[int, int]
    """External character id → frames on which it is on the stage; together the frames of the game."""
    port_index: int
    type: Literal["human", "cpu", "demo"]
    human: bool
    active: bool
    """Its inputs change often enough; a side that stands idle is not."""
    plausible: bool
    """Its inputs lie where a controller's can lie."""
    activity: float
    """Share of frames on which its inputs change."""
    floor: Floor | None = None

    @property
    def usable(self) -> bool:
        """Imitated by default."""
        return self.human and self.active and self.plausible

    @property
    def character(self) -> str:
        """Name of the character played most."""
        return by_external_id(self.external_id).name


def frames_by_character(sides: Iterable[Side]) -> Counter[str]:
    """Character → frames on which it is on the stage, over all of these sides."""
    found: Counter[str] = Counter()
    for side in sides:
        for external_id, frames in side.frames_by_character.items():
            found[by_external_id(external_id).name] += frames
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GameEntry:
    content_id: str
    shard: str
    """File name below `shards/`."""
    row_start: int
    frames: int
    external_stage_id: int
    version: str
    sides: tuple[Side, Side]
    salvaged: bool
    source: str
    """The replay, as `path` or `archive!member`."""
    repaired: str = ""
    """What had to be repaired before it could be read: keys of `repair.REPAIRS`, separated by blanks."""
    match_key: str = ""
    """Shared by the games of one match, which are held out together; empty where it is not known."""
    twin_keys: tuple[str, ...] = ()
    """Recordings that share any of these are of one game."""
    current: bool = True
    """False for a game whose replay is no longer below the paths of the last build, and for a recording of a game of
    which another one is kept: its rows stay in the shard and are listed again when it is their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKey:
    """What, besides the replays, decides the content of a dataset."""

    parser_version: str
    options: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    path: Path
    key: BuildKey
    games: tuple[GameEntry, ...]
    """The games of the paths of the last build, ordered by content id."""

    @classmethod
    def open(cls, path: Path) -> "DatasetIndex":
        """The index of the dataset in `path`. DataError where there is none, or one of another schema."""
        key, games = read_index(Path(path))
        return cls(path=Path(path), key=key, games=tuple(game for game in games if game.current))

    @property
    def fingerprint(self) -> str:
        """Changes whenever the games, or what was kept of them, change."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.key.schema_version}\n{self.key.parser_version}\n{self.key.options}\n".encode())
        for game in self.games:
            digest.update(game.content_id.encode())
        return digest.hexdigest()

    @property
    def frames(self) -> int:
        return sum(game.frames for game in self.games)

    def per_character(self) -> dict[str, dict[str, int]]:
        """Name → `games` and `frames` with it on the stage; a frame of a ditto counts twice."""
        found: dict[str, dict[str, int]] = {}
        for game in self.games:
            for name, frames in frames_by_character(game.sides).items():
                counts = found.setdefault(name, {"games": 0, "frames": 0})
                counts["games"] += 1
                counts["frames"] += frames
        return found


_SIDE_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("external_id", pa.uint8()),
    ("selected_external_id", pa.uint8()),
    ("port_index", pa.uint8()),
    ("type", pa.string()),
    ("human", pa.bool_()),
    ("active", pa.bool_()),
    ("plausible", pa.bool_()),
    ("activity", pa.float64()),
)
_OTHER_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("other_external_id", pa.uint8()),
    ("other_frames", pa.int64()),
)
"""The character that a side transforms into and its frames; null where it has only one."""
_FLOOR_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("entropy", pa.float64()),
    ("surprisal", pa.float64()),
    ("stderr", pa.float64()),
    ("frames", pa.int64()),
)
_GAME_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("content_id", pa.string()),
    ("shard", pa.string()),
    ("row_start", pa.int64()),
    ("frames", pa.int64()),
    ("external_stage_id", pa.uint8()),
    ("version", pa.string()),
    ("salvaged", pa.bool_()),
    ("repaired", pa.string()),
    ("source", pa.string()),
    ("match_key", pa.string()),
    ("current", pa.bool_()),
)


_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    *_GAME_FIELDS,
    ("twin_keys", pa.string()),
    *((f"side{slot}_{name}", kind) for slot in (0, 1) for name, kind in (*_SIDE_FIELDS, *_OTHER_FIELDS)),
    *((f"side{slot}_floor_{name}", kind) for slot in (0, 1) for name, kind in _FLOOR_FIELDS),
)
"""The columns of the index, flat: nested ones take minutes to read where there are many games."""


def _columns(games: Sequence[GameEntry]) -> dict[str, list[Any]]:
    columns = {name: [getattr(game, name) for game in games] for name, _ in _GAME_FIELDS}
    columns["twin_keys"] = ["\n".join(game.twin_keys) for game in games]
    for slot in (0, 1):
        sides = [game.sides[slot] for game in games]
        for name, _ in _SIDE_FIELDS:
            columns[f"side{slot}_{name}"] = [getattr(side, name) for side in sides]
        others = [_other(side) for side in sides]
        for place, (name, _) in enumerate(_OTHER_FIELDS):
            columns[f"side{slot}_{name}"] = [other[place] for other in others]
        for name, _ in _FLOOR_FIELDS:
            columns[f"side{slot}_floor_{name}"] = [
                getattr(side.floor, name) if side.floor else None for side in sides
            ]
    return columns


def _other(side: Side) -> tuple[int, int] | tuple[None, None]:
    for external_id, frames in side.frames_by_character.items():
        if external_id != side.external_id:
            return external_id, frames
    return None, None


def _games(columns: Mapping[str, list[Any]]) -> list[GameEntry]:
    first, second = (_sides(columns, slot) for slot in (0, 1))
    names = [name for name, _ in _GAME_FIELDS]
    rows = zip(*(columns[name] for name in names), strict=True)
    return [
        GameEntry(**dict(zip(names, row, strict=True)), sides=sides, twin_keys=tuple(twin_keys.splitlines()))
        for row, sides, twin_keys in zip(
            rows, zip(first, second, strict=True), columns["twin_keys"], strict=True
        )
    ]


def _sides(columns: Mapping[str, list[Any]], slot: int) -> Iterator[Side]:
    names = [name for name, _ in _SIDE_FIELDS]
    floor_names = [name for name, _ in _FLOOR_FIELDS]
    rows = zip(*(columns[f"side{slot}_{name}"] for name in names), strict=True)
    others = zip(*(columns[f"side{slot}_{name}"] for name, _ in _OTHER_FIELDS), strict=True)
    floors = zip(*(columns[f"side{slot}_floor_{name}"] for name in floor_names), strict=True)
    for frames, row, (other, other_frames), floor in zip(
        columns["frames"], rows, others, floors, strict=True
    ):
        values = dict(zip(names, row, strict=True))
        played = {values["external_id"]: frames - (other_frames or 0)}
        if other is not None:
            played[other] = other_frames
        known = None if floor[0] is None else Floor(**dict(zip(floor_names, floor, strict=True)))
        yield Side(**values, frames_by_character=played, floor=known)


def write_index(path: Path, key: BuildKey, games: Sequence[GameEntry]) -> None:
    """Replaces `index.parquet` in `path`, atomically."""
    schema = pa.schema(
        list(_FIELDS),
        metadata={
            "schema_version": str(key.schema_version),
            "parser_version": key.parser_version,
            "options": key.options,
        },
    )
    columns = _columns(sorted(games, key=lambda game: game.content_id))
    with replacing(path / INDEX_FILE) as file:
        file.write(parquet_bytes(pa.Table.from_pydict(columns, schema=schema)))


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file. In memory, so that a full disk is met in one place only."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_index(path: Path) -> tuple[BuildKey, list[GameEntry]]:
    """Every game in the shards of `path`, current or not. DataError as `DatasetIndex.open` has it."""
    try:
        if not path.exists():
            raise DataError(
                f"{path}: there is no such folder; expected a dataset written by `exphil data build`"
            )
        if not (path / DATASET_FILE).is_file() or not (path / INDEX_FILE).is_file():
            raise DataError(f"{path}: this is no dataset; expected a folder written by `exphil data build`")
        described, index = (path / DATASET_FILE).read_bytes(), (path / INDEX_FILE).read_bytes()
    except OSError as error:
        if (why := obstacle(error)) is None:
            raise
        raise InaccessibleError(f"{path}: the dataset cannot be opened: {why}") from error
    try:
        said = json.loads(described)["schema_version"]
        table = pq.read_table(pa.BufferReader(index))
        metadata = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
        stored = int(metadata["schema_version"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise DataError(f"{path}: the index is damaged ({error}); {_rebuild(path)}") from error
    for version in (said, stored):
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{path}: the dataset has schema version {version}, "
                f"this exphil reads version {SCHEMA_VERSION}; {_rebuild(path)}"
            )
    try:
        key = BuildKey(
            schema_version=stored, parser_version=metadata["parser_version"], options=metadata["options"]
        )
        return key, _games({name: table.column(name).to_pylist() for name, _ in _FIELDS})
    except KeyError as error:
        raise DataError(f"{path}: the index is damaged ({error} is missing); {_rebuild(path)}") from error


def _rebuild(path: Path) -> str:
    return f"build it again: `exphil data build REPLAYS --out {path}`"
