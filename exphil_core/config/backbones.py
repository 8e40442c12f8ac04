"""What a backbone can be told: one frozen model per kind, joined on `kind`.

In: a preset's `backbone` table. Out: a `BackboneConfig`. What a reader gets wrong is `window_size`: where there
is attention it is the band, the frames that *each attention layer* looks back on, itself included (so two layers
see nearly two windows); for the others it is only the length of a training chunk, and state lasts a whole game.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScanKernel = Literal["auto", "torch", "compiled", "fused"]
"""What runs the selective scan of training. `torch`: exphil's own in PyTorch, anywhere. `compiled`: exphil's own
in C++, on a CPU with a compiler. `fused`: mamba-ssm's, on CUDA. `auto`: the fastest of them that is there."""

MatmulKernel = Literal["auto", "torch", "fused"]
"""What runs Mamba-2's chunked scan of training: see `ScanKernel`."""


class _Backbone(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window_size: int = Field(default=60, ge=2)
    """Where there is attention, the frames that each layer of it looks back on, itself included; else the
    training chunk."""
    width: int = Field(default=256, ge=1)
    """Of what comes in and of what goes out; the encoder's width is the same."""
    layers: int = Field(default=2, ge=1)
    """Residual layers, one upon the other."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of what each layer adds that is dropped in training."""

    @property
    def chunk_length(self) -> int:
        """Frames of a training window where the preset names none."""
        return self.window_size


class _Banded(_Backbone):
    """A backbone with banded attention in it."""

    heads: int = Field(default=4, ge=1)
    """Parts that `width` is split into, each of which attends on its own."""

    @property
    def chunk_length(self) -> int:
        """Twice the band, so that frames whose band has filled up (all of play but its first second) are met
        in training."""
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
    """A backbone with a selective state space in it."""

    d_state: int = Field(default=16, ge=1)
    """Values of memory per inner channel."""
    d_conv: int = Field(default=4, ge=2)
    """Frames that the short convolution before the scan sees."""
    expand: int = Field(default=2, ge=1)
    """Inner channels as a multiple of `width`."""

    @property
    def inner(self) -> int:
        """Channels of the state space."""
        return self.expand * self.width


class MlpConfig(_Backbone):
    """Each frame on its own: what can be said without any memory."""

    kind: Literal["mlp"] = "mlp"
    residual: bool = True
    """Layers add to what comes in, through four times `width`; off: plain hidden layers of `width` units, so that two
    of 512 are [512, 512]."""


class GruConfig(_Backbone):
    """Gated recurrent units: one vector of memory per layer."""

    kind: Literal["gru"] = "gru"


class LstmConfig(_Backbone):
    """Long short-term memory: two vectors of memory per layer."""

    kind: Literal["lstm"] = "lstm"


class TxLikeConfig(_Backbone):
    """slippi-ai's: each layer an LSTM and a feed-forward part, both residual."""

    kind: Literal["tx_like"] = "tx_like"
    ffn_factor: float = Field(default=2, gt=0)
    """Width of the feed-forward part as a multiple of `width`."""


class LstmHybridConfig(_Banded):
    """LSTM layers first, then banded attention over what they say."""

    kind: Literal["lstm_hybrid"] = "lstm_hybrid"
    layers: int = Field(default=1, ge=1)
    """Residual LSTM layers, one upon the other."""
    attention_layers: int = Field(default=1, ge=1)
    """Attention layers, without feed-forward parts, upon them."""


class AttentionConfig(_Banded):
    """Banded causal attention with rotary positions."""

    kind: Literal["attention"] = "attention"
    ffn_factor: float = Field(default=4, gt=0)
    """Width of the feed-forward layer as a multiple of `width`."""


class MambaConfig(_Selective):
    """The selective state space model of Gu and Dao (2023)."""

    kind: Literal["mamba"] = "mamba"
    dt_rank: int | None = Field(default=None, ge=1)
    """Rank of the projection that makes the step sizes; by default a sixteenth of `width`."""
    kernel: ScanKernel = "auto"
    """What runs the scan in training; play never needs one."""


class Mamba2Config(_Selective):
    """Mamba-2 (Dao and Gu, 2024): one decay per head, so that the scan is matrix products."""

    kind: Literal["mamba2"] = "mamba2"
    d_state: int = Field(default=64, ge=1)
    """Values of memory per inner channel."""
    head_width: int = Field(default=64, ge=1)
    """Inner channels that share a decay."""
    kernel: MatmulKernel = "auto"
    """What runs the scan in training; play never needs one."""

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
    """Layers, of either sort, one upon the other."""
    attention_period: int = Field(default=3, ge=1)
    """One layer of so many is attention, the others are Mamba."""
    attention_offset: int = Field(default=1, ge=0)
    """Which one: layer number modulo `attention_period`, counted from 0."""
    ffn_factor: float = Field(default=2, gt=0)
    """Width of each layer's gated feed-forward part as a multiple of `width`."""
    dt_rank: int | None = Field(default=None, ge=1)
    """Rank of the projection that makes the step sizes; by default a sixteenth of `width`."""
    kernel: ScanKernel = "auto"
    """What runs the scan in training; play never needs one."""

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
        """Whether the layer of this number, from 0, is attention."""
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
"""Other names of a kind, as people type them."""

BackboneConfig = Annotated[AnyBackbone, Field(discriminator="kind")]

BACKBONE_KINDS: tuple[str, ...] = tuple(
    str(config.model_fields["kind"].default) for config in get_args(AnyBackbone)
)
"""In the order in which they are listed for people: the first ExPhil's seven, then the later ones."""
