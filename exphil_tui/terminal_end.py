"""Ends the workbench when it is told to by a signal, or when its terminal is gone, and leaves the terminal as it was.

A thread of its own does this: with a terminal that is gone, Textual's writer dies and its event loop may be stuck in
a write that nobody takes.
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
"""Between two looks at whether the terminal is still there."""

LEAVE_SECONDS = 3.0
"""For the workbench to close by itself, before its process ends all the same."""

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_LEAVE = (
    # Kitty's keyboard protocol before the alternate screen, which has a stack of its own for it.
    b"\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?7h"
    # Mouse, focus, bracketed paste, reports of the size.
    b"\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?1004l\x1b[?2004l\x1b[?2048l"
)


@contextmanager
def ending_with_terminal(leave: Callable[[int], None]) -> Iterator[None]:
    """While this is open, a signal or the loss of the terminal has the workbench left.

    `leave(exit_code)` is called in another thread, and is to close the workbench. Where that does not end it in time,
    the terminal is put back and the process ends.
    """
    end = _End(leave)
    before = {}
    for number in SIGNALS:
        # What was set to be ignored stays so: that is how nohup works. The loss of the terminal still ends it.
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, end.hear)
    thread = threading.Thread(target=end.watch, name="terminal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.over.set()
        end.awake.set()
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)


class _End:
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

    def watch(self) -> None:
        while not self.awake.wait(LOOK_SECONDS):
            # A terminal that was closed has no attributes any more.
            if _attributes(self._terminal) is None:
                self._exit_code = 128 + signal.SIGHUP
                break
        if self.over.is_set():
            return
        self._leave(self._exit_code)
        if not self.over.wait(LEAVE_SECONDS):
            self._put_back()
            os._exit(self._exit_code)

    def _put_back(self) -> None:
        """As Textual would have."""
        with suppress(termios.error, OSError, ValueError):
            if self._attributes is not None:
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._attributes)
            # Who stopped the output with Ctrl-S is not waited for.
            if select.select([], [self._terminal], [], 0)[1]:
                os.write(self._terminal, _LEAVE)


def _attributes(terminal: int) -> "list[Any] | None":
    try:
        return termios.tcgetattr(terminal)
    except (termios.error, OSError):
        return None
