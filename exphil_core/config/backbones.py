"""Settings of the backbones: one frozen pydantic model per kind, a union discriminated by `kind`.

`window_size` has two meanings. With attention it is the band: the frames that *each attention layer* attends to,
including the current one, so two layers see nearly two windows. Without, it is only the training chunk's length.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScanKernel = Literal["auto", "torch", "compiled", "fused"]
"""Implementation of the selective scan in training. `torch`: exphil's in PyTorch, on any device. `compiled`: exphil's
in C++, on a CPU with a compiler. `fused`: mamba-ssm's, on CUDA. `auto`: the fastest available one."""

MatmulKernel = Literal["auto", "torch", "fused"]
"""Implementation of Mamba-2's chunked scan in training; see `ScanKernel`."""


class _Backbone(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window_size: int = Field(default=60, ge=2)
    """With attention, the frames that each attention layer attends to, including the current one; else the frames
    of a training chunk."""
    width: int = Field(default=256, ge=1)
    """Model dimension; must equal encoder.width."""
    layers: int = Field(default=2, ge=1)
    """Number of stacked residual layers."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout probability on the output of each layer, before the residual sum."""

    @property
    def chunk_length(self) -> int:
        """Default frames of a training window, where the preset sets no `train.chunk_length`."""
        return self.window_size


class _Banded(_Backbone):
    """A backbone with banded attention."""

    heads: int = Field(default=4, ge=1)
    """Attention heads; `width` must split into heads of even width."""

    @property
    def chunk_length(self) -> int:
        """Twice the band, so that training has frames with a full band, as play has after its first second."""
        return 2 * self.window_size

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % (2 * self.heads):
            fitting = [heads for heads in range(1, self.width // 2 + 1) if self.width % (2 * heads) == 0]
            if not fitting:
                raise ValueError(f"width {self.width} is odd, but rotary positions turn pairs: make it even")
            nearest = min(fitting, key=lambda heads: (abs(heads - self.heads), heads))
            raise ValueError(
                f"width {self.width} does not split into {self.heads} heads of even width; "
                f"the nearest number of heads that does is {nearest}"
            )
        return self


class _Selective(_Backbone):
    """A backbone with a selective state space."""

    d_state: int = Field(default=16, ge=1)
    """State size per inner channel."""
    d_conv: int = Field(default=4, ge=2)
    """Kernel size of the causal convolution before the scan, in frames."""
    expand: int = Field(default=2, ge=1)
    """Inner channels as a multiple of `width`."""

    @property
    def inner(self) -> int:
        """Number of inner channels."""
        return self.expand * self.width


class MlpConfig(_Backbone):
    """Multilayer perceptron on single frames: a baseline without memory."""

    kind: Literal["mlp"] = "mlp"
    residual: bool = True
    """Residual layers with a hidden width of four times `width`; off: plain hidden layers of `width` units, so two
    layers of 512 are [512, 512]."""


class GruConfig(_Backbone):
    """Gated recurrent unit (GRU): one state vector per layer."""

    kind: Literal["gru"] = "gru"


class LstmConfig(_Backbone):
    """Long short-term memory (LSTM): two state vectors per layer."""

    kind: Literal["lstm"] = "lstm"


class TxLikeConfig(_Backbone):
    """slippi-ai's backbone: each layer is an LSTM and a feed-forward part, both residual."""

    kind: Literal["tx_like"] = "tx_like"
    ffn_factor: float = Field(default=2, gt=0)
    """Width of the feed-forward part, as a multiple of `width`."""


class LstmHybridConfig(_Banded):
    """LSTM layers, then banded attention over their output."""

    kind: Literal["lstm_hybrid"] = "lstm_hybrid"
    layers: int = Field(default=1, ge=1)
    """Number of stacked residual LSTM layers."""
    attention_layers: int = Field(default=1, ge=1)
    """Number of attention layers on top, without feed-forward parts."""


class AttentionConfig(_Banded):
    """Banded (sliding-window) causal attention with rotary position embeddings."""

    kind: Literal["attention"] = "attention"
    ffn_factor: float = Field(default=4, gt=0)
    """Width of the feed-forward layer, as a multiple of `width`."""


class MambaConfig(_Selective):
    """Mamba: the selective state space model of Gu and Dao (2023)."""

    kind: Literal["mamba"] = "mamba"
    dt_rank: int | None = Field(default=None, ge=1)
    """Rank of the step size (dt) projection; by default a sixteenth of `width`."""
    kernel: ScanKernel = "auto"
    """Implementation of the scan in training; play does not use it."""


class Mamba2Config(_Selective):
    """Mamba-2 (Dao and Gu, 2024): one decay per head, so the scan is matrix products."""

    kind: Literal["mamba2"] = "mamba2"
    d_state: int = Field(default=64, ge=1)
    """State size per inner channel."""
    head_width: int = Field(default=64, ge=1)
    """Inner channels per head; a head's channels share a decay."""
    kernel: MatmulKernel = "auto"
    """Implementation of the scan in training; play does not use it."""

    @model_validator(mode="after")
    def _heads_divide_inner(self) -> Self:
        if self.inner % self.head_width:
            fitting = [width for width in range(1, self.inner + 1) if self.inner % width == 0]
            nearest = min(fitting, key=lambda width: (abs(width - self.head_width), width))
            raise ValueError(
                f"expand * width = {self.inner} inner channels do not split into heads of head_width "
                f"{self.head_width}; the nearest head_width that divides them is {nearest}"
            )
        return self


class JambaConfig(_Banded, _Selective):
    """Mamba and banded attention layers interleaved, as in Jamba (Lieber et al., 2024), without experts."""

    kind: Literal["jamba"] = "jamba"
    layers: int = Field(default=6, ge=1)
    """Number of stacked layers, of both kinds."""
    attention_period: int = Field(default=3, ge=1)
    """One layer in this many is attention; the others are Mamba."""
    attention_offset: int = Field(default=1, ge=0)
    """Attention layers are those with layer number (from 0) modulo `attention_period` equal to this."""
    ffn_factor: float = Field(default=2, gt=0)
    """Width of each layer's gated feed-forward part, as a multiple of `width`."""
    dt_rank: int | None = Field(default=None, ge=1)
    """Rank of the step size (dt) projection; by default a sixteenth of `width`."""
    kernel: ScanKernel = "auto"
    """Implementation of the scan in training; play does not use it."""

    @model_validator(mode="after")
    def _there_is_attention(self) -> Self:
        if self.attention_offset >= self.attention_period:
            raise ValueError(
                f"attention_offset is {self.attention_offset}, but layers are counted modulo attention_period "
                f"{self.attention_period}: expected 0 to {self.attention_period - 1}"
            )
        if self.attention_offset >= self.layers:
            raise ValueError(
                f"the first attention layer would be number {self.attention_offset}, but there are {self.layers} "
                f"layers: expected an attention_offset below {self.layers}, or kind 'mamba'"
            )
        return self

    def is_attention(self, layer: int) -> bool:
        """Whether layer number `layer`, from 0, is attention."""
        return layer % self.attention_period == self.attention_offset


AnyBackbone = (
    MlpConfig
    | LstmConfig
    | GruConfig
    | LstmHybridConfig
    | AttentionConfig
    | MambaConfig
    | JambaConfig
    | TxLikeConfig
    | Mamba2Config
)

ALIASES = {"sliding_window": "attention"}
"""Alias → kind."""

BackboneConfig = Annotated[AnyBackbone, Field(discriminator="kind")]

BACKBONE_KINDS: tuple[str, ...] = tuple(
    str(config.model_fields["kind"].default) for config in get_args(AnyBackbone)
)
"""All kinds, in display order: the seven of the first ExPhil, then the later ones."""
