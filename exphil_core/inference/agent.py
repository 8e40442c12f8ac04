"""An agent: a policy that plays, one frame at a time, in one or more games at once.

In: each frame's observation, as a batch of one frame. Out: the controllers to use in the *next* frame. With a
delay of d, what the policy says at frame t is for frame t + 1 + d, so d actions wait in a queue, neutral ones
first. What a reader gets wrong: the queue is here, not in the policy; a row that resets loses its queue too.

Legend: B rows, Q actions that wait, K components.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import ControllerTensors
from exphil_core.errors import UsageError
from exphil_core.models.policy import Policy


class AgentState(NamedTuple):
    backbone: Any
    """The backbone's own state."""
    queue_BQK: Tensor
    """int64; the actions that wait, the next one to be used first."""


class Agent:
    """Its whole memory is `state` and the generator: set `state` to go on from elsewhere."""

    def __init__(
        self,
        policy: Policy,
        rows: int,
        *,
        delay: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        """`delay`: frames that this agent holds actions back; by default all of the policy's. Play over a
        network brings some of them along, and the agent holds back the rest."""
        delay = policy.delay if delay is None else delay
        if not 0 <= delay <= policy.delay:
            raise UsageError(
                f"delay is {delay}, but the policy was trained with a delay of {policy.delay} frames; "
                f"expected 0 to {policy.delay}"
            )
        self.policy = policy
        self.rows = rows
        self.delay = delay
        self.temperature = temperature
        self.generator = torch.Generator(policy.device).manual_seed(seed)
        self._neutral_K = _neutral(policy)
        self.state = AgentState(
            backbone=policy.initial_state(rows),
            queue_BQK=self._neutral_K.expand(rows, delay, -1),
        )

    @torch.inference_mode()
    def act(self, frame: TensorBatch) -> ControllerTensors:
        """Observes one frame of every row (L = 1) and gives each row's controller for its next frame, [B].

        Rows with `frame.reset` start afresh with this frame.
        """
        assert not self.policy.training, "an agent plays without dropout: call policy.eval() first"
        reset_B = frame.reset[:, 0]
        tokens_BK, backbone = self.policy.step(
            frame, reset_B, self.state.backbone, temperature=self.temperature, generator=self.generator
        )
        waiting_BQK = torch.where(reset_B[:, None, None], self._neutral_K, self.state.queue_BQK)
        queue_BQK = torch.cat([waiting_BQK, tokens_BK[:, None]], dim=1)
        self.state = AgentState(backbone=backbone, queue_BQK=queue_BQK[:, 1:])
        return self.policy.codec.decode(queue_BQK[:, 0])


def _neutral(policy: Policy) -> Tensor:
    """Tokens [K] of a controller that nobody touches."""
    zero = torch.zeros((), device=policy.device)
    return policy.codec.encode(
        ControllerTensors(
            main_x=zero, main_y=zero, c_x=zero, c_y=zero, trigger_l=zero, trigger_r=zero, buttons=zero.long()
        )
    )
