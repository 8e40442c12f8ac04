"""A command that the workbench runs beside itself: `exphil data build`, a dry run, the reader of a replay.

In: the command, or what follows `exphil`. Out: each line it says while it runs, and how it ended. What a reader
gets wrong: its session is its own, so the terminal's Ctrl-C is not for it; who gives up waiting (a cancelled task)
ends it, and it may save.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from exphil_core.replays.text import sanitise

LINE_LETTERS = 1000
MOST_OUTPUT = 2**28
"""Bytes of standard output that are kept: one JSON object, which names every file that a build did not keep."""
MOST_LINES = 200
"""Of what it said on standard error, the newest."""

PATIENCE_SECONDS = 5.0
"""For a command that was told to end, before it is killed."""

_CHUNK = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    output: str
    """Standard output."""
    problems: tuple[str, ...]
    """The last lines of standard error, made safe to show."""

    @property
    def problem(self) -> str:
        """Why it failed, as it said itself."""
        return "\n".join(self.problems) or f"the command ended with exit code {self.code} and said nothing"


class RunChild(Protocol):
    """What `run_child` does; a test passes its own."""

    async def __call__(self, arguments: Sequence[str], *, told: Callable[[str], None] = ...) -> Ended: ...


async def run_child(arguments: Sequence[str], *, told: Callable[[str], None] = lambda line: None) -> Ended:
    """Run `exphil ARGUMENTS` to its end. OSError where it cannot be started."""
    return await run_command([sys.executable, "-m", "exphil_tui", *arguments], told=told)


async def run_command(command: Sequence[str], *, told: Callable[[str], None] = lambda line: None) -> Ended:
    """Run a command to its end. OSError where it cannot be started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        output, said, code = await asyncio.gather(
            _all_of(process.stdout), _lines_of(process.stderr, told), process.wait()
        )
    except asyncio.CancelledError:
        await _end(process)
        raise
    finally:
        # Else a pipe that something below still holds open would complain once the event loop is gone.
        process._transport.close()  # type: ignore[attr-defined]
    return Ended(code=code, output=output, problems=said)


async def _all_of(stream: asyncio.StreamReader) -> str:
    kept = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk[: MOST_OUTPUT - len(kept)]
    return kept.decode("utf-8", "replace")


async def _lines_of(stream: asyncio.StreamReader, told: Callable[[str], None]) -> tuple[str, ...]:
    lines: list[str] = []
    rest = b""
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        # A line without an end is cut, not waited for.
        rest = rest[: 16 * LINE_LETTERS]
        for line in whole:
            _take(line, lines, told)
    _take(rest, lines, told)
    return tuple(lines[-MOST_LINES:])


def _take(line: bytes, lines: list[str], told: Callable[[str], None]) -> None:
    text = sanitise(line.decode("utf-8", "replace"), limit=LINE_LETTERS)
    if text:
        lines.append(text)
        del lines[:-MOST_LINES]
        told(text)


async def _end(process: asyncio.subprocess.Process) -> None:
    """As Ctrl-C would, and with force where that does not help."""
    if process.returncode is not None:
        return
    try:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    except ProcessLookupError:
        return
    except (TimeoutError, asyncio.CancelledError):
        # Its own workers are in its session; a run that it started has a session of its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
