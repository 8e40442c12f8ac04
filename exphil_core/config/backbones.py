"""What a backbone can be told: one frozen model per kind, joined on `kind`.

In: a preset's `backbone` table. Out: a `BackboneConfig`. What a reader gets wrong is `window_size`: for
attention it is the band, the frames that *each layer* looks back on, itself included (so two layers see
nearly two windows); for the others it is only the length of a training chunk, and state lasts a whole game.
"""

from typing import Annotated, Literal, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Backbone(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window_size: int = Field(default=60, ge=2)
    """For attention, the frames that each layer looks back on, itself included; else the training chunk."""
    width: int = Field(default=256, ge=1)
    """Of what comes in and of what goes out; the encoder's width is the same."""
    layers: int = Field(default=2, ge=1)
    """Residual layers, one upon the other."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of what each layer adds that is dropped in training."""


class MlpConfig(_Backbone):
    """Each frame on its own: what can be said without any memory."""

    kind: Literal["mlp"] = "mlp"


class GruConfig(_Backbone):
    """Gated recurrent units: one vector of memory per layer."""

    kind: Literal["gru"] = "gru"


class AttentionConfig(_Backbone):
    """Banded causal attention with rotary positions."""

    kind: Literal["attention"] = "attention"
    heads: int = Field(default=4, ge=1)
    """Parts that `width` is split into, each of which attends on its own."""
    ffn_factor: float = Field(default=4, gt=0)
    """Width of the feed-forward layer as a multiple of `width`."""

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


BackboneConfig = Annotated[MlpConfig | GruConfig | AttentionConfig, Field(discriminator="kind")]

BACKBONE_KINDS: tuple[str, ...] = ("mlp", "gru", "attention")


def default_chunk_length(config: MlpConfig | GruConfig | AttentionConfig) -> int:
    """Frames of a training window where the preset names none.

    Attention trains on twice its band, so that frames whose band has filled up (all of play but its first
    second) are met in training.
    """
    match config:
        case AttentionConfig():
            return 2 * config.window_size
        case MlpConfig() | GruConfig():
            return config.window_size
        case _:
            assert_never(config)
