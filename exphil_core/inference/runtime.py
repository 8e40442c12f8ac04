"""The `Runtime` interface, one frame of every row to the tokens of its next controller, and its eager torch version.

All inputs but the state are on the CPU, and so are the tokens. ONNX Runtime is in `onnx_runtime.py`, CUDA graphs in
`cuda_graph.py`. All compute the same function, so the same uniform numbers draw the same tokens (int8 weights:
nearly). A state works only with the kind of runtime that made it. It is a value: a caller may keep it, continue from
it twice, or hold many of them.

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
    """Computes a policy's step: observation and state to tokens and next state."""

    @property
    def codec(self) -> Codec: ...

    @property
    def delay(self) -> int:
        """The policy's delay: frames between an observation and its effect, beyond the next frame."""
        ...

    def initial_state(self, rows: int) -> Any:
        """Return the state of `rows` rows at the start of a game."""
        ...

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        """Compute one step as `Policy.step` does.

        Args:
            frame: One frame of every row.
            reset_B: bool; rows that restart with this frame.
            uniform_BK: Uniform random numbers in [0, 1) to sample with.
            temperature: Sampling temperature, a scalar tensor.

        Returns:
            Tokens [B, K] on the CPU, and the next state.
        """
        ...

    def step_and_logits(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        """Return tokens, the logits [B, V] they were drawn from (components concatenated), and the next state."""
        ...

    def step_and_features(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        """Return tokens, the head's input [B, D] on the policy's device, and the next state."""
        ...


class EagerRuntime:
    """Eager torch on the policy's own device."""

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
        tokens_BK, _, state = self.step_and_features(frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, state

    @torch.inference_mode()
    def step_and_features(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        assert not self.policy.training, "a policy plays without dropout: call policy.eval() first"
        device = self.policy.device
        tokens_BK, y_BD, state = self.policy.step_and_features(
            frame_to(device, frame), reset_B.to(device), state, uniform_BK.to(device), temperature.to(device)
        )
        return tokens_BK.cpu(), y_BD, state

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
    """Collect each component's logits in the yielded list as the policy's head computes them."""
    found: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        found.append(logits)

    hooks = [component.register_forward_hook(note) for component in policy.head.components]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
