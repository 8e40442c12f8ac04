"""Jamba (Lieber et al., 2024) without experts: Mamba and banded attention layers with gated feed-forward parts.

Attention has no positional encoding (the Mamba layers convey the order). It is limited to `window_size` frames per
layer; the Mamba layers are not.

Legend: B batch, T time, D width, I inner channels, N state values of a channel, K earlier frames in a convolution's
window, L Mamba layers, A attention layers, H heads, S slots of the ring (window_size), E width of a head, F width of
the feed-forward part.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.config.backbones import JambaConfig
from exphil_core.models.attention import BandedAttention, BandedChunk, BandedFrame, KVCache, empty_kv_cache
from exphil_core.models.mamba import MambaMixer
from exphil_core.models.norm import RmsNorm
from exphil_core.models.scan import resolve_scan
from exphil_core.models.state import clear_rows, pieces
from exphil_core.models.state_space import StateSpaceState

EPSILON = 1e-6
"""Epsilon of the norms, as in published weights."""


class JambaState(NamedTuple):
    """State of the Mamba layers and of the attention layers."""

    conv_BLKI: Tensor
    """As in `StateSpaceState`, for the Mamba layers only."""
    ssm_BLIN: Tensor
    keys_BAHSE: Tensor
    """As in `KVCache`, for the attention layers only."""
    values_BAHSE: Tensor
    clock_B: Tensor

    def mamba(self) -> StateSpaceState:
        return StateSpaceState(self.conv_BLKI, self.ssm_BLIN)

    def ring(self) -> KVCache:
        return KVCache(self.keys_BAHSE, self.values_BAHSE, self.clock_B)


class JambaMixer(MambaMixer):
    """Mamba mixer with norms on dt, B and C; without them, large activations make deep hybrids diverge."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__(config)
        self.dt_norm = RmsNorm(self.rank, epsilon=EPSILON)
        self.B_norm = RmsNorm(self.d_state, epsilon=EPSILON)
        self.C_norm = RmsNorm(self.d_state, epsilon=EPSILON)

    def select(self, selected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dt, B, C = selected.split([self.rank, self.d_state, self.d_state], dim=-1)
        return functional.softplus(self.dt_proj(self.dt_norm(dt))), self.B_norm(B), self.C_norm(C)


class GatedFeedForward(nn.Module):
    """SwiGLU feed-forward part."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.wide = nn.Linear(width, inner, bias=False)
        self.back = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.back(functional.silu(self.gate(x)) * self.wide(x))
        return out


class JambaLayer(nn.Module):
    """Pre-norm residual layer: Mamba or attention, then the feed-forward part."""

    def __init__(self, config: JambaConfig, number: int) -> None:
        super().__init__()
        self.norm = RmsNorm(config.width, epsilon=EPSILON)
        self.mixer: JambaMixer | BandedAttention
        if config.is_attention(number):
            self.mixer = BandedAttention(config.width, config.heads, rotary=False)
            branches = [self.mixer.out]
        else:
            self.mixer = JambaMixer(config)
            branches = []
        self.feed_forward_norm = RmsNorm(config.width, epsilon=EPSILON)
        self.feed_forward = GatedFeedForward(config.width, round(config.ffn_factor * config.width))
        self.dropout = nn.Dropout(config.dropout)
        # Small residual branches start a deep stack near the identity. The Mamba mixer scales its own.
        with torch.no_grad():
            for branch in (*branches, self.feed_forward.back):
                branch.weight.div_(config.layers**0.5)

    def finish(self, x: Tensor, added: Tensor) -> Tensor:
        x = x + self.dropout(added)
        y: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return y


class JambaBackbone(nn.Module):
    """Stack of `JambaLayer` with a final norm."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        self.config = config
        # Cast, because mypy types a ModuleList's items as Module.
        self.layers = cast(
            "list[JambaLayer]", nn.ModuleList(JambaLayer(config, number) for number in range(config.layers))
        )
        self.norm = RmsNorm(config.width, epsilon=EPSILON)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> JambaState:
        config = self.config
        attentions = sum(config.is_attention(number) for number in range(config.layers))
        mambas = config.layers - attentions
        ring = empty_kv_cache(
            batch_size,
            layers=attentions,
            heads=config.heads,
            window_size=config.window_size,
            head_width=config.width // config.heads,
            device=device,
            dtype=dtype,
        )
        shapes = (mambas, config.d_conv - 1, config.inner), (mambas, config.inner, config.d_state)
        conv, ssm = (torch.zeros(batch_size, *shape, device=device, dtype=dtype) for shape in shapes)
        return JambaState(conv, ssm, *ring)

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: JambaState | None = None
    ) -> tuple[Tensor, JambaState]:
        # Keep the residual stream in the precision of the weights even if the encoder outputs bfloat16.
        x_BTD = x_BTD.to(self.norm.weight.dtype)
        kernel = resolve_scan(self.config.kernel, x_BTD.device)
        # Without a ring, attention has fewer keys to process.
        ring = None if state is None else state.ring()
        state = state or self.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
        outs = []
        for start, end in pieces(reset_BT):
            chunk = BandedChunk(
                x_BTD[:, start:end], reset_BT[:, start:end], ring, window_size=self.config.window_size
            )
            before = clear_rows(state.mamba(), reset_BT[:, start])
            y_BTD, state = self._piece(x_BTD[:, start:end], chunk, before, kernel)
            ring = state.ring()
            outs.append(y_BTD)
        return self.norm(torch.cat(outs, dim=1) if len(outs) > 1 else outs[0]), state

    def _piece(
        self, x_BTD: Tensor, chunk: BandedChunk, before: StateSpaceState, kernel: str
    ) -> tuple[Tensor, JambaState]:
        convs: list[Tensor] = []
        ssms: list[Tensor] = []
        for layer in self.layers:
            if isinstance(layer.mixer, BandedAttention):
                added_BTD = layer.mixer(layer.norm(x_BTD), chunk)
            else:
                number = len(convs)
                added_BTD, conv_BKI, ssm_BIN = layer.mixer(
                    layer.norm(x_BTD), before.conv_BLKX[:, number], before.ssm_BLMM[:, number], kernel
                )
                convs.append(conv_BKI)
                ssms.append(ssm_BIN)
            x_BTD = layer.finish(x_BTD, added_BTD)
        return x_BTD, JambaState(*_stacked(before, convs, ssms), *chunk.ring())

    def step(self, x_BD: Tensor, reset_B: Tensor, state: JambaState) -> tuple[Tensor, JambaState]:
        frame = BandedFrame(state.ring(), reset_B)
        before = clear_rows(state.mamba(), reset_B)
        convs: list[Tensor] = []
        ssms: list[Tensor] = []
        for layer in self.layers:
            if isinstance(layer.mixer, BandedAttention):
                added_BD = layer.mixer.step(layer.norm(x_BD), frame)
            else:
                number = len(convs)
                added_BD, conv_BKI, ssm_BIN = layer.mixer.step(
                    layer.norm(x_BD), before.conv_BLKX[:, number], before.ssm_BLMM[:, number]
                )
                convs.append(conv_BKI)
                ssms.append(ssm_BIN)
            x_BD = layer.finish(x_BD, added_BD)
        return self.norm(x_BD), JambaState(*_stacked(before, convs, ssms), *frame.ring())


def _stacked(before: StateSpaceState, convs: list[Tensor], ssms: list[Tensor]) -> StateSpaceState:
    """Stack the states of the Mamba layers; return `before` if there are none."""
    if not convs:
        return before
    return StateSpaceState(torch.stack(convs, dim=1), torch.stack(ssms, dim=1))
