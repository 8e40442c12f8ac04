"""An agent: a policy that plays, one frame at a time, in one or more games at once.

In: each frame's observation, as a batch of one frame. Out: the controllers to use in the *next* frame. With a
delay of d, what the policy says at frame t is for frame t + 1 + d, so d actions wait in a queue, neutral ones
first. What a reader gets wrong: the queue is here, not in the policy; a row that resets loses its queue too.

Everything here is on the host: chance is drawn there, so that a seed plays the same on every runtime.

Legend: B rows, Q actions that wait, K components.
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
    """The backbone's own state, as the runtime keeps it."""
    queue_BQK: Tensor
    """int64; the actions that wait, the next one to be used first."""


class Agent:
    """Its whole memory is `state` and the generator: set `state` to go on from elsewhere."""

    def __init__(
        self,
        runtime: Runtime,
        rows: int,
        *,
        delay: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        """`delay`: frames that this agent holds actions back; by default all of the policy's. Play over a
        network brings some of them along, and the agent holds back the rest."""
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
    def act(self, frame: TensorBatch) -> ControllerTensors:
        """Observes one frame of every row (L = 1) and gives each row's controller for its next frame, [B].

        Rows with `frame.reset` start afresh with this frame.
        """
        reset_B = frame.reset[:, 0]
        uniform_BK = torch.rand(self.rows, len(self._neutral_K), generator=self.generator)
        tokens_BK, backbone = self.runtime.step(
            frame, reset_B, self.state.backbone, uniform_BK, self.temperature
        )
        waiting_BQK = torch.where(reset_B[:, None, None], self._neutral_K, self.state.queue_BQK)
        queue_BQK = torch.cat([waiting_BQK, tokens_BK[:, None]], dim=1)
        self.state = AgentState(backbone=backbone, queue_BQK=queue_BQK[:, 1:])
        return self.runtime.codec.decode(queue_BQK[:, 0])


def to_controllers(found: ControllerTensors) -> list[Controller]:
    """Controllers [B] as a game takes them, one a row."""
    rows = zip(*[part.tolist() for part in found], strict=True)
    return [Controller(**dict(zip(ControllerTensors._fields, row, strict=True))) for row in rows]


def _neutral(codec: Codec) -> Tensor:
    """Tokens [K] of a controller that nobody touches."""
    zero = torch.zeros(())
    return codec.encode(
        ControllerTensors(
            main_x=zero, main_y=zero, c_x=zero, c_y=zero, trigger_l=zero, trigger_r=zero, buttons=zero.long()
        )
    )
