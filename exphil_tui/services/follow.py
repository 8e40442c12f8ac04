"""Follow a run's event file: decode new events in a thread and queue them as `EventBatch`es.

The queue is bounded. While it is full, reading pauses; no event is lost, because the file is the buffer.
"""

import asyncio
import time
from pathlib import Path

from exphil_core.runs.records import Record, decode
from exphil_core.runs.tail import Tail
from exphil_tui.model.event_batch import EventBatch
from exphil_tui.model.step_columns import Steps, gathered
from exphil_tui.model.step_decoder import ShapedDecoder

BATCH_SECONDS = 0.05
"""Longest time to read before a batch is returned, so that a screen shows a long history growing."""


class Follower:
    """Reads an event file and queues its new events."""

    def __init__(self, path: Path, *, queue_size: int = 4, every: float = 0.1) -> None:
        """Create a follower that starts at the beginning of the file.

        Args:
            path: The event file.
            queue_size: Maximum number of batches in the queue.
            every: Seconds between two polls once the end of the file is reached.
        """
        self.queue: asyncio.Queue[EventBatch] = asyncio.Queue(queue_size)
        self.caught_up = False
        """True if the last poll reached the end of the file and its events are queued."""
        self._tail: Tail[Record | Steps] = Tail(
            path, decode=decode, decode_lines=ShapedDecoder().decode_lines
        )
        self._every = every
        self._said = EventBatch()
        """The newest batch; its `missing` and `problem` are compared with the next one's."""

    async def run(self) -> None:
        """Put batches on the queue until cancelled."""
        while True:
            batch, ended = await asyncio.to_thread(self._look)
            if self._is_news(batch):
                await self.queue.put(batch)
            self._said = batch
            self.caught_up = ended
            if ended:
                await asyncio.sleep(self._every)

    def _look(self) -> tuple[EventBatch, bool]:
        """Return the new events, and whether the end of the file was reached."""
        tail = self._tail
        records: list[Record | Steps] = []
        restarts, bad_lines = tail.restarts, tail.bad_lines
        restarted = False
        problem = ""
        until = time.monotonic() + BATCH_SECONDS
        while True:
            bad_before = tail.bad_lines
            try:
                piece = tail.poll()
            except OSError as error:
                piece = None
                problem = (
                    f"{tail.path} cannot be read ({error.strerror or error}); it is tried again and again."
                )
            if tail.restarts != restarts:
                # The records read so far in this poll belong to the replaced file.
                restarts, bad_lines = tail.restarts, bad_before
                restarted = True
                records = []
            records += gathered(piece or ())
            if piece is None or time.monotonic() >= until:
                break
        batch = EventBatch(
            records=records,
            bad_lines=tail.bad_lines - bad_lines,
            restarted=restarted,
            missing=tail.missing,
            problem=problem,
        )
        return batch, piece is None

    def _is_news(self, batch: EventBatch) -> bool:
        stands = (batch.missing, batch.problem) == (self._said.missing, self._said.problem)
        return bool(batch.records or batch.bad_lines or batch.restarted or not stands)
