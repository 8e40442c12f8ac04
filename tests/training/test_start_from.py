"""A run that begins where another ended, on few games of a character: what it takes over and what it learns from."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from exphil_core.config.preset import Preset
from exphil_core.melee.characters import by_external_id
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.data import TrainingData, open_training_data
from exphil_core.worker import work

MakePreset = Callable[..., Preset]
NewRun = Callable[..., RunDirectory]


def _best(run: RunDirectory) -> Path:
    step = run.best_step()
    assert step is not None
    return run.step_directory(step)


def _first_loss(run: RunDirectory) -> float:
    return next(event["loss"] for event in read_events(run.events_path) if event["type"] == "step")


@pytest.mark.usefixtures("from_nothing")
def test_a_run_begins_with_the_weights_of_another(tiny: MakePreset, new_run: NewRun) -> None:
    teacher = new_run(tiny(train={"max_steps": 80, "lr": 3e-3, "ema_decay": 0.9}), "teacher")
    assert work(teacher) == 0
    settings = {"max_steps": 1, "lr": 1e-9, "ema_decay": 0.0, "warmup_steps": 0}
    afresh, after = (
        new_run(tiny(train=settings), "afresh"),
        new_run(tiny(train={**settings, "init_from": str(_best(teacher))}), "after"),
    )
    assert work(afresh) == work(after) == 0
    assert _first_loss(after) < 0.8 * _first_loss(afresh)
    taught, kept = (load_file(_best(run) / "model.safetensors") for run in (teacher, after))
    for name, tensor in taught.items():
        assert (tensor - kept[name]).abs().max() < 1e-6


def test_a_resumed_run_goes_on_from_its_own_checkpoint(tiny: MakePreset, new_run: NewRun) -> None:
    teacher = new_run(tiny(train={"max_steps": 3}), "teacher")
    assert work(teacher) == 0
    run = new_run(tiny(train={"max_steps": 5, "init_from": str(_best(teacher))}), "after")
    assert work(run) == 0
    for part in _best(teacher).iterdir():
        part.unlink()
    assert work(run) == 0


def test_a_run_that_has_said_that_it_is_done_is_left_alone_where_that_is_asked(
    tiny: MakePreset, new_run: NewRun
) -> None:
    run = new_run(tiny(train={"max_steps": 1}))
    assert work(run, unless_done=True) == 0
    told = run.events_path.read_bytes()
    assert work(run, unless_done=True) == 0
    assert run.events_path.read_bytes() == told
    # Killed before its last word, it has still to say it.
    run.events_path.write_bytes(b"".join(told.splitlines(keepends=True)[:-1]))
    assert work(run, unless_done=True) == 0
    assert [event["type"] for event in read_events(run.events_path)].count("run_finished") == 1


def test_a_policy_of_another_size_is_refused_with_what_differs(
    tiny: MakePreset, new_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = new_run(tiny(train={"max_steps": 1}), "teacher")
    assert work(teacher) == 0
    other = tiny(backbone={"kind": "gru"}, train={"max_steps": 1, "init_from": str(_best(teacher))})
    assert work(new_run(other, "other")) == 5
    said = capsys.readouterr().err
    assert "train.init_from" in said
    assert "not of this preset's size" in said


def _games(data: TrainingData) -> dict[str, set[int]]:
    """By character, those that are learned from."""
    found: dict[str, set[int]] = {}
    for ego in data.train:
        side = data.store.index.games[ego.game].sides[ego.slot]
        found.setdefault(by_external_id(side.external_id).name, set()).add(ego.game)
    return found


def test_more_games_are_the_same_games_and_others(tiny: MakePreset, dojo_dataset: Path) -> None:
    one, two, every = (
        _games(open_training_data(tiny(data={"max_games_per_character": most}), dojo_dataset))
        for most in (1, 2, None)
    )
    assert one.keys() == two.keys() == every.keys()
    assert {len(mine) for mine in one.values()} == {1}
    for character, mine in one.items():
        assert mine <= two[character] <= every[character]
        assert len(two[character]) == min(2, len(every[character]))


def test_games_are_few_of_the_characters_that_are_named_and_of_no_other(
    tiny: MakePreset, dojo_dataset: Path
) -> None:
    every, few = (
        open_training_data(tiny(data={"max_games_per_character": most}), dojo_dataset)
        for most in (None, {"mewtwo": 1, "link": 2})
    )
    all_games, few_games = _games(every), _games(few)
    assert (len(few_games["mewtwo"]), len(few_games["link"])) == (1, 2)
    for name, games in all_games.items():
        assert few_games[name] < games if name in ("mewtwo", "link") else few_games[name] == games
    assert few.validation == every.validation


def test_a_game_of_a_character_against_itself_is_one_game(tiny: MakePreset, dojo_dataset: Path) -> None:
    data = open_training_data(tiny(), dojo_dataset)
    games = _games(data)
    ditto = [
        game for mine in games.values() for game in mine if sum(ego.game == game for ego in data.train) > 1
    ]
    assert any(sum(game in mine for mine in games.values()) == 1 for game in ditto)
    assert {name: entry["games"] for name, entry in data.per_character().items() if entry["games"]} == {
        name: len(mine) for name, mine in games.items()
    }


def test_a_limit_of_a_character_that_nobody_plays_is_told(tiny: MakePreset, dojo_dataset: Path) -> None:
    data = open_training_data(tiny(data={"max_games_per_character": {"pichu": 1, "link": 1}}), dojo_dataset)
    (notice,) = data.warnings
    assert notice.message.startswith("pichu: data.max_games_per_character limits it, but no game")


def test_what_is_held_out_does_not_depend_on_how_many_are_learned_from(
    tiny: MakePreset, dojo_dataset: Path
) -> None:
    few, all_of_them = (
        open_training_data(tiny(data={"max_games_per_character": most}), dojo_dataset) for most in (1, None)
    )
    assert few.validation == all_of_them.validation
