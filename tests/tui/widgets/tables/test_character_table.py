"""What the table of characters says of a run."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from exphil_core.runs.records import decode
from exphil_tui.model.event_batch import EventBatch
from exphil_tui.model.run_state import TOTAL, RunState, reduce
from exphil_tui.theme.glyphs import ASCII, UNICODE
from exphil_tui.theme.palette import series_styles
from exphil_tui.widgets.tables.character_table import (
    CharacterRow,
    CharacterTable,
    best_baseline,
    character_names,
    character_rows,
    title_of,
)
from exphil_tui.widgets.tables.loss_table import changed
from exphil_tui.widgets.text_panel import plain

from ...conftest import events_of


def state_of(events: Iterable[dict[str, Any]]) -> RunState:
    records = [decode(msgspec.json.encode(event)) for event in events]
    return reduce(RunState(), EventBatch(records=[record for record in records if record is not None]))


@pytest.fixture
def running(recorded: tuple[dict[str, Any], ...]) -> RunState:
    return state_of(events_of("running", recorded))


def rows_of(state: RunState, *, validation: bool) -> dict[str, CharacterRow]:
    shown = series_styles((*character_names(state), TOTAL))
    return {row.name: row for row in character_rows(state, shown, validation=validation)}


def test_the_low_tier_comes_first_and_all_of_them_last(running: RunState) -> None:
    names = list(rows_of(running, validation=True))
    assert names == ["mewtwo", "ganondorf", "link", "gameandwatch", "zelda", TOTAL]


def test_the_validation_s_change_is_since_the_validation_before(running: RunState) -> None:
    row = rows_of(running, validation=True)["mewtwo"]
    new, old = running.evaluated, running.previous_evaluated
    assert new is not None
    assert old is not None
    assert row.loss == new.per_character["mewtwo"].loss
    assert row.change == pytest.approx(row.loss - (old.per_character["mewtwo"].loss or 0))


def test_the_training_s_change_is_since_the_newest_validation(running: RunState) -> None:
    row = rows_of(running, validation=False)["mewtwo"]
    series = running.train["mewtwo"]
    assert running.evaluated is not None
    then = max(i for i, x in enumerate(series.x) if x <= running.evaluated.step)
    assert row.loss == series.smooth[-1]
    assert row.change == pytest.approx(series.smooth[-1] - series.smooth[then])


def test_shares_of_frames_add_up(running: RunState) -> None:
    rows = rows_of(running, validation=False)
    assert sum(row.share or 0 for name, row in rows.items() if name != TOTAL) == pytest.approx(1)
    assert rows[TOTAL].share == 1


def test_the_floor_of_all_lies_between_those_of_each(running: RunState) -> None:
    rows = rows_of(running, validation=True)
    floors = [row.floor for name, row in rows.items() if name != TOTAL and row.floor is not None]
    total = rows[TOTAL]
    assert len(floors) == 5
    assert total.floor is not None
    assert min(floors) < total.floor < max(floors)
    best = best_baseline(total.baselines)
    assert best is not None
    assert total.closed == pytest.approx((best[1] - (total.loss or 0)) / (best[1] - total.floor))


def test_a_floor_that_one_lacks_is_not_made_up_for_all(recorded: tuple[dict[str, Any], ...]) -> None:
    events = events_of("running", recorded)
    for event in events:
        if event["type"] == "evaluated":
            per_character = {key: dict(value) for key, value in event["per_character"].items()}
            del per_character["link"]["floor"]
            event["per_character"] = per_character
    rows = rows_of(state_of(events), validation=True)
    assert rows["mewtwo"].floor is not None
    assert rows["link"].floor is None
    assert rows[TOTAL].floor is None
    assert rows[TOTAL].closed is None


def test_one_character_alone_has_no_row_for_all(recorded: tuple[dict[str, Any], ...]) -> None:
    events = []
    for event in events_of("running", recorded):
        event = dict(event)
        if "per_character" in event:
            event["per_character"] = {k: v for k, v in event["per_character"].items() if k == "link"}
        if event["type"] == "run_started":
            event["dataset"] = {**event["dataset"], "per_character": {"link": {}}}
        events.append(event)
    assert list(rows_of(state_of(events), validation=True)) == ["link"]


def test_a_planned_character_is_listed_before_it_was_seen(recorded: tuple[dict[str, Any], ...]) -> None:
    state = state_of(events_of("running", recorded)[:1])
    assert "mewtwo" in rows_of(state, validation=False)
    assert rows_of(state, validation=False)["mewtwo"].loss is None


@pytest.mark.parametrize(
    ("difference", "text", "look"),
    [
        (None, "–", "dim"),
        (-0.025, "▼ 0.025", "good"),
        (0.025, "▲ 0.025", "warn"),
        (-0.0004, "= 0.000", "dim"),
        (-12.34, "▼ 12.3", "good"),
    ],
)
def test_a_falling_loss_is_good_and_an_arrow(difference: float | None, text: str, look: str) -> None:
    assert changed(difference, UNICODE) == (text, look)


def test_the_baseline_that_is_hardest_to_beat_counts() -> None:
    assert best_baseline((2.3, 0.81, 0.80)) == ("markov", 0.80)
    assert best_baseline((2.3, 0.79, None)) == ("repeat", 0.79)
    assert best_baseline((None, None, None)) is None


def test_a_stranger_s_name_is_made_safe() -> None:
    assert title_of("mewtwo") == "Mewtwo"
    assert title_of("\x1b[2Jevil") == "[2Jevil"
    assert title_of("\u202e") == "?"


@pytest.mark.parametrize("width", range(58, 140))
def test_every_row_fits_and_figures_stand_below_each_other(width: int, running: RunState) -> None:
    table = CharacterTable()
    table._rows = tuple(rows_of(running, validation=True).values())
    table._validation = True
    picture = table.picture(width, UNICODE)
    lines = plain([*picture.head, *picture.lines]).splitlines()
    assert max(map(len, lines)) <= width
    # Nothing but blanks stands right of a heading's last letter and left of the next column.
    end = lines[0].index("valid") + len("valid")
    assert all(line[end - 1] != " " and line[end] == " " for line in lines[1:])
    assert "Mr. Game & Watch" in lines[4]


def test_what_matters_least_goes_first(running: RunState) -> None:
    table = CharacterTable()
    table._rows = tuple(rows_of(running, validation=True).values())
    wide, small = (plain(table.picture(width, UNICODE).head) for width in (80, 58))
    assert wide.split() == [
        "character",
        "train",
        "change",
        "marginal",
        "repeat",
        "markov",
        "floor",
        "gap",
        "closed",
        "frames",
    ]
    assert small.split() == ["character", "train", "change", "baseline", "closed"]


def test_in_ascii_every_letter_is(running: RunState) -> None:
    table = CharacterTable()
    table._rows = tuple(rows_of(running, validation=True).values())
    assert plain(table.picture(80, ASCII).lines).isascii()
