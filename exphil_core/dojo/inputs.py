"""Controllers that a bot can use, and helpers that mix new inputs with holding the last one.

The values are few and far apart, so that every codec distinguishes them: half tilts, full tilts, full diagonals,
and shoulders clicked or not at all.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import hypot
from typing import Final

from exphil_core.dojo.bot_observation import Situation
from exphil_core.melee.controller import BUTTON_BITS, BUTTON_MASK, NEUTRAL, Controller

DIAGONAL: Final = 0.7
TILT: Final = 0.5
JUMPS: Final = BUTTON_BITS["X"] | BUTTON_BITS["Y"]
SHOULDERS: Final = BUTTON_BITS["L"] | BUTTON_BITS["R"]
STEADY: Final = 0.01
"""Probability that a bot changes its input in a frame that gives no reason to."""

Options = list[tuple[Controller, float]]
"""Controllers with weights; a controller may occur twice (`choices.choice` merges equal ones)."""


def mix(
    chance: float, new: Iterable[tuple[Controller, float]], old: Iterable[tuple[Controller, float]]
) -> Options:
    """Weight `new` by `chance` and `old` by 1 - `chance`."""
    first = [(controller, weight) for controller, weight in new if weight > 0]
    total = sum(weight for _, weight in first)
    mixed = [(controller, chance * weight / total) for controller, weight in first]
    return mixed + [(controller, (1 - chance) * weight) for controller, weight in old]


def hold(now: Situation, chance: float, new: Iterable[tuple[Controller, float]]) -> Options:
    """Keep the held input with probability 1 - `chance`, else take something new."""
    return mix(chance, new, [(now.held, 1.0)])


def let_up(held: Controller) -> Controller:
    """Keep the stick; release C-stick, triggers and buttons."""
    if held.buttons or held.c_x or held.c_y or held.trigger_l or held.trigger_r:
        return stick(held.main_x, held.main_y)
    return held


def level(held: Controller) -> Controller:
    """Move the stick all the way to the side it is held to; release everything else."""
    return stick((held.main_x > 0) * 1.0 - (held.main_x < 0) * 1.0, 0.0)


_KNOWN: dict[tuple[float, float, float, float, int, int], Controller] = {}


def _controller(
    main_x: float, main_y: float, c_x: float = 0, c_y: float = 0, bits: int = 0, trigger: int = 0
) -> Controller:
    """Return a cached controller. A clicked shoulder is pressed all the way."""
    key = (main_x, main_y, c_x, c_y, bits, trigger)
    known = _KNOWN.get(key)
    if known is None:
        known = Controller(
            main_x=float(main_x),
            main_y=float(main_y),
            c_x=float(c_x),
            c_y=float(c_y),
            trigger_l=1.0 if trigger & BUTTON_BITS["L"] else 0.0,
            trigger_r=1.0 if trigger & BUTTON_BITS["R"] else 0.0,
            buttons=bits,
        )
        if known == NEUTRAL:
            known = NEUTRAL
        _KNOWN[key] = known
    return known


def stick(main_x: float, main_y: float) -> Controller:
    return _controller(main_x + 0.0, main_y + 0.0)


def bits_held(main_x: float, main_y: float, bits: int, trigger: int = 0) -> Controller:
    return _controller(main_x + 0.0, main_y + 0.0, 0.0, 0.0, bits, trigger)


def press(main_x: float, main_y: float, button: str) -> Controller:
    return bits_held(main_x, main_y, BUTTON_BITS[button])


def cstick(c_x: float, c_y: float, main_x: float = 0.0) -> Controller:
    return _controller(main_x + 0.0, 0.0, c_x + 0.0, c_y + 0.0)


_LEVELS: Final = tuple(sign * level for level in (TILT, 1.0) for sign in (-1.0, 1.0))
_MAIN: Final = (
    (0.0, 0.0),
    *((level, 0.0) for level in _LEVELS),
    *((0.0, level) for level in _LEVELS),
    *((x * DIAGONAL, y * DIAGONAL) for x in (-1, 1) for y in (-1, 1)),
)
_C: Final = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


@lru_cache(maxsize=4096)
def nearest_input(held: Controller) -> Controller:
    """Return the controller of a bot that is nearest to any controller, stick by stick.

    A bot's situation holds its own last input. Codecs decode to slightly other values, which no bot ever holds.
    """
    main_x, main_y = min(_MAIN, key=lambda point: hypot(point[0] - held.main_x, point[1] - held.main_y))
    c_x, c_y = min(_C, key=lambda point: hypot(point[0] - held.c_x, point[1] - held.c_y))
    left = BUTTON_BITS["L"] if held.trigger_l >= 0.5 else 0
    right = BUTTON_BITS["R"] if held.trigger_r >= 0.5 else 0
    return _controller(
        main_x + 0.0, main_y + 0.0, c_x + 0.0, c_y + 0.0, held.buttons & BUTTON_MASK, left | right
    )
