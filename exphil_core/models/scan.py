"""Mamba's selective scan: PyTorch with a hand-written backward, C++ on a CPU (`scan.cpp`), or mamba-ssm on CUDA.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t        y_t = C_t h_t + D u_t

A plain loop under autograd is too slow: each frame's graph costs more than its arithmetic. The backward here stores
the state of every few frames and recomputes those in between.

Legend: B batch, T time, I inner channels, N state values of a channel, K frames of a block.
"""

import importlib
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from exphil_core.config.backbones import ScanKernel
from exphil_core.errors import UsageError
from exphil_core.models import compiled

BLOCK_BYTES = 4 << 20
"""Bytes of states per block of frames. Measured: smaller is slower on shared cores, larger gains nothing."""

LONGEST_BLOCK = 32
"""Maximum frames per block."""


def resolve_scan(kernel: ScanKernel, device: torch.device) -> str:
    """Choose the scan implementation: `torch`, `compiled` or `fused`.

    Warns once if `auto` cannot use the device's fastest implementation.

    Raises:
        UsageError: The requested implementation is not available.
    """
    if kernel != "auto":
        reason = why_not(kernel, device)
        if reason:
            raise UsageError(
                f"backbone.kernel is {kernel!r}, but {reason}. 'torch' runs anywhere, 'auto' chooses"
            )
        return kernel
    fastest = {"cpu": "compiled", "cuda": "fused"}.get(device.type, "torch")
    reason = why_not(fastest, device)
    if reason:
        _say_once(f"backbone.kernel 'auto' takes 'torch', not {fastest!r}: {reason}")
        return "torch"
    return fastest


def why_not(kernel: str, device: torch.device) -> str | None:
    """Explain why an implementation is unavailable; None if it is available. Asking for `compiled` may build it."""
    match kernel:
        case "torch":
            return None
        case "compiled":
            return (
                compiled.why_not()
                if device.type == "cpu"
                else f"that runs on a CPU and this is {device.type}"
            )
        case "fused":
            return (
                _no_mamba_ssm() if device.type == "cuda" else f"that runs on CUDA and this is {device.type}"
            )
        case _:
            raise AssertionError(kernel)


def selective_scan(
    u_BTI: Tensor,
    dt_BTI: Tensor,
    A_IN: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    D_I: Tensor,
    state_BIN: Tensor | None,
    *,
    kernel: str,
) -> tuple[Tensor, Tensor]:
    """Scan a chunk of frames. All tensors have one dtype, float32 or float64, also under autocast.

    Args:
        u_BTI: Inputs.
        dt_BTI: Step sizes, positive (after softplus).
        A_IN: Decay rates, negative.
        B_BTN: Input projections.
        C_BTN: Output projections.
        D_I: Skip weights.
        state_BIN: State before the chunk; None starts fresh.
        kernel: An implementation from `resolve_scan`.

    Returns:
        y_BTI and the state after the chunk, which carries gradients.
    """
    inputs = (u_BTI, dt_BTI, A_IN, B_BTN, C_BTN, D_I, state_BIN)
    with torch.autocast(u_BTI.device.type, enabled=False):
        if kernel == "fused":
            return _fused(*inputs)
        implementation = _implementation(kernel)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs):
            y_BTI, last_BIN = _Scan.apply(implementation, *inputs)  # type: ignore[no-untyped-call]
        else:
            y_BTI, last_BIN, _ = implementation.forward(*inputs, False)
    return y_BTI, last_BIN


def scan_step(
    u_BI: Tensor, dt_BI: Tensor, A_IN: Tensor, B_BN: Tensor, C_BN: Tensor, D_I: Tensor, state_BIN: Tensor
) -> tuple[Tensor, Tensor]:
    """Scan one frame: y_BI and the next state."""
    decay_BIN = torch.exp(dt_BI[:, :, None] * A_IN)
    state_BIN = torch.addcmul(decay_BIN * state_BIN, (dt_BI * u_BI)[:, :, None], B_BN[:, None])
    # A sum, not a matrix product, which autocast would compute in bfloat16.
    y_BI = torch.addcmul((state_BIN * C_BN[:, None]).sum(-1), D_I, u_BI)
    return y_BI, state_BIN


class Implementation(NamedTuple):
    """Forward and backward of one scan implementation."""

    forward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """(u, dt, A, B, C, D, state or None, keep) → y, the last state, and stored states for the backward."""
    backward: Callable[..., tuple[Tensor, ...]]
    """(gradient of y, of the last state or None, u, dt, A, B, C, D, kept) → gradients of u to D and the state."""


@cache
def _implementation(kernel: str) -> Implementation:
    match kernel:
        case "torch":
            return Implementation(_torch_forward, _torch_backward)
        case "compiled":
            operators = compiled.operators()
            return Implementation(
                lambda *given: operators.scan_forward(*_contiguous(given)),
                lambda *given: operators.scan_backward(*_contiguous(given)),
            )
        case _:
            raise AssertionError(kernel)


def _contiguous(given: tuple[Any, ...]) -> list[Any]:
    return [part.contiguous() if isinstance(part, Tensor) else part for part in given]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, implementation: Implementation, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        y, last, kept = implementation.forward(*inputs, True)
        ctx.implementation = implementation
        ctx.save_for_backward(*inputs[:6], kept)
        ctx.set_materialize_grads(False)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor | None, glast: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        if gy is None:
            gy = torch.zeros_like(saved[0])
        with torch.autocast(gy.device.type, enabled=False):
            found = ctx.implementation.backward(gy, glast, *saved)
        wanted = ctx.needs_input_grad[1:]
        return None, *(one if needed else None for one, needed in zip(found, wanted, strict=True))


# PyTorch implementation. Layout [K, B, N, I], time first and channels last: a frame is contiguous, and sums over
# channels and over state values are matrix products. A block's states stay in the CPU cache between operations.


def _block(u_BTI: Tensor, width: int) -> int:
    batch, length, inner = u_BTI.shape
    fitting = BLOCK_BYTES // max(1, batch * inner * width * u_BTI.element_size())
    return max(1, min(fitting, length, LONGEST_BLOCK))


def _by_time(part_BTX: Tensor) -> Tensor:
    return part_BTX.transpose(0, 1).contiguous()


def _advance(
    dt: Tensor, du: Tensor, A: Tensor, B: Tensor, before: Tensor, decays: Tensor, states: Tensor
) -> None:
    """Fill `decays` and `states` of a block. dt, du [K, B, I]; A [N, I]; B [K, B, N]; before [B, N, I]."""
    torch.mul(dt[:, :, None], A, out=decays).exp_()
    torch.mul(du[:, :, None], B[..., None], out=states)
    for state, decay in zip(states.unbind(0), decays.unbind(0), strict=True):
        before = state.addcmul_(before, decay)


def _torch_forward(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    (batch, length, inner), width = u.shape, A.shape[1]
    block = _block(u, width)
    A_NI, dt_TBI, du_TBI, B_TBN, C_TBN = A.t().contiguous(), *map(_by_time, (dt, dt * u, B, C))
    decays, states = u.new_empty(2, block, batch, width, inner)
    y_TBI = torch.empty_like(dt_TBI)
    # A copy: where an axis is 1, a contiguous transpose still shares the caller's memory.
    last = u.new_zeros(batch, width, inner)
    if state is not None:
        last.copy_(state.transpose(1, 2))
    kept = u.new_empty(-(-length // block) if keep else 0, batch, width, inner)
    for start in range(0, length, block):
        piece = slice(start, min(length, start + block))
        count = piece.stop - start
        if keep:
            kept[start // block] = last
        _advance(dt_TBI[piece], du_TBI[piece], A_NI, B_TBN[piece], last, decays[:count], states[:count])
        torch.bmm(
            C_TBN[piece].view(-1, 1, width),
            states[:count].view(-1, width, inner),
            out=y_TBI[piece].view(-1, 1, inner),
        )
        last.copy_(states[count - 1])
    return torch.addcmul(y_TBI.transpose(0, 1), u, D), last.transpose(1, 2).contiguous(), kept


def _torch_backward(
    gy: Tensor,
    glast: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    kept: Tensor,
) -> tuple[Tensor, ...]:
    (batch, length, inner), width = u.shape, A.shape[1]
    block = _block(u, width)
    A_NI, gy_TBI, dt_TBI, du_TBI, B_TBN, C_TBN = A.t().contiguous(), *map(_by_time, (gy, dt, dt * u, B, C))
    gdu_TBI, gexponent_TBI = torch.empty_like(dt_TBI), torch.empty_like(dt_TBI)
    gA_NI, gB_TBN, gC_TBN = torch.zeros_like(A_NI), torch.empty_like(B_TBN), torch.empty_like(C_TBN)
    all_decays, all_grads = u.new_empty(2, block, batch, width, inner)
    all_states = u.new_empty(block + 1, batch, width, inner)
    # Gradient of a state from the frames after it.
    carry = torch.zeros_like(kept[0])
    if glast is not None:
        carry.copy_(glast.transpose(1, 2))
    for index in reversed(range(len(kept))):
        start = index * block
        piece = slice(start, min(length, start + block))
        count = piece.stop - start
        rows = count * batch
        decays, grads, states = all_decays[:count], all_grads[:count], all_states[1 : count + 1]
        dt_KBI, du_KBI, gy_KBI = dt_TBI[piece], du_TBI[piece], gy_TBI[piece]
        before = all_states[0].copy_(kept[index])
        _advance(dt_KBI, du_KBI, A_NI, B_TBN[piece], before, decays, states)

        torch.mul(gy_KBI[:, :, None], C_TBN[piece][..., None], out=grads)
        grads[-1] += carry
        for k in reversed(range(count - 1)):
            grads[k].addcmul_(grads[k + 1], decays[k + 1])
        torch.mul(grads[0], decays[0], out=carry)

        grads_RNI, states_RNI = grads.view(rows, width, inner), states.view(rows, width, inner)
        by_state = gC_TBN[piece].view(rows, 1, width)
        torch.bmm(gy_KBI.view(rows, 1, inner), states_RNI.transpose(1, 2), out=by_state)
        by_state = gB_TBN[piece].view(rows, 1, width)
        torch.bmm(du_KBI.view(rows, 1, inner), grads_RNI.transpose(1, 2), out=by_state)
        by_channel = gdu_TBI[piece].view(rows, 1, inner)
        torch.bmm(B_TBN[piece].view(rows, 1, width), grads_RNI, out=by_channel)

        gexponents = decays.mul_(grads).mul_(all_states[:count])
        torch.sum(torch.mul(gexponents, A_NI, out=grads), 2, out=gexponent_TBI[piece])
        gA_NI += gexponents.mul_(dt_KBI[:, :, None]).sum((0, 1))
    gdu_BTI = gdu_TBI.transpose(0, 1)
    return (
        torch.addcmul(gdu_BTI * dt, gy, D),
        torch.addcmul(gexponent_TBI.transpose(0, 1), gdu_BTI, u),
        gA_NI.t(),
        gB_TBN.transpose(0, 1),
        gC_TBN.transpose(0, 1),
        (gy * u).sum((0, 1)),
        carry.transpose(1, 2),
    )


# mamba-ssm implementation, time last: [B, I, T]. Its scan starts at zero, and its last state has no gradient. So
# extra frames before the chunk load the initial state, and extra frames after it read out the last state.

SMALL = 2.0**-40
"""Step size so small that nothing decays in float32; a power of two, so that multiplying by it is exact."""


@cache
def _no_mamba_ssm() -> str | None:
    try:
        _mamba_ssm()
    except ImportError as error:
        return f"mamba-ssm cannot be imported ({error}): pip install 'exphil[cuda]'"
    return None


def _mamba_ssm() -> Callable[..., Any]:
    module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    return cast(Callable[..., Any], module.selective_scan_fn)


def _fused(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    entering = 0 if state is None else A.shape[1]
    u_BIT, dt_BIT, B_BNT, C_BNT = (part.transpose(1, 2) for part in (u, dt, B, C))
    if state is not None:
        u_BIT, dt_BIT, B_BNT = _entered(u_BIT, dt_BIT, B_BNT, state)
        C_BNT = pad(C_BNT, (entering, 0))
    y_BIT, last_BIN = _mamba_ssm()(u_BIT, dt_BIT, A, B_BNT, C_BNT, D, return_last_state=True)
    y_BTI = y_BIT[:, :, entering:].transpose(1, 2)
    return y_BTI, _FusedLast.apply(last_BIN.detach(), u, dt, A, B, state)  # type: ignore[no-untyped-call]


def _entered(
    u_BIT: Tensor, dt_BIT: Tensor, B_BNT: Tensor, state_BIN: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Prepend a frame for each state value: frame n adds value n of the state; nothing decays."""
    batch, _, width = state_BIN.shape
    one_at_a_time = torch.eye(width, dtype=B_BNT.dtype, device=B_BNT.device).expand(batch, -1, -1)
    return (
        torch.cat([state_BIN / SMALL, u_BIT], dim=2),
        torch.cat([torch.full_like(state_BIN, SMALL), dt_BIT], dim=2),
        torch.cat([one_at_a_time, B_BNT], dim=2),
    )


class _FusedLast(torch.autograd.Function):
    """The last state from mamba-ssm, with the gradient that mamba-ssm does not provide.

    The backward runs the chunk again with an appended frame for each state value, which reads out that value and
    leaves the state unchanged.
    """

    @staticmethod
    def forward(ctx: Any, last: Tensor, *inputs: Tensor | None) -> Tensor:
        ctx.save_for_backward(*inputs)
        return last.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, glast: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, state = ctx.saved_tensors
        u, dt, A, B = (part.detach().requires_grad_() for part in inputs)
        state = None if state is None else state.detach().requires_grad_()
        width = A.shape[1]
        with torch.enable_grad(), torch.autocast(glast.device.type, enabled=False):
            u_BIT, dt_BIT, B_BNT = (part.transpose(1, 2) for part in (u, dt, B))
            if state is not None:
                u_BIT, dt_BIT, B_BNT = _entered(u_BIT, dt_BIT, B_BNT, state)
            frames = u_BIT.shape[2]
            u_BIT, dt_BIT, B_BNT = (pad(part, (0, width)) for part in (u_BIT, dt_BIT, B_BNT))
            C_BNT = torch.zeros_like(B_BNT)
            C_BNT[:, :, frames:] = torch.eye(width, dtype=B.dtype, device=B.device)
            last_BIN = _mamba_ssm()(u_BIT, dt_BIT, A, B_BNT, C_BNT)[:, :, frames:]
        if state is None:
            return None, *torch.autograd.grad(last_BIN, (u, dt, A, B), glast), None
        return None, *torch.autograd.grad(last_BIN, (u, dt, A, B, state), glast)


@cache
def _say_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=3)
