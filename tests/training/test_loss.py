"""What is minimised is the plain loss unless it was asked for something else, and buttons are never smoothed."""

import pytest
import torch
from torch import Tensor

from exphil_core.config.preset import TrainConfig
from exphil_core.encoding.codecs import CodecName, ControllerTensors, build_codec
from exphil_core.models.heads import nats
from exphil_core.training.diagnostics import ButtonTable
from exphil_core.training.loss import Objective

CPU = torch.device("cpu")
ROWS, FRAMES = 3, 7


def _given(codec_name: CodecName) -> tuple[ButtonTable, list[Tensor], Tensor, Tensor]:
    torch.manual_seed(0)
    codec = build_codec(codec_name)
    log_probs = [torch.randn(ROWS, FRAMES, c.size).log_softmax(-1) for c in codec.components]
    tokens = torch.stack([torch.randint(c.size, (ROWS, FRAMES)) for c in codec.components], dim=-1)
    return ButtonTable.of(codec, CPU), log_probs, tokens, torch.rand(ROWS, FRAMES) < 0.7


def _config(**values: object) -> TrainConfig:
    return TrainConfig.model_validate({"max_steps": 1, **values})


@pytest.mark.parametrize("codec", ["clusters", "axes"])
def test_without_options_it_is_the_plain_loss(codec: CodecName) -> None:
    presses, log_probs, tokens, mask = _given(codec)
    nll = nats(log_probs, tokens)
    found = Objective(_config(), presses).mean(log_probs, nll, tokens, mask)
    torch.testing.assert_close(found, nll.sum(-1)[mask].mean())


@pytest.mark.parametrize("codec", ["clusters", "axes"])
def test_smoothing_spares_whatever_holds_a_button(codec: CodecName) -> None:
    presses, log_probs, tokens, mask = _given(codec)
    buttons = [k for k, table in enumerate(presses.tables) if table.any()]
    sticks = [k for k in range(len(log_probs)) if k not in buttons]
    assert buttons
    assert sticks
    for part in log_probs:
        part.requires_grad_()
    Objective(_config(label_smoothing=0.1), presses).mean(
        log_probs, nats(log_probs, tokens), tokens, mask
    ).backward()
    for k, part in enumerate(log_probs):
        assert part.grad is not None
        wrong = torch.ones_like(part, dtype=torch.bool).scatter_(-1, tokens[..., k : k + 1], False)
        pulled = bool(part.grad[wrong & mask[..., None]].any())
        assert pulled == (k in sticks), k


def test_focal_counts_less_what_is_nearly_certain() -> None:
    presses, log_probs, tokens, mask = _given("clusters")
    mask[:] = True
    sure = [torch.full_like(part, -20.0) for part in log_probs]
    for k, part in enumerate(sure):
        part.scatter_(-1, tokens[..., k : k + 1], -0.01)
    plain, focal = (
        [
            float(
                Objective(_config(focal_gamma=gamma), presses).mean(parts, nats(parts, tokens), tokens, mask)
            )
            for parts in (sure, log_probs)
        ]
        for gamma in (0.0, 2.0)
    )
    assert focal[0] < 1e-3 * plain[0]
    assert focal[1] > 0.7 * plain[1]


def test_a_press_counts_as_many_times_and_a_rest_once() -> None:
    presses, log_probs, _, mask = _given("clusters")
    mask[:] = True
    codec = presses.codec
    zero = torch.zeros(ROWS, FRAMES)

    def tokens(buttons: int) -> Tensor:
        return codec.encode(
            ControllerTensors(zero, zero, zero, zero, zero, zero, torch.full((ROWS, FRAMES), buttons))
        )

    def mean(weight: float, buttons: int) -> float:
        given = tokens(buttons)
        found = Objective(_config(press_weight=weight), presses).mean(
            log_probs, nats(log_probs, given), given, mask
        )
        return float(found)

    assert mean(3.0, 0) == pytest.approx(mean(1.0, 0))
    at = next(k for k, table in enumerate(presses.tables) if table.any())
    of_buttons = float(nats(log_probs, tokens(0x0100))[..., at].mean())
    assert mean(3.0, 0x0100) - mean(1.0, 0x0100) == pytest.approx(2 * of_buttons, rel=1e-4)
