"""Which arithmetic a run trains in: float32, or bfloat16 autocast where this machine is faster with it.

Weights, loss and optimiser stay float32 either way. What a reader gets wrong: a CPU that can do bfloat16 is not
always faster in it, so on a CPU `auto` measures both on the run's own first batch instead of reading flags.
"""

import statistics
import time
from collections.abc import Callable

import torch

from exphil_core.errors import UsageError

_REPEATS = 3
_WORTH_IT = 0.9
"""bfloat16 must take less than this share of float32's time: the rounding is not free."""


def choose_precision(wanted: str, device: torch.device, probe: Callable[[torch.dtype | None], None]) -> str:
    """`fp32` or `bf16` for a wanted `auto`, `fp32` or `bf16`. `probe` runs one forward and backward pass.

    Raises UsageError when bf16 is asked of a GPU that does not have it.
    """
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
        if wanted == "bf16" and not able:
            raise UsageError("train.precision: this GPU has no bfloat16; use 'fp32' or 'auto'")
        return "bf16" if able and wanted != "fp32" else "fp32"
    if wanted != "auto":
        return wanted
    return "bf16" if _seconds(probe, torch.bfloat16) < _WORTH_IT * _seconds(probe, None) else "fp32"


def autocast_dtype(precision: str) -> torch.dtype | None:
    return torch.bfloat16 if precision == "bf16" else None


def _seconds(probe: Callable[[torch.dtype | None], None], dtype: torch.dtype | None) -> float:
    probe(dtype)
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        probe(dtype)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
