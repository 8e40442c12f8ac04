"""Mamba (Gu and Dao, 2023) mixer and backbone: a short convolution and a selective state space.

Parameters have the names and shapes of mamba-ssm's `Mamba`, so weights load in both directions. Step sizes, decays
and state stay float32 under bfloat16 autocast, because errors of a recurrence accumulate over a whole game.

Legend: B batch, T time, D width, I inner channels, N state values of a channel, R rank of the step sizes,
K earlier frames in the convolution's window.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.config.backbones import JambaConfig, MambaConfig
from exphil_core.models.scan import resolve_scan, scan_step, selective_scan
from exphil_core.models.state_space import StateSpaceBackbone, convolve, convolve_step, fresh_step_bias


class MambaMixer(nn.Module):
    """Mamba block without norm and residual connection."""

    def __init__(self, config: MambaConfig | JambaConfig) -> None:
        super().__init__()
        inner, self.d_state = config.inner, config.d_state
        self.conv_shape, self.ssm_shape = (config.d_conv - 1, inner), (inner, config.d_state)
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
            # Small residual branches start a deep stack near the identity.
            self.out_proj.weight.div_(config.layers**0.5)

    def forward(
        self, x_BTD: Tensor, conv_BKI: Tensor, ssm_BIN: Tensor, kernel: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Process a chunk without resets: output, convolution state and SSM state after it."""
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
        """Split [..., R + 2 N] into step sizes [..., I], B [..., N] and C [..., N]."""
        dt, B, C = selected.split([self.rank, self.d_state, self.d_state], dim=-1)
        return functional.softplus(self.dt_proj(dt)), B, C

    def decays(self) -> Tensor:
        return -self.A_log.exp()


class MambaBackbone(StateSpaceBackbone):
    """Stack of Mamba layers."""

    def __init__(self, config: MambaConfig) -> None:
        mixers = [MambaMixer(config) for _ in range(config.layers)]
        super().__init__(config, mixers, partial(resolve_scan, config.kernel))
