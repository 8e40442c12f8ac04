"""Mamba-2 (Dao and Gu, 2024) mixer, chunked scan and backbone: one decay per head makes the scan matrix products.

Parameters have the names and shapes of mamba-ssm's `Mamba2` with one group, so weights load in both directions. The
state's layout differs: [N, I] here, [H, P, N] in mamba-ssm, so that one matrix product reads or writes the state of
all heads. The scan works on blocks of Q frames: a Q × Q matrix within a block, the state between blocks.

Legend: B batch, T time, D width, I inner channels, H heads, P channels of a head (I = H P), N state values of a
channel, X convolved channels (x, B and C: I + 2 N), K earlier frames in the convolution's window, G blocks,
Q frames of a block.
"""

import functools
import importlib
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from exphil_core.config.backbones import Mamba2Config, MatmulKernel
from exphil_core.errors import UsageError
from exphil_core.models.norm import RmsNorm
from exphil_core.models.state_space import (
    EPSILON,
    StateSpaceBackbone,
    convolve,
    convolve_step,
    fresh_step_bias,
)

BLOCK = 32
"""Maximum frames per block. Forward and backward on two shared cores at [16, 120], 1024 channels by 64: 46 ms,
against 58 ms with blocks of 16 and 60 ms with 48; same ranking at [8, 256]."""

FUSED_BLOCK = 256
"""Frames per block in mamba-ssm's kernels: its default."""

DECAYS = (1.0, 16.0)
"""Initial decay rates of the heads: uniform between these."""


class Mamba2Mixer(nn.Module):
    """Mamba-2 block without norm and residual connection."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        inner, self.head_width, self.d_state = config.inner, config.head_width, config.d_state
        self.conv_shape = (config.d_conv - 1, inner + 2 * config.d_state)
        self.ssm_shape = (config.d_state, inner)
        self.heads = inner // config.head_width
        seen = inner + 2 * config.d_state
        self.parts = [inner, seen, self.heads]
        self.in_proj = nn.Linear(config.width, sum(self.parts), bias=False)
        self.conv1d = nn.Conv1d(seen, seen, config.d_conv, groups=seen, padding=config.d_conv - 1)
        self.dt_bias = nn.Parameter(fresh_step_bias(self.heads))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(*DECAYS).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = RmsNorm(inner, epsilon=EPSILON)
        self.out_proj = nn.Linear(inner, config.width, bias=False)
        # Small residual branches start a deep stack near the identity.
        with torch.no_grad():
            self.out_proj.weight.div_(config.layers**0.5)

    def forward(
        self, x_BTD: Tensor, conv_BKX: Tensor, ssm_BNI: Tensor, kernel: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Process a chunk without resets: output, convolution state and SSM state after it."""
        gate_BTI, seen_BTX, dt_BTH = self.in_proj(x_BTD).split(self.parts, dim=-1)
        seen_BTX, conv_BKX = convolve(self.conv1d, seen_BTX, conv_BKX, kernel)
        x_BTHP, B_BTN, C_BTN = self._select(seen_BTX)
        with torch.autocast(x_BTD.device.type, enabled=False):
            dt_BTH = functional.softplus(dt_BTH.to(self.dt_bias.dtype) + self.dt_bias)
            scan = fused_scan if kernel == "fused" else matmul_scan
            y_BTI, ssm_BNI = scan(x_BTHP, dt_BTH, -self.A_log.exp(), B_BTN, C_BTN, self.D, ssm_BNI)
        y_BTI = self.norm(y_BTI * functional.silu(gate_BTI))
        return self.out_proj(y_BTI), conv_BKX, ssm_BNI

    def step(self, x_BD: Tensor, conv_BKX: Tensor, ssm_BNI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate_BI, seen_BX, dt_BH = self.in_proj(x_BD).split(self.parts, dim=-1)
        seen_BX, conv_BKX = convolve_step(self.conv1d, seen_BX, conv_BKX)
        x_BHP, B_BN, C_BN = self._select(seen_BX)
        dt_BH = functional.softplus(dt_BH + self.dt_bias)
        decay_BH = (dt_BH * -self.A_log.exp()).exp()
        written_BI = (x_BHP * dt_BH[..., None]).flatten(1)
        ssm_BNI = torch.addcmul(
            B_BN[:, :, None] * written_BI[:, None],
            ssm_BNI,
            _by_channel(decay_BH[:, None], written_BI.shape[1]),
        )
        read_BHP = torch.bmm(C_BN[:, None], ssm_BNI)[:, 0].unflatten(-1, (self.heads, -1))
        y_BI = torch.addcmul(read_BHP, x_BHP, self.D[:, None]).flatten(1)
        return self.out_proj(self.norm(y_BI * functional.silu(gate_BI))), conv_BKX, ssm_BNI

    def _select(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, B, C = seen.split([seen.shape[-1] - 2 * self.d_state, self.d_state, self.d_state], dim=-1)
        return x.unflatten(-1, (self.heads, self.head_width)), B, C


class Mamba2Backbone(StateSpaceBackbone):
    """Stack of Mamba-2 layers."""

    def __init__(self, config: Mamba2Config) -> None:
        mixers = [Mamba2Mixer(config) for _ in range(config.layers)]
        super().__init__(config, mixers, functools.partial(resolve_matmul, config.kernel))


def resolve_matmul(kernel: MatmulKernel, device: torch.device) -> str:
    """Choose the scan implementation for a device: `torch` or `fused`.

    Raises:
        UsageError: `fused` was requested but is not available.
    """
    if kernel == "torch":
        return "torch"
    there = device.type == "cuda" and _mamba_ssm() is not None
    if kernel == "fused" and not there:
        found = "mamba-ssm is not installed" if device.type == "cuda" else f"the device is {device.type}"
        raise UsageError(
            f"backbone.kernel is 'fused', which is mamba-ssm's on CUDA, but {found}; expected 'torch', 'auto', or "
            "a CUDA device with the extra 'cuda' installed"
        )
    return "fused" if there else "torch"


@functools.cache
def _mamba_ssm() -> Callable[..., tuple[Tensor, Tensor]] | None:
    try:
        module = importlib.import_module("mamba_ssm.ops.triton.ssd_combined")
    except ImportError:
        return None
    return cast("Callable[..., tuple[Tensor, Tensor]]", module.mamba_chunk_scan_combined)


def fused_scan(
    x_BTHP: Tensor, dt_BTH: Tensor, A_H: Tensor, B_BTN: Tensor, C_BTN: Tensor, D_H: Tensor, state_BNI: Tensor
) -> tuple[Tensor, Tensor]:
    """Run `matmul_scan` with mamba-ssm, which multiplies in the precision of x and accumulates in float32."""
    scan = _mamba_ssm()
    assert scan is not None, "resolve_matmul says whether it is there"
    heads = x_BTHP.shape[2]
    y_BTHP, state_BHPN = scan(
        x_BTHP,
        dt_BTH,
        A_H,
        B_BTN[:, :, None],
        C_BTN[:, :, None],
        chunk_size=FUSED_BLOCK,
        D=D_H,
        initial_states=state_BNI.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1).contiguous(),
        return_final_states=True,
    )
    return y_BTHP.flatten(2).to(A_H.dtype), state_BHPN.permute(0, 3, 1, 2).flatten(2).to(state_BNI.dtype)


def matmul_scan(
    x_BTHP: Tensor, dt_BTH: Tensor, A_H: Tensor, B_BTN: Tensor, C_BTN: Tensor, D_H: Tensor, state_BNI: Tensor
) -> tuple[Tensor, Tensor]:
    """Scan a chunk without resets; `dt_BTH` is positive (after softplus), `A_H` negative.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t        y_t = C_t h_t + D x_t

    Returns:
        y_BTI and the state after the chunk.
    """
    exact = A_H.dtype
    out = _BlockScan.apply(  # type: ignore[no-untyped-call]
        x_BTHP.to(exact), dt_BTH, A_H, B_BTN.to(exact), C_BTN.to(exact), D_H, state_BNI.to(exact)
    )
    y_BTI, last_BNI = cast("tuple[Tensor, Tensor]", out)
    return y_BTI, last_BNI.to(state_BNI.dtype)


class _BlockScan(torch.autograd.Function):
    """Scan with a hand-written gradient: autograd would keep every Q × Q product and every product of the states.

    All decays are exp of a sum of logarithms that is at most 0, so nothing overflows. Incomplete blocks are padded
    with frames of step size 0, which leave the state unchanged.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x_BTHP: Tensor,
        dt_BTH: Tensor,
        A_H: Tensor,
        B_BTN: Tensor,
        C_BTN: Tensor,
        D_H: Tensor,
        state_BNI: Tensor,
    ) -> tuple[Tensor, Tensor]:
        batch_size, length, heads, _ = x_BTHP.shape
        x_BGQHP, dt_BGQH, B_BGQN, C_BGQN = (_blocks(part) for part in (x_BTHP, dt_BTH, B_BTN, C_BTN))
        blocks, block = x_BGQHP.shape[1:3]

        log_BGQH = (dt_BGQH * A_H).cumsum(dim=2)
        since_start_BGQH = log_BGQH.exp()
        until_end_BGQH = (log_BGQH[:, :, -1:] - log_BGQH).exp_()
        log_BGHQ = log_BGQH.transpose(2, 3).contiguous()
        # Decay from frame s (column) to frame q (row); `match_BG1QQ` zeroes the upper triangle.
        decay_BGHQQ = (log_BGHQ[..., :, None] - log_BGHQ[..., None, :]).clamp_(max=0).exp_()
        match_BG1QQ = torch.matmul(C_BGQN, B_BGQN.transpose(2, 3)).tril_()[:, :, None]

        written_BGQHP = x_BGQHP * dt_BGQH[..., None]
        handed_on_BGQI = (written_BGQHP * until_end_BGQH[..., None]).flatten(3)
        whole_BG1I = _by_channel(since_start_BGQH[:, :, -1:], state_BNI.shape[2])
        before_GBNI = state_BNI.new_empty(blocks, *state_BNI.shape)
        before_GBNI[0] = state_BNI
        for g in range(blocks):
            after_BNI = before_GBNI[g + 1] if g + 1 < blocks else torch.empty_like(state_BNI)
            torch.mul(before_GBNI[g], whole_BG1I[:, g], out=after_BNI)
            after_BNI.baddbmm_(B_BGQN[:, g].transpose(1, 2), handed_on_BGQI[:, g])

        read_GBQI = torch.matmul(C_BGQN.transpose(0, 1), before_GBNI)
        read_BGQHP = read_GBQI.transpose(0, 1).unflatten(-1, (heads, -1))
        read_BGQHP.mul_(since_start_BGQH[..., None])
        written_BGHQP = written_BGQHP.transpose(2, 3).contiguous()
        y_BGQHP = torch.addcmul(read_BGQHP, x_BGQHP, D_H[:, None])
        y_BGQHP.add_(torch.matmul(decay_BGHQQ * match_BG1QQ, written_BGHQP).transpose(2, 3))
        ctx.save_for_backward(
            *(x_BTHP, dt_BTH, A_H, B_BTN, C_BTN, D_H, since_start_BGQH, until_end_BGQH, whole_BG1I),
            *(decay_BGHQQ, match_BG1QQ, written_BGHQP, handed_on_BGQI, before_GBNI, read_BGQHP),
        )
        y_BTI = y_BGQHP.reshape(batch_size, blocks * block, -1)[:, :length]
        return y_BTI, after_BNI

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(gradients[0].device.type, enabled=False):
            return _block_gradients(cast("tuple[Tensor, ...]", ctx.saved_tensors), *gradients)  # type: ignore[attr-defined]


def _block_gradients(
    saved: tuple[Tensor, ...], gradient_BTI: Tensor, gradient_BNI: Tensor
) -> tuple[Tensor, ...]:
    x_BTHP, dt_BTH, A_H, B_BTN, C_BTN, D_H, since_start_BGQH, until_end_BGQH, whole_BG1I = saved[:9]
    decay_BGHQQ, match_BG1QQ, written_BGHQP, handed_on_BGQI, before_GBNI, read_BGQHP = saved[9:]
    length, heads = dt_BTH.shape[1:]
    x_BGQHP, dt_BGQH, B_BGQN, C_BGQN, g_BGQI = (
        _blocks(part) for part in (x_BTHP, dt_BTH, B_BTN, C_BTN, gradient_BTI)
    )
    g_BGQHP = g_BGQI.unflatten(3, (heads, -1))

    # Gradient through the state between blocks, last block first.
    read_BGQI = (g_BGQHP * since_start_BGQH[..., None]).flatten(3)
    d_after_GBNI = torch.empty_like(before_GBNI)
    d_after_GBNI[-1] = gradient_BNI
    d_whole = []
    for g in reversed(range(len(before_GBNI))):
        d_before_BNI = d_after_GBNI[g - 1] if g else torch.empty_like(gradient_BNI)
        torch.mul(d_after_GBNI[g], whole_BG1I[:, g], out=d_before_BNI)
        d_whole.append((d_before_BNI * before_GBNI[g]).unflatten(-1, (heads, -1)).sum(dim=(1, 3)))
        d_before_BNI.baddbmm_(C_BGQN[:, g].transpose(1, 2), read_BGQI[:, g])
    d_C_GBQN = torch.matmul(read_BGQI.transpose(0, 1), before_GBNI.transpose(2, 3))
    d_B_GBQN = torch.matmul(handed_on_BGQI.transpose(0, 1), d_after_GBNI.transpose(2, 3))
    d_written_GBQI = torch.matmul(B_BGQN.transpose(0, 1), d_after_GBNI)
    d_written_BGQHP = d_written_GBQI.transpose(0, 1).unflatten(-1, (heads, -1))
    d_written_BGQHP.mul_(until_end_BGQH[..., None])
    handed_on_BGQH = (d_written_BGQHP * x_BGQHP).sum(dim=-1) * dt_BGQH

    # Gradient within the blocks.
    g_BGHQP = g_BGQHP.transpose(2, 3).contiguous()
    d_written_BGQHP.add_(torch.matmul((decay_BGHQQ * match_BG1QQ).transpose(3, 4), g_BGHQP).transpose(2, 3))
    d_pair_BGHQQ = torch.matmul(g_BGHQP, written_BGHQP.transpose(3, 4)).mul_(decay_BGHQQ)
    d_match_BGQQ = d_pair_BGHQQ.sum(dim=2).tril_()
    d_C_BGQN = d_C_GBQN.transpose(0, 1) + torch.matmul(d_match_BGQQ, B_BGQN)
    d_B_BGQN = d_B_GBQN.transpose(0, 1) + torch.matmul(d_match_BGQQ.transpose(2, 3), C_BGQN)

    # The decay at a frame scales everything written before it and read at or after it: pairs within the block, the
    # state that enters the block, the block's own contribution to the next state, and the state that passes through.
    # Only such terms are summed: differences of prefix sums over all terms would leave rounding errors.
    d_log_BGHQ = d_pair_BGHQQ.mul_(match_BG1QQ).flatten(3) @ _spans(match_BG1QQ)
    d_log_BGQH = d_log_BGHQ.transpose(2, 3) + torch.stack(d_whole[::-1], dim=1)[:, :, None]
    d_log_BGQH += (g_BGQHP * read_BGQHP).sum(dim=-1).flip(2).cumsum(dim=2).flip(2)
    d_log_BGQH[:, :, 1:] += handed_on_BGQH[:, :, :-1].cumsum(dim=2)

    d_D_BGQH = (g_BGQHP * x_BGQHP).sum(dim=-1)
    d_dt_BGQH = (d_written_BGQHP * x_BGQHP).sum(dim=-1) + d_log_BGQH * A_H
    d_x_BGQHP = d_written_BGQHP.mul_(dt_BGQH[..., None]).addcmul_(g_BGQHP, D_H[:, None])
    return (
        d_x_BGQHP.flatten(1, 2)[:, :length],
        d_dt_BGQH.flatten(1, 2)[:, :length],
        (d_log_BGQH * dt_BGQH).sum(dim=(0, 1, 2)),
        d_B_BGQN.flatten(1, 2)[:, :length],
        d_C_BGQN.flatten(1, 2)[:, :length],
        d_D_BGQH.sum(dim=(0, 1, 2)),
        d_before_BNI,
    )


def _spans(like_BG1QQ: Tensor) -> Tensor:
    """Build [Q * Q, Q], 1 where s < t <= q, for every pair (q, s) and frame t."""
    frame_Q = torch.arange(like_BG1QQ.shape[-1], device=like_BG1QQ.device)
    inside = (frame_Q <= frame_Q[:, None, None]) & (frame_Q > frame_Q[None, :, None])
    return inside.flatten(0, 1).to(like_BG1QQ.dtype)


def _blocks(part: Tensor) -> Tensor:
    """Split [B, T, ...] into blocks [B, G, Q, ...], zero-padded at the end."""
    length = part.shape[1]
    blocks = -(-length // BLOCK)
    block = -(-length // blocks)
    missing = blocks * block - length
    if missing:
        part = functional.pad(part, [0, 0] * (part.dim() - 2) + [0, missing])
    parts: Tensor = part.unflatten(1, (blocks, block))
    return parts


def _by_channel(part: Tensor, inner: int) -> Tensor:
    """Repeat each head's value for its channels: [..., H] to [..., I]."""
    heads = part.shape[-1]
    return part[..., None].expand(*part.shape, inner // heads).flatten(-2)
