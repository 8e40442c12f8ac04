"""Handle the signals that ask a process to end: SIGTERM, Ctrl-C (SIGINT) and a closed terminal (SIGHUP)."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_signals(handle: Callable[[signal.Signals], None], *, always: signal.Signals) -> Iterator[None]:
    """Call `handle` for each of these signals, and restore the former handlers afterwards.

    A signal that is ignored stays ignored, which nohup relies on; `always` is handled even then.
    """

    def handler(number: int, frame: FrameType | None) -> None:
        handle(signal.Signals(number))

    before: dict[int, Any] = {}
    for asking in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if asking == always or signal.getsignal(asking) != signal.SIG_IGN:
            before[asking] = signal.signal(asking, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
