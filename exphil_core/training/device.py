"""Select the torch device."""

import torch

from exphil_core.errors import UsageError


def choose_device(wanted: str) -> torch.device:
    """Return the torch device for `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: unknown device, or CUDA is not available.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted not in ("cpu", "cuda"):
        raise UsageError(f"--device {wanted}: expected auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "the device is 'cuda' but torch finds no CUDA device here; use --device cpu or auto "
            "('exphil doctor' says more)"
        )
    return torch.device(wanted)
