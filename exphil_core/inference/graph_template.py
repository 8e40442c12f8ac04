"""ONNX graph of a policy without its weights: traced once, it becomes a playable graph of any weights.

Tracing takes seconds, and its optimiser folds weights into constants and merges equal ones, so a traced graph cannot
be given other weights. Here the weights are inputs while the graph is traced, and initializers afterwards.
"""

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from exphil_core.config.preset import Preset
from exphil_core.inference.graph import INPUTS, ActWithoutReset, require, trace_model, with_header
from exphil_core.models.policy import Policy, build_policy


class GraphTemplate:
    """The traced graph of all policies of one preset, for a fixed number of rows."""

    def __init__(self, preset: Preset, *, rows: int = 1) -> None:
        """Trace the graph. Takes some seconds; UsageError if the required packages are missing."""
        require("onnx", "onnxscript", what="the ONNX export")
        # A policy of its own: tracing leaves fake tensors in a policy's cached tables.
        policy = build_policy(preset).eval()
        act = _ActOfWeights(policy, rows).eval()
        weights = {name: parameter.detach() for name, parameter in act.policy_parameters()}
        model = trace_model(act, policy, rows=rows, weights=weights)
        self._names = [given.name for given in model.graph.input if given.name in weights]
        for given in [given for given in model.graph.input if given.name in weights]:
            model.graph.input.remove(given)
        self._model = model
        self._preset, self._rows = preset, rows

    def fill(self, policy: Policy) -> bytes:
        """Return the ONNX file of a policy of the preset, on the CPU."""
        from onnx import ModelProto, numpy_helper

        weights = dict(policy.named_parameters())
        model = ModelProto()
        model.CopyFrom(self._model)
        model.graph.initializer.extend(
            numpy_helper.from_array(weights[name.removeprefix(_PREFIX)].detach().numpy(), name)
            for name in self._names
        )
        return with_header(model, self._preset, rows=self._rows)


_PREFIX = "act.policy."
"""Of the policy's parameters in `ActWithoutReset`."""


class _ActOfWeights(nn.Module):
    """`ActWithoutReset` whose last inputs are the policy's parameters."""

    def __init__(self, policy: Policy, rows: int) -> None:
        super().__init__()
        # In a list: the exporter would make parameters of a submodule initializers.
        self._act = [ActWithoutReset(policy, rows).eval()]
        self._count = len(INPUTS) + len(policy.initial_state(1))

    def policy_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return list(self._act[0].named_parameters())

    def forward(self, *tensors: Tensor) -> Any:
        names = [name for name, _ in self.policy_parameters()]
        weights = dict(zip(names, tensors[self._count :], strict=True))
        return functional_call(self._act[0], weights, tensors[: self._count])
