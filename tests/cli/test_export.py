"""`exphil export` as people and scripts call it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.cli.main import run
from exphil_core.config.preset import Preset
from exphil_core.inference.export import read_weights
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.runs.directory import RunDirectory
from exphil_core.worker import work


@pytest.fixture
def runs(new_run: Callable[..., RunDirectory], tiny: Callable[..., Preset]) -> Path:
    """A folder with a run that has taken two steps."""
    made = new_run(tiny(train={"max_steps": 2}))
    assert work(made) == 0
    return made.path.parent


def export(runs: Path, out: Path, *arguments: str) -> int:
    return run(["export", "run", "--runs-dir", str(runs), "--out", str(out), *arguments])


def test_both_formats_are_written_with_their_error_and_play_alone(
    runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    weights, graph = tmp_path / "policy.safetensors", tmp_path / "policy.onnx"
    assert export(runs, weights, "--format", "safetensors") == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert "run at step 2, safetensors fp32" in said.out
    assert "largest error against the checkpoint's forward pass" in said.out
    assert read_weights(weights)[0].preset.name == "tiny"

    assert export(runs, graph, "--format", "onnx", "--rows", "2", "--json") == 0
    said = capfd.readouterr()
    assert said.err == ""
    found = json.loads(said.out)
    assert found["format"] == "onnx"
    assert (found["precision"], found["rows"], found["step"]) == ("fp32", 2, 2)
    assert found["max_abs_error"] < 1e-4
    assert OnnxRuntime(graph, threads=1).header.rows == 2


def test_a_checkpoint_directory_is_taken_as_eval_takes_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = next((runs / "run").glob("step-*"))
    out = tmp_path / "policy.safetensors"
    assert run(["export", str(step), "--format", "safetensors", "--out", str(out)]) == 0
    assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--format", "pickle"], 2, "--format pickle: expected safetensors or onnx"),
        (["--format", "safetensors", "--int8"], 2, "--int8 is for --format onnx"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str],
    code: int,
    words: str,
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(runs, tmp_path / "out", *arguments) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path, tmp_path / "out", "--format", "onnx") == 2
    assert "run" in capsys.readouterr().err
