"""The last lines of a worker's log, safe to show: why a run's process ended.

Control characters and text overwritten by progress bars are removed; indents are kept, for tracebacks.
"""

import os
import re
from pathlib import Path

from exphil_core.replays.text import sanitise

LINE_LETTERS = 300

_END_BYTES = 1 << 16
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])")
"""CSI, OSC and short escape sequences."""


def last_lines(path: Path, count: int, *, after: int = 0) -> list[str]:
    """Return up to `count` lines from the end of the file, after byte `after`; [] without a file."""
    try:
        with path.open("rb") as file:
            start = max(after, os.fstat(file.fileno()).st_size - _END_BYTES)
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = text.split("\n")
    if start > after:
        # The first line has lost its beginning.
        lines = lines[1:]
    shown = [_plain(line) for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    return shown[-count:]


def _plain(line: str) -> str:
    line = _ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2].expandtabs(4)
    indent = len(line) - len(line.lstrip(" "))
    text = sanitise(line, limit=LINE_LETTERS)
    return " " * min(indent, 40) + text if text else ""
