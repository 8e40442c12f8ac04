"""Find Slippi's replay folders on this machine, and count their replays without opening any.

The folder set in the Slippi Launcher comes before the default folders, which may be out of date.
"""

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from exphil_core.paths import home_folder
from exphil_core.replays.kinds import kind_of
from exphil_core.replays.listing import leads_back

MOST_DEPTH = 6
"""Depth of subfolders that are counted: Slippi makes one a month, people sort by tournament and year."""

MOST_ENTRIES = 200_000
"""Directory entries read before a count stops and is reported as 'at least'."""

MOST_SECONDS = 5.0

_SETTINGS_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCount:
    replays: int = 0
    archives: int = 0
    bytes: int = 0
    """Total size of replays and archives."""
    newest: float | None = None
    """Latest modification time of any of them, in seconds since 1970."""
    whole: bool = True
    """False if the folder was too deep, large or slow to count completely."""


def usual_folders(
    *,
    system: str = sys.platform,
    home: Path | None = None,
    documents: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Existing Slippi folders, those set in the launcher first; a folder within a listed one is left out."""
    home = home_folder() if home is None else home
    if home is None:
        return []
    documents = platformdirs.user_documents_path() if documents is None else documents
    chosen = [folder for file in _settings_files(system, home, environment) for folder in _chosen_in(file)]
    usual = [
        home / "Slippi",
        documents / "Slippi",
        home / "Documents" / "Slippi",
        home / "OneDrive" / "Documents" / "Slippi",
    ]
    found: list[Path] = []
    for folder in (*chosen, *usual):
        try:
            resolved = folder.expanduser().resolve()
            there = resolved.is_dir()
        except (OSError, RuntimeError, ValueError):
            continue
        if there and not any(resolved == other or other in resolved.parents for other in found):
            found.append(resolved)
    return found


def count_replays(
    folder: Path,
    *,
    depth: int = MOST_DEPTH,
    entries: int = MOST_ENTRIES,
    seconds: float = MOST_SECONDS,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> ReplayCount:
    """Count the replays and archives in a folder, or a single file, without opening any.

    Linked folders are counted once each, as a build reads them.
    """
    replays = archives = size = looked = 0
    newest: float | None = None
    whole = True
    until = clock() + seconds
    waiting = [(folder, 0)]
    entered: set[tuple[int, int]] = set()
    while waiting:
        current, level = waiting.pop()
        for entry in _entries(current, entered):
            looked += 1
            if looked > entries or stopped() or clock() > until:
                return ReplayCount(replays=replays, archives=archives, bytes=size, newest=newest, whole=False)
            try:
                info = entry.stat()
                if stat.S_ISDIR(info.st_mode):
                    if entry.is_symlink() and leads_back(entry.path):
                        continue
                    if level < depth:
                        waiting.append((Path(entry.path), level + 1))
                    else:
                        whole = False
                    continue
            except OSError:
                continue
            kind = kind_of(entry.name)
            if kind not in ("replay", "compressed", "archive") or not stat.S_ISREG(info.st_mode):
                continue
            archives += kind == "archive"
            replays += kind != "archive"
            size += info.st_size
            newest = info.st_mtime if newest is None else max(newest, info.st_mtime)
    return ReplayCount(replays=replays, archives=archives, bytes=size, newest=newest, whole=whole)


def _entries(path: Path, entered: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder the first time it is entered, or the entry of the single file at `path`."""
    try:
        info = path.stat()
        if not stat.S_ISDIR(info.st_mode):
            with os.scandir(path.parent) as found:
                yield from (entry for entry in found if entry.name == path.name)
        elif (info.st_dev, info.st_ino) not in entered:
            entered.add((info.st_dev, info.st_ino))
            with os.scandir(path) as found:
                yield from found
    except OSError:
        return


def _settings_files(system: str, home: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the path of the Slippi Launcher's settings file (in Electron's userData folder)."""
    name = ("Slippi Launcher", "Settings")
    if system == "win32":
        yield Path(environment.get("APPDATA") or home / "AppData" / "Roaming").joinpath(*name)
    elif system == "darwin":
        yield home.joinpath("Library", "Application Support", *name)
    else:
        yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config").joinpath(*name)


def _chosen_in(file: Path) -> Iterator[Path]:
    """Yield the folders that a settings file names; none if the file is missing or not in the launcher's format."""
    try:
        with file.open("rb") as opened:
            said = json.loads(opened.read(_SETTINGS_BYTES))
    except (OSError, ValueError, RecursionError):
        return
    settings = said.get("settings") if isinstance(said, dict) else None
    if not isinstance(settings, dict):
        return
    extra = settings.get("extraSlpPaths")
    for name in (
        settings.get("rootSlpPath"),
        settings.get("spectateSlpPath"),
        *(extra if isinstance(extra, list) else ()),
    ):
        # A relative path would resolve against exphil's working directory.
        if isinstance(name, str) and "\0" not in name and Path(name).is_absolute():
            yield Path(name)
