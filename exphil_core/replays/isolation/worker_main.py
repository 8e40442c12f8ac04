"""Entry point of an ingest worker: `python -m exphil_core.replays.isolation.worker_main SPOOL MEMORY_MIB SECONDS`.

Reads one request at a time from stdin and answers on the original stdout. If a file crashes it, the parent starts
another worker. Parser output goes to the file behind stderr, never to a terminal.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exphil_core.atomic import DISK_FULL_ERRNOS
from exphil_core.replays import archives, filters
from exphil_core.replays.compressed import plain_replay
from exphil_core.replays.game import Game
from exphil_core.replays.isolation import ipc
from exphil_core.replays.isolation.memory_limit import limit_memory
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import REASONS, Refused
from exphil_core.replays.text import sanitise

UNPACKED_AHEAD = 8
"""Maximum number of unpacked members that are not yet used."""


def main(arguments: list[str], parse: Callable[[str], Game] = parse_replay) -> None:
    """Serve requests until stdin closes. `parse` is a parameter so that tests can pass parsers that misbehave."""
    spool, memory_mib, seconds = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    requests = os.dup(0)
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    if (error := limit_memory(memory_mib)) is not None:
        print(f"no memory limit: {error}", file=sys.stderr)
    inbox = ipc.MessageBuffer()
    try:
        ipc.send(answers, {"ready": True})
        while (request := ipc.receive(requests, inbox)) is not None:
            if request["do"] == "parse":
                # The parent kills this process after `seconds`; the alarm is for a parent that has died.
                signal.alarm(seconds + 10)
                ipc.send(answers, _answer(request, spool, parse))
                signal.alarm(0)
                os.ftruncate(2, 0)
            elif request["do"] == "list":
                ipc.send(answers, _list(request))
            else:
                _unpack(request, spool, requests, answers, inbox)
    except BrokenPipeError:
        pass
    # Both pipes close when the ingest is done or its process has died; a dead process leaves the spool to us.
    shutil.rmtree(spool, ignore_errors=True)


def _refusal(reason: str, detail: str = "") -> dict[str, Any]:
    sentence = REASONS[reason]
    return {"status": "refused", "reason": reason, "detail": f"{sentence} ({detail})" if detail else sentence}


def _answer(request: Mapping[str, Any], spool: Path, parse: Callable[[str], Game]) -> dict[str, Any]:
    try:
        with plain_replay(Path(request["path"]), max_bytes=request["max_bytes"], folder=spool) as path:
            return _parse(path, request, spool, parse)
    except Refused as error:
        return {"status": "refused", "reason": error.reason, "detail": error.detail}
    except MemoryError:
        return _refusal("out_of_memory")
    except OSError as error:
        return {"status": "failed", "disk_full": error.errno in DISK_FULL_ERRNOS, "detail": str(error)}
    except Exception as error:
        return _refusal("reader_failed", sanitise(f"{type(error).__name__}: {error}", limit=160))


def _parse(
    path: Path, request: Mapping[str, Any], spool: Path, parse: Callable[[str], Game]
) -> dict[str, Any]:
    try:
        game = parse(str(path))
        removed = filters.removed_by(game, min_frames=request["min_frames"])
        if removed is not None:
            return {
                "status": "filtered",
                "reason": removed.name,
                "detail": removed.sentence,
                "salvaged": game.salvaged,
            }
        sides = [asdict(filters.side_quality(game, player)) for player in game.players]
        packed = pack_game(game)
    except (Refused, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            raise  # no room for a truncated replay's temporary file: not the replay's fault
        return _refusal("reader_failed", sanitise(f"{type(error).__name__}: {error}", limit=160))
    except BaseException as error:  # pyo3's PanicException derives from BaseException
        return _refusal("parser_panic", sanitise(str(error), limit=160))
    header = ipc.write_packed(packed, spool / request["columns"])
    return {"status": "kept", "sides": sides, "header": header, "columns": request["columns"]}


def _list(request: Mapping[str, Any]) -> dict[str, Any]:
    limits = archives.ArchiveLimits(**request["limits"])
    try:
        listing = archives.list_members(Path(request["path"]), limits)
    except Refused as error:
        return {"refused": [error.reason, error.detail]}
    except MemoryError:
        return {"refused": ["out_of_memory", REASONS["out_of_memory"]]}
    return {
        "members": [[m.number, m.name, m.size, _said(m.refused)] for m in listing.members],
        "ignored": listing.ignored,
        "damage": _said(listing.damage),
    }


def _said(refused: Refused | None) -> list[str] | None:
    return None if refused is None else [refused.reason, refused.detail]


def _unpack(
    request: Mapping[str, Any], spool: Path, requests: int, answers: int, inbox: ipc.MessageBuffer
) -> None:
    """Send one answer per member and one at the end; the parent acknowledges each member once it is used."""
    unused = 0

    def deliver(number: int, unpacked: Path | Refused) -> None:
        nonlocal unused
        if isinstance(unpacked, Refused):
            ipc.send(answers, {"member": number, "refused": _said(unpacked)})
        else:
            ipc.send(answers, {"member": number, "path": str(unpacked)})
        unused += 1
        while unused > UNPACKED_AHEAD:
            if ipc.receive(requests, inbox) is None:
                raise BrokenPipeError
            unused -= 1

    end: dict[str, Any] = {"end": True}
    try:
        into = spool / request["into"]
        into.mkdir()
        archives.unpack(Path(request["path"]), request["members"], into, deliver)
    except BrokenPipeError:
        raise
    except Refused as error:
        end["refused"] = _said(error)
    except MemoryError:
        end["refused"] = ["out_of_memory", REASONS["out_of_memory"]]
    except (OSError, archives.SpoolError) as error:
        end["failed"] = {"disk_full": error.errno in DISK_FULL_ERRNOS, "detail": str(error)}
    ipc.send(answers, end)
    while unused:
        if ipc.receive(requests, inbox) is None:
            raise BrokenPipeError
        unused -= 1


if __name__ == "__main__":
    main(sys.argv[1:])
