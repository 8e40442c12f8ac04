"""What the comparisons with published models share: moved weights, inputs, and a backbone played frame by frame."""

from typing import Any

import torch
from torch import Tensor, nn

WIDTH = 24


def stirred(module: nn.Module) -> Any:
    """The module with every parameter moved, so that none is at a value that hides a mistake."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise.to(parameter))
    return module.eval()


def features(frames: int, *, rows: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """x_BTD, and resets that never come."""
    generator = torch.Generator().manual_seed(frames)
    x_BTD = torch.randn(rows, frames, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
    return x_BTD, torch.zeros(rows, frames, dtype=torch.bool)


def stepped(backbone: Any, x_BTD: Tensor) -> Tensor:
    state = backbone.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
    never = torch.zeros(x_BTD.shape[0], dtype=torch.bool)
    outs = []
    for x_BD in x_BTD.unbind(1):
        y_BD, state = backbone.step(x_BD, never, state)
        outs.append(y_BD)
    return torch.stack(outs, dim=1)


def found_by(mixer: Any, kernel: str, x_BTD: Tensor, conv_BKX: Tensor, ssm_BMM: Tensor) -> list[Tensor]:
    """A mixer's outputs with one kernel, and the gradients of its state and its parameters."""
    outs = mixer(x_BTD, conv_BKX, ssm_BMM, kernel)
    total = torch.stack([out.square().mean() for out in outs]).sum()
    return [*outs, *torch.autograd.grad(total, [conv_BKX, ssm_BMM, *mixer.parameters()])]


def learned_by(backbone: nn.Module, x_BTD: Tensor, reset_BT: Tensor, memory: str) -> list[Tensor | None]:
    """A backbone's outputs and the gradients of its parameters, `memory` of its state being learned through too."""
    y_BTD, state = backbone(x_BTD, reset_BT)
    (y_BTD.square().mean() + getattr(state, memory).square().mean()).backward()
    return [y_BTD, *state, *(parameter.grad for parameter in backbone.parameters())]
