"""GameCube controller state as a policy uses it: two sticks, two analogue triggers, eight digital buttons.

Sticks are *logical* (-1 to 1, as peppi gives them), triggers *physical* (0 to 1, each shoulder separately). Digital L
and R are separate buttons, not the end of the analogue range: an air dodge, a tech and an L-cancel need the click, a
shield needs only the analogue value.
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
"""Button → bit in Slippi's `buttons_physical`, in the order of every head and report. Left out: Start (0x1000), which
pauses, and the other D-pad directions, which do nothing in play."""

BUTTONS: tuple[str, ...] = tuple(BUTTON_BITS)

BUTTON_MASK = sum(BUTTON_BITS.values())

STICK_STEP = 1 / 80
"""Step of the grid on which stick values of real controllers lie."""

DEAD_ZONE = 0.2875
"""The game reads smaller stick values as neutral (23 of 80 steps)."""

TRIGGER_STEP = 1 / 140
"""Step of the grid of analogue trigger values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The controller of one player during one frame."""

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
