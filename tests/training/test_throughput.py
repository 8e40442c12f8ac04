"""What is counted of a training step, and what `exphil bench train` says of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from exphil_core.cli.main import run
from exphil_core.config import loader
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError
from exphil_core.models.policy import build_policy
from exphil_core.training import throughput
from exphil_core.training.flops import flops_per_frame, keys_in_band
from exphil_core.training.synthetic_batch import synthetic_batch
from exphil_core.training.throughput import PlainTransformer, measure_training

CPU = torch.device("cpu")
FRAMES = 32

ROW = {
    "backbone",
    "parameters",
    "window_size",
    "kernel",
    "precision",
    "flops_per_frame",
    "steps",
    "step_ms",
    "frames_per_s",
    "model_flops_utilisation",
    "of_plain_transformer",
    "of_plain_transformer_bare",
}

Tiny = Callable[..., Preset]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> None:
    """The 20-million presets and the machine's product, small enough for a test."""

    def load(name: str) -> Preset:
        return tiny(backbone={"kind": name.removesuffix("_20m")})

    monkeypatch.setattr(loader, "load_preset", load)
    monkeypatch.setattr(throughput, "MATMUL_SIDE", {"cpu": 64})


@pytest.mark.parametrize("kind", ["mlp", "attention"])
def test_flops_are_those_that_torch_counts(kind: str, tiny: Tiny) -> None:
    wide: dict[str, Any] = {"kind": kind, "width": 128, "layers": 3, "window_size": FRAMES}
    preset = tiny(encoder={"width": 128}, backbone=wide)
    policy = build_policy(preset)
    batch = synthetic_batch(2, FRAMES + 1, CPU)
    with FlopCounterMode(display=False) as counter:
        nll_BTK, _, _ = policy.nll(batch)
        nll_BTK.sum().backward()
    expected = flops_per_frame(policy, preset.backbone, FRAMES)
    # torch counts no way back into the inputs, and in blocks also what a mask hides.
    assert counter.get_total_flops() / (2 * FRAMES) == pytest.approx(expected, rel=0.05)


def test_a_scan_and_a_band_have_flops_beside_those_of_weights(tiny: Tiny) -> None:
    def counted(kind: str, **backbone: Any) -> float:
        preset = tiny(backbone={"kind": kind, "window_size": 8, **backbone})
        return flops_per_frame(build_policy(preset), preset.backbone, 64)

    assert counted("attention", window_size=16) > counted("attention", window_size=8)
    assert counted("gru", window_size=16) == counted("gru", window_size=8)
    state = counted("mamba", d_state=32) - counted("mamba", d_state=16)
    inner = 2 * 32
    projected = 2 * inner * 16  # the rows of x_proj that make B and C
    assert state == 3 * (2 * projected + 7 * inner * 16)


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_every_backbone_has_a_count(kind: str, tiny: Tiny) -> None:
    preset = tiny(backbone={"kind": kind, "layers": 3})
    policy = build_policy(preset)
    parameters = sum(parameter.numel() for parameter in policy.backbone.parameters())
    assert flops_per_frame(policy, preset.backbone, 64) > 6 * 0.8 * parameters


def test_keys_in_a_band_fill_up_and_stay() -> None:
    assert keys_in_band(1, 10) == 1
    assert keys_in_band(10, 3) == pytest.approx((1 + 2 + 3) / 3)
    assert keys_in_band(4, 6) == pytest.approx((1 + 2 + 3 + 4 + 4 + 4) / 6)


@torch.no_grad()
def test_the_plain_transformer_is_as_large_and_hears_nothing_of_the_future(tiny: Tiny) -> None:
    preset = tiny()
    config: Any = preset.backbone
    plain = PlainTransformer(config, FRAMES).eval()
    ours = build_policy(preset).backbone
    sizes = [sum(p.numel() for p in part.parameters()) for part in (plain, ours)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
    x_BTD = torch.randn(2, FRAMES, config.width)
    before, _ = plain(x_BTD)
    x_BTD[:, 20:] = 0
    after, _ = plain(x_BTD)
    torch.testing.assert_close(after[:, :20], before[:, :20])
    assert not torch.allclose(after[:, 20:], before[:, 20:])


def test_steps_are_taken_in_turn_and_the_first_are_left_out(small: None, tiny: Tiny) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    found = measure_training(
        [tiny(), tiny(backbone={"kind": "gru"})],
        None,
        batch_size=2,
        chunk_length=FRAMES,
        seconds=0.001,
        precision="fp32",
        device=CPU,
        clock=clock,
    )
    assert [row.name for row in found.rows] == ["attention", "gru"]
    assert {row.steps for row in found.rows} == {throughput.SMALLEST_ROUNDS}
    for row in found.rows:
        assert row.step_ms == 1000
        assert row.frames_per_s == 2 * FRAMES
        rate = found.matmul_flops_per_s["fp32"]
        assert row.utilisation == pytest.approx(row.flops_per_frame * 2 * FRAMES / rate)


def test_weights_learn_in_a_measured_step(small: None, tiny: Tiny) -> None:
    batch = synthetic_batch(2, FRAMES + 1, CPU)
    contestant = throughput._of_preset(tiny(), batch, FRAMES, CPU)
    before = [parameter.detach().clone() for parameter in contestant.model.parameters()]
    contestant.settle_precision("auto", CPU)
    assert contestant.precision in ("fp32", "bf16")
    assert all(torch.equal(a, b) for a, b in zip(before, contestant.model.parameters(), strict=True))
    contestant.step(CPU)
    assert not all(torch.equal(a, b) for a, b in zip(before, contestant.model.parameters(), strict=True))


def test_bench_train_prints_one_object(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "bench train --backbone mamba,sliding_window --batch-size 2 --chunk-length 16 --seconds 0.01 --json"
    )
    assert run(words.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {
        "device",
        "threads",
        "batch_size",
        "chunk_length",
        "matmul_flops_per_s",
        "backbones",
        "peers",
    }
    assert [row["backbone"] for row in told["backbones"]] == ["attention", "mamba"]
    assert [row["backbone"] for row in told["peers"]] == ["plain transformer", "plain transformer, bare"]
    for row in told["backbones"] + told["peers"]:
        assert row.keys() == ROW
        assert row["precision"] in told["matmul_flops_per_s"]
        assert row["frames_per_s"] > 0
    assert told["peers"][0]["of_plain_transformer"] == 1
    assert told["backbones"][1]["kernel"] in ("torch", "compiled", "fused")


def test_bench_train_prints_a_table(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = "bench train --backbone gru --batch-size 2 --chunk-length 16 --seconds 0.01 --precision fp32"
    assert run(words.split()) == 0
    table = capsys.readouterr().out
    for shown in ("gru", "plain transformer, bare", "frames/s", "MFU", "fp32"):
        assert shown in table


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--backbone atention", "did you mean 'attention'?"),
        ("--backbone ,", "--backbone names nothing"),
        ("--batch-size 0", "--batch-size 0: expected at least 1"),
        ("--chunk-length 0", "--chunk-length 0: expected at least 1"),
        ("--seconds 0", "--seconds 0.0: expected a number above 0"),
        ("--precision fp16", "--precision fp16: expected auto, fp32 or bf16"),
        ("--device tpu", "--device tpu: expected auto, cpu or cuda"),
    ],
)
def test_a_wrong_option_is_answered_by_a_right_one(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "train", *words.split()]) == UsageError.exit_code
    assert sentence in capsys.readouterr().err
