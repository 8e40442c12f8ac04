"""What TensorBoard is shown of a run, and what happens where it is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from exphil_core.cli import tensorboard
from exphil_core.cli.main import run
from exphil_core.cli.tensorboard import TensorBoardSink, scalars, tensorboard_sink

STEP = {
    "type": "step",
    "step": 7,
    "loss": 1.5,
    "lr": 1e-3,
    "grad_norm": 0.5,
    "frames_per_s": 10.0,
    "data_wait": 0.0,
    "heads": {"main": 1.0},
    "per_character": {"zelda": {"loss": 2.0, "frames": 3}},
}


def test_every_number_of_a_step_gets_a_tag() -> None:
    found = scalars(STEP)
    assert found["train/loss"] == 1.5
    assert found["train/data_wait"] == 0.0
    assert found["train_head/main"] == 1.0
    assert found["train_character/zelda"] == 2.0


def test_events_without_numbers_and_the_repeated_last_evaluation_are_left_out() -> None:
    assert scalars({"type": "checkpoint_saved", "step": 1}) == {}
    assert scalars({"type": "evaluated", "best": True, "step": 1}) == {}


def test_each_number_is_written_at_its_step() -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written.append((tag, value, step))

    TensorBoardSink(Writer())(STEP)
    assert ("train/loss", 1.5, 7) in written
    assert len(written) == len(scalars(STEP))


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="the extra 'tensorboard' is not installed")
def test_the_files_are_where_the_sink_was_told(tmp_path: Path) -> None:
    with tensorboard_sink(tmp_path) as sink:
        sink(STEP)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_without_the_extra_there_is_a_sentence_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    assert (
        run(["train", "--headless", "--tensorboard", "--runs-dir", str(tmp_path), "--replays", "demo"]) == 2
    )
    assert "exphil[tensorboard]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
