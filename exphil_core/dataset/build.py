"""Build a dataset from replays, reading only new and changed ones.

A dataset lists what its paths hold *now*, and of several recordings of a game one (`twins`). The rows of an unlisted
game stay in its shard and are listed again, without reading, when the replay is back. Sources that cannot be read now
keep the result of an earlier build.

Writes shards, `sources.parquet`, `dataset.json`, and the index last. A killed build leaves the previous index intact;
the next build removes its leftovers.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol

from exphil_core.atomic import atomic_open, disk_full_errors, remove_partials
from exphil_core.dataset.build_report import BuildReport, counted, not_kept_sources
from exphil_core.dataset.discovery import DATASET_FILE
from exphil_core.dataset.index import (
    INDEX_FILE,
    BuildKey,
    DatasetIndex,
    GameEntry,
    GameSide,
    read_index,
    write_index,
)
from exphil_core.dataset.shards import SHARD_FOLDER, SHARD_ROWS, shard_name, write_shard
from exphil_core.dataset.sources import SOURCES_FILE, Key, SourceEntry, read_sources, write_sources
from exphil_core.dataset.twins import kept_recordings
from exphil_core.errors import DataError, InaccessibleError
from exphil_core.lock import hold
from exphil_core.replays.ingest import IngestOptions, Outcome, ReplaySource, ingest
from exphil_core.replays.kinds import SUPPORTED_FORMATS
from exphil_core.replays.pack import PARSER_VERSION, PackedGame
from exphil_core.replays.text import storable

SAVE_SECONDS = 30.0
"""Seconds between saves of a long build, from which a killed build resumes."""

_TRANSIENT = (
    "unreadable",
    "needs_archives_extra",
    "out_of_memory",
    "parser_died",
    "reader_failed",
    "vanished",
)
"""Refusals that may be transient: every build reads such sources again."""

_OURS = (DATASET_FILE, INDEX_FILE, SOURCES_FILE, SHARD_FOLDER, ".lock")


class Ingest(Protocol):
    """Signature of `replays.ingest.ingest`; a test passes its own."""

    def __call__(
        self,
        paths: Sequence[Path],
        *,
        workers: int,
        options: IngestOptions,
        known: Callable[[ReplaySource], bool],
        ignored: Callable[[int], None],
    ) -> Iterator[Outcome]: ...


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
    """Build or update the dataset of `paths` in `out`.

    A dataset with another build key (schema, parser, options) is rebuilt from nothing.

    Args:
        workers: processes that read replays.
        progress: called for every source that is read.
        waiting: called with a message if another process is building in `out`, before waiting for it.
        source: reads the replays; a test passes its own.

    Raises:
        DataError: the paths hold no replay, or `out` is not a dataset.
        DiskFullError: no space is left.
    """
    began = time.monotonic()
    # `Path.resolve` raises on a symlink loop, which the ingest has to report by name.
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
                f"{', '.join(map(str, resolved))}: no replays found; expected {SUPPORTED_FORMATS}, or folders that "
                "hold some"
            )
        return build.finish(resolved, began)


def _prepare(out: Path) -> None:
    """Create the folders. DataError if `out` holds other files: a build deletes files that it does not know."""
    try:
        with disk_full_errors(out):
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
            f"{out}: the folder holds '{strangers[0]}' and is not a dataset; choose an empty or a new one with --out"
        )


class _Pending(NamedTuple):
    """A game whose shard is not written yet."""

    packed: PackedGame
    sides: tuple[GameSide, GameSide]
    source: str


class _Build:
    """The state of a running build: the games in the shards and the sources."""

    def __init__(self, out: Path, key: BuildKey, writer: ThreadPoolExecutor) -> None:
        self._out, self._key = out, key
        self._writer = writer
        self._writing: Future[None] | None = None
        self.seen: dict[Key, None] = {}
        """The sources in the paths, in ingest order."""
        self._pending: dict[str, _Pending] = {}
        self._new_sources, self._new_frames = 0, 0
        self._ignored = 0
        self._inaccessible: dict[str, int] = {}
        """Paths that could not be read → their mtime in ns, 0 if unknown."""
        self._saved = time.monotonic()
        remove_partials(out)
        remove_partials(out / SHARD_FOLDER)
        stored: BuildKey | None = None
        games: list[GameEntry] = []
        try:
            stored, games = read_index(out)
            self._remove_shards_but({game.shard for game in games})
        except InaccessibleError:
            raise  # it may be intact: building over it would lose it
        except DataError:
            # Other schema, damaged or missing: read everything again and remove the old files at the end.
            pass
        same = stored == key
        self._sources = read_sources(out) if same else {}
        self._games = {game.content_id: game for game in games} if same else {}
        self._replaces = stored is not None and not same
        """`out` holds a readable dataset with another key: replace it only by a complete one."""

    def knows(self, source: ReplaySource) -> bool:
        """Whether an earlier build read this source and it is unchanged."""
        key = _key(source)
        entry = self._sources.get(key)
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
        # Only the dataset can find duplicates; the ingest never does.
        assert outcome.status != "duplicate"
        key = _key(outcome.source)
        before = self._sources.get(key)
        if outcome.inaccessible:
            self._inaccessible[key[0]] = outcome.source.mtime_ns
            if before is not None and before.status != "refused":
                return  # keep the earlier result: `_keep_unverified`
        self.seen[key] = None
        packed = outcome.packed
        entry = self._sources[key] = SourceEntry(
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
            GameSide(
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
        """Save the new games, without unlisting any."""
        if not self._replaces:
            self._seal()
            current = [game for game in self._games.values() if game.current]
            sources = {game.content_id: game.source for game in current}
            self._write(_listed(self._games.values(), sources, kept_recordings(current)))

    def finish(self, paths: Sequence[Path], began: float) -> BuildReport:
        """Write the dataset of the seen sources and remove unused shards."""
        self._seal()
        unverified = self._keep_unverified()
        current = [self._sources[key] for key in sorted(self.seen)]
        first: dict[str, str] = {}
        for entry in current:
            if entry.status == "kept":
                first.setdefault(entry.content_id, entry.name)
        kept = kept_recordings(game for game in self._games.values() if game.content_id in first)
        games = _listed(self._games.values(), first, kept)
        duplicate_of: dict[str, str] = {}
        for key, entry in self._sources.items():
            instead = (
                first[kept[entry.content_id]] if key in self.seen and entry.status == "kept" else entry.name
            )
            if instead != entry.name:
                duplicate_of[entry.name] = instead
            self._sources[key] = replace(entry, duplicate_of="" if instead == entry.name else instead)
        index = DatasetIndex(
            path=self._out,
            key=self._key,
            games=tuple(sorted((g for g in games if g.current), key=lambda game: game.content_id)),
        )
        seconds = time.monotonic() - began
        report = BuildReport(
            path=storable(str(self._out)),
            kept=len(index.games),
            filtered=counted(entry.reason for entry in current if entry.status == "filtered"),
            refused=counted(entry.reason for entry in current if entry.status == "refused"),
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
            not_kept=not_kept_sources(current),
        )
        self._write(games, paths=[str(path) for path in paths], fingerprint=index.fingerprint, report=report)
        self._remove_shards_but({game.shard for game in games})
        return report

    def _keep_unverified(self) -> int:
        """Mark the sources in unreadable places as seen and return their number."""
        if not self._inaccessible:
            return 0
        hidden = [
            key
            for key, entry in self._sources.items()
            if key not in self.seen and entry.reason != "unreadable_folder" and self._is_inaccessible(entry)
        ]
        self.seen.update(dict.fromkeys(hidden))
        return len(hidden)

    def _is_inaccessible(self, entry: SourceEntry) -> bool:
        own = self._inaccessible.get(entry.path)
        if own is not None:
            return own in (0, entry.mtime_ns)
        return any(str(folder) in self._inaccessible for folder in PurePath(entry.path).parents)

    def _seal(self) -> None:
        """Close the current shard. A thread writes it while the next one fills, because disks are slow."""
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
        """Wait until the shard is written."""
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
        write_sources(self._out, self._sources.values())
        said = {
            **asdict(self._key),
            "complete": report is not None,
            "paths": paths,
            "fingerprint": fingerprint,
            "counts": report.counts() if report else None,
        }
        with atomic_open(self._out / DATASET_FILE) as file:
            file.write(json.dumps(said, indent=2).encode() + b"\n")
        write_index(self._out, self._key, list(games))
        self._saved = time.monotonic()

    def _remove_shards_but(self, names: set[str]) -> None:
        for shard in (self._out / SHARD_FOLDER).glob("*.safetensors"):
            if shard.name not in names:
                shard.unlink(missing_ok=True)


def _key(source: ReplaySource) -> Key:
    # A path may hold invalid UTF-8, which Parquet cannot store.
    return storable(source.path), storable(source.member or "")


def _listed(
    games: Iterable[GameEntry], sources: Mapping[str, str], kept: Mapping[str, str]
) -> list[GameEntry]:
    """Set `current` and `source`. A game is current if it is the kept one of its recordings."""
    return [
        replace(game, current=True, source=sources[game.content_id])
        if kept.get(game.content_id) == game.content_id
        else replace(game, current=False)
        for game in games
    ]
