"""On a GPU a captured graph is the same function, and its states are values."""

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.encoding.batch import to_tensors
from exphil_core.errors import UsageError
from exphil_core.inference.agent import Agent
from exphil_core.inference.cuda_graph import CudaGraphRuntime
from exphil_core.inference.frames import live_frame
from exphil_core.inference.parity import TOLERANCE, max_abs_error
from exphil_core.inference.runtime import EagerRuntime
from exphil_core.replays.pack import PackedGame

from .conftest import MakePolicy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

ROWS = 2


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_a_captured_graph_is_within_float32_of_forward(
    kind: str, make_policy: MakePolicy, game: PackedGame
) -> None:
    policy = make_policy(kind)[0].to("cuda")
    for runtime in (EagerRuntime(policy), CudaGraphRuntime(policy, rows=ROWS)):
        assert max_abs_error(runtime, policy, game, rows=ROWS, frames=300) < TOLERANCE


@pytest.mark.parametrize("kind", ["mlp", "gru", "attention", "jamba"])
def test_two_agents_share_one_graph_and_play_as_they_would_alone(
    kind: str, make_policy: MakePolicy, game: PackedGame
) -> None:
    runtime = CudaGraphRuntime(make_policy(kind)[0].to("cuda"))

    def played(agents: list[Agent]) -> list[list[torch.Tensor]]:
        said: list[list[torch.Tensor]] = [[] for _ in agents]
        for t in range(40):
            for number, agent in enumerate(agents):
                frame = to_tensors(live_frame(game, t + 100 * number), "cpu")
                said[number].append(torch.stack([part.double() for part in agent.act(frame)]))
        return said

    together = played([Agent(runtime, rows=1, seed=seed) for seed in (0, 1)])
    alone = played([Agent(runtime, rows=1, seed=0)])
    assert all(torch.equal(one, other) for one, other in zip(together[0], alone[0], strict=True))


def test_a_graph_is_for_the_rows_that_it_was_captured_for(make_policy: MakePolicy) -> None:
    runtime = CudaGraphRuntime(make_policy("gru")[0].to("cuda"), rows=ROWS)
    with pytest.raises(UsageError, match="captured for 2 rows, but 1 are wanted"):
        runtime.initial_state(1)
