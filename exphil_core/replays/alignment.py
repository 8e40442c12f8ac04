"""The alignment law, as a number: how many jumps does an observation give away?

In: columns of one player. Out: counts of grounded jump onsets, and of those whose observed action state is
already the jump squat. `pre[t]` acts within frame t and `post[t]` is its outcome, so a target taken from
the frame of its observation can be read off it. Honest readings leak about 0.5 % (a second press during the
squat).
"""

import numpy as np

from exphil_core.melee.action_states import KNEE_BEND
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.replays.columns import MISSING

JUMP_BUTTONS = BUTTON_BITS["X"] | BUTTON_BITS["Y"]


def jump_onset_leak(
    action_state: np.ndarray, buttons: np.ndarray, airborne: np.ndarray, horizon: int = 1
) -> tuple[int, int]:
    """(leaking, onsets) over pairs of the observation at t and the target `buttons[t + horizon]`.

    An onset is an X or Y held in the target that was not held the frame before, while the observed player
    stands on the ground (`airborne` 0; missing counts as neither). It leaks where the observed state is
    KNEE_BEND. `horizon` is 1 + delay; 0 is the leaking pairing, which a law needs to show that it can fail.
    """
    assert horizon >= 0
    held = np.where(buttons == MISSING["u16"], 0, buttons & JUMP_BUTTONS)
    onset = np.zeros(len(held), bool)
    onset[1:] = (held[1:] & ~held[:-1]) != 0
    observed = max(len(held) - horizon, 0)
    grounded_onset = onset[horizon:] & (airborne[:observed] == 0)
    leaking = grounded_onset & (action_state[:observed] == KNEE_BEND)
    return int(leaking.sum()), int(grounded_onset.sum())
