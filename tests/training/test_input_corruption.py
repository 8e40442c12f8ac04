"""What a training pass is shown of the ego's inputs, and which delay it is told."""

from collections.abc import Callable

import pytest
import torch

from exphil_core.config.preset import Preset, TrainConfig
from exphil_core.encoding.batch import TensorBatch, build_targets, controller_at
from exphil_core.models.policy import Policy, build_policy, slice_frames
from exphil_core.training.delay import draw_delays
from exphil_core.training.input_corruption import corrupt_inputs
from exphil_core.training.synthetic_batch import synthetic_batch

CPU = torch.device("cpu")


@pytest.fixture
def batch() -> TensorBatch:
    return synthetic_batch(4, 60, CPU)


@pytest.fixture
def policy(tiny: Callable[..., Preset]) -> Callable[..., Policy]:
    def make(**of_policy: object) -> Policy:
        torch.manual_seed(0)
        return build_policy(tiny(policy={"head_width": 32, **of_policy})).eval()

    return make


def _config(**values: object) -> TrainConfig:
    return TrainConfig.model_validate({"max_steps": 1, **values})


def test_without_options_the_batch_is_shown_as_it_is(
    policy: Callable[..., Policy], batch: TensorBatch
) -> None:
    assert corrupt_inputs(policy(), batch, None, _config(), seed=1) is batch


@pytest.mark.parametrize("delay", [0, 3])
def test_a_guess_is_shown_where_it_would_have_been_played(
    policy: Callable[..., Policy], batch: TensorBatch, delay: int
) -> None:
    agent = policy(delay=delay)
    with torch.no_grad():
        # Whatever it sees, it wants the last token of each component.
        for component in agent.head.components:
            component.logits.weight.zero_()
            component.logits.bias.fill_(-50)
            component.logits.bias[-1] = 50
    wanted = agent.codec.decode(torch.tensor([size - 1 for size in agent.head.sizes]))
    seen = corrupt_inputs(agent, batch, None, _config(scheduled_sampling=1.0), seed=1)
    found, true = controller_at(seen.columns), controller_at(batch.columns)
    assert torch.equal(found.main_x[:, : 1 + delay], true.main_x[:, : 1 + delay])
    torch.testing.assert_close(found.main_x[:, 1 + delay :], wanted.main_x.expand(4, 59 - delay))
    assert (found.buttons[:, 1 + delay :] == wanted.buttons).all()


def test_targets_stay_what_the_human_did(policy: Callable[..., Policy], batch: TensorBatch) -> None:
    agent = policy()
    seen = corrupt_inputs(agent, batch, None, _config(scheduled_sampling=1.0, action_dropout=0.5), seed=1)
    scores = agent(batch, observed=seen)
    plain = agent(batch)
    assert torch.equal(scores.targets.tokens_BTK, plain.targets.tokens_BTK)
    assert torch.equal(scores.targets.mask_BT, plain.targets.mask_BT)
    assert not torch.equal(scores.nll_BTK, plain.nll_BTK)


def test_every_delay_is_drawn_and_the_same_for_the_same_seed(
    policy: Callable[..., Policy], batch: TensorBatch
) -> None:
    agent = policy(delay=2, delay_range=[0, 18])
    drawn = torch.cat([draw_delays(agent, batch, seed=seed) for seed in range(200)])
    assert torch.equal(drawn.unique(), torch.arange(19))
    assert torch.equal(draw_delays(agent, batch, seed=7), draw_delays(agent, batch, seed=7))
    assert draw_delays(policy(), batch, seed=7) is None


def test_each_row_is_aimed_at_its_own_delay(policy: Callable[..., Policy], batch: TensorBatch) -> None:
    agent = policy(delay=2, delay_range=[0, 18])
    assert agent.longest_horizon == 19
    delay_B = torch.tensor([0, 2, 5, 18])
    length = 60 - agent.longest_horizon
    scores = agent(batch, delay_B=delay_B)
    for row, delay in enumerate(delay_B.tolist()):
        expected = build_targets(batch, agent.codec, horizon=1 + delay, chunk_length=length)
        assert torch.equal(scores.targets.tokens_BTK[row], expected.tokens_BTK[row])
        assert torch.equal(scores.targets.mask_BT[row], expected.mask_BT[row])


@torch.no_grad()
def test_the_delay_is_an_input_and_play_is_told_the_policys_own(
    policy: Callable[..., Policy], batch: TensorBatch
) -> None:
    agent = policy(delay=2, delay_range=[0, 18])
    observed = slice_frames(batch, 0, 20)
    own, _ = agent.forward_features(observed)
    told, _ = agent.forward_features(observed, delay_B=torch.full((4,), 2))
    other, _ = agent.forward_features(observed, delay_B=torch.full((4,), 9))
    torch.testing.assert_close(own, told)
    assert not torch.allclose(own, other)
    state = agent.initial_state(4)
    for t in range(20):
        y_BD, state = agent.step_features(slice_frames(observed, t, t + 1), observed.reset[:, t], state)
        torch.testing.assert_close(y_BD, own[:, t], rtol=0, atol=1e-5)
