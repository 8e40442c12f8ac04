"""Parse one replay for a viewer in a sandboxed subprocess.

The subprocess, `python -m exphil_core.replays.isolation.sandbox REPLAY OUT`, may panic, hang, crash, exhaust its
memory or print. It writes a JSON header and raw columns, no pickle: a hostile replay yields only numbers and text.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from exphil_core.atomic import DISK_FULL_ERRNOS
from exphil_core.errors import DataError, DiskFullError
from exphil_core.replays.archives import ArchiveLimits
from exphil_core.replays.columns import (
    DTYPES,
    ITEM_COLUMNS,
    PLAYER_COLUMNS,
    STAGE_COLUMNS,
    Column,
    Version,
)
from exphil_core.replays.compressed import plain_replay
from exphil_core.replays.game import Columns, Floor, Game, Items, Player
from exphil_core.replays.isolation.memory_limit import limit_memory
from exphil_core.replays.pack import PackedGame, pack_game
from exphil_core.replays.refusals import REASONS, Refused
from exphil_core.replays.text import sanitise

SANDBOX_COMMAND: tuple[str, ...] = (sys.executable, "-m", "exphil_core.replays.isolation.sandbox")

MEMORY_MIB = 4096
"""Address space limit of the subprocess."""
SECONDS = 60
"""Time limit, enforced by the subprocess's own SIGALRM; a caller should wait a little longer."""

_FORMAT = 2
_PATIENCE_SECONDS = 10
_LENGTH_BYTES = 8
_ALIGNMENT = 8


def load_game(path: str | Path, *, command: Sequence[str] = SANDBOX_COMMAND, seconds: int = SECONDS) -> Game:
    """Parse a replay in a sandboxed subprocess and wait for it.

    This blocks: a screen runs `sandbox_command` and calls `read_result` itself.

    Raises:
        Refused: The file is not a readable game.
        DiskFullError: There is no room for the temporary file that passes the game.
    """
    with tempfile.TemporaryDirectory(prefix="exphil-view-") as folder:
        out, log = Path(folder) / "game", Path(folder) / "log"
        with log.open("wb") as errors:
            try:
                code: int | None = subprocess.run(
                    [*command, str(path), str(out), str(MEMORY_MIB), str(seconds)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=seconds + _PATIENCE_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = None
        return read_result(out, path, code=code, last_words=log.read_text(errors="replace"))


def load_two_player_game(path: str | Path) -> PackedGame:
    """Parse a replay of two players in a subprocess, as `load_game` does.

    Raises:
        DataError: It cannot be parsed, or has another number of players.
    """
    game = load_game(path)
    if len(game.players) != 2:
        raise DataError(f"{path} has {len(game.players)} players; a policy predicts games of two")
    return pack_game(game)


def sandbox_command(path: str | Path, out: Path) -> list[str]:
    """Command line of the subprocess whose result `read_result(out, path, code=its exit code)` reads."""
    return [*SANDBOX_COMMAND, str(path), str(out), str(MEMORY_MIB), str(SECONDS)]


def read_result(out: Path, path: str | Path, *, code: int | None, last_words: str = "") -> Game:
    """Read the game that the subprocess wrote to `out`. The file may be deleted afterwards.

    Args:
        code: Exit code of the subprocess; None if it exceeded its time limit and was killed.
        last_words: Its output on stderr.

    Raises:
        Refused, DiskFullError: As in `load_game`.
    """
    subject = str(path)
    if code == DiskFullError.exit_code:
        raise DiskFullError(f"{subject}: no room in {out.parent} to pass its columns through a file")
    if code is None or code == -signal.SIGALRM:
        raise Refused("out_of_time", subject)
    if code != 0:
        raise Refused("parser_died", subject, _end(code, last_words))
    try:
        with out.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']}, expected {_FORMAT}")
        if "refused" in header:
            reason, detail = header["refused"]
            if reason not in REASONS:
                raise ValueError(f"unknown reason {reason}")
            raise Refused(reason, subject, str(detail))
        return _game(header["game"], _Reader(data, _LENGTH_BYTES + length))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, Refused):
            raise
        detail = sanitise(f"what was read of it is damaged: {error}", limit=160)
        raise Refused("reader_failed", subject, detail) from error


def _end(code: int, last_words: str) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    said = [line for line in last_words.splitlines() if line.strip()]
    return f"exit code {code}: {sanitise(said[-1], limit=160)}" if said else f"exit code {code}"


def _parse(path: str) -> Game:
    # Imported here: a process that only reads the result must not load the parser.
    from exphil_core.replays.parse import parse_replay

    return parse_replay(path)


def main(arguments: list[str], parse: Callable[[str], Game] = _parse) -> int:
    """Run the subprocess and return its exit code. `parse` is a parameter so that tests can pass broken parsers."""
    path, out, memory_mib, seconds = arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3])
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    # Arrow's own allocators reserve gigabytes of address space, which count towards the limit.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    limit_memory(memory_mib)
    try:
        header, arrays = _read(path, parse)
        partial = out.with_name(f"{out.name}.partial")
        _write(partial, header, arrays)
        partial.replace(out)
    except OSError as error:
        return DiskFullError.exit_code if error.errno in DISK_FULL_ERRNOS else 1
    return 0


def _read(path: str, parse: Callable[[str], Game]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Parse the replay into the header and arrays of a game, or into the header of a refusal."""
    try:
        with plain_replay(Path(path), max_bytes=ArchiveLimits().member_bytes) as plain:
            game = parse(str(plain))
        return {"format": _FORMAT, "game": _header(game)}, list(_arrays(game))
    except Refused as error:
        return _refusal(error.reason, _said(error)), []
    except MemoryError:
        return _refusal("out_of_memory"), []
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        return _refusal("reader_failed", sanitise(f"{type(error).__name__}: {error}", limit=160)), []
    except BaseException as error:  # pyo3's PanicException derives from BaseException
        return _refusal("parser_panic", sanitise(str(error), limit=160)), []


def _refusal(reason: str, detail: str = "") -> dict[str, Any]:
    return {"format": _FORMAT, "refused": [reason, detail]}


def _said(error: Refused) -> str:
    """Detail of the refusal without the sentence of its reason, which the reading side adds again."""
    return error.detail.removeprefix(REASONS[error.reason]).removeprefix(" (").removesuffix(")")


def _header(game: Game) -> dict[str, Any]:
    return {
        "content_id": game.content_id,
        "version": list(game.version),
        "external_stage_id": game.external_stage_id,
        "is_teams": game.is_teams,
        "is_pal": game.is_pal,
        "random_seed": game.random_seed,
        "match_id": game.match_id,
        "repaired": game.repaired,
        "game_number": game.game_number,
        "tiebreak_number": game.tiebreak_number,
        "played_on": game.played_on,
        "started_at": game.started_at,
        "end_method": game.end_method,
        "rollback_rows": game.rollback_rows,
        "salvaged": game.salvaged,
        "frames": game.frames,
        "items": None if game.items is None else len(game.items.spawn_id),
        "players": [
            {
                "port_index": player.port_index,
                "external_id": player.external_id,
                "type": player.type,
                "costume": player.costume,
                "team": player.team,
                "start_stocks": player.start_stocks,
                "name": player.name,
                "code": player.code,
                "follower": player.follower is not None,
                "floor": None if player.floor is None else asdict(player.floor),
            }
            for player in game.players
        ],
    }


def _arrays(game: Game) -> Iterator[np.ndarray]:
    """Yield the arrays in the order in which `_game` reads them."""
    yield game.frame_id
    for player in game.players:
        for columns in (player.leader, player.follower):
            if columns is not None:
                yield from (columns[column.name] for column in PLAYER_COLUMNS)
    if game.items is not None:
        yield game.items.offsets
        yield game.items.spawn_id
        yield from (game.items.columns[column.name] for column in ITEM_COLUMNS)
    yield from (game.stage[column.name] for column in STAGE_COLUMNS)


def _write(path: Path, header: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for array in arrays:
            file.write(np.ascontiguousarray(array).data)
            file.write(bytes(-array.nbytes % _ALIGNMENT))


class _Reader:
    """Reads consecutive arrays from the memory-mapped file."""

    def __init__(self, data: mmap.mmap, position: int) -> None:
        self._data, self._position = data, position

    def array(self, dtype: np.dtype, length: int) -> np.ndarray:
        array = np.frombuffer(self._data, dtype, length, self._position)
        self._position += array.nbytes + (-array.nbytes % _ALIGNMENT)
        return array

    def columns(self, columns: Sequence[Column], length: int) -> Columns:
        return {column.name: self.array(DTYPES[column.group], length) for column in columns}


def _game(header: Mapping[str, Any], reader: _Reader) -> Game:
    frames = int(header["frames"])
    frame_id = reader.array(np.dtype(np.int32), frames)
    players = tuple(_player(player, reader, frames) for player in header["players"])
    return Game(
        content_id=header["content_id"],
        version=Version(*header["version"]),
        external_stage_id=header["external_stage_id"],
        is_teams=header["is_teams"],
        is_pal=header["is_pal"],
        random_seed=header["random_seed"],
        match_id=header["match_id"],
        repaired=tuple(header["repaired"]),
        game_number=header["game_number"],
        tiebreak_number=header["tiebreak_number"],
        played_on=header["played_on"],
        started_at=header["started_at"],
        end_method=header["end_method"],
        frame_id=frame_id,
        players=players,
        items=None if header["items"] is None else _items(int(header["items"]), reader, frames),
        stage=reader.columns(STAGE_COLUMNS, frames),
        rollback_rows=header["rollback_rows"],
        salvaged=header["salvaged"],
    )


def _player(player: Mapping[str, Any], reader: _Reader, frames: int) -> Player:
    leader = reader.columns(PLAYER_COLUMNS, frames)
    return Player(
        port_index=player["port_index"],
        external_id=player["external_id"],
        type=player["type"],
        costume=player["costume"],
        team=player["team"],
        start_stocks=player["start_stocks"],
        # Sanitised again: the writing process has parsed an untrusted file.
        name=sanitise(player["name"]),
        code=sanitise(player["code"]),
        leader=leader,
        follower=reader.columns(PLAYER_COLUMNS, frames) if player["follower"] else None,
        floor=None if player["floor"] is None else Floor(**player["floor"]),
    )


def _items(count: int, reader: _Reader, frames: int) -> Items:
    offsets = reader.array(np.dtype(np.int64), frames + 1)
    if offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
        raise ValueError("the table of items does not fit the frames")
    return Items(
        offsets=offsets,
        spawn_id=reader.array(np.dtype(np.uint32), count),
        columns=reader.columns(ITEM_COLUMNS, count),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
