"""RMSNorm with a fast CPU backward: the same function and parameter as `nn.RMSNorm`.

torch's CPU backward makes a dozen passes over memory: 6.7 ms against 1.6 ms here, forward and backward at
[16, 120, 512] on two cores.

Legend: D width.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional


class RmsNorm(nn.Module):
    """Root mean square normalisation of [..., D]; the output has the weight's dtype."""

    def __init__(self, width: int, *, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return cast("Tensor", _RmsNorm.apply(x, self.weight, self.epsilon))  # type: ignore[no-untyped-call]
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        scaled = x * scale
        ctx.save_for_backward(scaled, scale, weight_D)
        y: Tensor = scaled * weight_D
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        scaled, scale, weight_D = cast("tuple[Tensor, ...]", ctx.saved_tensors)  # type: ignore[attr-defined]
        product = gradient * scaled
        along = (product * weight_D).mean(dim=-1, keepdim=True)
        d_x = (gradient * weight_D).addcmul_(scaled, along, value=-1).mul_(scale)
        return d_x, product.flatten(0, -2).sum(dim=0), None
