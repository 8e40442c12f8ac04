"""Exit the workbench on a signal or on loss of the terminal, and restore the terminal.

This runs in its own thread: when the terminal is gone, Textual's writer dies and its event loop may block in a
write.
"""

import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

LOOK_SECONDS = 0.5
"""Interval between two checks for the terminal."""

LEAVE_SECONDS = 3.0
"""Time for the workbench to close by itself before its process is ended."""

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_LEAVE = (
    # Pop kitty's keyboard protocol before leaving the alternate screen, which has its own stack for it.
    b"\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?7h"
    # Mouse, focus, bracketed paste, size reports.
    b"\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?1004l\x1b[?2004l\x1b[?2048l"
)


@contextmanager
def ending_with_terminal(leave: Callable[[int], None]) -> "Iterator[TerminalEnd]":
    """Close the workbench on a signal or on loss of the terminal while the context is open.

    `leave(exit_code)` is called in another thread and must close the workbench. If the workbench has not closed
    within `LEAVE_SECONDS`, the terminal is restored and the process exits. Exceptions that follow from the loss of
    the terminal do not leave the context.
    """
    end = TerminalEnd(leave)
    before = {}
    for number in SIGNALS:
        # Ignored signals stay ignored, which nohup relies on. Loss of the terminal still ends the process.
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, end.hear)
    thread = threading.Thread(target=end.watch, name="terminal", daemon=True)
    thread.start()
    try:
        yield end
    except Exception:
        if not end.lost():
            raise
    finally:
        end.over.set()
        end.awake.set()
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)


class TerminalEnd:
    """What ended the workbench, if it was not the user."""

    def __init__(self, leave: Callable[[int], None]) -> None:
        self._leave = leave
        self._terminal = sys.__stdin__.fileno() if sys.__stdin__ is not None else 0
        self._attributes = _attributes(self._terminal)
        self._exit_code = 0
        self.awake = threading.Event()
        self.over = threading.Event()

    def hear(self, signum: int, frame: FrameType | None) -> None:
        self._exit_code = 128 + signum
        self.awake.set()

    def lost(self) -> bool:
        """Return whether the terminal is gone. A closed terminal has no attributes."""
        return self._attributes is not None and _attributes(self._terminal) is None

    def exit_code(self, own: int) -> int:
        """Return the exit code: 128 and the signal (SIGHUP where the terminal is lost), else `own`."""
        # Textual may fail on a write before `watch` looks.
        return self._exit_code or (128 + signal.SIGHUP if self.lost() else own)

    def watch(self) -> None:
        while not self.awake.wait(LOOK_SECONDS):
            if self.lost():
                self._exit_code = 128 + signal.SIGHUP
                break
        if self.over.is_set():
            return
        self._leave(self._exit_code)
        if not self.over.wait(LEAVE_SECONDS):
            self._put_back()
            os._exit(self._exit_code)

    def _put_back(self) -> None:
        """Restore the terminal as Textual would have."""
        with suppress(termios.error, OSError, ValueError):
            if self._attributes is not None:
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._attributes)
            # Do not block where output is stopped with Ctrl-S.
            if select.select([], [self._terminal], [], 0)[1]:
                os.write(self._terminal, _LEAVE)


def _attributes(terminal: int) -> "list[Any] | None":
    try:
        return termios.tcgetattr(terminal)
    except (termios.error, OSError):
        return None
