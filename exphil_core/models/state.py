"""What a backbone remembers between calls, a NamedTuple of tensors, batch first: what is done to its rows.

In and out: states. A state is a value: no function here changes one in place. What a reader gets wrong: a
cleared row is all zeros, the same as in a fresh state, so a backbone's fresh state must be zeros too.

Legend: B batch, T time.
"""

from typing import TypeVar, cast

from torch import Tensor

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


def clear_rows(state: StateT, reset_B: Tensor) -> StateT:
    """The state with the rows of `reset_B` as in a fresh start, whatever they held (NaN included)."""
    return type(state)(*[part.masked_fill(_column(reset_B, part), 0) for part in state])


def reset_columns(reset_BT: Tensor) -> list[int]:
    """The frames at which any row resets, in order. Reads values: on an accelerator this waits for it."""
    return cast("list[int]", reset_BT.any(dim=0).nonzero().flatten().tolist())


def pieces(reset_BT: Tensor) -> list[tuple[int, int]]:
    """(start, end) of the parts of a chunk inside of which no row resets; a row may reset where a part starts."""
    starts = sorted({0, *reset_columns(reset_BT)})
    return list(zip(starts, [*starts[1:], reset_BT.shape[1]], strict=True))


def _column(reset_B: Tensor, part: Tensor) -> Tensor:
    return reset_B.reshape(-1, *[1] * (part.dim() - 1))
