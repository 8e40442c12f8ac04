"""A program in a terminal in memory: what it sends, byte by byte, and what a person would then see."""

import os
import re
import sys
import time
from pathlib import Path

import pexpect
import pyte

PATIENCE_S = 20.0
"""For a busy machine; what is waited for comes in a fraction of it."""


_NOT_PASSED_ON = ("NO_COLOR", "EXPHIL_ASCII", "COLUMNS", "LINES")
"""What would change the picture. With COLUMNS and LINES, which pytest-xdist sets, no terminal changes its size."""


class Terminal:
    """A program in a terminal of its own."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        size: tuple[int, int] = (80, 24),
        environment: dict[str, str] | None = None,
        ignore_hangups: bool = False,
    ) -> None:
        columns, rows = size
        self.sent = bytearray()
        """Every byte that the program sent."""
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        settings = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
        settings |= {
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONUTF8": "1",
            **(environment or {}),
        }
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "exphil_tui", *arguments],
            cwd=str(cwd),
            env=settings,
            dimensions=(rows, columns),
            timeout=PATIENCE_S,
            ignore_sighup=ignore_hangups,
        )
        self.process.delaybeforesend = None

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, seconds: float = 0.2) -> None:
        """What it sends in so long a time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                found = self.process.read_nonblocking(65536, timeout=0.02)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            self.sent += found
            self._stream.feed(_for_pyte(found))

    def until(self, words: str, *, gone: bool = False, patience_s: float = PATIENCE_S) -> None:
        """Reads on until the words are on the screen, or no longer."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            self.read(0.05)
            if (words in self.text) != gone:
                return
        raise AssertionError(f"{words!r} {'stayed' if gone else 'did not come'}:\n{self.text}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.process.send(KEYS.get(key, key))
            # An escape with a letter right behind it is another key.
            self.read(0.4 if key == "escape" else 0.1)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self.process.setwinsize(rows, columns)

    def ends(self) -> int:
        """Its exit code, once it has ended."""
        end = time.monotonic() + PATIENCE_S
        while self.process.isalive():
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
            self.read(0.05)
        self.read(0.1)
        self.process.close()
        assert self.process.exitstatus is not None, self.process.signalstatus
        return int(self.process.exitstatus)

    def close(self) -> None:
        self.process.close(force=True)


KEYS = {"up": "\x1b[A", "down": "\x1b[B", "enter": "\r", "escape": "\x1b", "ctrl+p": "\x10", "space": " "}


def _for_pyte(found: bytes) -> bytes:
    """Without what pyte does not know and would print: private modes with `$p`, `>` and `=` after the bracket."""
    return re.sub(rb"\x1b\[[?>=<][0-9;]*[$a-zA-Z]p?|\x1b\](?:[^\x07\x1b])*(?:\x07|\x1b\\)", _kept, found)


def _kept(match: "re.Match[bytes]") -> bytes:
    # Showing and hiding the cursor and the second screen are known.
    return match[0] if re.fullmatch(rb"\x1b\[\?[0-9;]+[hl]", match[0]) else b""
