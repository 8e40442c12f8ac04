"""The decoder that is made for a run: what it gives is what the general way gives."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from exphil_core.runs.records import Record, decode, decode_lines
from exphil_tui.model.step_columns import Steps, gathered
from exphil_tui.model.step_decoder import ShapedDecoder

RECORDED = Path(__file__).parents[1] / "recorded" / "demo.jsonl"

HEAD = {"v": 1, "seq": 3, "ts": "2026-01-01T00:00:00.000Z"}


def line_of(number: int, **fields: object) -> bytes:
    known = {
        "loss": 0.5,
        "per_character": {name: {"loss": number / 7, "frames": number} for name in ("link", "zelda")},
        "heads": {"main": 0.25, "c": number / 3},
        "lr": 1e-5,
    }
    return json.dumps({**HEAD, "type": "step", "step": number, **known, **fields}).encode() + b"\n"


def assert_same(found: Sequence[Record | Steps] | None, expected: Sequence[Record | Steps]) -> None:
    assert found is not None
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if not (isinstance(one, Steps) and isinstance(other, Steps)):
            assert one == other
            continue
        assert (one.newest, one.count, one.frames) == (other.newest, other.count, other.frames)
        for name in ("loss", "frames_per_s", "data_wait"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("per_character", "heads"):
            mine, its = getattr(one, name), getattr(other, name)
            assert mine.keys() == its.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], its[key])


def shaped() -> ShapedDecoder:
    """A decoder that has seen two characters and two heads."""
    decoder = ShapedDecoder()
    assert_same(decoder.decode_lines(line_of(1)), gathered(decode_lines(line_of(1)) or []))
    return decoder


def test_a_real_run_is_decoded_as_the_general_way_does() -> None:
    lines = RECORDED.read_bytes().splitlines(keepends=True)
    for size in (1, 10, len(lines)):
        decoder = ShapedDecoder()
        for begin in range(0, len(lines), size):
            text = b"".join(lines[begin : begin + size])
            expected = gathered(decode_lines(text) or [])
            assert_same(decoder.decode_lines(text), expected)
            assert_same(decoder.decode_lines(memoryview(text)), expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"per_character": {}},
        {"per_character": {"zelda": {"loss": None, "frames": 3}}},
        {"per_character": {"mewtwo": {"loss": 1.0, "frames": 3}}},
        {"per_character": {'"\\\x1b[2J': {"loss": 1.0, "frames": 3}}},
        {"per_character": {"class": {"loss": 1.0, "frames": 3}, "n0": {"loss": 2.0, "frames": 4}}},
        {"heads": {}},
        {"heads": {"c": None, "main": 2.0}},
        {"heads": {"main": 1.0, "c": 1.0, "new": 1.0}},
        {"loss": None, "eta_s": 3.5, "data_wait": None},
        {"of a newer exphil": [1, 2, {"a": None}]},
    ],
    ids=lambda fields: json.dumps(fields),
)
def test_a_step_of_another_shape_is_decoded_too(fields: dict[str, object]) -> None:
    text = line_of(2) + line_of(3, **fields) + line_of(4)
    expected = gathered(decode_lines(text) or [])
    assert isinstance(expected[0], Steps)
    assert expected[0].count == 3
    decoder = shaped()
    for _ in range(3):
        assert_same(decoder.decode_lines(text), expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"step": -1},
        {"lr": "high"},
        {"seq": None},
        {"ts": 5},
        {"per_character": {"link": None}},
        {"per_character": {"link": {"loss": 1.0}}},
        {"per_character": {"link": {"loss": 1.0, "frames": -1}}},
        {"per_character": None},
        {"heads": {"main": "low"}},
        {"type": "danced"},
    ],
    ids=lambda fields: json.dumps(fields),
)
def test_a_line_that_is_damaged_or_unknown_is_left_to_a_look_of_its_own(fields: dict[str, object]) -> None:
    bad = line_of(3, **fields)
    assert shaped().decode_lines(line_of(2) + bad) is None
    assert decode_lines(bad) is None


def test_it_gives_what_the_general_way_gives_whatever_comes() -> None:
    chance = random.Random(5)
    names = ("link", "zelda", "mewtwo", "a b", "\x1b[2J")
    decoder = ShapedDecoder()
    for _ in range(200):
        lines = []
        for step in range(chance.randrange(1, 8)):
            present = [name for name in names if chance.random() < 0.7]
            fields: dict[str, object] = {
                "per_character": {
                    name: {"loss": chance.choice((None, 1.5)), "frames": step} for name in present
                },
                "heads": {
                    name: chance.choice((None, 0.5)) for name in ("main", "c") if chance.random() < 0.9
                },
            }
            warning = {**HEAD, "type": "warning", "code": "c", "message": "m"}
            lines.append(
                json.dumps(warning).encode() + b"\n" if chance.random() < 0.1 else line_of(step, **fields)
            )
        text = b"".join(lines)
        records = [decode(line) for line in lines]
        assert None not in records
        assert_same(
            decoder.decode_lines(text), gathered([record for record in records if record is not None])
        )
