"""A follower: everything that happens to an event file comes out of its queue, and a full queue stops it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exphil_tui.model.event_batch import EventBatch
from exphil_tui.model.run_state import TOTAL, RunState, reduce
from exphil_tui.services import follow
from exphil_tui.services.follow import Follower


def step(number: int) -> bytes:
    event = {"v": 1, "seq": number, "ts": "t", "type": "step", "step": number, "loss": 1.0}
    return json.dumps({**event, "per_character": {}, "heads": {}}).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


@asynccontextmanager
async def running(path: Path, *, queue_size: int = 4) -> AsyncIterator[Follower]:
    follower = Follower(path, queue_size=queue_size, every=0.005)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reduced_until(follower: Follower, state: RunState, right: Callable[[RunState], bool]) -> RunState:
    async with asyncio.timeout(20):
        while not right(state):
            state = reduce(state, await follower.queue.get())
    return state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def test_a_run_is_followed_from_before_its_first_event_to_after_its_deletion(path: Path) -> None:
    async with running(path) as follower:
        state = await reduced_until(follower, RunState(), lambda state: state.missing)
        append(path, step(1), step(2)[:10])
        state = await reduced_until(follower, state, lambda state: state.events == 1)
        assert not state.missing
        append(path, step(2)[10:], b"rubbish\n")
        state = await reduced_until(follower, state, lambda state: state.bad_lines == 1)
        assert state.train[TOTAL].x.tolist() == [1, 2]
        path.unlink()
        state = await reduced_until(follower, state, lambda state: state.missing)
        assert state.events == 2
        append(path, step(7))
        state = await reduced_until(follower, state, lambda state: not state.missing)
        assert state.train[TOTAL].x.tolist() == [7]
        assert (state.restarts, state.bad_lines) == (1, 0)


async def test_a_file_that_was_emptied_and_written_again_is_another_run(path: Path) -> None:
    append(path, b"rubbish\n", step(1), step(2))
    async with running(path) as follower:
        state = await reduced_until(follower, RunState(), lambda state: state.events == 2)
        assert state.bad_lines == 1
        os.truncate(path, 0)
        state = await reduced_until(follower, state, lambda state: state.restarts == 1)
        assert (state.events, state.bad_lines) == (0, 0)
        append(path, step(5), b"rubbish\n")
        state = await reduced_until(follower, state, lambda state: state.events == 1)
        assert state.train[TOTAL].x.tolist() == [5]


async def test_a_full_queue_stops_the_reading_and_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A look that takes no time ends after its first piece.
    monkeypatch.setattr(follow, "BATCH_SECONDS", 1e-9)
    append(path, *(step(number) for number in range(60_000)))
    async with running(path, queue_size=2) as follower:
        async with asyncio.timeout(20):
            while not follower.queue.full():
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert follower.queue.qsize() == 2
        assert not follower.caught_up
        waiting = follower.queue._queue  # type: ignore[attr-defined]
        read = sum(item.count for batch in waiting for item in batch.records)
        assert read < 30_000
        state = await reduced_until(follower, RunState(), lambda state: state.events == 60_000)
        assert state.train[TOTAL].x.tolist() == list(range(60_000))
        async with asyncio.timeout(20):
            while not follower.caught_up:
                await asyncio.sleep(0.001)


async def test_nothing_is_said_where_nothing_happens(path: Path) -> None:
    append(path, step(1))
    async with running(path) as follower:
        await reduced_until(follower, RunState(), lambda state: state.events == 1)
        await asyncio.sleep(0.1)
        assert follower.caught_up
        assert follower.queue.empty()


async def test_a_file_that_cannot_be_read_is_a_sentence_and_tried_again(path: Path) -> None:
    path.mkdir()
    async with running(path) as follower:
        state = await reduced_until(follower, RunState(), lambda state: bool(state.problem))
        assert state.problem == f"{path} cannot be read (not a regular file); it is tried again and again."
        path.rmdir()
        append(path, step(1))
        state = await reduced_until(follower, state, lambda state: state.events == 1)
        assert not state.problem


async def test_a_file_that_may_not_be_read_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, step(1))
    opened = Path.open

    def refused(self: Path, *arguments: object, **options: object) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    async with running(path) as follower:
        state = await reduced_until(follower, RunState(), lambda state: bool(state.problem))
        assert "cannot be read (Permission denied)" in state.problem
        monkeypatch.undo()
        await reduced_until(follower, state, lambda state: state.events == 1)


async def test_what_a_look_brought_before_the_file_was_replaced_is_dropped(path: Path) -> None:
    append(path, step(1), b"rubbish\n", step(2))
    follower = Follower(path)
    look = follower._tail.poll
    pieces = 0

    def replaced_after_the_first() -> object:
        nonlocal pieces
        pieces += 1
        found = look()
        if pieces == 1:
            path.unlink()
            append(path, b"rubbish\n", b"rubbish\n", step(9))
        return found

    follower._tail.poll = replaced_after_the_first  # type: ignore[assignment,method-assign]
    batch, ended = follower._look()
    assert ended
    assert (batch.restarted, batch.bad_lines) == (True, 2)
    assert reduce(RunState(), batch).train[TOTAL].x.tolist() == [9]


async def test_the_event_loop_goes_on_while_a_long_history_is_read(path: Path) -> None:
    """Measured in benchmarks.workbench; here only that others get their turn between batches."""
    append(path, *(step(number) for number in range(30_000)))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with running(path) as follower:
        task = asyncio.create_task(other())
        batches: list[EventBatch] = []
        read = 0
        async with asyncio.timeout(20):
            # Not until it has caught up: that the end is reached may be found by a look that brings nothing.
            while read < 30_000:
                batches.append(await follower.queue.get())
                read += sum(item.count for item in batches[-1].records)  # type: ignore[union-attr]
        task.cancel()
    assert turns > len(batches)
    assert read == 30_000
