"""The index of a dataset (`index.parquet`): one entry per game, and the versions it was built with.

`games` are ordered by content id, so builds of the same replays give the same indices. `dataset.json` repeats the
versions for people.
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

from exphil_core.atomic import atomic_open
from exphil_core.dataset.discovery import DATASET_FILE
from exphil_core.errors import DataError, InaccessibleError, explain_os_error
from exphil_core.melee.characters import by_external_id
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.replays.game import Floor

INDEX_FILE = "index.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class GameSide:
    """One player of a game, and whether its inputs are worth imitating."""

    external_id: int
    """The character played most, by which the side is counted, selected and held out."""
    selected_external_id: int
    """The selected character; a selected Zelda may play Sheik from the first frame."""
    frames_by_character: Mapping[int, int]
    """External character id → frames on the stage; the sum is the game's frames."""
    port_index: int
    type: Literal["human", "cpu", "demo"]
    human: bool
    active: bool
    """Its inputs change often enough; False for an idle side."""
    plausible: bool
    """Its inputs are possible on a real controller."""
    activity: float
    """Share of frames on which its inputs change."""
    floor: Floor | None = None
    """Loss floor of a dojo bot's inputs; None for other sides."""

    @property
    def usable(self) -> bool:
        """Whether it is imitated by default."""
        return self.human and self.active and self.plausible

    @property
    def character(self) -> str:
        """Return the name of the character played most."""
        return by_external_id(self.external_id).name


def frames_by_character(sides: Iterable[GameSide]) -> Counter[str]:
    """Return character name → frames on the stage, summed over these sides."""
    found: Counter[str] = Counter()
    for side in sides:
        for external_id, frames in side.frames_by_character.items():
            found[by_external_id(external_id).name] += frames
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GameEntry:
    """One game of the dataset."""

    content_id: str
    shard: str
    """File name below `shards/`."""
    row_start: int
    frames: int
    external_stage_id: int
    version: str
    sides: tuple[GameSide, GameSide]
    salvaged: bool
    source: str
    """The replay: `path` or `archive!member`."""
    repaired: str = ""
    """Applied repairs: keys of `repair.REPAIRS`, separated by blanks."""
    match_key: str = ""
    """Equal for the games of one match, which are held out together; empty if unknown."""
    twin_keys: tuple[str, ...] = ()
    """Recordings that share any of these keys are of the same game."""
    current: bool = True
    """False if the replay is not in the paths of the last build, or if another recording of the game is kept. The
    rows stay in the shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKey:
    """What determines a dataset's content besides the replays."""

    parser_version: str
    options: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    """The current games of a dataset and its build key."""

    path: Path
    key: BuildKey
    games: tuple[GameEntry, ...]
    """The current games, ordered by content id."""

    @classmethod
    def open(cls, path: Path) -> "DatasetIndex":
        """Read the index of the dataset in `path`.

        Raises:
            DataError: no dataset, a damaged one, or one of another schema version.
            InaccessibleError: the system denies access.
        """
        key, games = read_index(Path(path))
        return cls(path=Path(path), key=key, games=tuple(game for game in games if game.current))

    @property
    def fingerprint(self) -> str:
        """A hash that changes whenever the games or their stored columns change."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.key.schema_version}\n{self.key.parser_version}\n{self.key.options}\n".encode())
        for game in self.games:
            digest.update(game.content_id.encode())
        return digest.hexdigest()

    @property
    def frames(self) -> int:
        return sum(game.frames for game in self.games)

    def per_character(self) -> dict[str, dict[str, int]]:
        """Return name → `games` and `frames` on the stage; a frame of a ditto counts twice."""
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
"""The character that a side transforms into, and its frames; null without a transformation."""
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
"""The columns of the index. They are flat: nested ones take minutes to read with many games."""


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


def _other(side: GameSide) -> tuple[int, int] | tuple[None, None]:
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


def _sides(columns: Mapping[str, list[Any]], slot: int) -> Iterator[GameSide]:
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
        yield GameSide(**values, frames_by_character=played, floor=known)


def write_index(path: Path, key: BuildKey, games: Sequence[GameEntry]) -> None:
    """Replace `index.parquet` in `path` atomically."""
    schema = pa.schema(
        list(_FIELDS),
        metadata={
            "schema_version": str(key.schema_version),
            "parser_version": key.parser_version,
            "options": key.options,
        },
    )
    columns = _columns(sorted(games, key=lambda game: game.content_id))
    with atomic_open(path / INDEX_FILE) as file:
        file.write(parquet_bytes(pa.Table.from_pydict(columns, schema=schema)))


def parquet_bytes(table: pa.Table) -> bytes:
    """Return the table as a Parquet file, in memory, so that only one place has to handle a full disk."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_index(path: Path) -> tuple[BuildKey, list[GameEntry]]:
    """Read all games in the shards of `path`, current or not. Raises as `DatasetIndex.open`."""
    try:
        if not path.exists():
            raise DataError(
                f"{path}: there is no such folder; expected a dataset written by `exphil data build`"
            )
        if not (path / DATASET_FILE).is_file() or not (path / INDEX_FILE).is_file():
            raise DataError(
                f"{path}: this is not a dataset; expected a folder written by `exphil data build`"
            )
        described, index = (path / DATASET_FILE).read_bytes(), (path / INDEX_FILE).read_bytes()
    except OSError as error:
        if (why := explain_os_error(error)) is None:
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
