"""Typed records: what `EventLog` writes comes back, and what nobody should have written does no harm."""

import json
import math
from pathlib import Path

import pytest

from exphil_core.runs.events import EventLog
from exphil_core.runs.records import (
    NAME_LIMIT,
    CharacterStepLoss,
    Evaluated,
    LatencyEvent,
    Other,
    PressRate,
    RunStarted,
    Step,
    Warned,
    decode,
    decode_lines,
    showable,
    showable_name,
)

RECORDED = Path(__file__).parents[1] / "tui" / "recorded" / "demo.jsonl"

HEAD = {"v": 1, "seq": 0, "ts": "2026-01-01T00:00:00.000Z"}
STEP = {**HEAD, "type": "step", "step": 1, "loss": 0.5, "per_character": {}, "heads": {}}


def line_of(**fields: object) -> bytes:
    return json.dumps({**STEP, **fields}).encode()


def test_every_event_of_a_real_run_is_known() -> None:
    lines = RECORDED.read_bytes().splitlines()
    records = [decode(line) for line in lines]
    assert {type(record).__name__ for record in records} >= {"RunStarted", "Step", "Evaluated", "RunFinished"}
    assert not [record for record in records if record is None or isinstance(record, Other)]
    assert decode_lines(RECORDED.read_bytes()) == records


def test_a_record_holds_what_was_written(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        log.append(
            "step",
            step=3,
            loss=math.nan,
            per_character={"link": {"loss": math.inf, "frames": 7}},
            heads={"main": 0.25},
            lr=1e-5,
            new_in_a_later_version=[1, {"a": 2}],
        )
    record = decode((tmp_path / "events.jsonl").read_bytes())
    assert isinstance(record, Step)
    assert (record.step, record.loss, record.lr, record.eta_s) == (3, None, 1e-5, None)
    assert record.per_character == {"link": CharacterStepLoss(loss=None, frames=7)}


LATENCY = {
    "device": "cpu",
    "backbone": "gru",
    "frames": 600,
    "p50_ms": 4.5,
    "p95_ms": 6.0,
    "p99_ms": 7.5,
    "max_ms": 20.0,
    "missed": 1,
    "budget_ms": 16.67,
}


def test_a_latency_of_before_the_pilot_is_read_and_says_nothing_of_what_it_does_not_tell() -> None:
    record = decode(json.dumps({**HEAD, "type": "latency", **LATENCY}).encode())
    assert isinstance(record, LatencyEvent)
    told = {name: getattr(record, name) for name in record.__struct_fields__}
    assert {name: told[name] for name in LATENCY} == LATENCY
    assert all(told[name] in (None, "", []) for name in told.keys() - LATENCY.keys() - HEAD.keys())


def test_a_latency_of_a_pilot_holds_all_that_it_tells(tmp_path: Path) -> None:
    told = {
        **LATENCY,
        "histogram": [0] * 39 + [600],
        "runtime": "eager",
        "parameters": 20_000_000,
        "window_size": 180,
        "step": 1200,
        "weights": "00ff" * 4,
        "headroom_ms": 9.17,
        "late_p99_ms": 0.2,
        "recent_max_ms": 8.0,
        "recent_missed": 0,
        "total_frames": 3600,
        "total_missed": 4,
        "skipped": 2,
        "total_skipped": 9,
        "cpu": 0.4,
        "realtime": True,
        "threads": 1,
        "character": "mewtwo",
        "game": "ab" * 16,
        "frame_index": 0,
        "snapshot_ms": 21.5,
    }
    with EventLog(tmp_path / "events.jsonl") as log:
        log.append("latency", **told)
    record = decode((tmp_path / "events.jsonl").read_bytes())
    assert isinstance(record, LatencyEvent)
    assert {name: getattr(record, name) for name in told} == told
    assert set(record.__struct_fields__) == told.keys() | HEAD.keys()


def test_an_unknown_type_is_kept_and_a_damaged_known_one_is_not() -> None:
    assert decode(b'{"seq": 4, "ts": "t", "type": "danced", "beat": 1}') == Other(
        seq=4, ts="t", type="danced"
    )
    assert decode(b'{"seq": 4, "ts": "t", "type": "step", "step": "one"}') is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{",
        b'{"type": "step"}',
        b'{"seq": 0, "ts": "", "type": 3}',
        b'{"seq": 0, "ts": "", "type": "\xff"}',
        b"\xff\xfe\x00",
        line_of(step=-1),
        line_of(step=2**60),
        line_of(step=1.5),
        line_of(loss="low"),
        line_of(loss=10**400),
        line_of(heads={str(number): 0.0 for number in range(65)}),
        line_of(per_character={"link": {"loss": 1.0, "frames": -5}}),
        line_of() + b"{}",
        b'{"type": "\\ud800", "seq": 0}',
        line_of(deep=0).replace(b'"deep": 0', b'"deep": ' + b"[" * 100_000),
        b'{"seq": 0, "ts": "", "type": "new", "deep": ' + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert decode(line) is None
    assert decode_lines(line + b"\n") is None


@pytest.mark.parametrize(
    "between", [b"\n\n", b" \n\t\n", b"  ", b""], ids=["blank", "white", "one line", "joined"]
)
def test_lines_that_are_not_one_event_each_are_not_decoded_together(between: bytes) -> None:
    assert decode_lines(line_of() + b"\n" + line_of() + b"\n") is not None
    assert decode_lines(line_of() + between + line_of() + b"\n") is None
    assert decode_lines(line_of().replace(b", ", b",\n") + b"\n") is None


def test_half_a_character_becomes_a_question_mark() -> None:
    """Python writes one for a file name that is not UTF-8, and JSON allows it."""
    record = decode(b'{"seq": 0, "ts": "", "type": "warning", "code": "c", "message": "a \\udcff b"}')
    assert record == Warned(seq=0, ts="", code="c", message="a ? b")


def test_a_record_that_can_be_shown_is_on_one_line_and_has_no_escapes() -> None:
    hostile = "\x1b[2J[/]\u202e\u200b\n" + "x" * 10_000
    record = decode(
        json.dumps(
            {
                **HEAD,
                "type": "evaluated",
                "step": 1,
                "split": hostile,
                "loss": 1.0,
                "heads": {},
                "per_character": {
                    hostile: {"loss": 1.0, "frames": 1, "press_rates": {hostile: {"policy": 0, "human": 0}}}
                },
            }
        ).encode()
    )
    assert isinstance(record, Evaluated)
    safe = showable(record)
    (name,) = safe.per_character
    (button,) = safe.per_character[name].press_rates
    for text in (safe.split, name, button):
        assert text.isprintable()
        assert len(text) <= 500
    assert len(name) <= NAME_LIMIT
    assert safe.per_character[name].press_rates[button] == PressRate(policy=0.0, human=0.0)
    assert showable(safe) == safe


def test_what_any_json_may_hold_is_made_safe_too() -> None:
    dataset: dict[str, object] = {
        "games": 10**30,
        "shares": {"\x1b[2J": ["\x07"]},
        "ok": [1, 0.5, None, True],
    }
    nested: object = 1
    for _ in range(500):
        nested = [nested]
    record = RunStarted(
        **{name: HEAD[name] for name in ("seq", "ts")},  # type: ignore[arg-type]
        run="r",
        preset="p",
        backbone="b",
        window_size=1,
        parameters=1,
        device="cpu",
        dataset={**dataset, "nested": nested},
    )
    safe = showable(record).dataset
    assert safe["games"] is None
    assert safe["ok"] == [1, 0.5, None, True]
    assert repr(safe).isprintable()
    assert "\\x" not in repr(safe)
    assert len(repr(safe)) < 200


@pytest.mark.parametrize("name", ["link", "gameandwatch", "main", "D_UP", "a" * NAME_LIMIT, "Ä b"])
def test_a_harmless_name_stays_what_it_is(name: str) -> None:
    assert showable_name(name) == name


def test_two_names_that_look_alike_stay_two() -> None:
    names = ["", "\x00", "\x1b", "a" * 33, "a" * 34, "link\u200b", "\ud800", " link", "link\n"]
    shown = [showable_name(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(name and name.isprintable() and len(name) <= NAME_LIMIT for name in shown)
    assert [showable_name(name) for name in shown] == shown
