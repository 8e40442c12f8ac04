"""What a run is evaluated on without --replays: every game that it holds out, whoever plays there."""

import json
from collections.abc import Callable

import pytest

from exphil_core.cli.main import run
from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import select_egos
from exphil_core.melee import characters
from exphil_core.runs.directory import RunDirectory
from exphil_core.training.split_file import read_split
from exphil_core.worker import work

LINK, ZELDA = (characters.by_name(name).external_id for name in ("link", "zelda"))


def test_a_character_that_was_not_learned_is_judged_on_all_that_is_held_out(
    tiny: Callable[..., Preset],
    new_run: Callable[..., RunDirectory],
    capsys: pytest.CaptureFixture[str],
) -> None:
    learned = new_run(tiny(data={"characters": ["zelda"], "validation_share": 0.4}, train={"max_steps": 2}))
    assert work(learned) == 0
    split = read_split(learned.path)
    assert split is not None
    index = DatasetIndex.open(learned.dataset_path())
    held_out = [number for number, game in enumerate(index.games) if game.content_id in split.validation]
    egos = select_egos(index, held_out, characters=(LINK,))
    assert any(ZELDA not in [side.external_id for side in index.games[ego.game].sides] for ego in egos), (
        "the split has no game of Link without Zelda: another share would"
    )

    capsys.readouterr()
    where = ["--runs-dir", str(learned.path.parent), "--json"]
    assert run(["eval", learned.name, "--character", "link", *where]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["per_character"]["link"]["games"] == len({ego.game for ego in egos})

    assert run(["eval", learned.name, *where]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["loss"] == pytest.approx(_final_loss(learned), abs=1e-6)


def _final_loss(finished: RunDirectory) -> float:
    from exphil_core.runs.events import read_events

    return [event["loss"] for event in read_events(finished.events_path) if event["type"] == "evaluated"][-1]


def test_a_run_is_judged_on_a_character_as_players_write_it(
    tiny: Callable[..., Preset],
    new_run: Callable[..., RunDirectory],
    capsys: pytest.CaptureFixture[str],
) -> None:
    learned = new_run(tiny(data={"validation_share": 0.4}, train={"max_steps": 2}))
    assert work(learned) == 0
    capsys.readouterr()
    where = ["--runs-dir", str(learned.path.parent), "--json"]
    assert run(["eval", learned.name, "--character", "gameandwatch", *where]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert expected["per_character"].keys() == {"gameandwatch"}
    for typed in ("G&W", "Mr GW"):
        assert run(["eval", learned.name, "--character", typed, *where]) == 0
        assert json.loads(capsys.readouterr().out) == expected
    assert run(["eval", learned.name, "--character", "G&M", *where]) == 2
    said = capsys.readouterr().err
    assert "did you mean" in said
    assert "Traceback" not in said
