"""Runtimes by name: which of them this machine has, and a factory that builds a policy's runtime.

There is no fallback: a missing runtime raises a UsageError that says what to install or use instead.
"""

from functools import cached_property
from importlib.util import find_spec
from typing import Literal, assert_never, get_args

import torch

from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError
from exphil_core.inference.cpu_affinity import player_cores
from exphil_core.inference.cuda_graph import CudaGraphRuntime
from exphil_core.inference.graph import ONNX_PACKAGES, build_graph, quantized, require
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.inference.runtime import EagerRuntime, Runtime
from exphil_core.models.policy import Policy

RuntimeName = Literal["eager", "onnx", "onnx_int8", "cuda_graph"]

RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)


def has_runtime(name: RuntimeName) -> bool:
    """Return whether this machine can play with the runtime."""
    match name:
        case "eager":
            return True
        case "onnx" | "onnx_int8":
            return all(find_spec(package) is not None for package in ONNX_PACKAGES)
        case "cuda_graph":
            return torch.cuda.is_available()
        case _:
            assert_never(name)


def require_runtime(name: RuntimeName) -> None:
    """Raise UsageError if this machine lacks the runtime."""
    if has_runtime(name):
        return
    if name == "cuda_graph":
        raise UsageError(
            "the runtime 'cuda_graph' needs a CUDA device, and torch finds none here; use 'eager' or 'onnx' "
            "('exphil doctor' says more)"
        )
    require(*ONNX_PACKAGES, what=f"the runtime '{name}'")


class PolicyRuntimes:
    """Builds one policy's runtimes. The ONNX graph takes seconds to build and is cached."""

    def __init__(self, policy: Policy, preset: Preset, *, rows: int, threads: int) -> None:
        """Set up runtimes for `rows` rows.

        Args:
            threads: Threads of ONNX Runtime. Torch's threads are set for the whole process.
        """
        self.policy = policy
        self.cores = player_cores(threads)
        """Cores of the playing thread and its helpers, in that order."""
        self._preset, self._rows, self._threads = preset, rows, threads

    @cached_property
    def _graph(self) -> bytes:
        return build_graph(self.policy, self._preset, rows=self._rows)

    def build(self, name: RuntimeName, device: torch.device) -> Runtime:
        """Move the policy to `device` and build the runtime. UsageError if this machine lacks it."""
        require_runtime(name)
        self.policy.to(device)
        match name:
            case "eager":
                return EagerRuntime(self.policy)
            case "onnx":
                return OnnxRuntime(self._graph, threads=self._threads)
            case "onnx_int8":
                return OnnxRuntime(quantized(self._graph), threads=self._threads)
            case "cuda_graph":
                return CudaGraphRuntime(self.policy, rows=self._rows)
            case _:
                assert_never(name)
