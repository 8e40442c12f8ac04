"""An exported file plays what the policy plays, or it is not there."""

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from exphil_core.errors import CheckpointError, UsageError
from exphil_core.inference import export as export_module
from exphil_core.inference.export import export_policy, read_weights
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.inference.parity import TOLERANCE, max_abs_error
from exphil_core.replays.pack import PackedGame

from .conftest import MakePolicy


def test_weights_come_back_as_they_were_with_their_preset(make_policy: MakePolicy, tmp_path: Path) -> None:
    policy, preset = make_policy("attention")
    found = export_policy(policy, preset, tmp_path / "deep" / "policy.safetensors", format="safetensors")
    assert found.max_abs_error < TOLERANCE
    assert found.frames >= 300
    assert found.bytes == found.path.stat().st_size
    header, again = read_weights(found.path)
    assert header.preset.backbone == preset.backbone
    assert header.preset.data.replays == ()
    assert not again.training
    for (name, one), (other_name, other) in zip(
        policy.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)
    assert [path.name for path in found.path.parent.iterdir()] == ["policy.safetensors"]


def test_a_graph_plays_the_checkpoint_from_its_file_alone(
    make_policy: MakePolicy, game: PackedGame, tmp_path: Path
) -> None:
    policy, preset = make_policy("lstm")
    found = export_policy(policy, preset, tmp_path / "policy.onnx", format="onnx", rows=2)
    assert found.max_abs_error < TOLERANCE
    runtime = OnnxRuntime(found.path, threads=1)
    assert (runtime.header.rows, runtime.header.precision, runtime.delay) == (2, "fp32", 2)
    assert max_abs_error(runtime, policy, game, rows=2, frames=50) < TOLERANCE


@pytest.mark.parametrize("format", ["safetensors", "onnx"])
def test_a_path_that_is_no_text_is_written_and_read(
    format: export_module.ExportFormat, make_policy: MakePolicy, tmp_path: Path
) -> None:
    policy, preset = make_policy("mlp")
    out = tmp_path / os.fsdecode(b"caf\xe9") / f"policy.{format}"
    assert export_policy(policy, preset, out, format=format).max_abs_error < TOLERANCE
    assert out.is_file()


@pytest.mark.parametrize("format", ["safetensors", "onnx"])
def test_a_file_that_plays_otherwise_is_not_left_behind_and_an_older_one_stays(
    format: export_module.ExportFormat,
    make_policy: MakePolicy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, preset = make_policy("mlp")
    other, _ = make_policy("mlp")
    with torch.no_grad():
        other.head.components[1].logits.bias[0] += 0.001
    serialised = export_module._serialised
    monkeypatch.setattr(export_module, "_serialised", lambda _, *a, **k: serialised(other, *a, **k))
    out = tmp_path / f"policy.{format}"
    out.write_bytes(b"what was there before")
    with pytest.raises(CheckpointError, match=r"was not written: .* differs from the policy by 0\.00"):
        export_policy(policy, preset, out, format=format)
    assert out.read_bytes() == b"what was there before"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_what_has_no_effect_or_no_sense_is_refused(make_policy: MakePolicy, tmp_path: Path) -> None:
    policy, preset = make_policy("mlp")
    out = tmp_path / "policy"
    with pytest.raises(UsageError, match=r"--int8 is for --format onnx"):
        export_policy(policy, preset, out, format="safetensors", int8=True)
    with pytest.raises(UsageError, match=r"--rows is for --format onnx"):
        export_policy(policy, preset, out, format="safetensors", rows=4)
    with pytest.raises(UsageError, match=r"--rows is 0; expected 1 or more"):
        export_policy(policy, preset, out, format="onnx", rows=0)
    with pytest.raises(UsageError, match=r"is a folder; expected the name of a file"):
        export_policy(policy, preset, tmp_path, format="safetensors")
    assert not out.exists()


def test_a_safetensors_file_that_is_not_ours_or_not_whole_is_refused(
    make_policy: MakePolicy, tmp_path: Path
) -> None:
    policy, preset = make_policy("mlp")
    out = export_policy(policy, preset, tmp_path / "policy.safetensors", format="safetensors").path
    weights = load_file(out)
    with safe_open(out, framework="pt") as file:
        strings = dict(file.metadata())

    foreign = tmp_path / "foreign.safetensors"
    save_file(weights, foreign)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors: not a file that 'exphil export' wrote"):
        read_weights(foreign)
    save_file(weights, foreign, metadata={**strings, "exphil.format": "1"})
    with pytest.raises(CheckpointError, match=r"export format 1, written by exphil .*reads format 2"):
        read_weights(foreign)
    weights.popitem()
    save_file(weights, foreign, metadata=strings)
    with pytest.raises(CheckpointError, match=r"its weights are not those of its own preset"):
        read_weights(foreign)
    foreign.write_bytes(out.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot be read as safetensors"):
        read_weights(foreign)
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
        read_weights(tmp_path / "nowhere.safetensors")
