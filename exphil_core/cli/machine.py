"""Description of the machine that a measurement ran on."""

import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path


def machine(cores: int) -> dict[str, object]:
    """Describe the machine that was measured: processor, cores, GPU, system and library versions."""
    import torch

    return {
        "processor": _processor(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": metadata.version("onnxruntime") if find_spec("onnxruntime") else None,
    }


def _processor() -> str:
    """Return the processor's model name, or its architecture where /proc/cpuinfo has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
