"""Loads weights into a pilot's policy and builds the runtime that plays it.

ONNX Runtime plays on the CPU where it is installed, eager torch elsewhere.
"""

from pathlib import Path
from typing import Literal

import torch

from exphil_core.config.preset import Preset
from exphil_core.errors import CheckpointError
from exphil_core.inference.graph_template import GraphTemplate
from exphil_core.inference.onnx_runtime import OnnxRuntime
from exphil_core.inference.predictor import Predictor
from exphil_core.inference.runtime import EagerRuntime, Runtime
from exphil_core.inference.runtimes import has_runtime
from exphil_core.models.policy import build_policy
from exphil_core.models.weights import Weights, checksum
from exphil_core.training.checkpoint import load_checkpoint

PilotRuntime = Literal["onnx", "eager"]


def fastest_runtime(device: torch.device) -> PilotRuntime:
    """Return the runtime that a pilot plays with on this device."""
    return "onnx" if device.type == "cpu" and has_runtime("onnx") else "eager"


class PolicyLoader:
    """One policy in memory, into which each set of weights is loaded."""

    def __init__(self, preset: Preset, device: torch.device, runtime: PilotRuntime, *, threads: int) -> None:
        """Build the policy; for ONNX Runtime, also trace its graph, which takes some seconds."""
        self.policy = build_policy(preset).to(device).eval()
        self._threads = threads
        self._template = GraphTemplate(preset) if runtime == "onnx" else None

    def load(self, weights: Weights) -> Predictor:
        """Load the weights. Predictors that were returned earlier become invalid."""
        self.policy.load_state_dict(dict(weights.tensors))
        runtime: Runtime
        if self._template is None:
            runtime = EagerRuntime(self.policy)
        else:
            runtime = OnnxRuntime(self._template.fill(self.policy), threads=self._threads)
        return Predictor(self.policy, weights=weights.checksum, step=weights.step, runtime=runtime)


def read_checkpoint(directory: Path) -> Weights:
    """Read and verify the weights of a checkpoint directory; CheckpointError if that fails."""
    try:
        found = load_checkpoint(directory, training=False)
    except OSError as error:
        # The checkpoint was pruned during the read.
        raise CheckpointError(f"{directory} cannot be read: {error.strerror}") from error
    return Weights(step=found.step, checksum=checksum(found.model), tensors=found.model)
