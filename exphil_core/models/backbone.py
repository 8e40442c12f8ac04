"""The backbone: a sequence model between the encoder and the head, with two faces of one meaning.

In: features `x_BTD` and the frames at which rows reset. Out: features of the same width and the state to go
on with. `forward` is for chunks (training, evaluation), `step` for play; they agree to float tolerance, for
every backbone, over resets and across chunks (`tests/laws/test_streaming.py`).

What a reader gets wrong: a reset at frame t clears the state *before* frame t is consumed. It is the first
frame of something new, not the last of something old.

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
    """An `nn.Module` whose input and output have the same width. Its state is a NamedTuple of tensors, batch
    first; `state.py` has what is done to rows of any state."""

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> StateT:
        """A fresh start: nothing seen yet. All zeros."""
        ...

    def forward(self, x_BTD: Tensor, reset_BT: Tensor, state: StateT | None = None) -> tuple[Tensor, StateT]:
        """A chunk of frames. `state` None is a fresh start. The state carries gradients: detach it where a
        training chunk should not reach into the one before."""
        ...

    def step(self, x_BD: Tensor, reset_B: Tensor, state: StateT) -> tuple[Tensor, StateT]:
        """One frame."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def build_backbone(config: BackboneConfig) -> Backbone[Any]:
    """The registry: a backbone is one file, one configuration and one case here."""
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
    """The name of what will run the backbone's scan in training on this device; None where there is no scan.

    Raises UsageError when the configuration asks for one that is not there.
    """
    match config:
        case MambaConfig() | JambaConfig():
            return resolve_scan(config.kernel, device)
        case Mamba2Config():
            return resolve_matmul(config.kernel, device)
        case _:
            return None
