"""A runtime: what computes a policy's act, from one frame of every row to the tokens of its next controller.

In: a frame, the state, the chance to draw with and a temperature, all on the host but the state. Out: tokens on the
host, and the state to go on with. There are three: eager torch here, ONNX Runtime in `onnx_runtime.py`, CUDA graphs
in `cuda_graph.py`. All are the same function, so the same chance draws the same tokens (int8 weights: nearly).

What a reader gets wrong: a state belongs to the kind of runtime that made it. It is a value: a caller may keep it, go
on from it twice, or hold many of them beside one runtime.

Legend: B rows, K components, V the sizes of all components together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import Codec
from exphil_core.models.policy import Policy


class Runtime(Protocol):
    @property
    def codec(self) -> Codec: ...

    @property
    def delay(self) -> int:
        """Of the policy: frames between an observation and what it causes, beyond the next frame."""
        ...

    def initial_state(self, rows: int) -> Any:
        """A fresh start of `rows` rows."""
        ...

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        """What `Policy.step` gives: tokens [B, K] and the state."""
        ...

    def step_and_logits(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        """`step`, and the logits [B, V] that the tokens were drawn from, component after component."""
        ...


class EagerRuntime:
    """Torch as it is, on the policy's own device."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.codec = policy.codec
        self.delay = policy.delay

    def initial_state(self, rows: int) -> Any:
        return self.policy.initial_state(rows)

    @torch.inference_mode()
    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        assert not self.policy.training, "a policy plays without dropout: call policy.eval() first"
        device = self.policy.device
        tokens_BK, state = self.policy.step(
            frame_to(device, frame), reset_B.to(device), state, uniform_BK.to(device), temperature.to(device)
        )
        return tokens_BK.cpu(), state

    @torch.inference_mode()
    def step_and_logits(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        with recorded_logits(self.policy) as logits:
            tokens_BK, state = self.step(frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, torch.cat(logits, dim=-1).cpu(), state


def frame_to(device: torch.device, frame: TensorBatch) -> TensorBatch:
    if device.type == "cpu":
        return frame
    columns = {group: column.to(device, non_blocking=True) for group, column in frame.columns.items()}
    others = {
        field.name: getattr(frame, field.name).to(device, non_blocking=True)
        for field in fields(TensorBatch)
        if field.name != "columns"
    }
    return TensorBatch(columns=columns, **others)


@contextmanager
def recorded_logits(policy: Policy) -> Iterator[list[Tensor]]:
    """A list that fills with each component's logits as the policy's head computes them."""
    found: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        found.append(logits)

    hooks = [component.register_forward_hook(note) for component in policy.head.components]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
