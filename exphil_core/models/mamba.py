"""Mamba (Gu and Dao, 2023): residual layers of a short convolution and a selective state space.

In: `x_BTD`. Out: `y_BTD` and, for each layer, the last frames before its convolution and the memory of its state
space. Parameters of a mixer have the names and shapes of mamba-ssm's `Mamba`, so weights go both ways. What a
reader gets wrong: the step sizes, the decays and the memory are float32 also where the products around them are
bfloat16, because errors of a recurrence add up over a whole game.

Legend: B batch, T time, D width, I inner channels, N state values of a channel, R rank of the step sizes,
K earlier frames that the convolution sees, W all of them (d_conv = K + 1), L layers.
"""

import functools
import importlib
import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.config.backbones import JambaConfig, MambaConfig
from exphil_core.models.norm import RmsNorm
from exphil_core.models.scan import resolve_scan, scan_step, selective_scan
from exphil_core.models.state import clear_rows, pieces

EPSILON = 1e-5
"""Of the norms: the one that published weights were trained with."""

STEP_SIZES = (1e-3, 1e-1)
"""A fresh channel's step size is drawn between these, uniformly in its logarithm."""


class MambaState(NamedTuple):
    conv_BLKI: Tensor
    """What the convolutions saw last, before their activation. Oldest first."""
    ssm_BLIN: Tensor


class MambaMixer(nn.Module):
    """What a layer adds to the residual stream."""

    def __init__(self, config: MambaConfig | JambaConfig) -> None:
        super().__init__()
        inner, self.d_state = config.inner, config.d_state
        self.rank = config.dt_rank or math.ceil(config.width / 16)
        self.in_proj = nn.Linear(config.width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, config.d_conv, groups=inner, padding=config.d_conv - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * config.d_state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        decays_N = torch.arange(1, config.d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(decays_N.log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, config.width, bias=False)
        with torch.no_grad():
            nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
            self.dt_proj.bias.copy_(fresh_step_bias(inner))
            # Residual branches start small, so that a deep stack starts near the identity.
            self.out_proj.weight.div_(config.layers**0.5)

    def forward(
        self, x_BTD: Tensor, conv_BKI: Tensor, ssm_BIN: Tensor, kernel: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A chunk without resets, and the state after it."""
        u_BTI, gate_BTI = self.in_proj(x_BTD).chunk(2, dim=-1)
        u_BTI, conv_BKI = convolve(self.conv1d, u_BTI, conv_BKI, kernel)
        selected = self.x_proj(u_BTI)
        with torch.autocast(x_BTD.device.type, enabled=False):
            exact = self.A_log.dtype
            dt_BTI, B_BTN, C_BTN = self.select(selected.to(exact))
            y_BTI, ssm_BIN = selective_scan(
                u_BTI.to(exact), dt_BTI, self.decays(), B_BTN, C_BTN, self.D, ssm_BIN, kernel=kernel
            )
        return self.out_proj(y_BTI * functional.silu(gate_BTI)), conv_BKI, ssm_BIN

    def step(self, x_BD: Tensor, conv_BKI: Tensor, ssm_BIN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u_BI, gate_BI = self.in_proj(x_BD).chunk(2, dim=-1)
        u_BI, conv_BKI = convolve_step(self.conv1d, u_BI, conv_BKI)
        dt_BI, B_BN, C_BN = self.select(self.x_proj(u_BI))
        y_BI, ssm_BIN = scan_step(u_BI, dt_BI, self.decays(), B_BN, C_BN, self.D, ssm_BIN)
        return self.out_proj(y_BI * functional.silu(gate_BI)), conv_BKI, ssm_BIN

    def select(self, selected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step sizes [..., I], inputs and readings [..., N] of the state space, from [..., R + 2 N]."""
        dt, B, C = selected.split([self.rank, self.d_state, self.d_state], dim=-1)
        return functional.softplus(self.dt_proj(dt)), B, C

    def decays(self) -> Tensor:
        return -self.A_log.exp()


class MambaLayer(nn.Module):
    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RmsNorm(config.width, epsilon=EPSILON)
        self.mixer = MambaMixer(config)
        self.dropout = nn.Dropout(config.dropout)


class MambaBackbone(nn.Module):
    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        # A cast because mypy sees a ModuleList's items as any module.
        self.layers = cast(
            "list[MambaLayer]", nn.ModuleList(MambaLayer(config) for _ in range(config.layers))
        )
        self.norm = RmsNorm(config.width, epsilon=EPSILON)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> MambaState:
        config = self.config
        return MambaState(
            conv_BLKI=torch.zeros(
                batch_size, config.layers, config.d_conv - 1, config.inner, device=device, dtype=dtype
            ),
            ssm_BLIN=torch.zeros(
                batch_size, config.layers, config.inner, config.d_state, device=device, dtype=dtype
            ),
        )

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: MambaState | None = None
    ) -> tuple[Tensor, MambaState]:
        # The residual stream is in the precision of the weights also where the encoder gives bfloat16.
        x_BTD = x_BTD.to(self.norm.weight.dtype)
        kernel = resolve_scan(self.config.kernel, x_BTD.device)
        state = state or self.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
        outs = []
        for start, end in pieces(reset_BT):
            y_BTD, state = self._piece(x_BTD[:, start:end], clear_rows(state, reset_BT[:, start]), kernel)
            outs.append(y_BTD)
        return self.norm(torch.cat(outs, dim=1) if len(outs) > 1 else outs[0]), state

    def _piece(self, x_BTD: Tensor, state: MambaState, kernel: str) -> tuple[Tensor, MambaState]:
        convs, ssms = [], []
        for number, layer in enumerate(self.layers):
            y_BTD, conv_BKI, ssm_BIN = layer.mixer(
                layer.norm(x_BTD), state.conv_BLKI[:, number], state.ssm_BLIN[:, number], kernel
            )
            x_BTD = x_BTD + layer.dropout(y_BTD)
            convs.append(conv_BKI)
            ssms.append(ssm_BIN)
        return x_BTD, MambaState(torch.stack(convs, dim=1), torch.stack(ssms, dim=1))

    def step(self, x_BD: Tensor, reset_B: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        state = clear_rows(state, reset_B)
        convs, ssms = [], []
        for layer, conv_BKI, ssm_BIN in zip(
            self.layers, state.conv_BLKI.unbind(1), state.ssm_BLIN.unbind(1), strict=True
        ):
            y_BD, conv_BKI, ssm_BIN = layer.mixer.step(layer.norm(x_BD), conv_BKI, ssm_BIN)
            x_BD = x_BD + layer.dropout(y_BD)
            convs.append(conv_BKI)
            ssms.append(ssm_BIN)
        return self.norm(x_BD), MambaState(torch.stack(convs, dim=1), torch.stack(ssms, dim=1))


def fresh_step_bias(channels: int) -> Tensor:
    """What softplus makes step sizes of, drawn log-uniformly from `STEP_SIZES`."""
    low, high = (math.log(size) for size in STEP_SIZES)
    dt = torch.empty(channels).uniform_(low, high).exp()
    return dt + (-(-dt).expm1()).log()


def convolve(conv1d: nn.Conv1d, x_BTI: Tensor, before_BKI: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
    """Each channel's own causal convolution, with its activation, and the last inputs for the frames to come.

    Where the scan is mamba-ssm's, this is its companion causal-conv1d, if that is there and takes the shape.
    """
    weight_IW, bias_I = conv1d.weight.squeeze(1), conv1d.bias
    earlier = before_BKI.shape[1]
    padded = torch.cat([before_BKI.to(x_BTI.dtype), x_BTI], dim=1)
    after_BKI = padded[:, -earlier:].to(before_BKI.dtype)
    fused = _causal_conv1d() if kernel == "fused" else None
    if fused is not None and x_BTI.shape[-1] % 8 == 0 and weight_IW.shape[1] <= 4:
        out = fused(padded.transpose(1, 2), weight_IW, bias_I, activation="silu")
        return out.transpose(1, 2)[:, earlier:], after_BKI
    # In two dimensions, because [B, I, 1, T] over memory of [B, T, I] is "channels last", which CPUs have fast
    # convolutions for: 10 ms, against 18 ms of conv1d and 21 ms of shifted sums (forward and backward at
    # [16, 120, 1024] on two cores); and in float32, because their gradient in bfloat16 is three times slower.
    with torch.autocast(x_BTI.device.type, enabled=False):
        out = functional.conv2d(
            padded.to(weight_IW.dtype).transpose(1, 2)[:, :, None],
            weight_IW[:, None, None],
            bias_I,
            groups=x_BTI.shape[-1],
        )
    return functional.silu(out.squeeze(2).transpose(1, 2)), after_BKI


def convolve_step(conv1d: nn.Conv1d, x_BI: Tensor, before_BKI: Tensor) -> tuple[Tensor, Tensor]:
    """`convolve` of one frame."""
    window = torch.cat([before_BKI, x_BI[:, None]], dim=1)
    assert conv1d.bias is not None
    out_BI = (window * conv1d.weight.squeeze(1).t()).sum(dim=1) + conv1d.bias
    return functional.silu(out_BI), window[:, 1:]


@functools.cache
def _causal_conv1d() -> Callable[..., Tensor] | None:
    try:
        module = importlib.import_module("causal_conv1d")
    except ImportError:
        return None
    return cast("Callable[..., Tensor]", module.causal_conv1d_fn)
