"""Training objective: cross-entropy, optionally with label smoothing, focal weighting or press weights.

This is never the reported loss: events and evaluations report plain nats, and smoothing alone adds more than a
nat on these heads. Buttons are never smoothed: with so many rare combinations, that would teach the policy to
press.

Legend: B batch, T time, K components, V a component's tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from exphil_core.config.preset import TrainConfig
from exphil_core.training.diagnostics import ButtonTable


class Objective:
    """The objective that a training step minimises."""

    def __init__(self, config: TrainConfig, presses: ButtonTable) -> None:
        self._smoothing = config.label_smoothing
        self._focal = config.focal_gamma
        self._press_weight = config.press_weight
        self._held = [table.any(dim=-1) for table in presses.tables]
        """Per component, bool [V]: the tokens that hold a button."""
        self._smoothed = [not bool(held.any()) for held in self._held]

    def mean(
        self, log_probs: Sequence[Tensor], nll_BTK: Tensor, tokens_BTK: Tensor, mask_BT: Tensor
    ) -> Tensor:
        """Return the mean objective over the frames of the mask; 0 for an empty mask.

        Args:
            log_probs: per component, [B, T, V].
        """
        if not (self._smoothing or self._focal or self._press_weight != 1):
            return (nll_BTK.float().sum(-1) * mask_BT).sum() / mask_BT.sum().clamp(min=1)
        costs = []
        for k, nll_BT in enumerate(nll_BTK.float().unbind(-1)):
            cost_BT = nll_BT
            if self._smoothing and self._smoothed[k]:
                anything_BT = -log_probs[k].float().mean(dim=-1)
                cost_BT = (1 - self._smoothing) * cost_BT + self._smoothing * anything_BT
            if self._focal:
                # Certain predictions count for nearly nothing.
                cost_BT = (1 - torch.exp(-nll_BT)).clamp(min=0) ** self._focal * cost_BT
            if self._press_weight != 1:
                pressed_BT = self._held[k][tokens_BTK[..., k]]
                cost_BT = torch.where(pressed_BT, self._press_weight * cost_BT, cost_BT)
            costs.append(cost_BT)
        return (torch.stack(costs).sum(0) * mask_BT).sum() / mask_BT.sum().clamp(min=1)
