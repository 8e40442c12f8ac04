"""Operations on rows of a recurrent state, a NamedTuple of tensors, batch first. None works in place.

A cleared row is all zeros, so every backbone's initial state must be zeros too.

Legend: B batch, T time.
"""

from typing import TypeVar, cast

from torch import Tensor

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


def clear_rows(state: StateT, reset_B: Tensor) -> StateT:
    """Return the state with the rows of `reset_B` zeroed, even if they hold NaN."""
    return type(state)(*[part.masked_fill(_column(reset_B, part), 0) for part in state])


def reset_columns(reset_BT: Tensor) -> list[int]:
    """List the frames at which any row resets, in order. Synchronises with the accelerator."""
    return cast("list[int]", reset_BT.any(dim=0).nonzero().flatten().tolist())


def pieces(reset_BT: Tensor) -> list[tuple[int, int]]:
    """Split a chunk at resets into (start, end) parts: rows reset only at the first frame of a part."""
    starts = sorted({0, *reset_columns(reset_BT)})
    return list(zip(starts, [*starts[1:], reset_BT.shape[1]], strict=True))


def _column(reset_B: Tensor, part: Tensor) -> Tensor:
    return reset_B.reshape(-1, *[1] * (part.dim() - 1))
