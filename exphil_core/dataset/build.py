"""Builds a dataset from replays, reading only what is new.

The dataset of some paths is what those paths hold *now*: a game whose replay is gone, or that came from paths no
longer given, is no longer listed, though its rows stay in the shard and are listed again, unread, when the replay is
back. Where nothing can be read now, what an earlier build read there still counts. Equal replays, and the recordings
that both players made, are one game: `twins` says which of them is listed.

Order of writing: shards, ledger, `dataset.json`, and the index last. A build killed at any moment leaves the
index that was there, with everything it names; the next build removes what the killed one left over.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, NamedTuple, Protocol

from exphil_core.atomic import remove_partials, replacing, room_on_disk
from exphil_core.dataset.catalog import DATASET_FILE
from exphil_core.dataset.index import (
    INDEX_FILE,
    BuildKey,
    DatasetIndex,
    GameEntry,
    Side,
    read_index,
    write_index,
)
from exphil_core.dataset.ledger import LEDGER_FILE, Entry, Key, read_ledger, write_ledger
from exphil_core.dataset.shards import SHARD_FOLDER, SHARD_ROWS, shard_name, write_shard
from exphil_core.dataset.twins import kept_recordings
from exphil_core.errors import DataError, InaccessibleError
from exphil_core.lock import hold
from exphil_core.replays.ingest import IngestOptions, Outcome, Source, ingest
from exphil_core.replays.kinds import READ_HERE
from exphil_core.replays.pack import PARSER_VERSION, PackedGame
from exphil_core.replays.text import storable

SAVE_SECONDS = 30.0
"""A long build saves what it has so often: a killed one goes on from there."""

_TRANSIENT = (
    "unreadable",
    "needs_archives_extra",
    "out_of_memory",
    "parser_died",
    "reader_failed",
    "vanished",
)
"""Refusals that another try may not meet: such sources are read again at every build."""

_NOT_KEPT: tuple[Literal["refused", "filtered"], ...] = ("refused", "filtered")

_OURS = (DATASET_FILE, INDEX_FILE, LEDGER_FILE, SHARD_FOLDER, ".lock")


class Ingest(Protocol):
    """What `replays.ingest.ingest` does; a test passes its own."""

    def __call__(
        self,
        paths: Sequence[Path],
        *,
        workers: int,
        options: IngestOptions,
        known: Callable[[Source], bool],
        ignored: Callable[[int], None],
    ) -> Iterator[Outcome]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NotKept:
    """A source that gives the dataset no game."""

    status: Literal["refused", "filtered"]
    reason: str
    """A key of `REASONS`, or a predicate's name."""
    path: str
    member: str
    detail: str
    """A sentence that names the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Counts are of the sources that the paths hold now, read in this build or in an earlier one."""

    path: str
    kept: int
    filtered: Mapping[str, int]
    """Name of a predicate → sources it removed."""
    refused: Mapping[str, int]
    """Reason → sources."""
    salvaged: int
    repaired: int
    """Kept games that could be read only after a repair."""
    duplicates: int
    """Sources of a game that is kept from another source."""
    twins: int
    """Those of the duplicates whose recording differs from the kept one, as the other player's does."""
    duplicate_of: Mapping[str, str]
    """Source → the one that was kept; the ledger has it too."""
    games: int
    frames: int
    per_character: Mapping[str, Mapping[str, int]]
    """Name → `games` and `frames` with it on the stage; a frame of a ditto counts twice."""
    sources: int
    """All of the above: kept + duplicates + filtered + refused."""
    new_sources: int
    """Read in this build, with another outcome than before."""
    unverified: int
    """Of the sources, those whose folder or archive cannot be read now: they count as an earlier build read them."""
    ignored: int
    """Other files beside the sources: no replays or archives by their names."""
    unlisted: int
    """Games in the shards that the paths no longer hold."""
    seconds: float
    frames_per_s: float
    """Frames written in this build, per second of it."""
    not_kept: tuple[NotKept, ...]
    """The refused sources, then the filtered ones."""

    def fields(self) -> dict[str, object]:
        """The keys of `exphil data build --json` (CLI.md)."""
        return asdict(self)

    def counts(self) -> dict[str, object]:
        """What `dataset.json` keeps of it, which is read often and stays short."""
        return {
            name: value for name, value in self.fields().items() if name not in ("duplicate_of", "not_kept")
        }


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def build_dataset(
    paths: Iterable[Path],
    out: Path,
    *,
    workers: int,
    options: IngestOptions,
    progress: Callable[[Outcome], None] | None = None,
    waiting: Callable[[str], None] = _tell,
    source: Ingest = ingest,
) -> BuildReport:
    """Makes `out` the dataset of `paths`. `progress` hears of every source that is read.

    Another process that builds there is waited for, and `waiting` hears a sentence that names it.
    DataError where the paths hold no replay, or `out` is something else; DiskFullError where there is no room.
    Built under another key (schema, parser, options) it starts anew.
    """
    began = time.monotonic()
    # `Path.resolve` raises where a link leads back to itself, which is for the ingest to refuse by name.
    resolved = sorted({Path(os.path.realpath(path)) for path in paths})
    key = BuildKey(parser_version=PARSER_VERSION, options=options.key)
    _prepare(out)
    with (
        hold(out / ".lock", f"dataset {out}", waiting=waiting),
        ThreadPoolExecutor(1, thread_name_prefix="shards") as writer,
    ):
        build = _Build(out, key, writer)
        try:
            for outcome in source(
                resolved, workers=workers, options=options, known=build.knows, ignored=build.ignore
            ):
                build.take(outcome)
                if progress is not None:
                    progress(outcome)
        except KeyboardInterrupt:
            build.save()
            raise
        if not build.seen:
            raise DataError(
                f"{', '.join(map(str, resolved))}: no replays found; expected {READ_HERE}, or folders that hold some"
            )
        return build.finish(resolved, began)


def _prepare(out: Path) -> None:
    """DataError where `out` holds something that is no dataset: a build deletes what it does not know."""
    try:
        with room_on_disk(out):
            (out / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise DataError(
            f"{out}: a dataset cannot be written there ({error.strerror}); choose another --out"
        ) from error
    strangers = sorted(
        found.name for found in out.iterdir() if found.name not in _OURS and found.suffix != ".partial"
    )
    if strangers and not (out / DATASET_FILE).is_file():
        if not any((out / SHARD_FOLDER).iterdir()):
            (out / SHARD_FOLDER).rmdir()
        raise DataError(
            f"{out}: the folder holds '{strangers[0]}' and is no dataset; choose an empty or a new one with --out"
        )


class _Pending(NamedTuple):
    """A game that waits for its shard to be closed."""

    packed: PackedGame
    sides: tuple[Side, Side]
    source: str


class _Build:
    """The state of a dataset while it is built: what its shards hold, what its sources were."""

    def __init__(self, out: Path, key: BuildKey, writer: ThreadPoolExecutor) -> None:
        self._out, self._key = out, key
        self._writer = writer
        self._writing: Future[None] | None = None
        self.seen: dict[Key, None] = {}
        """The sources that the paths hold, in the order in which they were met."""
        self._pending: dict[str, _Pending] = {}
        self._new_sources, self._new_frames = 0, 0
        self._ignored = 0
        self._inaccessible: dict[str, int] = {}
        """Paths that could not be looked at → the time of change that they have, 0 where not even that is known."""
        self._saved = time.monotonic()
        remove_partials(out)
        remove_partials(out / SHARD_FOLDER)
        stored: BuildKey | None = None
        games: list[GameEntry] = []
        try:
            stored, games = read_index(out)
            self._remove_shards_but({game.shard for game in games})
        except InaccessibleError:
            raise  # it may be whole: what is built over it would be lost
        except DataError:
            # Of another schema, damaged or not there yet: all is read again, and what it was goes at the end.
            pass
        same = stored == key
        self._ledger = read_ledger(out) if same else {}
        self._games = {game.content_id: game for game in games} if same else {}
        self._replaces = stored is not None and not same
        """A readable dataset of other options lies there: it is replaced by a whole one, or not at all."""

    def knows(self, source: Source) -> bool:
        """Whether the source is as it was when it was read."""
        key = _key(source)
        entry = self._ledger.get(key)
        if (
            entry is None
            or (entry.size, entry.mtime_ns) != (source.size, source.mtime_ns)
            or entry.reason in _TRANSIENT
            or (entry.status == "kept" and entry.content_id not in self._games)
        ):
            return False
        self.seen[key] = None
        return True

    def ignore(self, count: int) -> None:
        self._ignored += count

    def take(self, outcome: Outcome) -> None:
        # Duplicates are found here and nowhere else: only the dataset knows what it has.
        assert outcome.status != "duplicate"
        key = _key(outcome.source)
        before = self._ledger.get(key)
        if outcome.inaccessible:
            self._inaccessible[key[0]] = outcome.source.mtime_ns
            if before is not None and before.status != "refused":
                return  # what is known of it holds: `_keep_unverified`
        self.seen[key] = None
        packed = outcome.packed
        entry = self._ledger[key] = Entry(
            path=key[0],
            member=key[1],
            size=outcome.source.size,
            mtime_ns=outcome.source.mtime_ns,
            status=outcome.status,
            reason=outcome.reason,
            detail=storable(outcome.detail),
            content_id=packed.content_id if packed else "",
        )
        self._new_sources += before is None or entry != replace(before, duplicate_of="")
        if packed is None or packed.content_id in self._games or packed.content_id in self._pending:
            return
        assert outcome.sides is not None
        first, second = (
            Side(
                external_id=side.external_id,
                selected_external_id=side.selected_external_id,
                frames_by_character=side.frames_by_character,
                port_index=side.port_index,
                type=side.type,
                human=quality.human,
                active=quality.active,
                plausible=quality.plausible,
                activity=quality.activity,
                floor=side.floor,
            )
            for side, quality in zip(packed.sides, outcome.sides, strict=True)
        )
        self._pending[packed.content_id] = _Pending(packed, (first, second), entry.name)
        self._new_frames += packed.frames
        if sum(game.packed.frames for game in self._pending.values()) >= SHARD_ROWS:
            self._seal()
            if time.monotonic() - self._saved >= SAVE_SECONDS:
                self.save()

    def save(self) -> None:
        """Adds what is new to the dataset, and takes nothing away yet."""
        if not self._replaces:
            self._seal()
            current = [game for game in self._games.values() if game.current]
            sources = {game.content_id: game.source for game in current}
            self._write(_listed(self._games.values(), sources, kept_recordings(current)))

    def finish(self, paths: Sequence[Path], began: float) -> BuildReport:
        """Makes the dataset that of the sources seen, and removes what it no longer needs."""
        self._seal()
        unverified = self._keep_unverified()
        current = [self._ledger[key] for key in sorted(self.seen)]
        first: dict[str, str] = {}
        for entry in current:
            if entry.status == "kept":
                first.setdefault(entry.content_id, entry.name)
        kept = kept_recordings(game for game in self._games.values() if game.content_id in first)
        games = _listed(self._games.values(), first, kept)
        duplicate_of: dict[str, str] = {}
        for key, entry in self._ledger.items():
            instead = (
                first[kept[entry.content_id]] if key in self.seen and entry.status == "kept" else entry.name
            )
            if instead != entry.name:
                duplicate_of[entry.name] = instead
            self._ledger[key] = replace(entry, duplicate_of="" if instead == entry.name else instead)
        index = DatasetIndex(
            path=self._out,
            key=self._key,
            games=tuple(sorted((g for g in games if g.current), key=lambda game: game.content_id)),
        )
        seconds = time.monotonic() - began
        report = BuildReport(
            path=storable(str(self._out)),
            kept=len(index.games),
            filtered=_counts(entry.reason for entry in current if entry.status == "filtered"),
            refused=_counts(entry.reason for entry in current if entry.status == "refused"),
            salvaged=sum(game.salvaged for game in index.games),
            repaired=sum(bool(game.repaired) for game in index.games),
            duplicates=len(duplicate_of),
            twins=sum(
                entry.status == "kept" and kept[entry.content_id] != entry.content_id for entry in current
            ),
            duplicate_of=dict(sorted(duplicate_of.items())),
            games=len(index.games),
            frames=index.frames,
            per_character=index.per_character(),
            sources=len(current),
            new_sources=self._new_sources,
            unverified=unverified,
            ignored=self._ignored,
            unlisted=len(games) - len(first),
            seconds=round(seconds, 3),
            frames_per_s=round(self._new_frames / seconds, 1),
            not_kept=_not_kept(current),
        )
        self._write(games, paths=[str(path) for path in paths], fingerprint=index.fingerprint, report=report)
        self._remove_shards_but({game.shard for game in games})
        return report

    def _keep_unverified(self) -> int:
        """Counts as seen what lies where nothing can be looked at now; gives how many sources that are."""
        if not self._inaccessible:
            return 0
        hidden = [
            key
            for key, entry in self._ledger.items()
            if key not in self.seen and entry.reason != "unreadable_folder" and self._is_inaccessible(entry)
        ]
        self.seen.update(dict.fromkeys(hidden))
        return len(hidden)

    def _is_inaccessible(self, entry: Entry) -> bool:
        own = self._inaccessible.get(entry.path)
        if own is not None:
            return own in (0, entry.mtime_ns)
        return any(str(folder) in self._inaccessible for folder in PurePath(entry.path).parents)

    def _seal(self) -> None:
        """Closes the shard that is being filled. It is written while the next one fills: disks are slow."""
        self._wait()
        if not self._pending:
            return
        name = shard_name(self._key, list(self._pending))
        games = [pending.packed for pending in self._pending.values()]
        self._writing = self._writer.submit(write_shard, self._out / SHARD_FOLDER / name, games)
        row = 0
        for game, sides, source in self._pending.values():
            self._games[game.content_id] = GameEntry(
                content_id=game.content_id,
                shard=name,
                row_start=row,
                frames=game.frames,
                external_stage_id=game.external_stage_id,
                version=str(game.version),
                sides=sides,
                salvaged=game.salvaged,
                repaired=" ".join(game.repaired),
                source=source,
                match_key=game.match_key,
                twin_keys=game.twin_keys,
            )
            row += game.frames
        self._pending.clear()

    def _wait(self) -> None:
        """Until the shard that is being written is there."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(
        self,
        games: Iterable[GameEntry],
        paths: Sequence[str] = (),
        fingerprint: str = "",
        report: BuildReport | None = None,
    ) -> None:
        self._wait()
        write_ledger(self._out, self._ledger.values())
        said = {
            **asdict(self._key),
            "complete": report is not None,
            "paths": paths,
            "fingerprint": fingerprint,
            "counts": report.counts() if report else None,
        }
        with replacing(self._out / DATASET_FILE) as file:
            file.write(json.dumps(said, indent=2).encode() + b"\n")
        write_index(self._out, self._key, list(games))
        self._saved = time.monotonic()

    def _remove_shards_but(self, names: set[str]) -> None:
        for shard in (self._out / SHARD_FOLDER).glob("*.safetensors"):
            if shard.name not in names:
                shard.unlink(missing_ok=True)


def _key(source: Source) -> Key:
    # A path may hold bytes that are no text; Parquet holds text only.
    return storable(source.path), storable(source.member or "")


def _not_kept(current: Sequence[Entry]) -> tuple[NotKept, ...]:
    return tuple(
        NotKept(status=status, reason=entry.reason, path=entry.path, member=entry.member, detail=entry.detail)
        for status in _NOT_KEPT
        for entry in current
        if entry.status == status
    )


def _listed(
    games: Iterable[GameEntry], sources: Mapping[str, str], kept: Mapping[str, str]
) -> list[GameEntry]:
    """The games, of which those are current that are in `sources` (by content id) and kept of their recordings."""
    return [
        replace(game, current=True, source=sources[game.content_id])
        if kept.get(game.content_id) == game.content_id
        else replace(game, current=False)
        for game in games
    ]


def _counts(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))
