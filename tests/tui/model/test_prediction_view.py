"""What is read out of a record of predictions, and that it is the record for the frame that is shown."""

from pathlib import Path

import numpy as np
import pytest

from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.replays.game import Game
from exphil_core.replays.parse import parse_replay
from exphil_core.runs.predictions import PredictionFile
from exphil_tui.model.prediction_view import (
    agreement_of_last_second,
    disagreements,
    onsets,
    prediction_view,
)
from tests.tui import predicted


@pytest.fixture(scope="module")
def game(dojo_replays: Path) -> Game:
    return parse_replay(str(sorted(dojo_replays.glob("*.slp"))[0]))


@pytest.fixture(scope="module")
def file(game: Game, tmp_path_factory: pytest.TempPathFactory) -> PredictionFile:
    path = tmp_path_factory.mktemp("predictions") / "game.predictions"
    predicted.write(path, game)
    return PredictionFile.open(path, content_id=game.content_id)


def test_beside_a_frame_stands_what_was_said_of_it_and_not_what_was_said_in_it(
    file: PredictionFile, game: Game
) -> None:
    for frame in (3, 400, 1234, game.frames - 1):
        record = file.for_frame(0, frame)
        assert record is not None
        found = prediction_view(record, file.layout)
        assert found.observed == frame - predicted.HORIZON
        held = int(game.players[0].leader["buttons"][frame])
        human = found.components[1].human
        assert human is not None
        assert (human.label == "none") == (not any(held & BUTTON_BITS[name] for name in "ABXL"))


def test_the_loss_of_a_frame_is_minus_the_logarithm_of_the_probability_of_what_the_human_did(
    file: PredictionFile,
) -> None:
    for frame in range(100, 200):
        record = file.for_frame(0, frame)
        assert record is not None
        found = prediction_view(record, file.layout)
        total = 0.0
        for part in found.components:
            assert part.human is not None
            assert part.nats == pytest.approx(-np.log(part.human.probability), abs=2e-3)
            total += part.nats
            assert part.options[0] == part.likeliest
            assert [option.probability for option in part.options] == sorted(
                (option.probability for option in part.options), reverse=True
            )
        assert found.nats == pytest.approx(total, abs=1e-5)
        assert float(file.human_probability(0)[frame]) == pytest.approx(np.exp(-total), rel=1e-4)


def test_a_component_agrees_where_the_likeliest_is_what_the_human_did(file: PredictionFile) -> None:
    share = file.agreement(0)
    for frame in range(100, 300):
        record = file.for_frame(0, frame)
        assert record is not None
        parts = prediction_view(record, file.layout).components
        assert share[frame] == np.mean([part.agrees is True for part in parts])
        for part in parts:
            assert part.human is not None
            assert part.agrees == (part.human.label == part.likeliest.label)


def test_where_no_human_input_counts_nothing_is_said_of_agreement_or_loss(
    file: PredictionFile, game: Game
) -> None:
    record = file.record(0, game.frames - 1)
    assert record is not None
    found = prediction_view(record, file.layout)
    assert found.nats is None
    assert all((part.human, part.nats, part.agrees) == (None, None, None) for part in found.components)


def test_nothing_held_has_a_word_and_not_the_dash_of_what_is_unknown(file: PredictionFile) -> None:
    labels = set()
    for frame in range(50, 400):
        record = file.for_frame(0, frame)
        assert record is not None
        labels |= {
            option.label
            for part in prediction_view(record, file.layout).components
            for option in part.options
        }
    assert "neutral" in labels
    assert "none" in labels
    assert "–" not in labels


def test_agreement_is_over_the_frames_of_the_last_second_that_are_known() -> None:
    agreement = np.full(200, np.nan, np.float32)
    assert agreement_of_last_second(agreement, 100) is None
    agreement[90:101] = 1
    agreement[100] = 0.5
    assert agreement_of_last_second(agreement, 100) == pytest.approx(10 / 11)
    agreement[:] = 1
    agreement[40] = 0
    assert agreement_of_last_second(agreement, 99) == pytest.approx(59 / 60)
    assert agreement_of_last_second(agreement, 100) == 1


def test_a_stretch_of_disagreement_is_gone_to_once() -> None:
    agreement = np.array([np.nan, 1, 0.5, 0, 1, 0.5, np.nan, 0.5, 1], np.float32)
    frames = disagreements(agreement)
    assert frames.tolist() == [2, 3, 5, 7]
    assert onsets(frames).tolist() == [2, 5, 7]
    assert onsets(frames[:0]).tolist() == []
