"""Baselines reported beside every validation loss: *marginal*, *repeat* and *markov*.

All three are fitted on the training split alone and treat the controller's components as independent.

- marginal: each component's distribution.
- repeat: probability p on the component's last value, and 1 - p spread as the marginal; p by maximum
  likelihood.
- markov: each component given its own last value, shrunk towards `repeat` where that value is rare.

The last value is the controller at the observed frame, so with a delay the baselines look back as far as the
policy. A policy that does not beat markov does not use the game state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from exphil_core.encoding.codecs import Codec
from exphil_core.errors import DataError

NAMES = ("marginal", "repeat", "markov")

_SHRINK = 4.0
"""Weight of *repeat* in a row of the markov table, in pseudo-frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Log-probability tables per component, [size, size], indexed by (last token, token)."""

    tables: dict[str, tuple[Tensor, ...]]
    """Baseline name → one table per component."""
    frames: int
    """Training frames they were fitted on."""

    def nll(self, name: str, tokens: Tensor, previous: Tensor) -> Tensor:
        """Return the nats of each component, float32 [..., K], for tokens and last tokens [..., K]."""
        columns = [-table[previous[..., k], tokens[..., k]] for k, table in enumerate(self.tables[name])]
        return torch.stack(columns, dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as flat tensors, for a file."""
        flat = {
            f"{name}.{k}": table.contiguous().clone()
            for name, tables in self.tables.items()
            for k, table in enumerate(tables)
        }
        return {**flat, "frames": torch.tensor([self.frames])}

    def to(self, device: torch.device) -> "Baselines":
        moved = {name: tuple(t.to(device) for t in tables) for name, tables in self.tables.items()}
        return Baselines(tables=moved, frames=self.frames)


def baselines_from_tensors(tensors: Mapping[str, Tensor]) -> Baselines:
    """Restore what `Baselines.tensors` returned."""
    components = range(len([name for name in tensors if name.startswith(f"{NAMES[0]}.")]))
    return Baselines(
        tables={name: tuple(tensors[f"{name}.{k}"] for k in components) for name in NAMES},
        frames=int(tensors["frames"]),
    )


def fit_baselines(codec: Codec, samples: Iterable[tuple[Tensor, Tensor]]) -> Baselines:
    """Fit the baselines on a training split.

    Args:
        samples: pairs (tokens, previous tokens), each int64 [N, K].

    Raises:
        DataError: there is no frame to count.
    """
    sizes = [component.size for component in codec.components]
    counts = [torch.zeros(size * size, dtype=torch.float64) for size in sizes]
    for tokens, previous in samples:
        for k, size in enumerate(sizes):
            pairs = previous[:, k] * size + tokens[:, k]
            counts[k] += torch.bincount(pairs, minlength=size * size).double()
    if not counts[0].sum():
        raise DataError("the training split has no frame with a usable controller state")
    tables: dict[str, tuple[Tensor, ...]] = {}
    fitted = [_tables(count.view(size, size)) for count, size in zip(counts, sizes, strict=True)]
    for position, name in enumerate(NAMES):
        tables[name] = tuple(component[position].log().float() for component in fitted)
    return Baselines(tables=tables, frames=int(counts[0].sum()))


def _tables(pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return one component's marginal, repeat and markov tables; every row sums to one.

    Args:
        pairs: counts [last token, token].
    """
    size = len(pairs)
    # Half a frame for every value, so that an unseen value does not cost infinity.
    smoothed = pairs.sum(0) + 0.5
    marginal = (smoothed / smoothed.sum()).expand(size, size)
    repeat = _repeat(pairs, marginal)
    markov = (pairs + _SHRINK * repeat) / (pairs.sum(1, keepdim=True) + _SHRINK)
    return marginal, repeat, markov


def _repeat(pairs: Tensor, marginal: Tensor) -> Tensor:
    """Return the mixture of repeating the last value and the marginal.

    Its weight is fitted by expectation maximisation, which is monotone here (one parameter, concave
    likelihood).
    """
    stay = torch.diagonal(pairs)
    total = pairs.sum()
    weight = torch.tensor(0.5, dtype=pairs.dtype)
    own = torch.diagonal(marginal)
    for _ in range(200):
        responsible = weight / (weight + (1 - weight) * own)
        weight = ((stay * responsible).sum() / total).clamp(1e-6, 1 - 1e-6)
    return weight * torch.eye(len(pairs), dtype=pairs.dtype) + (1 - weight) * marginal
