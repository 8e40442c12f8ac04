"""Shared parts of Mamba and Mamba-2: the backbone of residual layers, and the short causal convolution.

A mixer defines the layout of its SSM state. The backbone handles resets: it splits chunks and clears rows.

Legend: B batch, T time, D width, I inner channels, X convolved channels, K earlier frames in the convolution's
window, W all frames in it (d_conv = K + 1), L layers, M the two dimensions of a mixer's SSM state.
"""

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.config.backbones import Mamba2Config, MambaConfig
from exphil_core.models.norm import RmsNorm
from exphil_core.models.state import clear_rows, pieces

EPSILON = 1e-5
"""Epsilon of the norms, as in published weights."""

STEP_SIZES = (1e-3, 1e-1)
"""Initial step sizes of the channels: log-uniform between these."""


class StateSpaceState(NamedTuple):
    """Convolution state and SSM state of every layer."""

    conv_BLKX: Tensor
    """Last inputs of the convolutions, oldest first."""
    ssm_BLMM: Tensor


class Mixer(Protocol):
    """Residual branch of a layer: convolution and scan."""

    conv_shape: tuple[int, int]
    """K, X."""
    ssm_shape: tuple[int, int]

    def __call__(
        self, x_BTD: Tensor, conv_BKX: Tensor, ssm_BMM: Tensor, kernel: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Process a chunk without resets: output, convolution state and SSM state after it."""

    def step(self, x_BD: Tensor, conv_BKX: Tensor, ssm_BMM: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...


class StateSpaceLayer(nn.Module):
    """Pre-norm residual layer around a mixer."""

    mixer: Mixer

    def __init__(self, config: MambaConfig | Mamba2Config, mixer: nn.Module) -> None:
        super().__init__()
        self.norm = RmsNorm(config.width, epsilon=EPSILON)
        self.mixer = cast("Mixer", mixer)
        self.dropout = nn.Dropout(config.dropout)


class StateSpaceBackbone(nn.Module):
    """Stack of `StateSpaceLayer` with a final norm."""

    def __init__(
        self,
        config: MambaConfig | Mamba2Config,
        mixers: Sequence[nn.Module],
        resolve: Callable[[torch.device], str],
    ) -> None:
        """Build the backbone.

        Args:
            config: Width and dropout.
            mixers: One mixer per layer.
            resolve: Returns the kernel to use on a device.
        """
        super().__init__()
        self.config = config
        self._resolve = resolve
        # Cast, because mypy types a ModuleList's items as Module.
        self.layers = cast(
            "list[StateSpaceLayer]", nn.ModuleList(StateSpaceLayer(config, mixer) for mixer in mixers)
        )
        self.norm = RmsNorm(config.width, epsilon=EPSILON)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> StateSpaceState:
        mixer = self.layers[0].mixer
        shapes = (mixer.conv_shape, mixer.ssm_shape)
        return StateSpaceState(
            *(
                torch.zeros(batch_size, len(self.layers), *shape, device=device, dtype=dtype)
                for shape in shapes
            )
        )

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: StateSpaceState | None = None
    ) -> tuple[Tensor, StateSpaceState]:
        # Keep the residual stream in the precision of the weights even if the encoder outputs bfloat16.
        x_BTD = x_BTD.to(self.norm.weight.dtype)
        kernel = self._resolve(x_BTD.device)
        state = state or self.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
        outs = []
        for start, end in pieces(reset_BT):
            y_BTD, state = self._piece(x_BTD[:, start:end], clear_rows(state, reset_BT[:, start]), kernel)
            outs.append(y_BTD)
        return self.norm(torch.cat(outs, dim=1) if len(outs) > 1 else outs[0]), state

    def _piece(self, x_BTD: Tensor, state: StateSpaceState, kernel: str) -> tuple[Tensor, StateSpaceState]:
        convs, ssms = [], []
        for number, layer in enumerate(self.layers):
            y_BTD, conv_BKX, ssm_BMM = layer.mixer(
                layer.norm(x_BTD), state.conv_BLKX[:, number], state.ssm_BLMM[:, number], kernel
            )
            x_BTD = x_BTD + layer.dropout(y_BTD)
            convs.append(conv_BKX)
            ssms.append(ssm_BMM)
        return x_BTD, StateSpaceState(torch.stack(convs, dim=1), torch.stack(ssms, dim=1))

    def step(self, x_BD: Tensor, reset_B: Tensor, state: StateSpaceState) -> tuple[Tensor, StateSpaceState]:
        state = clear_rows(state, reset_B)
        convs, ssms = [], []
        for layer, conv_BKX, ssm_BMM in zip(
            self.layers, state.conv_BLKX.unbind(1), state.ssm_BLMM.unbind(1), strict=True
        ):
            y_BD, conv_BKX, ssm_BMM = layer.mixer.step(layer.norm(x_BD), conv_BKX, ssm_BMM)
            x_BD = x_BD + layer.dropout(y_BD)
            convs.append(conv_BKX)
            ssms.append(ssm_BMM)
        return self.norm(x_BD), StateSpaceState(torch.stack(convs, dim=1), torch.stack(ssms, dim=1))


def fresh_step_bias(channels: int) -> Tensor:
    """Draw initial biases [channels] whose softplus is log-uniform in `STEP_SIZES`."""
    low, high = (math.log(size) for size in STEP_SIZES)
    dt = torch.empty(channels).uniform_(low, high).exp()
    return dt + (-(-dt).expm1()).log()


def convolve(conv1d: nn.Conv1d, x_BTI: Tensor, before_BKI: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
    """Apply the depthwise causal convolution with SiLU to a chunk.

    Uses causal-conv1d if `kernel` is `fused`, the package is installed and it supports the shape.

    Returns:
        The output [B, T, I] and the last K inputs, for the next chunk.
    """
    weight_IW, bias_I = conv1d.weight.squeeze(1), conv1d.bias
    earlier = before_BKI.shape[1]
    padded = torch.cat([before_BKI.to(x_BTI.dtype), x_BTI], dim=1)
    after_BKI = padded[:, -earlier:].to(before_BKI.dtype)
    fused = _causal_conv1d() if kernel == "fused" else None
    if fused is not None and x_BTI.shape[-1] % 8 == 0 and weight_IW.shape[1] <= 4:
        out = fused(padded.transpose(1, 2), weight_IW, bias_I, activation="silu")
        return out.transpose(1, 2)[:, earlier:], after_BKI
    # conv2d, because [B, I, 1, T] over memory of [B, T, I] is "channels last", which has fast CPU kernels: 10 ms,
    # against 18 ms with conv1d and 21 ms with shifted sums (forward and backward at [16, 120, 1024] on two cores).
    # float32, because the bfloat16 gradient is three times slower.
    with torch.autocast(x_BTI.device.type, enabled=False):
        out = functional.conv2d(
            padded.to(weight_IW.dtype).transpose(1, 2)[:, :, None],
            weight_IW[:, None, None],
            bias_I,
            groups=x_BTI.shape[-1],
        )
    return functional.silu(out.squeeze(2).transpose(1, 2)), after_BKI


def convolve_step(conv1d: nn.Conv1d, x_BI: Tensor, before_BKI: Tensor) -> tuple[Tensor, Tensor]:
    """Apply `convolve` to one frame."""
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
