"""Follows a run's event file for a screen: batches of decoded events on a bounded queue.

In: the path of an `events.jsonl`, which may not exist yet. Out: `Batch`es, in order, for `reduce`. What a reader gets
wrong: a full queue stops the reading, and nothing is lost by that, since the file is the buffer. Reading and decoding
happen in a thread, one bounded look after another; nothing of the state of a screen is touched there.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exphil_core.runs.records import Record, decode
from exphil_core.runs.tail import Tail
from exphil_tui.shape import ShapedDecoder
from exphil_tui.steps import Steps, gathered

BATCH_SECONDS = 0.05
"""A batch of a long history is as much as is read in this time, so that a screen shows it growing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one look at the file brought."""

    records: Sequence[Record | Steps] = ()
    bad_lines: int = 0
    """Whole lines that were not an event."""
    restarted: bool = False
    """The file was cut, replaced or written anew: `records` begin at its start, and what was known before is void."""
    missing: bool = False
    """The file is not there (yet, or any more)."""
    problem: str = ""
    """Why the file cannot be read, in a sentence; empty where it can."""


class Follower:
    """Reads on for as long as `run` runs."""

    def __init__(self, path: Path, *, queue_size: int = 4, every: float = 0.1) -> None:
        """`every`: seconds between two looks at a file whose end is reached."""
        self.queue: asyncio.Queue[Batch] = asyncio.Queue(queue_size)
        self.caught_up = False
        """The last look reached the end of the file, and what it brought is on the queue."""
        self._tail: Tail[Record | Steps] = Tail(
            path, decode=decode, decode_lines=ShapedDecoder().decode_lines
        )
        self._every = every
        self._said = Batch()
        """The newest batch, for what of it still holds."""

    async def run(self) -> None:
        """Puts batches on the queue until it is cancelled."""
        while True:
            batch, ended = await asyncio.to_thread(self._look)
            if self._is_news(batch):
                await self.queue.put(batch)
            self._said = batch
            self.caught_up = ended
            if ended:
                await asyncio.sleep(self._every)

    def _look(self) -> tuple[Batch, bool]:
        """(what is new, whether that was all)."""
        tail = self._tail
        records: list[Record | Steps] = []
        restarts, bad_lines = tail.restarts, tail.bad_lines
        restarted = False
        problem = ""
        until = time.monotonic() + BATCH_SECONDS
        while True:
            bad_before = tail.bad_lines
            try:
                piece = tail.look()
            except OSError as error:
                piece = None
                problem = (
                    f"{tail.path} cannot be read ({error.strerror or error}); it is tried again and again."
                )
            if tail.restarts != restarts:
                # What this look brought before is of the file as it was.
                restarts, bad_lines = tail.restarts, bad_before
                restarted = True
                records = []
            records += gathered(piece or ())
            if piece is None or time.monotonic() >= until:
                break
        batch = Batch(
            records=records,
            bad_lines=tail.bad_lines - bad_lines,
            restarted=restarted,
            missing=tail.missing,
            problem=problem,
        )
        return batch, piece is None

    def _is_news(self, batch: Batch) -> bool:
        stands = (batch.missing, batch.problem) == (self._said.missing, self._said.problem)
        return bool(batch.records or batch.bad_lines or batch.restarted or not stands)
