"""CUDA graph runtime: plays a policy on a GPU with one graph launch per step instead of hundreds of kernel launches.

A graph reads and writes fixed addresses, so the inputs share one buffer that is copied to the GPU at once, and the
state has a fixed place. States are still values: each step returns a copy, and a state other than the last returned
one is copied in first, so many agents may share one graph.

Legend: B rows, K components, V the sizes of all components together.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.errors import UsageError
from exphil_core.inference.graph import Act, ActInputs, act_inputs, blank_inputs
from exphil_core.models.policy import Policy

WARM_UPS = 3
"""Runs before the capture, in which libraries choose kernels and allocate memory."""

ALIGNMENT = 64
"""Alignment in bytes of each input in the buffer, enough for any kernel."""


class CudaGraphRuntime:
    """A `Runtime` on a captured CUDA graph with a fixed number of rows."""

    def __init__(self, policy: Policy, *, rows: int = 1) -> None:
        if policy.device.type != "cuda":
            raise UsageError(
                f"the runtime 'cuda_graph' plays on a CUDA device, but the policy is on '{policy.device}'; use the "
                "runtime 'eager' or 'onnx' here ('exphil doctor' says what this machine has)"
            )
        assert not policy.training, "a policy plays without dropout: call policy.eval() first"
        self.codec = policy.codec
        self.delay = policy.delay
        self._rows = rows
        self._policy = policy
        self._act = Act(policy).eval()
        blank = blank_inputs(policy, rows)
        size, self._places = _layout(blank)
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
        self._device = torch.zeros(size, dtype=torch.uint8, device=policy.device)
        self._given = _views(self._host, blank, self._places)
        self._inputs = _views(self._device, blank, self._places)
        self._state = policy.initial_state(rows)
        self._held: Any = None
        """State that the last step returned; `_state` holds the same values."""
        with torch.no_grad(), torch.cuda.device(policy.device):
            for given, value in zip(self._given, blank, strict=True):
                given.copy_(value)
            self._device.copy_(self._host)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self._run()
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._tokens_BK, self._logits_BV, self._features_BD = self._run()

    def initial_state(self, rows: int) -> Any:
        if rows != self._rows:
            raise UsageError(
                f"the CUDA graph was captured for {self._rows} rows, but {rows} are wanted: capture one for {rows}"
            )
        return self._policy.initial_state(rows)

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        state = self._replay(act_inputs(frame, reset_B, uniform_BK, temperature), state)
        return self._tokens_BK.cpu(), state

    def step_and_logits(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        tokens_BK, state = self.step(frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, self._logits_BV.cpu(), state

    def step_and_features(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        tokens_BK, state = self.step(frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, self._features_BD.clone(), state

    @torch.no_grad()
    def _replay(self, inputs: ActInputs, state: Any) -> Any:
        # Safe to overwrite: the previous step's copy to the GPU is complete, since its tokens have been read.
        for given, value in zip(self._given, inputs, strict=True):
            given.copy_(value)
        self._device.copy_(self._host, non_blocking=True)
        if state is not self._held:
            for part, value in zip(self._state, state, strict=True):
                part.copy_(value)
        self._graph.replay()
        self._held = type(self._state)(*[part.clone() for part in self._state])
        return self._held

    def _run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Run one act on the buffers and write the new state over the old one."""
        tokens_BK, logits_BV, features_BD, *after = self._act(*self._inputs, *self._state)
        for part, value in zip(self._state, after, strict=True):
            part.copy_(value)
        return tokens_BK, logits_BV, features_BD


def _layout(inputs: ActInputs) -> tuple[int, tuple[int, ...]]:
    """Return the size in bytes of a buffer for all inputs, and each input's offset in it."""
    places, end = [], 0
    for value in inputs:
        places.append(end)
        size = prod(value.shape) * value.element_size()
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return end, tuple(places)


def _views(buffer: Tensor, like: ActInputs, places: tuple[int, ...]) -> ActInputs:
    """Return views into the buffer with the shapes and dtypes of `like`."""
    return ActInputs(
        *[
            buffer[place : place + prod(value.shape) * value.element_size()]
            .view(value.dtype)
            .view(value.shape)
            for place, value in zip(places, like, strict=True)
        ]
    )
