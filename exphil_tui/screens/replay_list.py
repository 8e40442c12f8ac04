"""List recent replays, newest first, as `ListEntry` values for `ChooseOne`.

Replays are not opened; only names and modification times are read.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from heapq import nlargest
from pathlib import Path

from exphil_core.dataset.discovery import demo_folder
from exphil_core.replays.folders import MOST_DEPTH, MOST_ENTRIES, usual_folders
from exphil_core.replays.kinds import REPLAY_SUFFIX
from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import shown
from exphil_tui.screens.choose import ListEntry
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import UNICODE

MOST = 300
"""Most replays listed."""
_LETTERS = 58


def recent_replays(folders: Sequence[Path], *, now: float) -> list[ListEntry]:
    """List replays below `folders`, or below the known replay folders if empty, grouped by folder."""
    wanted = list(folders) or [Path("demo"), demo_folder(), *usual_folders()]
    newest = nlargest(MOST, (found for folder in wanted for found in _replays(folder)))
    order = list(dict.fromkeys(path.parent for _, path in newest))
    newest.sort(key=lambda found: (order.index(found[1].parent), -found[0]))
    return [
        ListEntry(
            value=str(path.absolute()),
            title=sanitise(path.stem, limit=120) or "?",
            detail=f"{fmt.duration(max(0.0, now - changed), UNICODE)} old",
            group=_end_of(shown(path.parent)),
        )
        for changed, path in newest
    ]


def _end_of(path: str) -> str:
    """Shorten a path to its end, where folders differ."""
    return path if len(path) <= _LETTERS else "…" + path[1 - _LETTERS :]


def _replays(folder: Path) -> Iterator[tuple[float, Path]]:
    """Yield (modification time, path) of the replays below a folder; links are not followed."""
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
