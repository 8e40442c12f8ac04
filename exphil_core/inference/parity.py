"""How far a runtime, one frame at a time, is from the policy's `forward` over the whole chunk at once.

In: a runtime, the policy whose weights it has, and frames with resets. Out: the largest difference, as one number.
It covers the whole act. Logits: the log-probability of every token, of every component, at every frame. Sampling:
`uniform` has to lie between the cumulated probabilities below and at the token that was drawn, by `forward`'s
distribution, and how far outside it lies counts too.

What a reader gets wrong: the components after the first are compared given the tokens that the *runtime* drew, so a
token that fell on the other side of a rounding error does not make everything after it look wrong.

Legend: B rows, T frames, K components, V the sizes of all components together.
"""

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch, to_tensors
from exphil_core.inference.frames import rows_of
from exphil_core.inference.runtime import Runtime, frame_to
from exphil_core.models.policy import Policy, slice_frames
from exphil_core.replays.pack import PackedGame

TOLERANCE = 1e-4
"""Of float32: what is further off computes something else."""

RESETS = 3
"""Of each row, beside the one at its first frame; all in the first `RESET_SHARE` of the frames, so that after the
last one there is time for bands to fill up and slide on."""

RESET_SHARE = 0.4


@torch.no_grad()
def max_abs_error(runtime: Runtime, policy: Policy, game: PackedGame, *, rows: int, frames: int) -> float:
    """The largest difference over `frames` frames of `game`; inf where anything is not a number."""
    chance = np.random.default_rng(0)
    reset_BT = np.zeros((rows, frames), np.bool_)
    for row in range(rows):
        reset_BT[row, [0, *chance.integers(1, max(2, int(RESET_SHARE * frames)), RESETS)]] = True
    observed = to_tensors(rows_of(game, rows=rows, frames=frames, reset_BT=reset_BT), "cpu")
    sizes = policy.head.sizes
    uniform_TBK = torch.from_numpy(chance.random((frames, rows, len(sizes)), np.float32))
    temperature = torch.tensor(1.0)

    state, tokens, logits = runtime.initial_state(rows), [], []
    for t in range(frames):
        frame = slice_frames(observed, t, t + 1)
        tokens_BK, logits_BV, state = runtime.step_and_logits(
            frame, frame.reset[:, 0], state, uniform_TBK[t], temperature
        )
        tokens.append(tokens_BK)
        logits.append(logits_BV)
    tokens_BTK, logits_BTV = torch.stack(tokens, dim=1), torch.stack(logits, dim=1)

    expected = _log_probs(policy, observed, tokens_BTK)
    worst = 0.0
    for k, (wanted, found) in enumerate(zip(expected, logits_BTV.split(sizes, dim=-1), strict=True)):
        apart = (wanted - found.log_softmax(dim=-1)).abs().max()
        outside = _outside(wanted, tokens_BTK[..., k], uniform_TBK.transpose(0, 1)[..., k]).max()
        for error in (apart, outside):
            worst = max(worst, error.item() if error.isfinite() else float("inf"))
    return worst


def _log_probs(policy: Policy, observed: TensorBatch, tokens_BTK: Tensor) -> list[Tensor]:
    """Per component [B, T, size], by the policy's pass over all frames at once, on the host."""
    device = policy.device
    # cuDNN's recurrent layers round to ten bits of mantissa unless told otherwise.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        moved = frame_to(device, observed)
        log_probs, _ = policy.distributions(moved, tokens_BTK.to(device))
    return [part.cpu() for part in log_probs]


def _outside(log_probs_BTV: Tensor, token_BT: Tensor, uniform_BT: Tensor) -> Tensor:
    """How far each uniform lies outside of what its token covers of [0, 1), in float64."""
    chance_BTV = log_probs_BTV.double().exp()
    above_BT = chance_BTV.cumsum(dim=-1).gather(-1, token_BT[..., None])[..., 0]
    below_BT = above_BT - chance_BTV.gather(-1, token_BT[..., None])[..., 0]
    return torch.maximum(below_BT - uniform_BT, uniform_BT - above_BT).clamp(min=0)
