"""A tail: every whole line once, in order, whatever happens to the file."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.runs.tail import Tail


def line_of(number: int) -> bytes:
    return json.dumps({"type": "step", "number": number}).encode() + b"\n"


def numbers(records: list[dict[str, object]]) -> list[object]:
    return [record["number"] for record in records]


def test_a_file_that_is_not_there_is_missing_and_one_that_appears_late_is_read(tmp_path: Path) -> None:
    path = tmp_path / "late" / "events.jsonl"
    tail = Tail(path)
    assert tail.poll() is None
    assert tail.missing
    path.parent.mkdir()
    path.write_bytes(line_of(1))
    assert numbers(tail.read()) == [1]
    assert not tail.missing
    assert tail.restarts == 0


def test_a_line_is_not_there_before_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    seen = []
    with path.open("wb", buffering=0) as file:
        for byte in b"".join(map(line_of, range(3))):
            file.write(bytes([byte]))
            records = tail.read()
            assert bool(records) == (byte == ord("\n"))
            seen += records
    assert numbers(seen) == [0, 1, 2]


@pytest.mark.parametrize(
    "bad",
    [b"rubbish", b"", b"[1]", b"{}", b"\xff\xfe", b"\0" * 50, b"[" * 100_000, b'{"type": "step"'],
    ids=["text", "blank", "no object", "no type", "not UTF-8", "zeros", "deep", "torn"],
)
def test_a_bad_line_is_counted_and_passed_over(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line_of(1) + bad + b"\n" + line_of(2))
    tail = Tail(path)
    assert numbers(tail.read()) == [1, 2]
    assert tail.bad_lines == 1


def cut(path: Path) -> None:
    os.truncate(path, 10)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def deleted(path: Path) -> None:
    path.unlink()
    path.write_bytes(line_of(7) * 50)


def written_anew(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(line_of(7) * 50)


@pytest.mark.parametrize("happens", [cut, emptied, replaced, deleted, written_anew])
def test_a_file_that_is_another_is_read_from_its_start(
    tmp_path: Path, happens: Callable[[Path], None]
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(map(line_of, range(20))))
    tail = Tail(path)
    assert len(tail.read()) == 20
    happens(path)
    assert tail.read() == Tail(path).read()
    assert tail.restarts == 1
    with path.open("ab") as file:
        file.write(b"\n" + line_of(99))
    assert numbers(tail.read())[-1] == 99
    assert tail.restarts == 1


def test_a_file_that_was_away_for_a_moment_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line_of(1))
    tail = Tail(path)
    tail.read()
    path.rename(tmp_path / "away")
    assert tail.read() == []
    assert tail.missing
    (tmp_path / "away").rename(path)
    with path.open("ab") as file:
        file.write(line_of(2))
    assert numbers(tail.read()) == [2]
    assert tail.restarts == 0


@pytest.mark.parametrize("length", [4095, 4096, 4097, 5000, 20_000])
def test_a_line_without_end_is_one_bad_line_however_it_arrives(tmp_path: Path, length: int) -> None:
    """Beyond 4096 bytes here. The same at once as byte by byte."""
    path = tmp_path / "events.jsonl"
    opening = b'{"type": "step", "number": 5, "text": "'
    long = opening + b"x" * (length - len(opening) - 2) + b'"}'
    text = line_of(1) + long + b"\n" + line_of(2)
    whole = Tail(path, decode=lambda line: json.loads(line), bytes_per_read=512, longest_line=4096)
    path.write_bytes(text)
    at_once: list[dict[str, object]] = []
    while records := whole.read():
        at_once += records
    path.unlink()
    growing = Tail(path, decode=lambda line: json.loads(line), bytes_per_read=512, longest_line=4096)
    bit_by_bit: list[dict[str, object]] = []
    with path.open("wb", buffering=0) as file:
        for begin in range(0, len(text), 7):
            file.write(text[begin : begin + 7])
            bit_by_bit += growing.read()
    assert numbers(at_once) == numbers(bit_by_bit) == ([1, 5, 2] if length <= 4096 else [1, 2])
    assert whole.bad_lines == growing.bad_lines == (length > 4096)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.write(line_of(1))
        # A file with a hole: 100 MB that take no room.
        file.truncate(100 << 20)
    tail = Tail(path)
    tracemalloc.start()
    assert numbers(tail.read()) == [1]
    assert tail.read() == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    assert tail.bad_lines == 1
    with path.open("ab") as file:
        file.write(b"\n" + line_of(2))
    assert numbers(tail.read()) == [2]
    assert tail.bad_lines == 1


def test_what_is_no_file_is_an_error_and_waits_for_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        Tail(pipe).poll()
    with pytest.raises(OSError, match="not a regular file"):
        Tail(tmp_path).poll()


@pytest.mark.parametrize(
    ("third", "at_once", "singly"),
    [
        (line_of(3), [1, 2, 3], 0),
        (b"rubbish\n", None, 3),
    ],
    ids=["all good", "one bad"],
)
def test_lines_are_decoded_one_by_one_only_where_they_cannot_be_at_once(
    tmp_path: Path, third: bytes, at_once: list[int] | None, singly: int
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line_of(1) + line_of(2) + third)
    decoded: list[bytes] = []

    def decode(line: bytes) -> int | None:
        decoded.append(line)
        found = line[-2:-1]
        return int(found) if found.isdigit() and line.startswith(b"{") else None

    tail = Tail(path, decode=decode, decode_lines=lambda text: at_once)
    assert tail.read() == ([1, 2] if singly else [1, 2, 3])
    assert len(decoded) == singly
    assert tail.bad_lines == (1 if singly else 0)
