"""Parse replays in worker processes: every file ends as kept, filtered or refused, and none stops the rest.

The parser holds the GIL, may panic, hang or exhaust memory, and prints; a worker that dies or times out costs only
its current file and is replaced. Duplicates are left to the dataset builder, which knows its content ids.
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

from exphil_core.errors import DiskFullError, ExphilError, UsageError, explain_os_error
from exphil_core.replays.archives import ArchiveLimits
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.replays.filters import FILTERS_VERSION, SideQuality
from exphil_core.replays.isolation import ipc
from exphil_core.replays.isolation.worker_process import WorkerProcess
from exphil_core.replays.kinds import kind_of
from exphil_core.replays.listing import FoundFile, find_files
from exphil_core.replays.pack import PARSER_VERSION, PackedGame
from exphil_core.replays.refusals import REASONS
from exphil_core.replays.text import sanitise

WORKER_COMMAND: tuple[str, ...] = (sys.executable, "-m", "exphil_core.replays.isolation.worker_main")

_ARCHIVE_PATIENCE = 10
"""Time to list an archive or unpack its next member, in multiples of the limit for one file."""

_SLOWEST_BYTES = 1_000_000
"""Bytes per second of the slowest archive, which adds to its time limit: a compressed tar has to be read through."""

_REQUESTS_AHEAD = 2
"""Requests queued per worker, so that it does not wait while its last answer is processed."""

_UNKNOWN_ARCHIVE = ("unreadable", "needs_archives_extra", "out_of_time", "out_of_memory", "parser_died")
"""Reasons for a failed listing that say nothing about the content of the archive."""

_SHARED_MEMORY = Path("/dev/shm")
_SPOOL_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySource:
    path: str
    """Absolute path."""
    member: str | None
    """Name within the archive at `path`; repeated names get `#2`, `#3` appended."""
    size: int
    """Size in bytes; for a member, unpacked."""
    mtime_ns: int
    """Modification time; 0 if the file could not be accessed."""

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}/{self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    source: ReplaySource
    status: Literal["kept", "filtered", "refused", "duplicate"]
    reason: str
    """Empty if kept, the predicate's name if filtered, a key of `REASONS` if refused."""
    detail: str
    """A sentence for the user; empty if kept."""
    packed: PackedGame | None = None
    """None unless the game is kept."""
    sides: tuple[SideQuality, SideQuality] | None = None
    salvaged: bool = False
    inaccessible: bool = False
    """Refused because the path or something below it could not be accessed: an earlier outcome still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    min_frames: int = 600
    seconds_per_file: int = 60
    memory_mib: int = 4096
    """Address space limit of a worker."""
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)

    @property
    def key(self) -> str:
        """Cache key of everything besides the file that an outcome depends on.

        Limits are left out, since they only decide whether there is an outcome.
        """
        return (
            f"min_frames={self.min_frames}; {PARSER_VERSION}; filters {FILTERS_VERSION}; "
            f"schema {SCHEMA_VERSION}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    source: ReplaySource
    path: Path
    unpacked: bool = False
    """The file is a temporary one of ours; delete it when done."""


def ingest(
    paths: Sequence[Path],
    *,
    workers: int,
    options: IngestOptions,
    known: Callable[[ReplaySource], bool] = lambda source: False,
    ignored: Callable[[int], None] = lambda count: None,
    command: Sequence[str] = WORKER_COMMAND,
) -> Iterator[Outcome]:
    """Yield an outcome for every replay at and below `paths`, in the order of completion.

    Closing the iterator ends the workers.

    Args:
        known: Returns whether to skip a source.
        ignored: Called with the number of files in folders and archives that are not replays by name.

    Raises:
        DataError: A path does not exist.
        DiskFullError: Temporary files cannot be written.
    """
    if workers < 1:
        raise UsageError(f"workers: expected 1 or more, found {workers}")
    pool = _WorkerPool(options=options, command=command, size=workers)
    try:
        yield from pool.run(_tasks(find_files(paths, ignored), pool, known, ignored))
    finally:
        pool.close()


def _spool_parent() -> Path:
    """Parent folder of the files that pass packed games: in memory if there is room, to avoid waiting for a disk."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    if usable and shutil.disk_usage(_SHARED_MEMORY).free >= _SPOOL_BYTES:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _tasks(
    files: Iterator[FoundFile],
    pool: "_WorkerPool",
    known: Callable[[ReplaySource], bool],
    ignored: Callable[[int], None],
) -> Iterator[_Task | Outcome]:
    for found in files:
        source = ReplaySource(path=str(found.path), member=None, size=found.size, mtime_ns=found.mtime_ns)
        try:
            if found.refused is not None:
                refused = _refused(source, found.refused.reason, found.refused.detail)
                yield replace(refused, inaccessible=found.inaccessible)
            elif kind_of(found.path.name) == "archive":
                yield from _archive_tasks(source, pool, known, ignored)
            elif not known(source):
                yield _Task(source=source, path=found.path)
        except ExphilError:
            raise
        except Exception as error:  # one source must not stop the others
            yield _unexpected(source, error)


def _archive_tasks(
    archive: ReplaySource,
    pool: "_WorkerPool",
    known: Callable[[ReplaySource], bool],
    ignored: Callable[[int], None],
) -> Iterator[_Task | Outcome]:
    """List and unpack an archive in a separate process: an archive may be as hostile as a replay."""
    limits = asdict(pool.options.archives)
    listed = pool.ask({"do": "list", "path": archive.path, "limits": limits}, archive.size)
    if "refused" in listed:
        reason, detail = listed["refused"]
        yield replace(_refused(archive, reason, detail), inaccessible=reason in _UNKNOWN_ARCHIVE)
        return
    ignored(listed["ignored"])
    if listed["damage"] is not None:
        yield _refused(archive, *listed["damage"])
    wanted: dict[int, ReplaySource] = {}
    for number, name, size, refusal in listed["members"]:
        source = ReplaySource(path=archive.path, member=name, size=size, mtime_ns=archive.mtime_ns)
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
        into = f"unpacked-{pool.next_number()}"
        request = {"do": "unpack", "path": archive.path, "members": list(wanted), "into": into}
        answer = pool.ask(request, archive.size)
        while "end" not in answer:
            source = wanted.pop(answer["member"])
            if "refused" in answer:
                yield _refused(source, *answer["refused"])
            else:
                yield _Task(source=source, path=Path(answer["path"]), unpacked=True)
            answer = pool.ask({"do": "next"}, archive.size)
        if "failed" in answer:
            _raise_failure(answer["failed"])
        refused = answer.get("refused", refused)
    except ExphilError:
        raise
    except Exception as error:
        pool.end_unpacker()
        yield from (_unexpected(source, error) for source in wanted.values())
        return
    for source in wanted.values():
        yield _refused(source, *refused)


def _unexpected(source: ReplaySource, error: Exception) -> Outcome:
    detail = sanitise(f"{type(error).__name__}: {error}", limit=160)
    return _refused(source, "reader_failed", f"{REASONS['reader_failed']} ({detail})")


def _refused(source: ReplaySource, reason: str, detail: str) -> Outcome:
    return Outcome(source=source, status="refused", reason=reason, detail=f"{source}: {detail}")


def _raise_failure(failure: Mapping[str, Any]) -> NoReturn:
    if failure["disk_full"]:
        raise DiskFullError(f"ingest: no room to pass games through temporary files: {failure['detail']}")
    raise ExphilError(f"ingest: cannot pass games through temporary files: {failure['detail']}")


class _WorkerSlot:
    """A worker slot: its current process, and the requests it has not answered."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self.pending: deque[_Task] = deque()


class _WorkerPool:
    """The worker pool of one ingest and the folder for its temporary files; owns both until `close`."""

    def __init__(self, *, options: IngestOptions, command: Sequence[str], size: int) -> None:
        self.options = options
        self._spool: Path | None = None
        self._command = command
        self._slots = [_WorkerSlot() for _ in range(size)]
        self._unpacker: WorkerProcess | None = None
        self._number = 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def close(self) -> None:
        for worker in (self._unpacker, *(slot.worker for slot in self._slots)):
            if worker is not None:
                worker.end()
        if self._spool is not None:
            shutil.rmtree(self._spool, ignore_errors=True)

    def ask(self, message: Mapping[str, Any], size: int) -> dict[str, Any]:
        """Send the unpacker a request about an archive of `size` bytes, and return its answer.

        If the unpacker dies or takes too long, the answer has `end` set and refuses the archive.
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
        """Kill the process that unpacks archives and describe how it ended."""
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
                for slot in self._slots:
                    while (more or again) and len(slot.pending) < depth:
                        item = again.popleft() if again else next(tasks, None)
                        if item is None:
                            more = False
                        elif isinstance(item, Outcome):
                            yield item
                        else:
                            self._submit(slot, item)
            if not any(slot.pending for slot in self._slots):
                return
            yield from self._collect(again)

    def _submit(self, slot: _WorkerSlot, task: _Task) -> None:
        if slot.worker is not None and not slot.pending and slot.worker.is_gone():
            slot.worker.end()  # it died while idle: no file is to blame
            slot.worker = None
        if slot.worker is None:
            slot.worker = self._start()
        elif not slot.pending:
            slot.worker.deadline = self._deadline()
        slot.pending.append(task)
        slot.worker.send(
            {
                "do": "parse",
                "path": str(task.path),
                "min_frames": self.options.min_frames,
                "max_bytes": self.options.archives.member_bytes,
                "columns": f"columns-{self.next_number()}",
            }
        )

    def _collect(self, again: deque[_Task]) -> Iterator[Outcome]:
        """Wait until a worker answers, dies or times out, then yield the outcomes available."""
        busy = [(slot, slot.worker) for slot in self._slots if slot.worker is not None and slot.pending]
        with selectors.DefaultSelector() as selector:
            for _, worker in busy:
                selector.register(worker, selectors.EVENT_READ)
            timeout = max(0.0, min(worker.deadline for _, worker in busy) - time.monotonic())
            ready = {key.fileobj for key, _ in selector.select(timeout)}
        for slot, worker in busy:
            if worker in ready:
                alive = worker.read()
                was_ready = worker.ready
                try:
                    for answer in worker.answers():
                        # The time limit of the next request starts now, even if the worker began it earlier.
                        worker.deadline = self._deadline()
                        yield self._finish(slot.pending.popleft(), answer)
                except ipc.InvalidMessage:
                    alive = False
                if worker.ready and not was_ready:
                    worker.deadline = self._deadline()
                if not alive:
                    yield from self._replace(slot, worker, again, late=False)
            elif time.monotonic() >= worker.deadline:
                yield from self._replace(slot, worker, again, late=True)

    def _replace(
        self, slot: _WorkerSlot, worker: WorkerProcess, again: deque[_Task], *, late: bool
    ) -> Iterator[Outcome]:
        how = worker.end()
        slot.worker = None
        if not worker.ready:
            raise RuntimeError(f"a worker process did not start ({how}):\n{worker.last_words()}")
        if slot.pending:
            task = slot.pending.popleft()
            reason = "out_of_time" if late or "SIGALRM" in how else "parser_died"
            self._remove(task)
            yield _refused(task.source, reason, f"{REASONS[reason]} ({how})")
        again.extend(slot.pending)
        slot.pending.clear()

    def _finish(self, task: _Task, answer: Mapping[str, Any]) -> Outcome:
        self._remove(task)
        if answer.get("status") == "failed":
            _raise_failure(answer)
        try:
            return self._outcome(task.source, answer)
        except (OSError, MemoryError):
            raise  # an error of this process, not of the file
        except Exception as error:  # a worker's answer derives from an untrusted file
            return _unexpected(task.source, error)

    def _outcome(self, source: ReplaySource, answer: Mapping[str, Any]) -> Outcome:
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
        packed = ipc.read_packed(answer["header"], columns)
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

    def _start(self) -> WorkerProcess:
        if self._spool is None:
            self._spool = Path(tempfile.mkdtemp(prefix="exphil-ingest-", dir=_spool_parent()))
        try:
            return WorkerProcess(
                self._command,
                spool=self._spool,
                number=self.next_number(),
                memory_mib=self.options.memory_mib,
                seconds=self.options.seconds_per_file,
            )
        except OSError as error:
            if (why := explain_os_error(error)) is None:
                raise
            raise ExphilError(f"ingest: a process that reads replays cannot be started: {why}") from error

    def _deadline(self) -> float:
        return time.monotonic() + self.options.seconds_per_file
