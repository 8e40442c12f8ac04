"""Settings of the encoder, which turns one frame of the game into one vector (a preset's `[encoder]` table)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from exphil_core.replays.columns import ITEM_SLOTS


class EncoderConfig(BaseModel):
    """Settings of the encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    character_mode: Literal["learned", "one_hot"] = "learned"
    """`learned`: an embedding of `character_width`. `one_hot`: the 33 internal ids, one-hot."""
    character_width: int = Field(default=64, ge=1, le=1024)
    """Width of the learned character embedding; no effect with `one_hot`."""
    action_state_width: int = Field(default=64, ge=1, le=1024)
    """Width of the learned action-state embedding (544 states and one row for missing)."""
    stage_width: int = Field(default=16, ge=1, le=256)
    """Width of the learned stage embedding."""
    width: int = Field(default=256, ge=8, le=8192)
    """Width of the encoder's output; must equal backbone.width."""
    item_slots: int = Field(default=4, ge=0, le=ITEM_SLOTS)
    """Number of items and projectiles in the input, the nearest to the ego first; 0 turns them off."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout probability on the encoder's output."""
