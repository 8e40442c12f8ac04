"""The process that parses: one request at a time from stdin, one answer each to what was stdout.

`python -m exphil_core.replays.worker SPOOL MEMORY_MIB SECONDS`. It may die of a file; whoever started it
starts another. What the parser prints goes to the file that its stderr was opened on, never to a terminal.
"""

import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exphil_core.atomic import NO_ROOM
from exphil_core.replays import archives, filters, wire
from exphil_core.replays.compressed import plain_replay
from exphil_core.replays.game import Game
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay
from exphil_core.replays.refusals import REASONS, Refused
from exphil_core.replays.text import sanitise

UNPACKED_AHEAD = 8
"""Members that may lie unpacked and unread."""


def main(arguments: list[str], parse: Callable[[str], Game] = parse_replay) -> None:
    """Serves until stdin ends. `parse` is passed in so that tests can pass parsers that misbehave."""
    spool, memory_mib, seconds = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    requests = os.dup(0)
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    _limit_memory(memory_mib * 2**20)
    inbox = wire.Inbox()
    try:
        wire.send(answers, {"ready": True})
        while (request := wire.receive(requests, inbox)) is not None:
            if request["do"] == "parse":
                # Whoever started this process ends it at `seconds`; the alarm is for when it is gone
                # itself.
                signal.alarm(seconds + 10)
                wire.send(answers, _answer(request, spool, parse))
                signal.alarm(0)
                os.ftruncate(2, 0)
            elif request["do"] == "list":
                wire.send(answers, _list(request))
            else:
                _unpack(request, spool, requests, answers, inbox)
    except BrokenPipeError:
        pass
    # Both pipes end when the ingest is over or its process is gone, which then leaves the spool to us.
    shutil.rmtree(spool, ignore_errors=True)


def _limit_memory(limit: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ValueError, OSError) as error:  # macOS has the name and not the limit
        print(f"no memory limit: {error}", file=sys.stderr)


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
        return {"status": "failed", "disk_full": error.errno in NO_ROOM, "detail": str(error)}
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
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise  # no room for a truncated replay's temporary file: not the replay's fault
        return _refusal("reader_failed", sanitise(f"{type(error).__name__}: {error}", limit=160))
    except BaseException as error:  # pyo3's PanicException is no Exception
        return _refusal("parser_panic", sanitise(str(error), limit=160))
    header = wire.write_packed(packed, spool / request["columns"])
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


def _unpack(request: Mapping[str, Any], spool: Path, requests: int, answers: int, inbox: wire.Inbox) -> None:
    """Answers once a member and once at the end; every member is answered by a message that it has been
    used."""
    unused = 0

    def deliver(number: int, unpacked: Path | Refused) -> None:
        nonlocal unused
        if isinstance(unpacked, Refused):
            wire.send(answers, {"member": number, "refused": _said(unpacked)})
        else:
            wire.send(answers, {"member": number, "path": str(unpacked)})
        unused += 1
        while unused > UNPACKED_AHEAD:
            if wire.receive(requests, inbox) is None:
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
        end["failed"] = {"disk_full": error.errno in NO_ROOM, "detail": str(error)}
    wire.send(answers, end)
    while unused:
        if wire.receive(requests, inbox) is None:
            raise BrokenPipeError
        unused -= 1


if __name__ == "__main__":
    main(sys.argv[1:])
