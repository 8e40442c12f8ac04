"""An agent plays what its policy says, as many frames later as it was told, and forgets rows that reset."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.errors import UsageError
from exphil_core.inference.agent import Agent, to_controllers
from exphil_core.inference.runtime import EagerRuntime
from exphil_core.models.policy import Policy, build_policy
from exphil_core.replays.columns import LAYOUT, POSITION

ROWS = 3


def _policy(delay: int) -> Policy:
    torch.manual_seed(0)
    policy = build_policy(
        Preset.model_validate(
            {
                "name": "small",
                "encoder": {"width": 16, "character_width": 8, "action_state_width": 8},
                "backbone": {"kind": "gru", "width": 16},
                "policy": {"head_width": 16, "delay": delay},
                "train": {"max_steps": 1},
            }
        )
    )
    return policy.eval()


def _frame(t: int, reset: tuple[bool, ...] = (False,) * ROWS) -> TensorBatch:
    generator = torch.Generator().manual_seed(t)
    return TensorBatch(
        columns={
            "f32": torch.rand(ROWS, 1, len(LAYOUT["f32"]), generator=generator),
            "u16": torch.zeros(ROWS, 1, len(LAYOUT["u16"]), dtype=torch.int32),
            "u8": torch.ones(ROWS, 1, len(LAYOUT["u8"]), dtype=torch.uint8),
        },
        frame_id=torch.full((ROWS, 1), t, dtype=torch.int32),
        valid=torch.ones(ROWS, 1, dtype=torch.bool),
        reset=torch.tensor(reset)[:, None],
        ego_slot=torch.zeros(ROWS, dtype=torch.uint8),
        external_id=torch.zeros(ROWS, dtype=torch.uint8),
        stage=torch.full((ROWS,), 31, dtype=torch.uint8),
        mirror=torch.zeros(ROWS, dtype=torch.bool),
    )


def _tokens(policy: Policy, agent: Agent, frames: list[TensorBatch]) -> list[Tensor]:
    return [policy.codec.encode(agent.act(frame)) for frame in frames]


def _said(policy: Policy, frames: list[TensorBatch], seed: int) -> list[Tensor]:
    """What the policy says at each frame, with no queue."""
    generator, state, said = torch.Generator().manual_seed(seed), policy.initial_state(ROWS), []
    temperature = torch.tensor(1.0)
    with torch.inference_mode():
        for frame in frames:
            uniform = torch.rand(ROWS, len(policy.codec.components), generator=generator)
            tokens, state = policy.step(frame, frame.reset[:, 0], state, uniform, temperature)
            said.append(tokens)
    return said


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_an_action_is_used_one_frame_and_the_delay_after_its_observation(delay: int) -> None:
    policy = _policy(delay)
    frames = [_frame(t) for t in range(8)]
    used = _tokens(policy, Agent(EagerRuntime(policy), ROWS, seed=5), frames)
    said = _said(policy, frames, seed=5)
    for t in range(delay, 8):
        assert torch.equal(used[t], said[t - delay])
    for t in range(delay):
        controller = policy.codec.decode(used[t])
        assert not torch.stack(controller[:6]).any()
        assert not controller.buttons.any()


def test_an_agent_can_hold_back_a_part_of_the_delay_and_no_more_than_all() -> None:
    policy = _policy(delay=3)
    frames = [_frame(t) for t in range(5)]
    used = _tokens(policy, Agent(EagerRuntime(policy), ROWS, delay=1, seed=5), frames)
    assert torch.equal(used[2], _said(policy, frames, seed=5)[1])
    with pytest.raises(UsageError, match=r"delay is 4.*expected 0 to 3"):
        Agent(EagerRuntime(policy), ROWS, delay=4)


def test_a_row_that_resets_loses_its_queue_and_its_memory_and_no_other_row_does() -> None:
    policy = _policy(delay=2)
    before = [_frame(t) for t in range(4)]
    agent = Agent(EagerRuntime(policy), ROWS)
    for frame in before:
        agent.act(frame)
    waiting = agent.state.queue_BQK
    fresh = Agent(EagerRuntime(policy), ROWS)
    frame = _frame(9, reset=(False, True, False))
    controller = policy.codec.encode(agent.act(frame))
    fresh.act(frame)
    torch.testing.assert_close(
        agent.state.backbone.hidden_BND[1], fresh.state.backbone.hidden_BND[1], rtol=0, atol=1e-6
    )
    neutral = fresh._neutral_K
    assert torch.equal(controller[1], neutral)
    assert torch.equal(controller[[0, 2]], waiting[[0, 2], 0])
    assert torch.equal(agent.state.queue_BQK[1, 0], neutral)
    assert torch.equal(agent.state.queue_BQK[[0, 2], 0], waiting[[0, 2], 1])


def test_the_same_seed_plays_the_same_and_another_does_not() -> None:
    policy = _policy(delay=0)
    frames = [_frame(t) for t in range(6)]
    one, two, three = (
        torch.stack(_tokens(policy, Agent(EagerRuntime(policy), ROWS, seed=s), frames)) for s in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_the_state_is_all_there_is_to_go_on_from() -> None:
    policy = _policy(delay=2)
    agent = Agent(EagerRuntime(policy), ROWS, temperature=1e-4)
    for t in range(4):
        agent.act(_frame(t))
    other = Agent(EagerRuntime(policy), ROWS, temperature=1e-4)
    other.state = agent.state
    for t in range(4, 8):
        assert all(torch.equal(a, b) for a, b in zip(agent.act(_frame(t)), other.act(_frame(t)), strict=True))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match=r"temperature is .*; expected a number above 0"):
        Agent(EagerRuntime(_policy(delay=0)), ROWS, temperature=temperature)


def test_a_game_takes_controllers_row_by_row() -> None:
    policy = _policy(delay=0)
    found = Agent(EagerRuntime(policy), ROWS).act(_frame(0))
    controllers = to_controllers(found)
    assert len(controllers) == ROWS
    for row, controller in enumerate(controllers):
        assert controller.main_x == found.main_x[row]
        assert controller.trigger_r == found.trigger_r[row]
        assert controller.buttons == found.buttons[row]


def test_a_policy_in_training_does_not_play() -> None:
    policy = _policy(delay=0)
    agent = Agent(EagerRuntime(policy), ROWS)
    policy.train()
    with pytest.raises(AssertionError, match=r"policy\.eval"):
        agent.act(_frame(0))


def test_missing_columns_do_not_make_missing_actions() -> None:
    policy = _policy(delay=0)
    frame = _frame(0)
    numbers = frame.columns["f32"].clone()
    numbers[..., [index for group, index in POSITION.values() if group == "f32"]] = torch.nan
    controller = Agent(EagerRuntime(policy), ROWS).act(
        replace(frame, columns={**frame.columns, "f32": numbers})
    )
    assert torch.stack(controller[:6]).isfinite().all()
