"""A whole replay is predicted to its end or not at all, and its file grows while it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exphil_core.inference.offline import describe, predict_replay
from exphil_core.inference.predictor import Predictor
from exphil_core.melee import characters
from exphil_core.replays.pack import PackedGame
from exphil_core.runs.predictions import PredictionFile, partial_of
from tests.inference.conftest import MakePolicy


@pytest.fixture
def short(game: PackedGame) -> PackedGame:
    groups = {group: rows[:200] for group, rows in game.groups.items()}
    return replace(game, frame_id=game.frame_id[:200], groups=groups)


def test_the_file_grows_by_stretches_of_a_quarter_second(
    make_policy: MakePolicy, short: PackedGame, tmp_path: Path
) -> None:
    policy, preset = make_policy("gru")
    predictor, path = Predictor(policy, weights=1, step=2), tmp_path / "p"
    now, seen = 0.0, []

    def clock() -> float:
        # Two readings a stretch, and of every stretch a tenth of a second goes by.
        nonlocal now
        now += 0.05
        return now

    def progress(done: int) -> None:
        reader = PredictionFile.find(path)
        assert reader is not None
        assert reader.done(0) == reader.done(1) == done
        assert reader.record(1, done - 1) is not None
        assert reader.record(1, done) is None
        seen.append(done)

    meta = describe(predictor, preset, short, run="r")
    file = predict_replay(predictor, short, path, meta, progress=progress, clock=clock)
    assert seen == [8, 48, 112, 176, 200]
    assert file.done(0) == PredictionFile.open(path).done(1) == 200


def test_a_slow_policy_goes_on_frame_by_frame(
    make_policy: MakePolicy, short: PackedGame, tmp_path: Path
) -> None:
    policy, preset = make_policy("gru")
    predictor = Predictor(policy, weights=1, step=2)
    meta = describe(predictor, preset, short, run="r")
    seen: list[int] = []
    times = iter(range(0, 10_000, 10))
    predict_replay(
        predictor, short, tmp_path / "p", meta, progress=seen.append, clock=lambda: float(next(times))
    )
    assert seen == [8, *range(9, 201)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_given_up_leaves_nothing(
    error: type[BaseException], make_policy: MakePolicy, short: PackedGame, tmp_path: Path
) -> None:
    policy, preset = make_policy("gru")
    predictor = Predictor(policy, weights=1, step=2)
    path = tmp_path / "p"

    def progress(done: int) -> None:
        assert partial_of(path).exists()
        if done > 50:
            raise error

    with pytest.raises(error):
        predict_replay(predictor, short, path, describe(predictor, preset, short, run="r"), progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_one_side_says_the_same_alone(make_policy: MakePolicy, short: PackedGame, tmp_path: Path) -> None:
    policy, preset = make_policy("attention")
    predictor = Predictor(policy, weights=1, step=2)
    both = predict_replay(predictor, short, tmp_path / "both", describe(predictor, preset, short, run="r"))
    one = predict_replay(
        predictor, short, tmp_path / "one", describe(predictor, preset, short, run="r", slots=(1,))
    )
    assert one.slots == (1,)
    np.testing.assert_allclose(one.nll(1), both.nll(1), atol=1e-5)
    assert one.record(0, 100) is None


def test_the_file_says_what_it_is_of_and_whom_the_policy_knows(
    make_policy: MakePolicy, short: PackedGame
) -> None:
    policy, preset = make_policy("gru")
    predictor = Predictor(policy, weights=123, step=456)
    meta = describe(predictor, preset, short, run="r", since=3)
    assert (meta.content_id, meta.frames, meta.since) == (short.content_id, 200, 3)
    assert (meta.run, meta.step, meta.weights, meta.backbone, meta.window_size) == ("r", 456, 123, "gru", 90)
    assert [side.port for side in meta.sides] == [side.port_index + 1 for side in short.sides]
    assert all(side.known for side in meta.sides)
    for name in ("mewtwo", "puff"):
        picky = preset.model_copy(update={"data": preset.data.model_copy(update={"characters": (name,)})})
        known = characters.by_name(name).external_id
        sides = describe(predictor, picky, short, run="r").sides
        assert [side.known for side in sides] == [side.external_id == known for side in sides]
