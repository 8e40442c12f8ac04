"""Per-character numbers count every frame for the character that is on the stage in it, whatever was selected."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from exphil_core.cli.data import data_app
from exphil_core.cli.main import run
from exphil_core.config.preset import Preset
from exphil_core.dataset.batches import stream_games
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Split, select_egos
from exphil_core.dataset.stats import dataset_stats
from exphil_core.dataset.store import ColumnStore
from exphil_core.encoding.batch import characters_by_frame, to_tensors
from exphil_core.encoding.players import CharacterEncoding
from exphil_core.melee import characters
from exphil_core.melee.frames import FIRST_FRAME_ID, FIRST_PLAYABLE_FRAME_ID
from exphil_core.models.policy import Policy, build_policy
from exphil_core.replays.game import frames_by_character
from exphil_core.replays.ingest import IngestOptions
from exphil_core.replays.parse import parse_replay
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.baselines import Baselines, fit_baselines
from exphil_core.training.data import TrainingData, open_training_data
from exphil_core.training.evaluate import evaluate
from exphil_core.training.split_file import kept_of
from exphil_core.worker import work
from tests.replays.handmade import Handmade
from tests.replays.slp_events import EventStream, read_finalised

MakePreset = Callable[..., Preset]
ZELDA, SHEIK, FOX = (characters.by_name(name) for name in ("zelda", "sheik", "fox"))
LAST_FRAME_ID = 676
"""Of the handmade games."""

SHEIK_FROM = {"never": 800, "at_first_zelda": 500, "soon_sheik": 200, "always": 0}
"""Name of a handmade game, in which Zelda was selected → the row from which Sheik is there."""

RARE = SHEIK_FROM["soon_sheik"]


def _game(name: str, number: int) -> Handmade:
    def pre(row: int, port_index: int) -> dict[str, Any]:
        draw = random.Random(f"{number} {row // 3} {port_index}")
        return {"main_x": draw.randrange(-80, 81) / 80, "buttons": draw.choice((0, 0, 0x100, 0x400))}

    def post(row: int, port_index: int) -> dict[str, Any]:
        played = FOX if port_index else (SHEIK if row >= SHEIK_FROM[name] else ZELDA)
        return {"percent": row // 100, "internal_id": played.internal_id}

    return Handmade(
        external_ids=(ZELDA.external_id, FOX.external_id),
        internal_ids=(ZELDA.internal_id, FOX.internal_id),
        pre=pre,
        post=post,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two games of each kind."""
    made = tmp_path_factory.mktemp("transforming")
    for number in range(2 * len(SHEIK_FROM)):
        name = list(SHEIK_FROM)[number // 2]
        (made / f"{name}_{number % 2}.slp").write_bytes(_game(name, number).build())
    return made


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("datasets") / "transforming"
    report = build_dataset([folder], out, workers=1, options=IngestOptions())
    zelda = 2 * (800 + 500 + 200)
    assert report.per_character == {
        "zelda": {"games": 6, "frames": zelda},
        "sheik": {"games": 6, "frames": 8 * 800 - zelda},
        "fox": {"games": 8, "frames": 8 * 800},
    }
    return out


def test_a_side_is_the_character_that_it_plays_most(dataset: Path) -> None:
    index = DatasetIndex.open(dataset)
    for game in index.games:
        name = Path(game.source).stem[:-2]
        zelda, sheik = SHEIK_FROM[name], 800 - SHEIK_FROM[name]
        side = game.sides[0]
        assert side.selected_external_id == ZELDA.external_id
        assert side.character == ("zelda" if zelda > sheik else "sheik"), name
        assert side.frames_by_character == {
            external_id: frames
            for external_id, frames in ((ZELDA.external_id, zelda), (SHEIK.external_id, sheik))
            if frames
        }
    egos = select_egos(index, range(len(index.games)), characters=(ZELDA.external_id,))
    assert {Path(index.games[ego.game].source).stem[:-2] for ego in egos} == {"never", "at_first_zelda"}


def test_a_frame_without_a_character_or_with_an_impossible_one_counts_for_the_one_played_most() -> None:
    frames = np.array([7] * 5 + [19] * 3 + [255] * 4 + [1], np.uint8)
    assert frames_by_character(frames, ZELDA.external_id) == {SHEIK.external_id: 10, ZELDA.external_id: 3}
    assert next(iter(frames_by_character(frames, ZELDA.external_id))) == SHEIK.external_id
    nothing = np.full(9, 255, np.uint8)
    assert frames_by_character(nothing, FOX.external_id) == {FOX.external_id: 9}
    evenly = np.array([7, 19], np.uint8)
    for selected in (ZELDA, SHEIK):
        assert next(iter(frames_by_character(evenly, selected.external_id))) == selected.external_id


def test_what_a_dataset_holds_is_counted_by_frame(dataset: Path) -> None:
    found = dataset_stats(dataset).per_character
    assert (found["zelda"].frames, found["sheik"].frames) == (3000, 3400)
    assert (found["zelda"].sides, found["sheik"].sides) == (6, 6)
    assert found["zelda"].usable_frames == 3000


def test_one_replay_says_who_is_played_and_who_was_selected(folder: Path) -> None:
    def checked(name: str, *words: str) -> str:
        result = CliRunner().invoke(data_app, ["check", str(folder / f"{name}_0.slp"), *words])
        assert result.exit_code == 0
        return result.stdout

    side = json.loads(checked("always", "--json"))["sides"][0]
    assert (side["character"], side["selected"]) == ("sheik", "zelda")
    assert side["frames_by_character"] == {"sheik": 800}
    assert "Sheik, selected Zelda" in checked("always")
    assert "Zelda, Sheik on 38%" in checked("at_first_zelda")


def test_batches_say_by_frame_what_the_index_says_by_game(dataset: Path) -> None:
    index = DatasetIndex.open(dataset)
    egos = select_egos(index, range(len(index.games)))
    found: dict[int, Counter[int]] = {}
    for batch in stream_games(ColumnStore(index), egos, rows=3, chunk_length=100, horizon=1):
        tensors = to_tensors(batch, "cpu")
        ids = characters_by_frame(tensors.columns, tensors.external_id)[:, :100].numpy()
        for row, game in enumerate(batch.game.tolist()):
            counts = found.setdefault(2 * game + int(batch.ego_slot[row]), Counter())
            counts.update(ids[row][batch.valid[row, :100]].tolist())
    for ego in egos:
        assert found[2 * ego.game + ego.slot] == index.games[ego.game].sides[ego.slot].frames_by_character


def _policy(preset: Preset) -> tuple[Policy, Baselines]:
    torch.manual_seed(0)
    policy = build_policy(preset)
    some = torch.zeros(10, len(policy.codec.components), dtype=torch.int64)
    return policy, fit_baselines(policy.codec, [(some, some)])


def test_an_evaluation_counts_by_frame(tiny: MakePreset, dataset: Path) -> None:
    index = DatasetIndex.open(dataset)
    egos = select_egos(index, range(len(index.games)), characters=(ZELDA.external_id,))
    policy, baselines = _policy(tiny(backbone={"kind": "mlp"}))

    def evaluated(egos: tuple[Any, ...]) -> Any:
        found = evaluate(
            policy, ColumnStore(index), egos, baselines, rows=2, device=torch.device("cpu"), regime="carried"
        )
        assert sum(result.frames for result in found.per_character.values()) == found.frames
        total = sum(result.loss * result.frames for result in found.per_character.values())
        assert total / found.frames == pytest.approx(found.loss, rel=1e-9)
        return found

    # Row 83 is the first whose controller of the next frame counts; the last row has no next one.
    first = FIRST_PLAYABLE_FRAME_ID - FIRST_FRAME_ID - 1
    found = evaluated(egos).per_character
    assert {name: (result.frames, result.games) for name, result in found.items()} == {
        "zelda": (2 * (799 - first) + 2 * (500 - first), 4),
        "sheik": (2 * (799 - 500), 2),
    }
    one = next(ego for ego in egos if "at_first_zelda" in index.games[ego.game].source)
    alone = evaluated((one,)).per_character
    assert alone["zelda"].loss != pytest.approx(alone["sheik"].loss, rel=1e-6)


def test_a_run_counts_by_frame(tiny: MakePreset, dataset: Path, new_run: Callable[..., RunDirectory]) -> None:
    preset = tiny(
        backbone={"kind": "mlp"},
        train={"max_steps": 12, "batch_size": 4},
        data={"characters": ["zelda"], "validation_share": 0.3},
    )
    run_directory = new_run(preset, dataset=dataset)
    assert work(run_directory) == 0
    events = list(read_events(run_directory.events_path))
    said = next(event for event in events if event["type"] == "run_started")["dataset"]["per_character"]
    data = open_training_data(preset, dataset)
    for prefix, egos in (("", data.train), ("validation_", data.validation)):
        sides = [data.store.index.games[ego.game].sides[ego.slot] for ego in egos]
        for character in (ZELDA, SHEIK, FOX):
            frames = sum(side.frames_by_character.get(character.external_id, 0) for side in sides)
            assert said.get(character.name, {}).get(f"{prefix}frames", 0) == frames, (prefix, character.name)
    steps = [event for event in events if event["type"] == "step"]
    drawn = Counter[str]()
    for event in steps:
        for name, entry in event["per_character"].items():
            drawn[name] += entry["frames"]
        frames = sum(entry["frames"] for entry in event["per_character"].values())
        total = sum(entry["loss"] * entry["frames"] for entry in event["per_character"].values())
        assert total / frames == pytest.approx(event["loss"], rel=1e-6)
    # Every side that is drawn is mostly Zelda.
    assert drawn["zelda"] > drawn["sheik"] > 0


def test_predictions_are_counted_as_eval_counts_them(
    tiny: MakePreset,
    dataset: Path,
    folder: Path,
    new_run: Callable[..., RunDirectory],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = new_run(tiny(train={"max_steps": 2}, policy={"delay": 1}), dataset=dataset)
    assert work(made) == 0
    replay, runs = str(folder / "soon_sheik_0.slp"), str(made.path.parent)
    capsys.readouterr()
    assert run(["predict", "run", replay, "--runs-dir", runs, "--threads", "1", "--json"]) == 0
    sides = json.loads(capsys.readouterr().out)["sides"]
    assert run(["eval", "run", "--runs-dir", runs, "--replays", replay, "--device", "cpu", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)["per_character"]
    assert sides[0]["character"] == "sheik"
    predicted = sides[0]["per_character"] | sides[1]["per_character"]
    assert set(predicted) == set(evaluated) == {"zelda", "sheik", "fox"}
    for name, entry in predicted.items():
        assert entry["frames"] == evaluated[name]["frames"]
        assert entry["loss"] == pytest.approx(evaluated[name]["loss"], abs=1e-5)


def test_the_encoding_is_told_the_character_of_the_frame(tiny: MakePreset, dataset: Path) -> None:
    """Neither the selection nor the side's main character reaches the model: the frame's own id does."""
    index = DatasetIndex.open(dataset)
    number = next(n for n, game in enumerate(index.games) if "soon_sheik_0" in game.source)
    ego = select_egos(index, [number], characters=(SHEIK.external_id,))
    [batch] = stream_games(ColumnStore(index), ego, rows=1, chunk_length=800, horizon=1)
    policy, _ = _policy(tiny())
    [encoding] = [module for module in policy.modules() if isinstance(module, CharacterEncoding)]
    seen: list[torch.Tensor] = []
    encoding.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    tensors = to_tensors(batch, "cpu")
    with torch.no_grad():
        policy(tensors, None)
        without = policy(replace(tensors, external_id=torch.zeros_like(tensors.external_id)), None)
        with_it = policy(tensors, None)
    ego_ids = torch.cat([ids[..., 0].flatten() for ids in seen[:1]])[:800]
    expected = [ZELDA.internal_id] * RARE + [SHEIK.internal_id] * (800 - RARE)
    assert ego_ids.tolist() == expected
    assert torch.equal(with_it.nll_BTK, without.nll_BTK)


# Real replays, against their raw events.


def _raw(path: Path) -> dict[int, list[int]]:
    """Port index → internal ids by frame, the last occurrence of each."""
    found = read_finalised(EventStream.of(path.read_bytes()))
    return {
        port_index: fields["internal_id"].tolist()
        for (port_index, follower), (_, fields) in found.players.items()
        if not follower
    }


@pytest.fixture(scope="module")
def real(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    out = tmp_path_factory.mktemp("real") / "dataset"
    build_dataset([replays], out, workers=2, options=IngestOptions())
    return DatasetIndex.open(out)


def _counted(internal_ids: list[int]) -> dict[int, int]:
    counts = Counter(characters.by_internal_id(found).external_id for found in internal_ids)
    return dict(counts)


def test_the_index_counts_what_the_raw_events_of_every_real_game_say(real: DatasetIndex) -> None:
    transforming = 0
    for game in real.games:
        if game.salvaged:  # cut to its last complete frame, which raw events know nothing of
            continue
        raw = _raw(Path(game.source))
        for side in game.sides:
            counts = _counted(raw[side.port_index])
            assert side.frames_by_character == counts, game.source
            assert side.external_id == max(counts, key=lambda external_id: counts[external_id])
            transforming += side.external_id != side.selected_external_id
    assert transforming, "no game in which another character is played than was selected"


def test_a_game_that_transforms_is_counted_as_its_raw_events_are(replays: Path) -> None:
    """The one that no dataset takes, as nobody takes damage."""
    path = replays / "games" / "falcon_vs_zelda_bf_v1.7.1.slp"
    game, raw = parse_replay(path), _raw(path)
    assert [player.played for player in game.players] == [_counted(raw[p.port_index]) for p in game.players]
    assert len(game.players[1].played) == 2


def test_runs_and_evaluations_count_what_the_raw_events_of_every_real_game_say(
    real: DatasetIndex, tiny: MakePreset
) -> None:
    numbers = [number for number, game in enumerate(real.games) if not game.salvaged]
    egos = select_egos(real, numbers, include_cpu=True, include_idle=True)
    played: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    for ego in egos:
        source = Path(real.games[ego.game].source)
        stream = read_finalised(EventStream.of(source.read_bytes()))
        frame_ids, fields = stream.players[real.games[ego.game].sides[ego.slot].port_index, False]
        names = [characters.by_internal_id(found).name for found in fields["internal_id"].tolist()]
        played.update(names)
        # A prediction is made in one frame for the controller of the next.
        counts = (np.array(frame_ids) + 1 >= FIRST_PLAYABLE_FRAME_ID) & (fields["stocks"] > 0)
        predicted.update(name for name, counted in zip(names[:-1], counts[:-1], strict=True) if counted)
    store = ColumnStore(real)
    data = TrainingData(
        store=store,
        train=egos,
        validation=(),
        split=kept_of(real, Split(train=tuple(numbers), validation=())),
        wanted_frames=sum(real.games[ego.game].frames for ego in egos),
        all_characters=True,
    )
    assert {name: entry["frames"] for name, entry in data.per_character().items()} == played
    policy, baselines = _policy(tiny(backbone={"kind": "mlp"}))
    found = evaluate(policy, store, egos, baselines, rows=16, device=torch.device("cpu"), regime="carried")
    assert {name: result.frames for name, result in found.per_character.items()} == predicted
    assert predicted["sheik"] > predicted["zelda"] > 0
