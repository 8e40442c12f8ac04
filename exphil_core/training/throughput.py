"""Benchmark of training throughput: each backbone, a plain transformer and the machine's matrix products.

A step is a complete one: encoder, backbone, head, loss, backward, clipping, AdamW and EMA, on a synthetic batch
in memory. All models take steps in turn, so that background load slows them alike.

FLOPs are the model's (`training/flops.py`), not the machine's: a kernel that computes more, or recomputes, has a
lower utilisation and not a higher one.

Legend: B batch, T time, L = T + horizon frames, D width, K components.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import (
    AttentionConfig,
)
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.policy import Policy, build_policy, slice_frames
from exphil_core.training.flops import backbone_flops, flops_per_frame
from exphil_core.training.optim import Optimizer
from exphil_core.training.precision import autocast_dtype, choose_precision
from exphil_core.training.synthetic_batch import synthetic_batch

PEER_PRESET = "attention_20m"
"""Preset from which the plain transformer takes its width, layers, heads, feed-forward width, encoder and head."""

WARMUP_ROUNDS = 2
SMALLEST_ROUNDS = 5

MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product gives the machine's rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Training throughput of one backbone or peer."""

    name: str
    """The backbone's kind, or a peer's name."""
    peer: bool
    parameters: int
    window_size: int | None
    kernel: str | None
    precision: str
    flops_per_frame: float
    """Model FLOPs of forward and backward."""
    steps: int
    step_ms: float
    """Median."""
    frames_per_s: float
    utilisation: float
    """Model FLOPs per second as a share of the machine's matrix products in the same precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Results of a benchmark."""

    rows: tuple[Throughput, ...]
    matmul_flops_per_s: dict[str, float]
    """By precision."""


@dataclass(slots=True, kw_only=True, eq=False)
class _BenchmarkModel:
    name: str
    peer: bool
    model: nn.Module
    flops_per_frame: float
    loss: Callable[[], Tensor]
    update: Callable[[], object]
    """Clips, takes the optimiser's step and clears the gradients."""
    window_size: int | None = None
    kernel: str | None = None
    precision: str = ""
    seconds: list[float] = field(default_factory=list)

    def backward(self, dtype: torch.dtype | None, device: torch.device) -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = self.loss()
        loss.backward()

    def settle_precision(self, wanted: str, device: torch.device) -> None:
        """Choose the precision that a run of this model would choose."""
        self.precision = choose_precision(wanted, device, lambda dtype: self.backward(dtype, device))
        self.model.zero_grad(set_to_none=True)

    def step(self, device: torch.device) -> None:
        self.backward(autocast_dtype(self.precision), device)
        self.update()


def measure_training(
    presets: Sequence[Preset],
    peer: Preset | None,
    *,
    batch_size: int,
    chunk_length: int,
    seconds: float,
    precision: str,
    device: torch.device,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Time training steps of every preset, and of plain transformers of `peer`'s size.

    Args:
        peer: a preset with an attention backbone; None leaves the plain transformers out.
        seconds: measuring time per model.

    Raises:
        UsageError: a preset's kernel or the precision is not available on this machine.
    """
    batch = synthetic_batch(batch_size, chunk_length + 1 + max(p.policy.delay for p in presets), device)
    contestants = [_of_preset(preset, batch, chunk_length, device) for preset in presets]
    if peer is not None:
        contestants += _peers(peer, batch, chunk_length, device)
    for contestant in contestants:
        contestant.settle_precision(precision, device)
        say(f"{contestant.name}: {contestant.precision}")
    products = {name: _product(name, device) for name in sorted({c.precision for c in contestants})}
    product_seconds: dict[str, list[float]] = {name: [] for name in products}

    def timed(work: Callable[[], object]) -> float:
        _wait(device)
        began = clock()
        work()
        _wait(device)
        return clock() - began

    rounds, began = 0, clock()
    while rounds < WARMUP_ROUNDS + SMALLEST_ROUNDS or clock() - began < seconds * len(contestants):
        for contestant in contestants:
            contestant.seconds.append(timed(partial(contestant.step, device)))
        for name, product in products.items():
            product_seconds[name].append(timed(product))
        rounds += 1
        if rounds == WARMUP_ROUNDS:
            began = clock()
    rates = {
        name: 2 * MATMUL_SIDE[device.type] ** 3 / statistics.median(taken[WARMUP_ROUNDS:])
        for name, taken in product_seconds.items()
    }
    frames = batch_size * chunk_length
    return Measured(rows=tuple(_row(c, frames, rates) for c in contestants), matmul_flops_per_s=rates)


def _of_preset(
    preset: Preset, batch: TensorBatch, chunk_length: int, device: torch.device
) -> _BenchmarkModel:
    kernel = resolve_kernel(preset.backbone, device)
    torch.manual_seed(0)
    policy = build_policy(preset).to(device).train()
    return _BenchmarkModel(
        name=preset.backbone.kind,
        peer=False,
        model=policy,
        flops_per_frame=flops_per_frame(policy, preset.backbone, chunk_length),
        loss=_loss_of(policy, batch, chunk_length),
        update=_update_of(policy, preset),
        window_size=preset.backbone.window_size,
        kernel=kernel,
    )


def _loss_of(policy: Policy, batch: TensorBatch, chunk_length: int) -> Callable[[], Tensor]:
    seen = slice_frames(batch, 0, chunk_length + policy.horizon)

    def loss() -> Tensor:
        nll_BTK, targets, _ = policy.nll(seen)
        return (nll_BTK.float().sum(-1) * targets.mask_BT).sum() / targets.mask_BT.sum()

    return loss


def _update_of(model: nn.Module, preset: Preset) -> Callable[[], object]:
    optimizer = Optimizer(model, preset.train)

    def update() -> None:
        optimizer.clip()
        optimizer.step(step=0, progress=0.5)

    return update


class PlainTransformer(nn.Module):
    """A causal, pre-norm stack of `nn.TransformerEncoderLayer`, usable as a backbone in training only.

    It attends to the whole chunk, and knows no positions and no resets.
    """

    mask_TT: Tensor

    def __init__(self, config: AttentionConfig, chunk_length: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            round(config.ffn_factor * config.width),
            dropout=config.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.stack = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        mask_TT = nn.Transformer.generate_square_subsequent_mask(chunk_length)
        self.register_buffer("mask_TT", mask_TT, persistent=False)

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor | None = None, state: None = None
    ) -> tuple[Tensor, None]:
        y_BTD: Tensor = self.stack(x_BTD, mask=self.mask_TT, is_causal=True)
        return y_BTD, None


def _peers(
    preset: Preset, batch: TensorBatch, chunk_length: int, device: torch.device
) -> Iterator[_BenchmarkModel]:
    """Yield the plain transformer between our encoder and head, and by itself on random features."""
    config = preset.backbone
    assert isinstance(config, AttentionConfig), "the plain transformer is as large as an attention backbone"
    # Every frame attends to all before it, as in a band of the chunk's length.
    whole = config.model_copy(update={"window_size": chunk_length})
    torch.manual_seed(0)
    policy = build_policy(preset)
    policy.backbone = PlainTransformer(config, chunk_length)  # type: ignore[assignment]
    policy.to(device).train()
    yield _BenchmarkModel(
        name="plain transformer",
        peer=True,
        model=policy,
        flops_per_frame=flops_per_frame(policy, whole, chunk_length),
        loss=_loss_of(policy, batch, chunk_length),
        update=_update_of(policy, preset),
    )
    bare = PlainTransformer(config, chunk_length).to(device).train()
    x_BTD, aim_BTD = torch.randn(2, batch.frame_id.shape[0], chunk_length, config.width, device=device)
    without_average = preset.model_copy(update={"train": preset.train.model_copy(update={"ema_decay": 0.0})})
    yield _BenchmarkModel(
        name="plain transformer, bare",
        peer=True,
        model=bare,
        flops_per_frame=backbone_flops(bare, whole, chunk_length),
        loss=lambda: (bare(x_BTD)[0].float() - aim_BTD).square().mean(),
        update=_update_of(bare, without_average),
    )


def _product(precision: str, device: torch.device) -> Callable[[], Tensor]:
    side = MATMUL_SIDE[device.type]
    a, b = torch.randn(2, side, side, device=device, dtype=autocast_dtype(precision) or torch.float32)
    return lambda: a @ b


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _row(contestant: _BenchmarkModel, frames: int, rates: dict[str, float]) -> Throughput:
    taken = contestant.seconds[WARMUP_ROUNDS:]
    step = statistics.median(taken)
    return Throughput(
        name=contestant.name,
        peer=contestant.peer,
        parameters=sum(parameter.numel() for parameter in contestant.model.parameters()),
        window_size=contestant.window_size,
        kernel=contestant.kernel,
        precision=contestant.precision,
        flops_per_frame=contestant.flops_per_frame,
        steps=len(taken),
        step_ms=step * 1e3,
        frames_per_s=frames / step,
        utilisation=contestant.flops_per_frame * frames / step / rates[contestant.precision],
    )
