"""Choose a run's precision: float32, or bfloat16 autocast where this machine is faster with it.

Weights, loss and optimiser stay float32 either way. A CPU with bfloat16 is not always faster in it, so on a CPU
`auto` times both on frames of the run's first batch.
"""

import statistics
import time
from collections.abc import Callable

import torch

from exphil_core.errors import UsageError

MOST_FRAMES = 2048
"""Approximate frames of a timed pass: enough for matrix products to be as fast as on a whole batch."""

MEASURING = "Measuring bf16 against fp32 on frames of the first batch…"

_REPEATS = 3
_MOST_SECONDS = 4.0
"""Measuring time, unless a single round takes longer."""
_WORTH_IT = 0.9
"""bfloat16 must take less than this share of float32's time, because rounding has a cost."""


def choose_precision(
    wanted: str,
    device: torch.device,
    probe: Callable[[torch.dtype | None], None],
    *,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> str:
    """Resolve `auto`, `fp32` or `bf16` to `fp32` or `bf16`.

    Args:
        probe: runs one forward and backward pass in a dtype; None is float32.
        say: receives a sentence before anything is measured.

    Raises:
        UsageError: bf16 is wanted on a GPU that does not have it.
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
    """Return the autocast dtype; None for float32."""
    return torch.bfloat16 if precision == "bf16" else None


def _seconds(probe: Callable[[torch.dtype | None], None], clock: Callable[[], float]) -> tuple[float, float]:
    """Return the median time of a pass in bfloat16 and in float32, timed in turns so that load slows both."""
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
    # The first pass compiles and allocates; it counts only where there was no time for another.
    bf16, fp32 = (statistics.median(times[1:] or times) for times in taken)
    return bf16, fp32
