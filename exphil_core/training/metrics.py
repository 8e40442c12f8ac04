"""Training metrics between two `step` events: loss per character and head, speed, data wait.

Sums stay on the device until an event is due, so a GPU is not synchronised for every number. A frame counts for
the character that is on the stage in it.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from exphil_core.melee import characters


def sum_by_character(frames_BTN: Tensor, external_id_BT: Tensor) -> Tensor:
    """Sum per-frame values [B, T, N] by character.

    Returns:
        float64 [characters, N], rows by external id.
    """
    count = len(characters.CHARACTERS)
    chosen = torch.nn.functional.one_hot(external_id_BT.flatten(), count).to(torch.float64)
    # A product, not `index_add_`, whose sums are not deterministic on a GPU.
    return chosen.T @ frames_BTN.to(torch.float64).flatten(0, 1)


@dataclass(slots=True)
class TrainingMetrics:
    """Sums since the last `step` event."""

    heads: tuple[str, ...]
    device: torch.device
    steps: int = 0
    frames_drawn: int = 0
    """Frames of all windows, predicted or not; throughput counts these."""
    seconds: float = 0.0
    waited: float = 0.0
    _sums: Tensor = field(init=False)
    """[characters, heads + 1]: nats by head, then predicted frames."""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.steps = self.frames_drawn = 0
        self.seconds = self.waited = 0.0
        self._sums = torch.zeros(
            len(characters.CHARACTERS), len(self.heads) + 1, dtype=torch.float64, device=self.device
        )

    def add(self, nll_BTK: Tensor, mask_BT: Tensor, external_id_BT: Tensor) -> None:
        weight = mask_BT.to(torch.float64)[..., None]
        frames = torch.cat([nll_BTK.detach() * weight, weight], dim=-1)
        self._sums += sum_by_character(frames, external_id_BT)
        self.frames_drawn += mask_BT.numel()

    def fields(self) -> dict[str, object]:
        """Return `loss`, `per_character`, `heads`, `frames_per_s` and `data_wait` of a `step` event."""
        sums = self._sums.cpu()
        frames = float(sums[:, -1].sum())
        per_head = sums[:, :-1].sum(0) / max(frames, 1.0)
        present = [i for i in range(len(sums)) if sums[i, -1] > 0]
        return {
            "loss": float(per_head.sum()),
            "per_character": {
                characters.by_external_id(i).name: {
                    "loss": float(sums[i, :-1].sum() / sums[i, -1]),
                    "frames": int(sums[i, -1]),
                }
                for i in present
            },
            "heads": {name: float(value) for name, value in zip(self.heads, per_head, strict=True)},
            "frames_per_s": self.frames_drawn / max(self.seconds, 1e-9),
            "data_wait": self.waited / max(self.seconds, 1e-9),
        }
