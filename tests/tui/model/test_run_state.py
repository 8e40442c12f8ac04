"""The reducer: what a viewer knows after any events, in whatever pieces they came."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.runs.records import Evaluated, Step, decode
from exphil_core.runs.tail import Tail
from exphil_tui.model.event_batch import EventBatch
from exphil_tui.model.run_state import MAX_CURVES, MAX_LOG_LINES, TOTAL, RunState, reduce
from exphil_tui.model.series import Series
from exphil_tui.model.step_decoder import ShapedDecoder

RECORDED = Path(__file__).parents[1] / "recorded" / "demo.jsonl"


def assert_same(one: object, other: object) -> None:
    """Equal in everything that a person can see."""
    if isinstance(one, Series) and isinstance(other, Series):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_allclose(one.smooth, other.smooth, rtol=1e-9)
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, RunState):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


class Script:
    """Writes events as a run does."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def add(self, type: str, **fields: Any) -> None:
        seq = len(self.lines)
        event = {"v": 1, "seq": seq, "ts": f"2026-01-01T00:00:{seq % 60:02}.000Z", "type": type, **fields}
        self.lines.append(json.dumps(event, ensure_ascii=False).encode())

    def start(self, **fields: Any) -> None:
        known = {"run": "r", "preset": "quick", "backbone": "gru", "window_size": 60, "parameters": 1234}
        self.add("run_started", **{**known, "device": "cpu", "dataset": {}, "steps": None, **fields})

    def step(self, step: int, loss: float | None = 1.0, **characters: float | None) -> None:
        per_character = {name: {"loss": value, "frames": 10} for name, value in characters.items()}
        self.add("step", step=step, loss=loss, per_character=per_character, heads={"main": loss})

    def evaluated(self, step: int, loss: float | None, *, best: bool = False, **characters: float) -> None:
        per_character = {name: {"loss": value, "frames": 10} for name, value in characters.items()}
        more = {"best": True} if best else {}
        self.add(
            "evaluated",
            step=step,
            split="validation",
            loss=loss,
            per_character=per_character,
            heads={"main": loss},
            **more,
        )

    def state(self) -> RunState:
        return state_of(self.lines)


def batch_of(lines: Iterable[bytes]) -> EventBatch:
    decoded = [decode(line) for line in lines]
    records = [record for record in decoded if record is not None]
    return EventBatch(records=records, bad_lines=len(decoded) - len(records))


def state_of(lines: Sequence[bytes], *, pieces: int = 1) -> RunState:
    state = RunState()
    ends = [len(lines) * piece // pieces for piece in range(pieces + 1)]
    for begin, end in pairwise(ends):
        state = reduce(state, batch_of(lines[begin:end]))
    return state


def eventful() -> list[bytes]:
    """Some thirty lines in which everything happens, a resume and strangers' text included; short, as every cut of
    them is tried."""
    script = Script()
    script.start(run="Übung")
    script.step(1, 2.0, link=2.0)
    script.step(2, 1.9, link=1.8, zelda=2.0)
    script.add("warning", code="c", message="zu wenig Spiele für „Ganon“ 🎮")
    script.evaluated(2, 1.8, link=1.7)
    script.add("checkpoint_saved", step=2, path="p", best=True)
    script.step(3, None, link=None)
    script.add("command", command="pause", id="a", state="received")
    script.add("command", command="pause", id="a", state="done")
    script.lines.append("kein Ereignis: \x1b[2J ä".encode())
    script.add("command", command="resume", id="b", state="received")
    script.add("command", command="resume", id="b", state="done")
    script.step(4, 1.5, link=1.5, zelda=1.4)
    script.evaluated(4, 1.4, link=1.3, zelda=1.5)
    script.start(resumed_from=2)
    script.step(3, 1.7, zelda=1.6)
    script.add("resources", cpu=1.5, memory_bytes=5, memory_total_bytes=10)
    script.add("danced", partner="\u202egnorw")
    script.lines.append(b"\xff\xfe")
    script.step(4, 1.4, **{"[/]\x1b[2J": 1.0, "link": 1.2})
    script.add(
        "latency",
        device="cpu",
        backbone="gru",
        frames=9,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
        max_ms=4.0,
        missed=0,
        budget_ms=16.67,
    )
    script.evaluated(4, 1.3, link=1.2)
    script.add("checkpoint_saved", step=4, path="p", best=True)
    script.add("error", code="E", message="Platte voll")
    script.evaluated(4, 1.35, best=True, link=1.25)
    script.add("run_finished", status="done", step=4, summary={})
    return script.lines


def test_a_real_run_is_known_as_it_was() -> None:
    state = state_of(RECORDED.read_bytes().splitlines())
    events = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]
    steps = [event for event in events if event["type"] == "step"]
    assert state.events == len(events)
    assert (state.bad_lines, state.unknown, state.starts, state.missing) == (0, 0, 1, False)
    assert state.train[TOTAL].y.tolist() == [event["loss"] for event in steps]
    for name, frames in state.frames.items():
        mine = [event["per_character"][name] for event in steps if name in event["per_character"]]
        assert state.train[name].y.tolist() == [found["loss"] for found in mine]
        assert frames == sum(found["frames"] for found in mine)
    for head, series in state.train_heads.items():
        assert series.y.tolist() == [event["heads"][head] for event in steps]
    assert state.speed.y.tolist() == [event["frames_per_s"] for event in steps]
    judged = [event for event in events if event["type"] == "evaluated"]
    during = [event for event in judged if not event.get("best")]
    assert state.validation[TOTAL].y.tolist() == [event["loss"] for event in during]
    assert state.best_loss == min(event["loss"] for event in during)
    assert state.evaluated is not None
    assert state.evaluated.best
    assert state.previous_evaluated is None
    assert state.finished is not None
    assert state.finished.status == "done"
    assert state.log[0].text.startswith("started: attention, window 60")
    assert state.log[-1].kind == "end"
    assert state.last_ts == events[-1]["ts"]


@pytest.mark.parametrize("pieces", [2, 3, 7, 1000])
@pytest.mark.parametrize("lines", [RECORDED.read_bytes().splitlines(), eventful()], ids=["real", "eventful"])
def test_the_pieces_that_events_come_in_make_no_difference(lines: list[bytes], pieces: int) -> None:
    assert_same(state_of(lines, pieces=pieces), state_of(lines))


def test_an_event_file_may_be_cut_at_any_byte(tmp_path: Path) -> None:
    """Every beginning of a file gives a state, and going on from it ends where reading it whole ends."""
    text = b"\n".join(eventful()) + b"\n"
    assert 25 <= text.count(b"\n") <= 40
    path, cut = tmp_path / "events.jsonl", tmp_path / "cut.jsonl"
    path.write_bytes(b"")
    growing = Tail(path, decode=decode, decode_lines=ShapedDecoder().decode_lines)
    known = RunState()
    with path.open("ab", buffering=0) as file:
        for length in range(len(text) + 1):
            cut.write_bytes(text[:length])
            tail = Tail(cut, decode=decode, decode_lines=ShapedDecoder().decode_lines)
            whole = reduce(RunState(), EventBatch(records=tail.read(), bad_lines=tail.bad_lines))
            bad_lines = growing.bad_lines
            records = growing.read()
            known = reduce(known, EventBatch(records=records, bad_lines=growing.bad_lines - bad_lines))
            if length == len(text) or text[length - 1 : length] == b"\n":
                assert_same(known, whole)
            assert whole.events + whole.bad_lines == text[:length].count(b"\n")
            file.write(text[length : length + 1])
    assert_same(known, state_of(eventful()))
    assert known.bad_lines == 2


def test_older_states_never_change() -> None:
    lines = RECORDED.read_bytes().splitlines()
    states, pictures = [RunState()], [RunState()]
    for begin in range(0, len(lines), 9):
        states.append(reduce(states[-1], batch_of(lines[begin : begin + 9])))
        pictures.append(state_of(lines[: begin + 9]))
    for state, picture in zip(states, pictures, strict=True):
        assert_same(state, picture)


def test_a_resumed_run_goes_on_from_its_checkpoint() -> None:
    """What was trained after it is undone: x never runs backwards."""
    script = Script()
    script.start()
    for step in range(1, 11):
        script.step(step, 10.0 + step, link=1.0)
        if step % 2 == 0:
            script.evaluated(step, 20.0 - step, link=1.0)
            script.add("checkpoint_saved", step=step, path="p", best=True)
    script.add("run_finished", status="failed", step=10)
    script.start(resumed_from=6)
    state = script.state()
    for series in (state.train[TOTAL], state.train["link"], state.train_heads["main"], state.speed):
        assert series.x.tolist() == [1, 2, 3, 4, 5, 6]
    assert state.validation[TOTAL].x.tolist() == [2, 4, 6]
    assert (state.best_step, state.best_loss, state.checkpoints) == (6, 14.0, (2, 4, 6))
    assert (state.step, state.evaluated, state.finished) == (None, None, None)
    assert state.starts == 2
    assert state.log[-1].text == "resumed from step 6 on cpu"
    script.step(7, 1.0)
    assert script.state().train[TOTAL].x.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert script.state().train["link"].x.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_run_that_starts_over_begins_with_no_curve() -> None:
    script = Script()
    script.start()
    script.step(1, 1.0, link=1.0)
    script.start()
    state = script.state()
    assert not any(
        series.length for series in (*state.train.values(), *state.train_heads.values(), state.speed)
    )
    assert state.starts == 2


def test_steps_that_run_backwards_without_a_start_take_the_place_of_the_old_ones() -> None:
    script = Script()
    for step in (1, 2, 3, 2, 3, 4):
        script.step(step, float(len(script.lines)))
    assert script.state().train[TOTAL].x.tolist() == [1, 2, 3, 4]
    assert script.state().train[TOTAL].y.tolist() == [0, 3, 4, 5]


def test_the_last_evaluation_is_no_point_of_the_curves() -> None:
    script = Script()
    script.evaluated(5, 1.0, link=1.0)
    script.evaluated(9, 0.9, link=0.9)
    script.evaluated(9, 0.95, best=True, link=0.95)
    state = script.state()
    assert state.validation[TOTAL].y.tolist() == [1.0, 0.9]
    assert (state.best_step, state.best_loss) == (9, 0.9)
    assert state.evaluated is not None
    assert (state.evaluated.best, state.evaluated.loss) == (True, 0.95)
    assert state.previous_evaluated is None


def test_what_changed_since_the_evaluation_before_is_known() -> None:
    script = Script()
    script.evaluated(5, 1.0)
    script.evaluated(9, 0.9)
    state = script.state()
    assert isinstance(state.evaluated, Evaluated)
    assert isinstance(state.previous_evaluated, Evaluated)
    assert (state.evaluated.step, state.previous_evaluated.step) == (9, 5)


def test_what_a_run_measures_before_its_first_step_is_a_line_of_its_log() -> None:
    script = Script()
    script.add("preparing", message="Measuring \x1b[2J…")
    state = script.state()
    assert [(line.kind, line.text) for line in state.log] == [("preparing", "Measuring [2J…")]
    assert (state.started, state.unknown) == (None, 0)


def test_commands_are_pending_until_they_are_answered() -> None:
    script = Script()

    def seen(command: str, state: str, **fields: str) -> tuple[tuple[str, ...], bool]:
        script.add("command", command=command, state=state, **fields)
        found = script.state()
        return found.pending, found.paused

    script.start()
    assert seen("pause", "received") == (("pause",), False)
    assert seen("checkpoint", "received") == (("pause", "checkpoint"), False)
    assert seen("pause", "done") == (("checkpoint",), True)
    assert seen("checkpoint", "refused", reason="the disk is full") == ((), True)
    assert script.state().log[-1].text == "checkpoint refused: the disk is full"
    assert seen("resume", "refused") == ((), True)
    assert seen("stop", "received") == (("stop",), True)
    assert seen("resume", "done") == (("stop",), False)
    script.start(resumed_from=1)
    assert (script.state().pending, script.state().paused) == ((), False)


def test_a_loss_that_is_no_number_is_a_gap() -> None:
    script = Script()
    script.step(1, None, link=None)
    script.step(2, 1.0, link=1.0)
    script.evaluated(2, None)
    state = script.state()
    for name in (TOTAL, "link"):
        np.testing.assert_array_equal(state.train[name].y, [np.nan, 1.0])
    assert (state.best_loss, state.best_step) == (None, None)


def test_the_log_holds_the_newest_lines() -> None:
    script = Script()
    for number in range(MAX_LOG_LINES + 50):
        script.add("warning", code="c", message=f"line {number}")
    for pieces in (1, 7):
        log = state_of(script.lines, pieces=pieces).log
        assert [line.text for line in log] == [f"line {number}" for number in range(50, MAX_LOG_LINES + 50)]


def test_a_file_that_began_anew_leaves_nothing_of_the_old() -> None:
    script = Script()
    script.start()
    script.step(1, 2.0, link=2.0)
    script.add("error", code="E", message="m")
    old = script.state()
    lines = [script.lines[0]]
    state = reduce(old, dataclasses.replace(batch_of(lines), restarted=True))
    assert_same(dataclasses.replace(state, restarts=0), state_of(lines))
    assert state.restarts == 1


def test_a_file_that_is_gone_leaves_what_was_known() -> None:
    script = Script()
    script.step(1, 2.0)
    state = reduce(script.state(), EventBatch(missing=True))
    assert state.missing
    assert state.train[TOTAL].length == 1
    state = reduce(state, EventBatch(problem="it cannot be read\x1b[2J"))
    assert (state.missing, state.problem) == (False, "it cannot be read[2J")


def test_strangers_text_is_safe_wherever_it_ends_up() -> None:
    hostile = "\x1b[2J[/]\u202e\u200b" + "x" * 10_000
    script = Script()
    script.start(run=hostile, preset=hostile, device=hostile, dataset={hostile: [hostile]}, ts=hostile)
    script.step(1, 1.0, **{hostile: 1.0, TOTAL: 5.0})
    script.evaluated(1, 1.0, **{hostile: 1.0, TOTAL: 5.0})
    script.add("warning", code=hostile, message=hostile)
    script.add("error", code=hostile, message=hostile)
    script.add("command", command=hostile, state="received")
    script.add("command", command=hostile, state=hostile, reason=hostile)
    times = {f"{name}_ms": 1.0 for name in ("p50", "p95", "p99", "max", "budget")}
    script.add("latency", device=hostile, backbone=hostile, frames=1, missed=0, **times)
    script.add("run_finished", status=hostile, step=1, summary={hostile: hostile}, ts=hostile)
    state = script.state()
    assert state.bad_lines == 0
    text = repr(state)
    assert "\\x1b" not in text
    assert "\\u202e" not in text
    assert "x" * 600 not in text
    assert state.train[TOTAL].y.tolist() == state.validation[TOTAL].y.tolist() == [1.0]
    assert len(state.train) == len(state.validation) == 3


def test_a_file_with_a_new_name_in_every_event_does_not_fill_the_memory() -> None:
    script = Script()
    for step in range(1, 1000):
        script.step(step, 1.0, **{f"name{step}": 1.0})
    state = script.state()
    assert len(state.train) == MAX_CURVES
    assert len(state.frames) == MAX_CURVES
    assert state.train[TOTAL].length == 999


def test_an_event_of_a_newer_exphil_is_counted_and_does_no_harm() -> None:
    script = Script()
    script.add("danced", partner="zelda")
    script.step(1)
    state = script.state()
    assert (state.events, state.unknown, state.bad_lines) == (2, 1, 0)
    assert isinstance(state.step, Step)


def test_a_batch_without_news_keeps_every_value() -> None:
    """So that a screen sees by identity that there is nothing to draw."""
    state = state_of(RECORDED.read_bytes().splitlines())
    again = reduce(state, EventBatch())
    for field in dataclasses.fields(state):
        before, now = getattr(state, field.name), getattr(again, field.name)
        if isinstance(before, Mapping):
            assert all(before[name] is now[name] or before[name] == now[name] for name in before)
        else:
            assert before is now or before == now
