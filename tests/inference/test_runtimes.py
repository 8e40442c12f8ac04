"""Every runtime is the same function: the tokens of eager torch for the same chance, within float32 of `forward`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.encoding import codecs
from exphil_core.encoding.batch import TensorBatch, to_tensors
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.inference import graph as graph_module
from exphil_core.inference.agent import Agent
from exphil_core.inference.cuda_graph import CudaGraphRuntime
from exphil_core.inference.exported import FORMAT_VERSION
from exphil_core.inference.frames import rows_of
from exphil_core.inference.graph import build_graph, quantized
from exphil_core.inference.graph_template import GraphTemplate
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.inference.parity import TOLERANCE, max_abs_error
from exphil_core.inference.runtime import EagerRuntime, Runtime
from exphil_core.inference.runtimes import has_runtime, require_runtime
from exphil_core.models.policy import Policy, slice_frames
from exphil_core.replays.pack import PackedGame

from .conftest import MakePolicy

ROWS, FRAMES = 2, 300
"""More than three windows, with resets."""

QUICK = "gru"
"""The backbone whose graph is made in every run of the tests; those of the others take some seconds each."""


@pytest.fixture(scope="module")
def policy(make_policy: MakePolicy) -> Policy:
    return make_policy(QUICK)[0]


@pytest.fixture(scope="module")
def graph(make_policy: MakePolicy) -> bytes:
    return build_graph(*make_policy(QUICK), rows=ROWS)


def _play(runtime: Runtime, game: PackedGame, frames: int, *, shift: float = 0.0) -> Tensor:
    """Tokens [T, B, K] over frames with resets, drawn with the same uniform numbers (plus `shift`) in every one."""
    reset_BT = np.zeros((ROWS, frames), np.bool_)
    reset_BT[:, 0] = True
    reset_BT[1, frames // 3] = True
    observed = to_tensors(rows_of(game, rows=ROWS, frames=frames, reset_BT=reset_BT), "cpu")
    uniform = torch.rand(
        frames, ROWS, len(runtime.codec.components), generator=torch.Generator().manual_seed(1)
    )
    uniform = (uniform + shift).clamp(0, 1 - 1e-7)
    state, tokens = runtime.initial_state(ROWS), []
    for t in range(frames):
        frame = slice_frames(observed, t, t + 1)
        drawn, state = runtime.step(frame, frame.reset[:, 0], state, uniform[t], torch.tensor(0.8))
        tokens.append(drawn)
    return torch.stack(tokens)


def _same_function(policy: Policy, graph: bytes, game: PackedGame) -> None:
    eager, runtime = EagerRuntime(policy), OnnxRuntime(graph, threads=1)
    # That eager torch is the same function, too, is the law of streaming.
    assert max_abs_error(runtime, policy, game, rows=ROWS, frames=FRAMES) < TOLERANCE
    # A uniform number within the tolerance of the border between two tokens may fall on either side of it.
    below, above = (_play(eager, game, 120, shift=shift) for shift in (-TOLERANCE, TOLERANCE))
    settled_TB = (below == above).all(dim=-1)
    assert settled_TB.float().mean() > 0.9
    assert torch.equal(below[settled_TB], _play(runtime, game, 120)[settled_TB])


def test_onnx_draws_what_eager_torch_draws_and_is_within_float32_of_forward(
    policy: Policy, graph: bytes, game: PackedGame
) -> None:
    _same_function(policy, graph, game)
    assert max_abs_error(EagerRuntime(policy), policy, game, rows=ROWS, frames=FRAMES) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mamba2", "tx_like"])
def test_so_do_backbones_that_are_not_played_below(
    kind: str, make_policy: MakePolicy, game: PackedGame
) -> None:
    policy, preset = make_policy(kind)
    _same_function(policy, build_graph(policy, preset, rows=ROWS), game)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attention", "lstm"])
def test_so_does_a_policy_with_its_actions_between_the_states(
    kind: str, make_policy: MakePolicy, game: PackedGame
) -> None:
    policy, preset = make_policy(kind, prediction="interleaved")
    _same_function(policy, build_graph(policy, preset, rows=ROWS), game)


def _of_template(
    make_policy: MakePolicy, kind: str, game: PackedGame, *, seeds: Sequence[int] = (1,)
) -> None:
    policy, preset = make_policy(kind)
    template = GraphTemplate(preset, rows=ROWS)
    for seed in seeds:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            for parameter in policy.parameters():
                parameter.mul_(1 + 0.1 * torch.rand(parameter.shape, generator=generator))
        _same_function(policy, template.fill(policy), game)


@pytest.mark.slow
def test_a_graph_that_was_traced_without_weights_plays_any(make_policy: MakePolicy, game: PackedGame) -> None:
    _of_template(make_policy, QUICK, game, seeds=(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in BACKBONE_KINDS if kind != QUICK])
def test_so_does_the_graph_of_every_other_backbone(
    kind: str, make_policy: MakePolicy, game: PackedGame
) -> None:
    _of_template(make_policy, kind, game)


def test_features_are_what_the_head_reads_and_later_steps_do_not_change_them(
    policy: Policy, graph: bytes, game: PackedGame
) -> None:
    eager, runtime = EagerRuntime(policy), OnnxRuntime(graph, threads=1)
    reset_BT = np.zeros((ROWS, 2), np.bool_)
    observed = to_tensors(rows_of(game, rows=ROWS, frames=2, reset_BT=reset_BT), "cpu")
    uniform, temperature = torch.full((ROWS, len(policy.codec.components)), 0.4), torch.tensor(1.0)
    found = []
    for played in (eager, runtime):
        state, features = played.initial_state(ROWS), []
        for t in range(2):
            frame = slice_frames(observed, t, t + 1)
            given = (frame, frame.reset[:, 0], state, uniform, temperature)
            tokens_BK, _ = played.step(*given)
            again_BK, y_BD, state = played.step_and_features(*given)
            assert torch.equal(tokens_BK, again_BK)
            features.append(y_BD)
        found.append(torch.stack(features, dim=1))
    assert torch.allclose(*found, atol=1e-4)


def test_a_state_that_is_kept_stays_what_it_was(graph: bytes, game: PackedGame) -> None:
    runtime = OnnxRuntime(graph, threads=1)
    uniform, temperature = torch.full((ROWS, 4), 0.4), torch.tensor(1.0)

    def step(t: int, state: Any) -> tuple[Tensor, Any]:
        reset_BT = np.zeros((ROWS, 1), np.bool_)
        frame = to_tensors(rows_of(game, rows=ROWS, frames=1, reset_BT=reset_BT), "cpu")
        columns = {**frame.columns, "f32": frame.columns["f32"] + t / 100}
        moved = TensorBatch(**{**_fields(frame), "columns": columns})
        _, logits, after = runtime.step_and_logits(moved, moved.reset[:, 0], state, uniform, temperature)
        return logits, after

    _, kept = step(0, runtime.initial_state(ROWS))
    held = [part.numpy().copy() for part in kept]
    once, after = step(1, kept)
    for t in range(2, 6):
        _, after = step(t, after)
    again, _ = step(1, kept)
    assert torch.equal(once, again)
    assert all(np.array_equal(before, part.numpy()) for before, part in zip(held, kept, strict=True))
    assert not np.array_equal(held[0], after[0].numpy())


def _fields(frame: TensorBatch) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in frame.__dataclass_fields__}


def test_an_agent_plays_a_graph_as_it_plays_the_policy(
    policy: Policy, graph: bytes, game: PackedGame
) -> None:
    reset_BT = np.zeros((ROWS, 60), np.bool_)
    reset_BT[1, 20] = True
    observed = to_tensors(rows_of(game, rows=ROWS, frames=60, reset_BT=reset_BT), "cpu")
    played = []
    for runtime in (EagerRuntime(policy), OnnxRuntime(graph, threads=1)):
        agent = Agent(runtime, ROWS, seed=4)
        assert agent.delay == 2
        acts = (agent.act(slice_frames(observed, t, t + 1)) for t in range(60))
        played.append(torch.stack([torch.stack([part.double() for part in act]) for act in acts]))
    assert torch.equal(*played)


def test_int8_weights_take_a_quarter_of_the_room_and_their_error_is_a_number(
    graph: bytes, policy: Policy, game: PackedGame
) -> None:
    small = quantized(graph)
    matrices = sum(
        module.weight.numel() for module in policy.modules() if isinstance(module, torch.nn.Linear)
    )
    assert len(graph) - len(small) > 2.5 * matrices
    runtime = OnnxRuntime(small, threads=1)
    assert runtime.header.precision == "int8"
    error = max_abs_error(runtime, policy, game, rows=ROWS, frames=FRAMES)
    assert TOLERANCE < error < 3


class Wrong(EagerRuntime):
    """Takes something else for what it is given."""

    def __init__(self, policy: Policy, mistake: str) -> None:
        super().__init__(policy)
        self.mistake = mistake

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        match self.mistake:
            case "reset":
                reset_B = torch.zeros_like(reset_B)
            case "uniform":
                uniform_BK = (uniform_BK + 0.01).clamp(max=0.999)
            case "temperature":
                temperature = temperature * 1.001
            case "state":
                state = type(state)(*[part * 1.01 for part in state])
        return super().step(frame, reset_B, state, uniform_BK, temperature)


@pytest.mark.parametrize("mistake", ["reset", "uniform", "temperature", "state"])
def test_the_check_finds_a_runtime_that_is_not_the_same_function(
    mistake: str, policy: Policy, game: PackedGame
) -> None:
    error = max_abs_error(Wrong(policy, mistake), policy, game, rows=ROWS, frames=FRAMES)
    if mistake == "temperature":
        # A thousandth of temperature moves few draws over an edge, so what it costs is small, but it shows.
        assert error > 1e-6
    else:
        assert error > 10 * TOLERANCE


def test_making_a_graph_says_nothing_and_leaves_nothing_behind(
    make_policy: MakePolicy, game: PackedGame, capfd: pytest.CaptureFixture[str]
) -> None:
    policy, preset = make_policy("mlp")
    codecs._tables.cache_clear()
    quantized(build_graph(policy, preset))
    assert capfd.readouterr() == ("", "")
    # Not the tracer's stand-ins for tensors, which would be left in what is kept for good.
    assert type(codecs._tables(torch.device("cpu")).main) is Tensor
    assert EagerRuntime(policy).initial_state(1) == ()


def test_a_graph_is_for_the_rows_that_it_was_made_for(graph: bytes) -> None:
    with pytest.raises(UsageError, match=r"plays 2 rows at once, but 3 are wanted; export it with --rows 3"):
        OnnxRuntime(graph, threads=1).initial_state(3)


def test_no_frame_passes_over_the_state_to_clear_what_does_not_reset(graph: bytes) -> None:
    import onnx

    nodes = onnx.load_from_string(graph).graph.node
    users = [node.op_type for node in nodes if any(name.startswith("state_") for name in node.input)]
    assert users
    assert "Where" not in users


def test_a_graph_carries_all_that_a_player_needs_and_no_folder_of_its_maker(
    graph: bytes, make_policy: MakePolicy
) -> None:
    header = OnnxRuntime(graph, threads=1).header
    _, preset = make_policy(QUICK)
    assert header.preset.backbone == preset.backbone
    assert header.preset.policy == preset.policy
    assert header.preset.data.replays == ()
    assert b"somebody" not in graph
    # One input a layer.
    assert [part.name for part in header.state] == [f"hidden_BND_{layer}" for layer in range(3)]
    assert [part.shape for part in header.state] == [(ROWS, 64)] * 3


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "exphil.format",
            "99",
            rf"export format 99.*this exphil reads format {FORMAT_VERSION}: export .* again",
        ),
        ("exphil.format", None, "carries no exphil header"),
        ("exphil.preset", "{}", "preset"),
        ("exphil.codec", None, None),
        ("exphil.state", "[1]", "header is damaged"),
    ],
)
def test_a_file_of_another_format_is_refused_with_a_sentence(
    key: str, value: str | None, words: str | None, graph: bytes, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load_from_string(graph)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != key}
    del model.metadata_props[:]
    for name, text in {**kept, **({key: value} if value is not None else {})}.items():
        model.metadata_props.add(key=name, value=text)
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    if words is None:
        # For players that are not exphil; exphil reads the preset.
        OnnxRuntime(path, threads=1)
        return
    with pytest.raises((CheckpointError, UsageError), match=words) as caught:
        OnnxRuntime(path, threads=1)
    assert "other.onnx" in str(caught.value)


def test_what_is_no_graph_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"broken\.onnx: ONNX Runtime cannot read it"):
        OnnxRuntime(path, threads=1)


def test_a_missing_package_is_named_with_what_to_type(
    policy: Policy, make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'exphil\[onnx\]'"):
        build_graph(*make_policy(QUICK))
    with pytest.raises(UsageError, match=r"'onnxruntime', which is not installed here"):
        OnnxRuntime(b"", threads=1)


def test_a_cuda_graph_without_a_gpu_is_refused_with_what_is_there_instead(policy: Policy) -> None:
    with pytest.raises(UsageError, match="use the runtime 'eager' or 'onnx'"):
        CudaGraphRuntime(policy)
    if not has_runtime("cuda_graph"):
        with pytest.raises(UsageError, match="use 'eager' or 'onnx'"):
            require_runtime("cuda_graph")
