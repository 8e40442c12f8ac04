"""Leak probe: the share of grounded jumps whose button press is already visible in the observed state.

`pre[t]` acts within frame t and `post[t]` is its outcome, so a target taken from the observation's own frame leaks:
the state is already the jump squat. With the right frame few targets leak (a second press during the squat).
"""

import math

import numpy as np

from exphil_core.melee.action_states import KNEE_BEND
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.replays.columns import MISSING

ALIGNED_SHARE, MISALIGNED_SHARE = 0.005, 0.91
"""Measured shares of leaking onsets in the shared games, with the right target frame and with the one before it."""

LEAK_LIMIT = 0.1
"""Share of leaking onsets above which games count as leaking: about that of a tenth of them misaligned."""

_Z = 1.959964
"""Normal quantile of a 95 % interval."""

JUMP_BUTTONS = BUTTON_BITS["X"] | BUTTON_BITS["Y"]


def jump_onset_leak(
    action_state: np.ndarray, buttons: np.ndarray, airborne: np.ndarray, horizon: int = 1
) -> tuple[int, int]:
    """Count (leaking, onsets) over pairs of the observation at t and the target `buttons[t + horizon]`.

    An onset is an X or Y held in the target that was not held the frame before, while the observed player is on the
    ground (`airborne` 0; missing counts as neither). It leaks if the observed state is KNEE_BEND.

    Args:
        horizon: 1 + delay; 0 is the leaking pairing, with which a test shows that the probe can fail.
    """
    assert horizon >= 0
    held = np.where(buttons == MISSING["u16"], 0, buttons & JUMP_BUTTONS)
    onset = np.zeros(len(held), bool)
    onset[1:] = (held[1:] & ~held[:-1]) != 0
    observed = max(len(held) - horizon, 0)
    grounded_onset = onset[horizon:] & (airborne[:observed] == 0)
    leaking = grounded_onset & (action_state[:observed] == KNEE_BEND)
    return int(leaking.sum()), int(grounded_onset.sum())


def leak_interval(leaking: int, onsets: int) -> tuple[float, float]:
    """95 % interval of the share of leaking onsets (Wilson, 1927); (0, 1) without any onsets."""
    if not onsets:
        return 0.0, 1.0
    # By hand: scipy.stats has it, but takes ten times as long to import as numpy.
    share, spread = leaking / onsets, _Z * _Z / onsets
    half = _Z * math.sqrt((share * (1 - share) + spread / 4) / onsets)
    low, high = ((share + spread / 2 + sign * half) / (1 + spread) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def leak_sentence(leaking: int, onsets: int) -> str:
    """Sentence with the result of the leak probe and its verdict on the alignment."""
    low, high = leak_interval(leaking, onsets)
    if high <= LEAK_LIMIT:
        verdict = "states and inputs are aligned"
    elif low > LEAK_LIMIT:
        verdict = "LEAKING: the observed state shows inputs that are to be predicted"
    else:
        verdict = "too few jumps to tell whether the data is aligned"
    share = f" ({leaking / onsets:.1%}; 95% interval {low:.1%} to {high:.1%})" if onsets else ""
    return (
        f"leak probe: {leaking} of {onsets:,} jumps on the ground show in the state before them{share}, {verdict} "
        f"(aligned games have {ALIGNED_SHARE:.1%} on average, misaligned ones {MISALIGNED_SHARE:.0%})"
    )
