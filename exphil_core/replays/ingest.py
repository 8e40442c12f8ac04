"""Replays in worker processes: every file ends as kept, filtered or refused, and none stops the rest.

In: files, folders and archives. Out: an `Outcome` a file or member, in the order in which they are done.
Parsing is kept in processes of its own because the parser holds the GIL, may panic, hang or take all
memory, and prints. A worker that dies or exceeds its time costs the one file that it had; another takes its
place.

Duplicates are not decided here: who builds a dataset knows which content ids it has.
"""

import os
import selectors
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from exphil_core.errors import DiskFullError, ExphilError, UsageError, obstacle
from exphil_core.replays import wire
from exphil_core.replays.archives import ArchiveLimits
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.replays.crew import Worker
from exphil_core.replays.filters import FILTERS_VERSION, SideQuality
from exphil_core.replays.kinds import kind_of
from exphil_core.replays.listing import Found, find_files
from exphil_core.replays.pack import PARSER_VERSION, PackedGame
from exphil_core.replays.refusals import REASONS
from exphil_core.replays.text import sanitise

WORKER_COMMAND: tuple[str, ...] = (sys.executable, "-m", "exphil_core.replays.worker")

_ARCHIVE_PATIENCE = 10
"""Times the limit of one file, for an archive to be listed or to give its next member."""

_SLOWEST_BYTES = 1_000_000
"""Of an archive, a second: a compressed tar has to be read through for that, and gets the time for it."""

_REQUESTS_AHEAD = 2
"""Requests that a worker may hold, so that it need not wait while the last answer is being used."""

_UNKNOWN_ARCHIVE = ("unreadable", "needs_archives_extra", "out_of_time", "out_of_memory", "parser_died")
"""Reasons for which an archive could not be listed that say nothing of what is in it."""

_SHARED_MEMORY = Path("/dev/shm")
_SPOOL_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    path: str
    """Absolute."""
    member: str | None
    """Name within the archive at `path`; a name that occurs again has `#2`, `#3` after it."""
    size: int
    """Bytes, of a member unpacked."""
    mtime_ns: int
    """0 where it could not be looked at."""

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}/{self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    source: Source
    status: Literal["kept", "filtered", "refused", "duplicate"]
    reason: str
    """Empty if kept, the predicate's name if filtered, a key of `REASONS` if refused."""
    detail: str
    """A sentence for people; empty if kept."""
    packed: PackedGame | None = None
    """Of kept games only."""
    sides: tuple[SideQuality, SideQuality] | None = None
    salvaged: bool = False
    inaccessible: bool = False
    """Refused since what is there, or below it, could not be looked at: an earlier reading of it still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    min_frames: int = 600
    seconds_per_file: int = 60
    memory_mib: int = 4096
    """Address space of a worker."""
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)

    @property
    def key(self) -> str:
        """What an outcome depends on besides the file; limits only decide whether there is one."""
        return (
            f"min_frames={self.min_frames}; {PARSER_VERSION}; filters {FILTERS_VERSION}; "
            f"schema {SCHEMA_VERSION}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    source: Source
    path: Path
    unpacked: bool = False
    """The file is ours, to be removed when done."""


def ingest(
    paths: Sequence[Path],
    *,
    workers: int,
    options: IngestOptions,
    known: Callable[[Source], bool] = lambda source: False,
    ignored: Callable[[int], None] = lambda count: None,
    command: Sequence[str] = WORKER_COMMAND,
) -> Iterator[Outcome]:
    """Outcomes of all replays below `paths` but those that are `known`. A closed iterator ends its workers.

    `ignored` hears how many files of folders and archives are no replays by their names. Raises DataError for a path
    that is not there, DiskFullError where nothing more can be written.
    """
    if workers < 1:
        raise UsageError(f"workers: expected 1 or more, found {workers}")
    crew = _Crew(options=options, command=command, size=workers)
    try:
        yield from crew.run(_tasks(find_files(paths, ignored), crew, known, ignored))
    finally:
        crew.close()


def _spool_parent() -> Path:
    """Packed games pass through files; in memory where there is room, so that nothing waits for a disk."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    if usable and shutil.disk_usage(_SHARED_MEMORY).free >= _SPOOL_BYTES:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _tasks(
    files: Iterator[Found], crew: "_Crew", known: Callable[[Source], bool], ignored: Callable[[int], None]
) -> Iterator[_Task | Outcome]:
    for found in files:
        source = Source(path=str(found.path), member=None, size=found.size, mtime_ns=found.mtime_ns)
        try:
            if found.refused is not None:
                refused = _refused(source, found.refused.reason, found.refused.detail)
                yield replace(refused, inaccessible=found.inaccessible)
            elif kind_of(found.path.name) == "archive":
                yield from _archive_tasks(source, crew, known, ignored)
            elif not known(source):
                yield _Task(source=source, path=found.path)
        except ExphilError:
            raise
        except Exception as error:  # one source must not stop the others
            yield _unexpected(source, error)


def _archive_tasks(
    archive: Source, crew: "_Crew", known: Callable[[Source], bool], ignored: Callable[[int], None]
) -> Iterator[_Task | Outcome]:
    """Listed and unpacked in a process of its own, too: an archive may be as hostile as a replay."""
    limits = asdict(crew.options.archives)
    listed = crew.ask({"do": "list", "path": archive.path, "limits": limits}, archive.size)
    if "refused" in listed:
        reason, detail = listed["refused"]
        yield replace(_refused(archive, reason, detail), inaccessible=reason in _UNKNOWN_ARCHIVE)
        return
    ignored(listed["ignored"])
    if listed["damage"] is not None:
        yield _refused(archive, *listed["damage"])
    wanted: dict[int, Source] = {}
    for number, name, size, refusal in listed["members"]:
        source = Source(path=archive.path, member=name, size=size, mtime_ns=archive.mtime_ns)
        if known(source):
            continue
        if refusal is not None:
            yield _refused(source, *refusal)
        else:
            wanted[number] = source
    if not wanted:
        return
    refused = ("archive_corrupt", REASONS["archive_corrupt"])
    try:
        into = f"unpacked-{crew.next_number()}"
        request = {"do": "unpack", "path": archive.path, "members": list(wanted), "into": into}
        answer = crew.ask(request, archive.size)
        while "end" not in answer:
            source = wanted.pop(answer["member"])
            if "refused" in answer:
                yield _refused(source, *answer["refused"])
            else:
                yield _Task(source=source, path=Path(answer["path"]), unpacked=True)
            answer = crew.ask({"do": "next"}, archive.size)
        if "failed" in answer:
            _raise_failure(answer["failed"])
        refused = answer.get("refused", refused)
    except ExphilError:
        raise
    except Exception as error:
        crew.end_unpacker()
        yield from (_unexpected(source, error) for source in wanted.values())
        return
    for source in wanted.values():
        yield _refused(source, *refused)


def _unexpected(source: Source, error: Exception) -> Outcome:
    detail = sanitise(f"{type(error).__name__}: {error}", limit=160)
    return _refused(source, "reader_failed", f"{REASONS['reader_failed']} ({detail})")


def _refused(source: Source, reason: str, detail: str) -> Outcome:
    return Outcome(source=source, status="refused", reason=reason, detail=f"{source}: {detail}")


def _raise_failure(failure: Mapping[str, Any]) -> NoReturn:
    if failure["disk_full"]:
        raise DiskFullError(f"ingest: no room to pass games through temporary files: {failure['detail']}")
    raise ExphilError(f"ingest: cannot pass games through temporary files: {failure['detail']}")


class _Lane:
    """The place of one worker: the process that has it now, and what it was asked and has not answered."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.pending: deque[_Task] = deque()


class _Crew:
    """All processes of one ingest and the folder that they pass games through; owns them until `close`."""

    def __init__(self, *, options: IngestOptions, command: Sequence[str], size: int) -> None:
        self.options = options
        self._spool: Path | None = None
        self._command = command
        self._lanes = [_Lane() for _ in range(size)]
        self._unpacker: Worker | None = None
        self._number = 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def close(self) -> None:
        for worker in (self._unpacker, *(lane.worker for lane in self._lanes)):
            if worker is not None:
                worker.end()
        if self._spool is not None:
            shutil.rmtree(self._spool, ignore_errors=True)

    def ask(self, message: Mapping[str, Any], size: int) -> dict[str, Any]:
        """The unpacker's answer about an archive of `size` bytes.

        Where it dies or is late, an answer that ends and refuses the archive.
        """
        if self._unpacker is None:
            self._unpacker = self._start()
        self._unpacker.send(message)
        seconds = _ARCHIVE_PATIENCE * self.options.seconds_per_file + size / _SLOWEST_BYTES
        answer = self._unpacker.wait(seconds)
        if answer is not None:
            return answer
        late = time.monotonic() >= self._unpacker.deadline
        how = self.end_unpacker()
        reason = "out_of_time" if late else "parser_died"
        return {"end": True, "refused": [reason, f"{REASONS[reason]} ({how})"]}

    def end_unpacker(self) -> str:
        """Ends the process that unpacks, whatever it was asked, and says how it ended."""
        if self._unpacker is None:
            return ""
        how = self._unpacker.end()
        self._unpacker = None
        return how

    def run(self, tasks: Iterator[_Task | Outcome]) -> Iterator[Outcome]:
        again: deque[_Task] = deque()
        more = True
        while True:
            # Breadth first, so that no worker has two requests while another has none.
            for depth in range(1, _REQUESTS_AHEAD + 1):
                for lane in self._lanes:
                    while (more or again) and len(lane.pending) < depth:
                        item = again.popleft() if again else next(tasks, None)
                        if item is None:
                            more = False
                        elif isinstance(item, Outcome):
                            yield item
                        else:
                            self._submit(lane, item)
            if not any(lane.pending for lane in self._lanes):
                return
            yield from self._collect(again)

    def _submit(self, lane: _Lane, task: _Task) -> None:
        if lane.worker is not None and not lane.pending and lane.worker.is_gone():
            lane.worker.end()  # while it had nothing to do: no file is to blame
            lane.worker = None
        if lane.worker is None:
            lane.worker = self._start()
        elif not lane.pending:
            lane.worker.deadline = self._deadline()
        lane.pending.append(task)
        lane.worker.send(
            {
                "do": "parse",
                "path": str(task.path),
                "min_frames": self.options.min_frames,
                "max_bytes": self.options.archives.member_bytes,
                "columns": f"columns-{self.next_number()}",
            }
        )

    def _collect(self, again: deque[_Task]) -> Iterator[Outcome]:
        """Outcomes of the answers that are there, once there is one or a worker is gone or late."""
        busy = [(lane, lane.worker) for lane in self._lanes if lane.worker is not None and lane.pending]
        with selectors.DefaultSelector() as selector:
            for _, worker in busy:
                selector.register(worker, selectors.EVENT_READ)
            timeout = max(0.0, min(worker.deadline for _, worker in busy) - time.monotonic())
            ready = {key.fileobj for key, _ in selector.select(timeout)}
        for lane, worker in busy:
            if worker in ready:
                alive = worker.read()
                was_ready = worker.ready
                try:
                    for answer in worker.answers():
                        # From here on the next request has its time, whenever the worker began with it.
                        worker.deadline = self._deadline()
                        yield self._finish(lane.pending.popleft(), answer)
                except wire.Garbled:
                    alive = False
                if worker.ready and not was_ready:
                    worker.deadline = self._deadline()
                if not alive:
                    yield from self._replace(lane, worker, again, late=False)
            elif time.monotonic() >= worker.deadline:
                yield from self._replace(lane, worker, again, late=True)

    def _replace(self, lane: _Lane, worker: Worker, again: deque[_Task], *, late: bool) -> Iterator[Outcome]:
        how = worker.end()
        lane.worker = None
        if not worker.ready:
            raise RuntimeError(f"a worker process did not start ({how}):\n{worker.last_words()}")
        if lane.pending:
            task = lane.pending.popleft()
            reason = "out_of_time" if late or "SIGALRM" in how else "parser_died"
            self._remove(task)
            yield _refused(task.source, reason, f"{REASONS[reason]} ({how})")
        again.extend(lane.pending)
        lane.pending.clear()

    def _finish(self, task: _Task, answer: Mapping[str, Any]) -> Outcome:
        self._remove(task)
        if answer.get("status") == "failed":
            _raise_failure(answer)
        try:
            return self._outcome(task.source, answer)
        except (OSError, MemoryError):
            raise  # of this process, not of the file
        except Exception as error:  # what a worker says comes from a stranger's file
            return _unexpected(task.source, error)

    def _outcome(self, source: Source, answer: Mapping[str, Any]) -> Outcome:
        if answer["status"] != "kept":
            return Outcome(
                source=source,
                status=answer["status"],
                reason=answer["reason"],
                detail=f"{source}: {answer['detail']}",
                salvaged=answer.get("salvaged", False),
            )
        assert self._spool is not None
        columns = self._spool / answer["columns"]
        packed = wire.read_packed(answer["header"], columns)
        columns.unlink()
        first, second = (SideQuality(**side) for side in answer["sides"])
        return Outcome(
            source=source,
            status="kept",
            reason="",
            detail="",
            packed=packed,
            sides=(first, second),
            salvaged=packed.salvaged,
        )

    def _remove(self, task: _Task) -> None:
        if task.unpacked:
            task.path.unlink(missing_ok=True)

    def _start(self) -> Worker:
        if self._spool is None:
            self._spool = Path(tempfile.mkdtemp(prefix="exphil-ingest-", dir=_spool_parent()))
        try:
            return Worker(
                self._command,
                spool=self._spool,
                number=self.next_number(),
                memory_mib=self.options.memory_mib,
                seconds=self.options.seconds_per_file,
            )
        except OSError as error:
            if (why := obstacle(error)) is None:
                raise
            raise ExphilError(f"ingest: a process that reads replays cannot be started: {why}") from error

    def _deadline(self) -> float:
        return time.monotonic() + self.options.seconds_per_file
