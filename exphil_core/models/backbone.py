"""Backbone interface and registry: the sequence model between encoder and head.

`forward` processes chunks (training, evaluation), `step` single frames (play); both agree to float tolerance, over
resets and across chunks (`tests/laws/test_streaming.py`). A reset at frame t clears the state *before* frame t.

Legend: B batch, T time, D width, H heads.
"""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, assert_never

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import (
    AttentionConfig,
    BackboneConfig,
    GruConfig,
    JambaConfig,
    LstmConfig,
    LstmHybridConfig,
    Mamba2Config,
    MambaConfig,
    MlpConfig,
    TxLikeConfig,
)
from exphil_core.models.attention import AttentionBackbone
from exphil_core.models.jamba import JambaBackbone
from exphil_core.models.lstm_hybrid import LstmHybridBackbone
from exphil_core.models.mamba import MambaBackbone
from exphil_core.models.mamba2 import Mamba2Backbone, resolve_matmul
from exphil_core.models.mlp import MlpBackbone
from exphil_core.models.recurrent import build_gru, build_lstm
from exphil_core.models.scan import resolve_scan
from exphil_core.models.tx_like import build_tx_like

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Backbone(Protocol[StateT]):
    """An `nn.Module` whose input and output have the same width.

    Its state is a NamedTuple of tensors, batch first; `models/state.py` has the operations on rows of any state.
    """

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> StateT:
        """Return the state before any frame: all zeros."""
        ...

    def forward(self, x_BTD: Tensor, reset_BT: Tensor, state: StateT | None = None) -> tuple[Tensor, StateT]:
        """Process a chunk of frames.

        Args:
            x_BTD: Features.
            reset_BT: bool; True where the state is cleared before the frame.
            state: State after the previous chunk; None starts fresh. It carries gradients: detach it to stop
                backpropagation at the chunk border.

        Returns:
            y_BTD and the state after the chunk.
        """
        ...

    def step(self, x_BD: Tensor, reset_B: Tensor, state: StateT) -> tuple[Tensor, StateT]:
        """Process one frame: y_BD and the next state."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def build_backbone(config: BackboneConfig) -> Backbone[Any]:
    """Build the backbone for a configuration, with fresh weights. This `match` is the registry of backbones."""
    match config:
        case MlpConfig():
            return MlpBackbone(config)
        case GruConfig():
            return build_gru(config)
        case LstmConfig():
            return build_lstm(config)
        case LstmHybridConfig():
            return LstmHybridBackbone(config)
        case TxLikeConfig():
            return build_tx_like(config)
        case AttentionConfig():
            return AttentionBackbone(config)
        case MambaConfig():
            return MambaBackbone(config)
        case Mamba2Config():
            return Mamba2Backbone(config)
        case JambaConfig():
            return JambaBackbone(config)
        case _:
            assert_never(config)


def resolve_kernel(config: BackboneConfig, device: torch.device) -> str | None:
    """Name the implementation of the backbone's scan in training on this device; None for backbones without a scan.

    Raises:
        UsageError: The configured implementation is not available.
    """
    match config:
        case MambaConfig() | JambaConfig():
            return resolve_scan(config.kernel, device)
        case Mamba2Config():
            return resolve_matmul(config.kernel, device)
        case _:
            return None
