"""The replays that one may want to look into, the newest first, as entries of a list to choose from.

In: folders, or those that are known. Out: entries whose value is a path. What a reader gets wrong: no replay is
opened; names and times are all that is looked at, and no more of them are listed than a person would read.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from heapq import nlargest
from pathlib import Path

from exphil_core.dataset.catalog import demo_folder
from exphil_core.replays.folders import MOST_DEPTH, MOST_ENTRIES, usual_folders
from exphil_core.replays.kinds import REPLAY_SUFFIX
from exphil_core.replays.text import sanitise
from exphil_tui import figures
from exphil_tui.glyphs import UNICODE
from exphil_tui.places import shown
from exphil_tui.screens.choose import Entry

MOST = 300
"""Replays that are listed."""
_LETTERS = 58


def recent_replays(folders: Sequence[Path], *, now: float) -> list[Entry]:
    """Below those folders, or those that are known where none is named; grouped by folder."""
    wanted = list(folders) or [Path("demo"), demo_folder(), *usual_folders()]
    newest = nlargest(MOST, (found for folder in wanted for found in _replays(folder)))
    order = list(dict.fromkeys(path.parent for _, path in newest))
    newest.sort(key=lambda found: (order.index(found[1].parent), -found[0]))
    return [
        Entry(
            value=str(path.absolute()),
            title=sanitise(path.stem, limit=120) or "?",
            detail=f"{figures.duration(max(0.0, now - changed), UNICODE)} old",
            group=_end_of(shown(path.parent)),
        )
        for changed, path in newest
    ]


def _end_of(path: str) -> str:
    """The end of it: folders differ there."""
    return path if len(path) <= _LETTERS else "…" + path[1 - _LETTERS :]


def _replays(folder: Path) -> Iterator[tuple[float, Path]]:
    """When each was changed, and where it is; links are not followed."""
    if folder.suffix.lower() == REPLAY_SUFFIX and folder.is_file():
        yield folder.stat().st_mtime, folder
        return
    looked = 0
    waiting = [(folder, 0)]
    while waiting:
        current, level = waiting.pop()
        try:
            entries = list(os.scandir(current))
        except OSError:
            continue
        for entry in entries:
            looked += 1
            if looked > MOST_ENTRIES:
                return
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode) and level < MOST_DEPTH:
                waiting.append((Path(entry.path), level + 1))
            elif entry.name.lower().endswith(REPLAY_SUFFIX) and not entry.name.startswith("._"):
                yield info.st_mtime, Path(entry.path)
