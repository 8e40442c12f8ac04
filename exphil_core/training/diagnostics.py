"""Diagnostics beside the loss: transition F1, button press rates and the leak probe.

Repeating the last input scores about 0.99 in accuracy, so F1 counts changes and not frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.codecs import Codec, ControllerTensors
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.replays.columns import POSITION, Group
from exphil_core.replays.leak_probe import jump_onset_leak


@dataclass(slots=True)
class Transitions:
    """Hits, false alarms and misses of each component on frames where it changes.

    A hit is a change predicted with its new value. Any other predicted change is a false alarm, any other
    change a miss.
    """

    hit: np.ndarray
    false_alarm: np.ndarray
    miss: np.ndarray

    @classmethod
    def none_yet(cls, components: int) -> "Transitions":
        """Return zero counts for `components` components."""
        return cls(np.zeros(components), np.zeros(components), np.zeros(components))

    def add(self, predicted: Tensor, tokens: Tensor, previous: Tensor, mask: Tensor) -> None:
        """Count one batch.

        Args:
            predicted: likeliest tokens, int64 [B, T, K].
            tokens: targets, int64 [B, T, K].
            previous: tokens at the observed frame, int64 [B, T, K].
            mask: frames that count, bool [B, T].
        """
        hit = (tokens != previous) & (predicted == tokens)
        keep = mask[..., None]
        self.hit += _count(hit & keep)
        self.false_alarm += _count((predicted != previous) & ~hit & keep)
        self.miss += _count((tokens != previous) & ~hit & keep)

    def f1(self) -> list[float | None]:
        """Return F1 per component; None where a component neither changed nor was predicted to change."""
        total = 2 * self.hit + self.false_alarm + self.miss
        return [float(2 * hit / all_) if all_ else None for hit, all_ in zip(self.hit, total, strict=True)]


def _count(marks: Tensor) -> np.ndarray:
    return marks.flatten(0, -2).sum(0).cpu().numpy().astype(float)


@dataclass(frozen=True, slots=True)
class ButtonTable:
    """Buttons held by each token of each component; turns token distributions into press rates."""

    codec: Codec
    tables: tuple[Tensor, ...]
    """Per component, float32 [size, 8]."""

    @classmethod
    def of(cls, codec: Codec, device: torch.device) -> "ButtonTable":
        """Build the tables of `codec` on `device`."""
        zero = torch.zeros(1)
        neutral = codec.encode(
            ControllerTensors(zero, zero, zero, zero, zero, zero, torch.zeros(1, dtype=torch.int64))
        )
        tables = []
        for k, component in enumerate(codec.components):
            tokens = neutral.repeat(component.size, 1)
            tokens[:, k] = torch.arange(component.size)
            tables.append(held_buttons(codec.decode(tokens).buttons).to(device))
        return cls(codec, tuple(tables))

    def expected(self, log_probs: list[Tensor]) -> Tensor:
        """Return the probability that each button is held.

        Args:
            log_probs: per component, [B, T, size].

        Returns:
            float32 [B, T, 8].
        """
        parts = [
            part.float().exp() @ table
            for part, table in zip(log_probs, self.tables, strict=True)
            if table.any()
        ]
        return torch.stack(parts).sum(0)

    def held(self, tokens: Tensor) -> Tensor:
        """Return the buttons held by tokens [B, T, K], as 0 or 1 in float32 [B, T, 8]."""
        return held_buttons(self.codec.decode(tokens).buttons)


def held_buttons(bits: Tensor) -> Tensor:
    """Unpack button bits [...] into float32 [..., 8], in the order of `BUTTON_BITS`."""
    return torch.stack([(bits & bit) != 0 for bit in BUTTON_BITS.values()], dim=-1).float()


def jump_onsets(columns: Mapping[Group, np.ndarray], valid: np.ndarray, horizon: int) -> tuple[int, int]:
    """Count grounded jump onsets, and those whose observed state leaks the press.

    Only a horizon of 1 is counted: with a delay, observation and press are frames apart.

    Args:
        columns: columns of a batch by group, [B, L, C].
        valid: frames that exist, bool [B, L].

    Returns:
        (leaking onsets, all onsets).
    """
    if horizon != 1:
        return 0, 0
    leaking = onsets = 0
    for row in range(len(valid)):
        stretch = valid[row]
        found = jump_onset_leak(*(_ego(columns, name)[row][stretch] for name in _ONSET_COLUMNS))
        leaking, onsets = leaking + found[0], onsets + found[1]
    return leaking, onsets


_ONSET_COLUMNS = ("action_state", "buttons", "airborne")


def _ego(columns: Mapping[Group, np.ndarray], name: str) -> np.ndarray:
    group, at = POSITION[f"p0.{name}"]
    return columns[group][..., at]
