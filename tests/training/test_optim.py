"""The learning rate's course and the optimiser's state."""

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from exphil_core.config.backbones import BackboneConfig, Mamba2Config, MambaConfig
from exphil_core.config.preset import TrainConfig
from exphil_core.models.backbone import build_backbone
from exphil_core.training.duration import limits_of
from exphil_core.training.optim import Optimizer, learning_rate


def config(**values: object) -> TrainConfig:
    return TrainConfig(**{"max_steps": 100, "lr": 1e-2, "warmup_steps": 10, **values})  # type: ignore[arg-type]


def test_the_rate_warms_up_and_ends_at_its_final_share() -> None:
    train = config(lr_final_ratio=0.1)
    rates = [learning_rate(train, step=step, progress=step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(1e-3, rel=0.01)
    assert max(rates) == rates[9] or max(rates) == rates[10]
    assert rates[100] == pytest.approx(1e-3)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_progress_follows_whichever_limit_comes_first() -> None:
    limits = limits_of(config(max_steps=1000, epochs=2, max_minutes=1), windows_per_epoch=32 * 50)
    assert limits.steps == 100
    assert limits.progress(step=50, seconds=0) == 0.5
    assert limits.progress(step=10, seconds=45) == 0.75
    assert limits.progress(step=10, seconds=90) == 1.0


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def advance(net: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        net(x).square().mean().backward()
        optimizer.clip()
        optimizer.step(step=step, progress=step / 20)


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_a_restored_optimizer_takes_the_same_next_steps_bit_for_bit(ema: float) -> None:
    straight = model()
    whole = Optimizer(straight, config(ema_decay=ema))
    advance(straight, whole, range(20))

    first = model()
    before = Optimizer(first, config(ema_decay=ema))
    advance(first, before, range(7))
    second = model()
    after = Optimizer(second, config(ema_decay=ema))
    playing = {name: tensor.clone() for name, tensor in before.eval_weights().items()}
    after.load_state_tensors({k: v.clone() for k, v in before.state_tensors().items()}, playing)
    advance(second, after, range(7, 20))

    for name, weight in straight.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight)
    for name, weight in whole.eval_weights().items():
        assert torch.equal(after.eval_weights()[name], weight)


def test_biases_do_not_decay() -> None:
    net = model()
    groups = Optimizer(net, config(weight_decay=0.1)).groups
    assert [(decay, {p.ndim for p in parameters}) for decay, parameters in groups] == [(0.1, {2}), (0.0, {1})]


@pytest.mark.parametrize("backbone", [MambaConfig(width=8), Mamba2Config(width=8, head_width=4)])
def test_how_fast_a_state_space_forgets_does_not_decay(backbone: BackboneConfig) -> None:
    net: Any = build_backbone(backbone)
    groups = Optimizer(net, config(weight_decay=0.1)).groups
    decayed = {id(parameter) for parameter in groups[0][1]}
    kept = {name.split(".")[-1] for name, p in net.named_parameters() if id(p) not in decayed}
    assert {"A_log", "D", "bias"} <= kept
    assert {name.split(".")[-1] for name, p in net.named_parameters() if id(p) in decayed} == {"weight"}


def test_updates_equal_those_of_torchs_class() -> None:
    net, other = model(), model()
    optimizer = Optimizer(net, config(weight_decay=0.1))
    groups = [
        {"params": [p for p in other.parameters() if (p.ndim == 2) == decays], "weight_decay": 0.1 * decays}
        for decays in (True, False)
    ]
    theirs = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98), eps=1e-8, fused=True)
    for step in range(6):
        for each in (net, other):
            torch.manual_seed(step)
            for parameter in each.parameters():
                parameter.grad = torch.randn_like(parameter)
        rate = optimizer.step(step=step, progress=0.0)
        for group in theirs.param_groups:
            group["lr"] = rate
        theirs.step()
        for one, two in zip(net.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)
            assert one.grad is None


def test_a_step_does_not_import_the_compiler() -> None:
    program = """
import sys, torch
from exphil_core.config.preset import TrainConfig
from exphil_core.training.optim import Optimizer
net = torch.nn.Linear(2, 2)
optimizer = Optimizer(net, TrainConfig(max_steps=1))
net(torch.ones(1, 2)).sum().backward()
optimizer.clip()
optimizer.step(step=0, progress=0.0)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_is_played_is_the_running_average_of_the_weights() -> None:
    net = model()
    optimizer = Optimizer(net, config(ema_decay=0.8))
    expected = {name: weight.clone() for name, weight in net.state_dict().items()}
    for step in range(20):
        advance(net, optimizer, range(step, step + 1))
        # The memory of a young average grows with the run: (1 + step) / (10 + step), up to what was asked for.
        decay = min(0.8, (1 + step) / (10 + step))
        for name, weight in net.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * weight
    for name, weight in optimizer.eval_weights().items():
        torch.testing.assert_close(weight, expected[name])
        assert not torch.equal(weight, net.state_dict()[name])


class Sharing(nn.Module):
    """Two modules with one table, as players and followers share that of the action states."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        table = nn.Embedding(4, 3)
        self.one, self.other = nn.ModuleDict({"table": table}), nn.ModuleDict({"table": table})
        self.out = nn.Linear(3, 1)


def test_what_two_modules_share_is_averaged_under_both_names() -> None:
    net = Sharing()
    optimizer = Optimizer(net, config(ema_decay=0.9))
    for step in range(5):
        net.out(net.one["table"].weight).square().mean().backward()
        optimizer.step(step=step, progress=step / 20)
    playing = optimizer.eval_weights()
    assert torch.equal(playing["one.table.weight"], playing["other.table.weight"])
    assert not torch.equal(playing["one.table.weight"], net.one["table"].weight)


def test_tables_do_not_decay() -> None:
    net = Sharing()
    optimizer = Optimizer(net, config(weight_decay=0.5, ema_decay=0.0))
    before = net.one["table"].weight.detach().clone()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weight = net.out.weight.detach().clone()
    optimizer.step(step=0, progress=0.0)
    assert torch.equal(net.one["table"].weight, before)
    assert (net.out.weight.abs() < weight.abs()).all()
