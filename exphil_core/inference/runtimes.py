"""The runtimes by name: which of them this machine has, and a policy played by one of them.

In: a name, a policy and its preset. Out: a `Runtime`. What a reader gets wrong: nothing falls back. A runtime that is
not there is a UsageError that says what to install or what to ask for instead.
"""

from functools import cached_property
from importlib.util import find_spec
from typing import Literal, assert_never, get_args

import torch

from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError
from exphil_core.inference.cores import player_cores
from exphil_core.inference.cuda_graph import CudaGraphRuntime
from exphil_core.inference.graph import ONNX_PACKAGES, build_graph, quantized, require
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.inference.runtime import EagerRuntime, Runtime
from exphil_core.models.policy import Policy

RuntimeName = Literal["eager", "onnx", "onnx_int8", "cuda_graph"]

RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)


def has_runtime(name: RuntimeName) -> bool:
    """Whether this machine can play with it."""
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
    """UsageError where this machine does not have it."""
    if has_runtime(name):
        return
    if name == "cuda_graph":
        raise UsageError(
            "the runtime 'cuda_graph' needs a CUDA device, and torch finds none here; use 'eager' or 'onnx' "
            "('exphil doctor' says more)"
        )
    require(*ONNX_PACKAGES, what=f"the runtime '{name}'")


class PolicyRuntimes:
    """One policy in every runtime. The ONNX graph takes some seconds to make, and is made once."""

    def __init__(self, policy: Policy, preset: Preset, *, rows: int, threads: int) -> None:
        """`threads`: of ONNX Runtime. Torch's are set for the whole process."""
        self.policy = policy
        self.cores = player_cores(threads)
        """Of the thread that plays, then of those that help it."""
        self._preset, self._rows, self._threads = preset, rows, threads

    @cached_property
    def _graph(self) -> bytes:
        return build_graph(self.policy, self._preset, rows=self._rows)

    def build(self, name: RuntimeName, device: torch.device) -> Runtime:
        """The policy in a runtime, moved to where that computes. UsageError where the runtime is not there."""
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
