"""Habits of the five bots, as weights and probabilities.

A weight is relative to the other weights of the same plan (`ground.py`, `air.py`, `bots.py`).
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from exphil_core.dojo.inputs import bits_held
from exphil_core.melee.characters import by_name
from exphil_core.melee.controller import BUTTON_BITS, Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Habits of one character."""

    name: str
    delay: int
    """Reaction time: frames from what the opponent does to the input that responds."""
    approach: float
    retreat: float
    jump: float
    short_hop: float
    """Probability that a jump is a short hop."""
    attack: float
    smash: float
    grab: float
    special: float
    shield: float
    wavedash: float
    fast_fall: float
    memory: float
    """Factor on shielding (or grabbing) when the opponent attacked (or shielded) within the last seconds."""
    adapts: bool = False
    """Adapt to the opponent's last attack within three seconds: keep away after an aerial, jump in after a ground
    attack."""
    jump_button: str
    shield_button: str

    @property
    def jump_bit(self) -> int:
        return BUTTON_BITS[self.jump_button]

    @property
    def guard(self) -> Controller:
        """The shield, or in the air a dodge on the spot."""
        return self.clicked(0, 0)

    def clicked(self, main_x: float, main_y: float, bits: int = 0) -> Controller:
        """Return this stick with the style's shield button, and `bits` as further buttons."""
        shoulder = BUTTON_BITS[self.shield_button]
        return bits_held(main_x, main_y, shoulder | bits, trigger=shoulder)


STYLES: Final = MappingProxyType(
    {
        by_name(style.name).external_id: style
        for style in (
            Style(
                name="mewtwo",
                delay=13,
                approach=3.0,
                retreat=1.0,
                jump=2.0,
                short_hop=0.35,
                attack=1.0,
                smash=0.5,
                grab=1.0,
                special=0.3,
                shield=0.7,
                wavedash=0.3,
                fast_fall=0.25,
                memory=2.0,
                jump_button="X",
                shield_button="R",
            ),
            Style(
                name="ganondorf",
                delay=15,
                approach=3.0,
                retreat=0.8,
                jump=2.5,
                short_hop=0.85,
                attack=1.2,
                smash=0.7,
                grab=0.7,
                special=0.2,
                shield=0.4,
                wavedash=0.1,
                fast_fall=0.5,
                memory=3.0,
                adapts=True,
                jump_button="Y",
                shield_button="L",
            ),
            Style(
                name="link",
                delay=14,
                approach=1.5,
                retreat=1.8,
                jump=1.2,
                short_hop=0.6,
                attack=1.3,
                smash=0.8,
                grab=0.3,
                special=1.2,
                shield=0.8,
                wavedash=0.05,
                fast_fall=0.35,
                memory=3.0,
                adapts=True,
                jump_button="X",
                shield_button="L",
            ),
            Style(
                name="gameandwatch",
                delay=12,
                approach=4.0,
                retreat=0.6,
                jump=3.0,
                short_hop=0.5,
                attack=1.2,
                smash=1.2,
                grab=0.5,
                special=0.2,
                shield=0.15,
                wavedash=0.15,
                fast_fall=0.3,
                memory=2.0,
                jump_button="Y",
                shield_button="R",
            ),
            Style(
                name="zelda",
                delay=17,
                approach=1.2,
                retreat=1.5,
                jump=0.8,
                short_hop=0.5,
                attack=0.8,
                smash=1.6,
                grab=0.6,
                special=0.8,
                shield=1.5,
                wavedash=0.02,
                fast_fall=0.2,
                memory=3.0,
                adapts=True,
                jump_button="X",
                shield_button="L",
            ),
        )
    }
)
"""Style by external id."""
