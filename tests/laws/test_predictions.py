"""What is shown of a policy is what `exphil eval` counts of it, for the frame it is for, and what the pilot plays."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exphil_core.config.encoder import EncoderConfig
from exphil_core.config.preset import PolicyConfig, Preset
from exphil_core.dataset.batches import stream_games
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.dataset.store import ColumnStore
from exphil_core.encoding.batch import to_tensors
from exphil_core.encoding.codecs import ControllerTensors
from exphil_core.inference.ego_frames import _batch, build_ego_frames
from exphil_core.inference.offline import describe, predict_replay
from exphil_core.inference.parity import TOLERANCE, max_abs_error
from exphil_core.inference.predictor import Predictor
from exphil_core.inference.runtime import EagerRuntime
from exphil_core.models.policy import Policy, build_policy
from exphil_core.replays.columns import POSITION
from exphil_core.replays.ingest import IngestOptions
from exphil_core.replays.pack import PackedGame, pack_game
from exphil_core.replays.parse import parse_replay
from exphil_core.runs.predictions import PredictionFile
from exphil_core.training.evaluate import Regime, _score

FRAMES = 700
MakePreset = Callable[..., Preset]


@dataclass(frozen=True, kw_only=True)
class Played:
    """The beginning of one game, packed and in a dataset."""

    game: PackedGame
    store: ColumnStore


def beginning(replay: Path, dataset: Path, frames: int) -> Played:
    build_dataset([replay], dataset, workers=1, options=IngestOptions())
    index = DatasetIndex.open(dataset)
    (entry,) = index.games
    packed = pack_game(parse_replay(replay))
    assert entry.content_id == packed.content_id
    return Played(
        game=first_frames(packed, frames),
        store=ColumnStore(replace(index, games=(replace(entry, frames=frames),))),
    )


def first_frames(game: PackedGame, frames: int) -> PackedGame:
    groups = {group: rows[:frames] for group, rows in game.groups.items()}
    return replace(game, frame_id=game.frame_id[:frames], groups=groups)


@pytest.fixture(scope="module")
def real(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Both lose stocks in it, Fox the last one."""
    return beginning(
        replays / "games/fox_vs_gnw_fd_v3.19.1.slp", tmp_path_factory.mktemp("real") / "dataset", 1901
    )


@pytest.fixture(scope="module")
def dojo(dojo_replays: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    replay = sorted(dojo_replays.glob("*.slp"))[0]
    return beginning(replay, tmp_path_factory.mktemp("dojo") / "dataset", FRAMES)


def policy_of(preset: Preset) -> Policy:
    torch.manual_seed(0)
    policy = build_policy(preset).eval()
    with torch.no_grad():
        for component in policy.head.components:
            component.logits.weight.mul_(100)  # as far apart as if they had learned something
    return policy


def predicted(
    preset: Preset, policy: Policy, game: PackedGame, path: Path, *, since: int = 0
) -> PredictionFile:
    predictor = Predictor(policy, weights=1, step=2)
    meta = describe(predictor, preset, game, run="run", since=since)
    return predict_replay(predictor, game, path, meta)


def evaluated(policy: Policy, played: Played, regime: Regime) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the evaluation makes of both sides: nats and likeliest tokens [2, T, K], and which count [2, T]."""
    nll, likeliest, mask, state = [], [], [], None
    egos = [Ego(0, 0), Ego(0, 1)]
    with torch.no_grad():
        for numpy_batch in stream_games(played.store, egos, rows=2, chunk_length=256, horizon=policy.horizon):
            batch = to_tensors(numpy_batch, "cpu")
            targets, scores, state = _score(policy, batch, batch, state, None, regime)
            nll.append(scores.nll_BTK)
            likeliest.append(scores.predicted)
            mask.append(targets.mask_BT)
    frames = played.game.frames
    found = [torch.cat(parts, dim=1)[:, :frames].numpy() for parts in (nll, likeliest, mask)]
    return found[0], found[1], found[2]


def columns(file: PredictionFile, slot: int) -> np.ndarray:
    """All records of a slot, by the frame that was observed."""
    found = [file.record(slot, index) for index in range(file.meta.since, file.frames)]
    assert all(record is not None for record in found)
    return np.array(found, file.layout.dtype)


CASES = [
    ("attention", "clusters", 0),
    ("gru", "clusters", 3),
    ("attention", "axes", 1),
    ("mamba", "clusters", 0),
]


@pytest.mark.parametrize("source", ["real", "dojo"])
@pytest.mark.parametrize(("kind", "codec", "delay"), CASES)
def test_predictions_are_what_the_evaluation_counts(
    source: str,
    kind: str,
    codec: str,
    delay: int,
    tiny: MakePreset,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    played: Played = request.getfixturevalue(source)
    preset = tiny(backbone={"kind": kind}, policy={"codec": codec, "delay": delay})
    policy = policy_of(preset)
    file = predicted(preset, policy, played.game, tmp_path / "predictions")
    regimes: tuple[tuple[Regime, float], ...] = (("stepped", 1e-5), ("carried", 1e-4))
    for regime, tolerance in regimes:
        nll, likeliest, mask = evaluated(policy, played, regime)
        assert 0 < mask.sum() < mask.size
        for slot in (0, 1):
            found = columns(file, slot)
            np.testing.assert_array_equal(np.isfinite(found["nll"]).all(axis=1), mask[slot])
            np.testing.assert_array_equal(np.isnan(found["nll"]).all(axis=1), ~mask[slot])
            np.testing.assert_array_equal((found["human"] >= 0).all(axis=1), mask[slot])
            np.testing.assert_allclose(
                found["nll"][mask[slot]], nll[slot][mask[slot]], rtol=tolerance / 10, atol=tolerance
            )
            same = found["likeliest"] == likeliest[slot]
            assert same.all() if regime == "stepped" else same.mean() > 0.999
            # By the frame it is for, and of the whole controller.
            track = file.nll(slot)
            horizon = policy.horizon
            np.testing.assert_array_equal(track[horizon:], found["nll"][:-horizon])
            joint = np.exp(-found["nll"][:-horizon].sum(axis=1))
            np.testing.assert_allclose(file.human_probability(slot)[horizon:], joint, rtol=1e-5)


GIVEN: dict[str, tuple[dict[str, dict[str, object]], ...]] = {
    "encoder.character_mode": ({"encoder": {"character_mode": "one_hot"}},),
    "encoder.item_slots": ({"encoder": {"item_slots": 0}}, {"encoder": {"item_slots": 2}}),
    "policy.codec": ({"policy": {"codec": "axes"}},),
    "policy.delay": ({"policy": {"delay": 2}},),
    "policy.delay_range": (
        {"policy": {"delay_range": (0, 6), "delay": 4}},
        {"policy": {"delay_range": (1, 6), "delay": 2, "prediction": "interleaved"}},
    ),
    "policy.prediction": ({"policy": {"prediction": "last"}}, {"policy": {"prediction": "interleaved"}}),
}
"""Every setting that changes what a policy is given or asked, and presets that have it."""

SIZES = {
    "encoder.character_width",
    "encoder.action_state_width",
    "encoder.stage_width",
    "encoder.width",
    "encoder.dropout",
    "policy.head_width",
    "policy.head_dropout",
}
"""Settings that only change how large a policy is and how it learns."""


def test_every_setting_of_encoder_and_policy_is_known_to_these_laws() -> None:
    fields = {f"encoder.{name}" for name in EncoderConfig.model_fields}
    fields |= {f"policy.{name}" for name in PolicyConfig.model_fields}
    assert GIVEN.keys() | SIZES == fields, "a new setting belongs to GIVEN, with a preset, or to SIZES"
    assert not GIVEN.keys() & SIZES


@pytest.mark.parametrize("tables", [tables for cases in GIVEN.values() for tables in cases], ids=str)
def test_whatever_a_policy_is_given_it_is_given_in_predictions_and_in_play(
    tables: dict[str, dict[str, object]], tiny: MakePreset, dojo: Played, tmp_path: Path
) -> None:
    preset = tiny(backbone={"kind": "gru"}, **tables)
    policy = policy_of(preset)
    game = first_frames(dojo.game, 200)
    with torch.no_grad():
        nll, mask = forward_once(policy, game)
    file = predicted(preset, policy, game, tmp_path / "predictions")
    for slot in (0, 1):
        counted = mask[slot]
        np.testing.assert_allclose(columns(file, slot)["nll"][counted], nll[slot][counted], atol=1e-4)
    assert max_abs_error(EagerRuntime(policy), policy, game, rows=2, frames=100) < TOLERANCE


def forward_once(policy: Policy, game: PackedGame) -> tuple[np.ndarray, np.ndarray]:
    """Nats [2, T, K] of both sides by the forward pass that training takes, and which frames count."""
    batch = to_tensors(_batch(game, (0, 1), 0, game.frames + policy.longest_horizon, since=0), "cpu")
    told_B = None if policy.delay_range is None else torch.full((2,), policy.delay)
    scores = policy(batch, delay_B=told_B)
    return scores.nll_BTK.numpy(), scores.targets.mask_BT.numpy()


@pytest.mark.parametrize("delay", [0, 3])
def test_what_is_shown_for_a_frame_compares_with_what_the_human_held_in_it(
    delay: int, tiny: MakePreset, real: Played, tmp_path: Path
) -> None:
    preset = tiny(backbone={"kind": "mlp"}, policy={"delay": delay})
    policy = policy_of(preset)
    file = predicted(preset, policy, real.game, tmp_path / "predictions")
    for slot in (0, 1):
        held = tokens_held(policy, real.game, slot)
        changes = compared = 0
        for frame in range(real.game.frames):
            record = file.for_frame(slot, frame)
            if record is None:
                assert frame < 1 + delay
                continue
            assert record["frame_index"] == frame - 1 - delay
            assert record["frame_id"] == real.game.frame_id[frame] - 1 - delay
            if (record["human"] >= 0).all():
                assert record["human"].tolist() == held[frame].tolist(), frame
                compared += 1
                changes += held[frame].tolist() != held[frame - 1].tolist()
        # An array that was shifted by one would be told by every change.
        assert compared > 500
        assert changes > 50


def tokens_held(policy: Policy, game: PackedGame, slot: int) -> np.ndarray:
    """What a player held within each frame, by the game's own columns."""

    def column(name: str) -> torch.Tensor:
        group, index = POSITION[f"p{slot}.{name}"]
        values = game.groups[group][:, index]
        return torch.from_numpy(values.astype(np.int64 if group == "u16" else np.float32))

    return policy.codec.encode(ControllerTensors(*map(column, ControllerTensors._fields))).numpy()


@pytest.mark.parametrize("since", [0, 150])
@pytest.mark.parametrize("kind", ["attention", "gru", "mamba2"])
@torch.inference_mode()
def test_live_frame_by_frame_and_both_sides_offline_say_the_same(
    kind: str, since: int, tiny: MakePreset, real: Played, tmp_path: Path
) -> None:
    preset = tiny(backbone={"kind": kind}, policy={"delay": 1})
    policy = policy_of(preset)
    game = first_frames(real.game, 500)
    file = predicted(preset, policy, game, tmp_path / "predictions", since=since)
    for slot in (0, 1):
        player = Predictor(policy, weights=1, step=2)
        sides = build_ego_frames(game, (slot,), player.codec, horizon=policy.horizon)
        state, live = player.initial_state(1), []
        for t in range(since, game.frames):
            frame = to_tensors(sides.live(t, since=since), "cpu")
            seen, state = player.act(frame, state, player.uniform(sides, t, t + 1)[:, 0])
            live.append(player.records(seen, sides, t, since=since)[0, 0])
            held = seen.controllers(player.codec)
            assert held.main_x[0] == live[-1]["sampled_controller"]["axes"][0]
            assert held.buttons[0] == live[-1]["sampled_controller"]["buttons"]
        pilot, pane = np.array(live), columns(file, slot)
        for name in ("sampled", "likeliest", "human", "sampled_controller", "likely_controller"):
            np.testing.assert_array_equal(pilot[name], pane[name], err_msg=name)
        for name in ("frame_index", "frame_id", "content_id", "slot", "weights", "step", "since"):
            np.testing.assert_array_equal(pilot[name], pane[name], err_msg=name)
        np.testing.assert_allclose(pilot["nll"], pane["nll"], rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(pilot["presses"], pane["presses"], atol=1e-5)
        np.testing.assert_allclose(pilot["probabilities"], pane["probabilities"], atol=1e-3)


def test_a_game_that_is_watched_from_its_middle_is_not_the_one_from_its_beginning(
    tiny: MakePreset, real: Played, tmp_path: Path
) -> None:
    preset = tiny(backbone={"kind": "gru"})
    policy = policy_of(preset)
    game = first_frames(real.game, 300)
    whole = predicted(preset, policy, game, tmp_path / "whole")
    later = predicted(preset, policy, game, tmp_path / "later", since=200)
    assert later.record(0, 199) is None
    one, two = whole.record(0, 200), later.record(0, 200)
    assert one is not None
    assert two is not None
    assert np.abs(one["nll"] - two["nll"]).max() > 1e-3
