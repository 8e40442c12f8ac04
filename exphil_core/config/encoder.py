"""What a preset says of the encoder: how one frame of the game becomes one vector.

In: the `[encoder]` table of a preset. Out: a frozen, checked value. The widths here are those of the
encoder's own tables; `width` is what comes out of it, and the backbone's width has to equal it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from exphil_core.replays.columns import ITEM_SLOTS


class EncoderConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    character_mode: Literal["learned", "one_hot"] = "learned"
    """`learned`: an embedding of `character_width`. `one_hot`: the 33 internal ids as they are."""
    character_width: int = Field(default=64, ge=1, le=1024)
    """Width of the learned character embedding; without effect on `one_hot`."""
    action_state_width: int = Field(default=64, ge=1, le=1024)
    """Width of the learned action-state embedding (544 states, and one row for missing)."""
    stage_width: int = Field(default=16, ge=1, le=256)
    """Width of the learned stage embedding."""
    width: int = Field(default=256, ge=8, le=8192)
    """Width of the encoder's output."""
    item_slots: int = Field(default=4, ge=0, le=ITEM_SLOTS)
    """Items and projectiles that are seen, the nearest to the ego first; 0 for none."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the output's units that are dropped in training."""
