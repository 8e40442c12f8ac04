"""An agent: plays a policy frame by frame, in one or more games at once, with its delay queue.

With a delay of d, the policy's output at frame t is for frame t + 1 + d, so d actions wait in a queue that starts
with neutral controllers. The queue belongs to the agent, not to the policy; a row that resets loses its queue.

All tensors but the backbone state are on the CPU. Uniform random numbers are drawn here, so that a seed plays the
same on every runtime.

Legend: B rows, Q queued actions, K components.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import Codec, ControllerTensors
from exphil_core.errors import UsageError
from exphil_core.inference.runtime import Runtime
from exphil_core.melee.controller import Controller


class AgentState(NamedTuple):
    backbone: Any
    """Backbone state, in the runtime's own format."""
    queue_BQK: Tensor
    """int64; queued actions, the next one to be used first."""


class Agent:
    """A policy in play. Its whole memory is `state` and the generator; set `state` to continue from elsewhere."""

    def __init__(
        self,
        runtime: Runtime,
        rows: int,
        *,
        delay: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Create an agent for `rows` games.

        Args:
            delay: Frames that this agent holds actions back, 0 to the policy's delay; None means the policy's delay.
                Netplay adds some of the delay itself, and the agent adds the rest.
            temperature: Sampling temperature; 1 samples as trained.
            seed: Seed of the random generator.

        Raises:
            UsageError: The delay or the temperature is out of range.
        """
        delay = runtime.delay if delay is None else delay
        if not 0 <= delay <= runtime.delay:
            raise UsageError(
                f"delay is {delay}, but the policy was trained with a delay of {runtime.delay} frames; "
                f"expected 0 to {runtime.delay}"
            )
        if not temperature > 0:
            raise UsageError(
                f"temperature is {temperature}; expected a number above 0 (1 plays as the policy was trained)"
            )
        self.runtime = runtime
        self.rows = rows
        self.delay = delay
        self.temperature = torch.tensor(temperature)
        self.generator = torch.Generator().manual_seed(seed)
        self._neutral_K = _neutral(runtime.codec)
        self.state = AgentState(
            backbone=runtime.initial_state(rows),
            queue_BQK=self._neutral_K.expand(rows, delay, -1),
        )

    @torch.inference_mode()
    def act(self, frame: TensorBatch, *, uniform_BK: Tensor | None = None) -> ControllerTensors:
        """Observe one frame of every row (L = 1) and return each row's controller for its next frame, [B].

        Rows with `frame.reset` restart with this frame.

        Args:
            uniform_BK: Uniform random numbers in [0, 1) to sample with; None draws them from the agent's generator.
        """
        tokens_BK, backbone = self.runtime.step(
            frame, frame.reset[:, 0], self.state.backbone, self._uniform(uniform_BK), self.temperature
        )
        return self._queued(frame, tokens_BK, backbone)

    @torch.inference_mode()
    def act_and_features(
        self, frame: TensorBatch, *, uniform_BK: Tensor | None = None
    ) -> tuple[ControllerTensors, Tensor]:
        """Do the same as `act`, and also return the head's input [B, D], on the policy's device."""
        tokens_BK, y_BD, backbone = self.runtime.step_and_features(
            frame, frame.reset[:, 0], self.state.backbone, self._uniform(uniform_BK), self.temperature
        )
        return self._queued(frame, tokens_BK, backbone), y_BD

    def _uniform(self, given_BK: Tensor | None) -> Tensor:
        if given_BK is not None:
            return given_BK
        return torch.rand(self.rows, len(self._neutral_K), generator=self.generator)

    def _queued(self, frame: TensorBatch, tokens_BK: Tensor, backbone: Any) -> ControllerTensors:
        waiting_BQK = torch.where(frame.reset[:, :1, None], self._neutral_K, self.state.queue_BQK)
        queue_BQK = torch.cat([waiting_BQK, tokens_BK[:, None]], dim=1)
        self.state = AgentState(backbone=backbone, queue_BQK=queue_BQK[:, 1:])
        return self.runtime.codec.decode(queue_BQK[:, 0])


def to_controllers(found: ControllerTensors) -> list[Controller]:
    """Convert controller tensors [B] to `Controller` objects, one per row."""
    rows = zip(*[part.tolist() for part in found], strict=True)
    return [Controller(**dict(zip(ControllerTensors._fields, row, strict=True))) for row in rows]


def _neutral(codec: Codec) -> Tensor:
    """Return the tokens [K] of a neutral controller."""
    zero = torch.zeros(())
    return codec.encode(
        ControllerTensors(
            main_x=zero, main_y=zero, c_x=zero, c_y=zero, trigger_l=zero, trigger_r=zero, buttons=zero.long()
        )
    )
