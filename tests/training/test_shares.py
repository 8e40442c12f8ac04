"""A run says beforehand which characters balance cannot serve, why, and what would help."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.plan import BatchPlan
from exphil_core.dataset.split import select_egos
from exphil_core.dataset.stateful_batches import StatefulBatchPlan
from exphil_core.melee.characters import by_name
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.shares import (
    balance_notices,
    largest_balanced_batch,
    sampling_for,
    shares_drawn,
    wanted_characters,
)
from exphil_core.worker import work
from tests.dataset.faked import faked_index

MakePreset = Callable[..., Preset]

FIVE = ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")
MEWTWO, GANONDORF, LINK, GAME_AND_WATCH, ZELDA, FOX = (by_name(name).external_id for name in (*FIVE, "fox"))


def _data(index: DatasetIndex, *wanted: int) -> Any:
    """Everything to learn from, of these characters alone where some are named."""
    egos = select_egos(index, range(len(index.games)), characters=wanted)
    return SimpleNamespace(train=egos, store=SimpleNamespace(index=index))


def _issue() -> Any:
    """Sixteen games, one of them Zelda's, which has 9.3 % of the frames."""
    whose = [MEWTWO] * 4 + [GANONDORF] * 4 + [LINK] * 4 + [GAME_AND_WATCH] * 3 + [ZELDA]
    lengths = [6000] * 15 + [9228]
    index = faked_index(lengths, [(one, FOX) for one in whose])
    return _data(index, MEWTWO, GANONDORF, LINK, GAME_AND_WATCH, ZELDA)


def _said(preset: Preset, data: Any) -> list[str]:
    return [notice.message for notice in balance_notices(preset, data, sampling_for(preset, data))]


def _balanced(tiny: MakePreset, **train: object) -> Preset:
    return tiny(data={"characters": FIVE}, train={"balance_characters": True, **train})


def test_too_few_games_are_told_with_what_would_help(tiny: MakePreset) -> None:
    data = _issue()
    (said,) = _said(_balanced(tiny, batch_size=16), data)
    assert said == (
        "balance cannot reach every share of the windows that it asks for (zelda 6.2% for 20.0% and gameandwatch "
        "18.8% for 20.0%): a batch has 16 windows and at most one from each of 16 games. What helps: more training "
        "games (3 of zelda and 1 of gameandwatch), or train.batch_size=5 with train.grad_accum_steps=4"
    )
    # What it advises does help.
    assert not _said(_balanced(tiny, batch_size=5, grad_accum_steps=4), data)
    more = [*[(game.sides[0].external_id, FOX) for game in data.store.index.games], *[(ZELDA, FOX)] * 3]
    index = faked_index([6000] * 20, [*more, (GAME_AND_WATCH, FOX)])
    assert not _said(_balanced(tiny, batch_size=16), _data(index, *wanted_characters(_balanced(tiny))))


def test_the_lanes_of_a_step_are_one_batch(tiny: MakePreset) -> None:
    preset = _balanced(tiny, batch_size=8, grad_accum_steps=2, carry_state=True)
    (said,) = _said(preset, _issue())
    assert "a step has 16 windows and at most one from each of 16 games" in said
    assert said.endswith("or train.batch_size=2")
    assert not _said(_balanced(tiny, batch_size=2, grad_accum_steps=2, carry_state=True), _issue())


def test_a_character_that_would_be_repeated_too_often_is_told(tiny: MakePreset) -> None:
    data = _data(faked_index([6000] * 300 + [600] * 2, [(MEWTWO, MEWTWO)] * 300 + [(ZELDA, ZELDA)] * 2))
    (said,) = _said(_balanced(tiny, batch_size=8), data)
    assert "(zelda 0.7% for 50.0%): no character is drawn more than 10 times as often as without" in said
    assert said.endswith("What helps: more games of zelda")


def test_nothing_is_said_where_balance_is_off_or_reaches_what_it_asks(tiny: MakePreset) -> None:
    assert not _said(tiny(data={"characters": FIVE}, train={"batch_size": 16}), _issue())
    assert not _said(_balanced(tiny, batch_size=5), _issue())
    assert not _said(_balanced(tiny, batch_size=64), _issue())


def test_nothing_is_said_of_a_character_that_is_not_wanted(tiny: MakePreset) -> None:
    """Ness has one long game of eight: more than one window in eight would be his by his frames."""
    index = faked_index([60_000] + [6000] * 7, [(by_name("ness").external_id, FOX)] + [(ZELDA, FOX)] * 7)
    preset = _balanced(tiny, batch_size=8)
    shares = sampling_for(preset, _data(index)).shares
    assert shares[by_name("ness").external_id].reachable < 0.5 * shares[by_name("ness").external_id].asked
    assert not [said for said in _said(preset, _data(index)) if "ness" in said]


def test_the_largest_batch_that_balance_can_fill(tiny: MakePreset) -> None:
    assert largest_balanced_batch(_balanced(tiny, batch_size=16), _issue()) == 5
    assert largest_balanced_batch(_balanced(tiny, batch_size=4), _issue()) == 4
    assert largest_balanced_batch(_balanced(tiny, batch_size=256), _issue()) == 256


@pytest.mark.parametrize("streams", [False, True])
def test_drawn_shares_are_counted_in_the_windows_of_the_run(tiny: MakePreset, streams: bool) -> None:
    data = _issue()
    settings: dict[str, Any] = {"seed": 3, "batch_size": 4, "chunk_length": 60, "balance": True}
    kind = StatefulBatchPlan if streams else BatchPlan
    if streams:
        settings["grad_accum_steps"] = 1
    plan = kind(data.train, data.store.index, **settings)
    told = shares_drawn(plan, data, 50)
    games = data.store.index.games
    seen = [games[game].sides[0].character for step in range(50) for game in plan.draw(step).game]
    assert list(told) == list(FIVE)
    assert {name: share["drawn"] for name, share in told.items()} == {
        name: seen.count(name) / len(seen) for name in FIVE
    }


def test_a_run_and_its_dry_run_warn_of_a_share_that_cannot_be_reached(
    tiny: MakePreset, new_run: Callable[..., RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    from exphil_core.cli.probe import dry_run

    # Mewtwo has one game, and so one window of six.
    preset = tiny(
        data={"max_games_per_character": {"mewtwo": 1}},
        train={"max_steps": 1, "batch_size": 6, "balance_characters": True},
    )
    run = new_run(preset)
    assert work(run) == 0
    warned = [event["message"] for event in read_events(run.events_path) if event["type"] == "warning"]
    (said,) = [message for message in warned if message.startswith("balance cannot reach")]
    capsys.readouterr()
    assert dry_run(preset, run.dataset_path(), probe_seconds=None, as_json=False) == 0
    shown = capsys.readouterr()
    assert said in shown.err
    assert "20.0% asked)" in shown.out
