"""Which arithmetic a run trains in: float32, or bfloat16 autocast where this machine is faster with it.

Weights, loss and optimiser stay float32 either way. A CPU that can do bfloat16 is not always faster in it, so on a
CPU `auto` measures both on frames of the run's own first batch instead of reading flags.
"""

import statistics
import time
from collections.abc import Callable

import torch

from exphil_core.errors import UsageError

MOST_FRAMES = 2048
"""Frames of the passes that are measured, about: enough for matrix products to be as fast as on a whole batch."""

MEASURING = "Measuring bf16 against fp32 on frames of the first batch…"

_REPEATS = 3
_MOST_SECONDS = 4.0
"""Of measuring, where a pass is not longer than that."""
_WORTH_IT = 0.9
"""bfloat16 must take less than this share of float32's time: the rounding is not free."""


def choose_precision(
    wanted: str,
    device: torch.device,
    probe: Callable[[torch.dtype | None], None],
    *,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> str:
    """`fp32` or `bf16` for a wanted `auto`, `fp32` or `bf16`. `probe` runs one forward and backward pass.

    `say` hears a sentence before anything is measured.

    Raises UsageError when bf16 is asked of a GPU that does not have it.
    """
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
        if wanted == "bf16" and not able:
            raise UsageError("train.precision: this GPU has no bfloat16; use 'fp32' or 'auto'")
        return "bf16" if able and wanted != "fp32" else "fp32"
    if wanted != "auto":
        return wanted
    say(MEASURING)
    bf16, fp32 = _seconds(probe, clock)
    return "bf16" if bf16 < _WORTH_IT * fp32 else "fp32"


def autocast_dtype(precision: str) -> torch.dtype | None:
    return torch.bfloat16 if precision == "bf16" else None


def _seconds(probe: Callable[[torch.dtype | None], None], clock: Callable[[], float]) -> tuple[float, float]:
    """Of a pass in bfloat16 and in float32, in turns, so that a busy machine slows both down."""
    dtypes = (torch.bfloat16, None)
    taken: tuple[list[float], list[float]] = ([], [])
    began = clock()
    for _ in range(1 + _REPEATS):
        for dtype, times in zip(dtypes, taken, strict=True):
            started = clock()
            probe(dtype)
            times.append(clock() - started)
        if clock() - began >= _MOST_SECONDS:
            break
    # The first pass compiles and allocates: it counts where there was no time for another.
    bf16, fp32 = (statistics.median(times[1:] or times) for times in taken)
    return bf16, fp32
