"""The GameCube controller as a policy sees it: two sticks, two analogue triggers, eight digital buttons.

Sticks are *logical* (-1 to 1, as peppi gives them), triggers *physical* (0 to 1, each shoulder on its own).
The digital L and R are buttons of their own, never the end of the analogue range: an air dodge, a tech and an
L-cancel need the click, a shield only the analogue value.
"""

from dataclasses import dataclass

BUTTON_BITS: dict[str, int] = {
    "A": 0x0100,
    "B": 0x0200,
    "X": 0x0400,
    "Y": 0x0800,
    "Z": 0x0010,
    "L": 0x0040,
    "R": 0x0020,
    "D_UP": 0x0008,
}
"""The buttons that do something in a game, in the order of every head and report, with their bit in
Slippi's `buttons_physical`. Start (0x1000) pauses and the other D-pad directions do nothing in play."""

BUTTONS: tuple[str, ...] = tuple(BUTTON_BITS)

BUTTON_MASK = sum(BUTTON_BITS.values())

STICK_STEP = 1 / 80
"""Human sticks lie on a grid of this step."""

DEAD_ZONE = 0.2875
"""Stick values smaller than this read as neutral in the game (23 of 80 steps)."""

TRIGGER_STEP = 1 / 140
"""Analogue triggers lie on a grid of this step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """What a player holds during one frame."""

    main_x: float = 0.0
    main_y: float = 0.0
    c_x: float = 0.0
    c_y: float = 0.0
    trigger_l: float = 0.0
    trigger_r: float = 0.0
    buttons: int = 0
    """Bits of `BUTTON_BITS`."""

    def pressed(self, button: str) -> bool:
        return bool(self.buttons & BUTTON_BITS[button])


NEUTRAL = Controller()
