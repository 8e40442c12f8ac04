"""The events of a run: gapless, whole lines, valid JSON, whatever happened to the writer before."""

import errno
import json
import math
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from exphil_core.errors import DiskFullError
from exphil_core.runs.events import EventLog, read_events
from exphil_core.runs.tail import Tail


def strict(line: str) -> dict[str, object]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"bare {constant} is not JSON")

    record = json.loads(line, parse_constant=refuse)
    assert isinstance(record, dict)
    return record


def test_a_record_carries_version_number_time_and_type(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        returned = log.append("step", step=3, loss=0.5)
    (record,) = read_events(tmp_path / "events.jsonl")
    assert record == returned
    assert (record["v"], record["seq"], record["type"], record["step"]) == (1, 0, "step", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["ts"])


def test_numbers_go_on_without_a_gap_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(3):
        with EventLog(path) as log:
            log.append("step")
            log.append("step")
    assert [record["seq"] for record in read_events(path)] == list(range(6))


@pytest.mark.parametrize(
    "rest",
    [
        b'{"v":1,"seq":2,"ty',
        b'{"v": 1, "seq": 2, "type": "step"}',
        b"\0" * 5000,
        b"nonsense\n\0\0\n",
        b"[1]\n{",
    ],
    ids=["torn", "no newline", "zeros", "whole but bad lines", "not an object"],
)
def test_what_follows_the_last_readable_line_is_cut(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.append("step")
        log.append("step")
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    with EventLog(path) as log:
        assert path.read_bytes() == whole
        log.append("step")
    assert [record["seq"] for record in read_events(path)] == [0, 1, 2]


def test_the_last_record_is_found_behind_any_amount_of_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.append("step", text="x" * 200_000)
    path.write_bytes(path.read_bytes() + b"rubbish\n" * 50_000)
    with EventLog(path) as log:
        assert log.append("step")["seq"] == 1


def test_an_empty_or_wholly_unreadable_file_begins_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"torn")
    with EventLog(path) as log:
        assert log.append("step")["seq"] == 0


def test_no_number_makes_a_line_invalid(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.append(
            "step",
            loss=math.nan,
            heads={"main": math.inf, 3: np.float32("nan")},
            values=np.array([1.0, np.nan]),
            count=np.int64(4),
            pair=(1, -math.inf),
            path=tmp_path,
            text="line\nbreak \u2028 \ud800 \x1b[2J",
        )
    record = strict(path.read_text().removesuffix("\n"))
    assert record["loss"] is None
    assert record["heads"] == {"main": None, "3": None}
    assert (record["values"], record["count"], record["pair"]) == ([1.0, None], 4, [1, None])
    assert path.read_text().count("\n") == 1


def test_threads_never_share_a_number_or_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        threads = [
            threading.Thread(target=lambda: [log.append("step", text="x" * 500) for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [strict(line)["seq"] for line in path.read_text().splitlines()] == list(range(400))


def test_a_full_disk_leaves_whole_lines_and_the_log_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    write = os.write

    def fills_up(file: int, line: bytes) -> int:
        monkeypatch.setattr(
            os, "write", lambda file, line: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
        )
        return write(file, line[:5])

    with EventLog(path) as log:
        log.append("step")
        monkeypatch.setattr(os, "write", fills_up)
        with pytest.raises(DiskFullError, match=str(path)):
            log.append("step", loss=1.0)
        monkeypatch.setattr(os, "write", write)
        log.append("step")
    assert [strict(line)["seq"] for line in path.read_text().splitlines()] == [0, 1]


def test_a_tail_sees_each_event_once_and_no_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    with EventLog(path) as log:
        log.append("step")
        assert [record["seq"] for record in tail.read()] == [0]
        assert tail.read() == []
        with path.open("ab") as file:
            file.write(b'{"v": 1, "seq": 1, "ty')
            file.flush()
            assert tail.read() == []
            file.write(b'pe": "step"}\nrubbish\n')
        assert [record["seq"] for record in tail.read()] == [1]
    assert (tail.bad_lines, tail.restarts) == (1, 0)


def test_a_tail_survives_the_cut_of_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    with EventLog(path) as log:
        log.append("step")
    path.write_bytes(path.read_bytes() + b'{"torn')
    assert len(tail.read()) == 1
    with EventLog(path) as log:
        log.append("step")
    assert [record["seq"] for record in tail.read()] == [1]
    assert tail.restarts == 0


def test_a_tail_starts_again_when_the_file_was_cut_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    with EventLog(path) as log:
        log.append("step")
        log.append("step")
    assert len(tail.read()) == 2
    path.write_bytes(b"")
    assert tail.read() == []
    assert tail.restarts == 1
    other = tmp_path / "other"
    other.write_bytes(b'{"type": "a"}\n')
    other.replace(path)
    assert [record["type"] for record in tail.read()] == ["a"]
    assert tail.restarts == 2


def test_a_tail_reads_a_long_history_in_bounded_pieces(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        for size in (10, 10, 5000, 10):
            log.append("step", text="x" * size)
    tail = Tail(path, bytes_per_read=256)
    pieces = []
    while records := tail.read():
        pieces.append([record["seq"] for record in records])
    assert len(pieces) > 1
    assert [seq for piece in pieces for seq in piece] == [0, 1, 2, 3]
