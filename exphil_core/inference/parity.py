"""Parity check: the largest difference between a runtime, frame by frame, and the policy's `forward` over the chunk.

Logits are compared as log-probabilities of every token of every component at every frame. Sampling is checked with
`forward`'s distribution: `uniform` must lie between the cumulative probabilities below and at the drawn token, and
the distance outside counts as an error. Later components are compared given the tokens that the *runtime* drew, so
that one token on the other side of a rounding error does not make everything after it look wrong.

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
"""Largest error that float32 rounding explains; anything above is a different computation."""

RESETS = 3
"""Resets of each row besides the one at its first frame; all within the first `RESET_SHARE` of the frames, so that
bands have time to fill up and move on afterwards."""

RESET_SHARE = 0.4


@torch.no_grad()
def max_abs_error(runtime: Runtime, policy: Policy, game: PackedGame, *, rows: int, frames: int) -> float:
    """Return the largest difference over `frames` frames of `game`; inf if any value is not finite."""
    uniform = np.random.default_rng(0)
    reset_BT = np.zeros((rows, frames), np.bool_)
    for row in range(rows):
        reset_BT[row, [0, *uniform.integers(1, max(2, int(RESET_SHARE * frames)), RESETS)]] = True
    observed = to_tensors(rows_of(game, rows=rows, frames=frames, reset_BT=reset_BT), "cpu")
    sizes = policy.head.sizes
    uniform_TBK = torch.from_numpy(uniform.random((frames, rows, len(sizes)), np.float32))
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
    """Return log-probabilities per component [B, T, size] from one pass over all frames, on the CPU."""
    device = policy.device
    # cuDNN's recurrent layers use TF32 (ten bits of mantissa) unless it is disabled.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        moved = frame_to(device, observed)
        log_probs, _ = policy.distributions(moved, tokens_BTK.to(device))
    return [part.cpu() for part in log_probs]


def _outside(log_probs_BTV: Tensor, token_BT: Tensor, uniform_BT: Tensor) -> Tensor:
    """Return how far each uniform lies outside its token's interval of [0, 1), in float64."""
    uniform_BTV = log_probs_BTV.double().exp()
    above_BT = uniform_BTV.cumsum(dim=-1).gather(-1, token_BT[..., None])[..., 0]
    below_BT = above_BT - uniform_BTV.gather(-1, token_BT[..., None])[..., 0]
    return torch.maximum(below_BT - uniform_BT, uniform_BT - above_BT).clamp(min=0)
