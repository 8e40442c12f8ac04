"""Run a command as a subprocess: `exphil data build`, a dry run, the replay reader.

The command has its own session, so the terminal's Ctrl-C does not reach it. Cancelling the waiting task sends
SIGINT, which lets the command save.
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
"""Maximum bytes of standard output kept: one JSON object that names every file a build left out."""
MOST_LINES = 200
"""Maximum lines of standard error kept, the newest."""

PATIENCE_SECONDS = 5.0
"""Seconds from SIGINT until the command is killed."""

_CHUNK = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedCommand:
    code: int
    output: str
    """Standard output."""
    problems: tuple[str, ...]
    """The last lines of standard error, sanitised."""

    @property
    def problem(self) -> str:
        """Why the command failed: the last lines of its standard error."""
        return "\n".join(self.problems) or f"the command ended with exit code {self.code} and said nothing"


class RunExphil(Protocol):
    """Protocol of `run_exphil`, which a test replaces."""

    async def __call__(
        self, arguments: Sequence[str], *, told: Callable[[str], None] = ...
    ) -> CompletedCommand: ...


async def run_exphil(
    arguments: Sequence[str], *, told: Callable[[str], None] = lambda line: None
) -> CompletedCommand:
    """Run `exphil ARGUMENTS` until it exits.

    Raises:
        OSError: The command cannot be started.
    """
    return await run_command([sys.executable, "-m", "exphil_tui", *arguments], told=told)


async def run_command(
    command: Sequence[str], *, told: Callable[[str], None] = lambda line: None
) -> CompletedCommand:
    """Run a command until it exits, and call `told` with each sanitised line of its standard error.

    Raises:
        OSError: The command cannot be started.
    """
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
        # A pipe that a grandchild still holds open raises a warning after the event loop has closed.
        process._transport.close()  # type: ignore[attr-defined]
    return CompletedCommand(code=code, output=output, problems=said)


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
        # A line without an end is cut, so that the buffer stays bounded.
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
    """Send SIGINT, and kill the process group after `PATIENCE_SECONDS`."""
    if process.returncode is not None:
        return
    try:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    except ProcessLookupError:
        return
    except (TimeoutError, asyncio.CancelledError):
        # The command's workers share its session; a run that it started has its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
