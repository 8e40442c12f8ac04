"""Benchmark of training throughput: each backbone, a plain transformer and the machine's matrix products.

A step is a complete one: encoder, backbone, head, loss, backward, clipping, AdamW and EMA, on a synthetic batch
in memory. All models take steps in turn, so that background load slows them alike.

FLOPs are the model's, not the machine's: every weight of a product once per use, scores and values only within
the attention band, a scan as its recurrence. A kernel that computes more, or recomputes, has a lower
utilisation and not a higher one.

Legend: B batch, T time, L = T + horizon frames, D width, K components.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import (
    AttentionConfig,
    BackboneConfig,
    GruConfig,
    JambaConfig,
    LstmConfig,
    LstmHybridConfig,
    Mamba2Config,
    MambaConfig,
    MlpConfig,
    TxLikeConfig,
)
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.interleaved import TOKENS, InterleavedBackbone
from exphil_core.models.policy import Policy, build_policy, scale_window_to_tokens, slice_frames
from exphil_core.replays.columns import LAYOUT, POSITION, Group
from exphil_core.training.optim import Optimizer
from exphil_core.training.precision import autocast_dtype, choose_precision

PEER_PRESET = "attention_20m"
"""Preset from which the plain transformer takes its width, layers, heads, feed-forward width, encoder and head."""

WARMUP_ROUNDS = 2
SMALLEST_ROUNDS = 5

MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product gives the machine's rate."""

SCAN_FLOPS = 7
"""Forward FLOPs of the selective scan per value of its state: decay (product, exponential), input (product),
update (product, sum) and readout (product, sum)."""
SCALAR_SCAN_FLOPS = 5
"""The same where a head shares one decay, as in Mamba-2: two fewer."""

CHARACTER, STAGE = 2, 31
"""External ids in the synthetic frames."""


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
class _Contestant:
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


def synthetic_batch(rows: int, frames: int, device: torch.device) -> TensorBatch:
    """Return a batch of random columns in which every frame is valid."""
    chance = torch.Generator().manual_seed(0)

    def integers(group: Group, below: int) -> Tensor:
        return torch.randint(0, below, (rows, frames, len(LAYOUT[group])), generator=chance)

    u8 = integers("u8", 5)
    u8[:, :, POSITION["p0.stocks"][1]] = 4
    reset = torch.zeros(rows, frames, dtype=torch.bool)
    reset[:, 0] = True
    return TensorBatch(
        columns={
            "f32": (torch.rand(rows, frames, len(LAYOUT["f32"]), generator=chance) * 2 - 1).to(device),
            "u16": integers("u16", 300).to(device, torch.int32),
            "u8": u8.to(device, torch.uint8),
        },
        frame_id=torch.arange(frames, dtype=torch.int32, device=device).repeat(rows, 1),
        valid=torch.ones(rows, frames, dtype=torch.bool, device=device),
        reset=reset.to(device),
        ego_slot=torch.zeros(rows, dtype=torch.uint8, device=device),
        external_id=torch.full((rows,), CHARACTER, dtype=torch.uint8, device=device),
        stage=torch.full((rows,), STAGE, dtype=torch.uint8, device=device),
        mirror=torch.zeros(rows, dtype=torch.bool, device=device),
    )


def flops_per_frame(policy: Policy, config: BackboneConfig, chunk_length: int) -> float:
    """Return the model FLOPs of a training step per frame: forward, and twice that for backward."""
    tokens = 1
    if isinstance(policy.backbone, InterleavedBackbone):
        tokens, config = TOKENS, scale_window_to_tokens(config)
    products = _encoder_products(policy) + tokens * _products(policy.backbone) + _products(policy.head)
    return 3 * (2 * products + tokens * _other_flops(config, tokens * chunk_length))


def keys_in_band(window_size: int, chunk_length: int) -> float:
    """Return how many frames a frame of a chunk attends to on average, itself included."""
    full = min(window_size, chunk_length)
    return (full * (full + 1) / 2 + (chunk_length - full) * full) / chunk_length


def _other_flops(config: BackboneConfig, chunk_length: int) -> float:
    """Return the forward FLOPs of one frame outside products with weights: attention and scans."""

    def attention(layers: int) -> float:
        return layers * 4 * config.width * keys_in_band(config.window_size, chunk_length)

    match config:
        case AttentionConfig():
            return attention(config.layers)
        case LstmHybridConfig():
            return attention(config.attention_layers)
        case MambaConfig():
            return config.layers * SCAN_FLOPS * config.inner * config.d_state
        case Mamba2Config():
            return config.layers * SCALAR_SCAN_FLOPS * config.inner * config.d_state
        case JambaConfig():
            attending = sum(config.is_attention(layer) for layer in range(config.layers))
            scanning = config.layers - attending
            return attention(attending) + scanning * SCAN_FLOPS * config.inner * config.d_state
        case MlpConfig() | GruConfig() | LstmConfig() | TxLikeConfig():
            return 0
        case _:
            assert_never(config)


def _products(part: Any) -> int:
    """Count the weights that are multiplied with every frame once."""
    return sum(
        parameter.numel()
        for name, parameter in part.named_parameters()
        if parameter.ndim >= 2 and not name.endswith("A_log") and not _is_table(part, name)
    )


def _is_table(part: nn.Module, name: str) -> bool:
    return isinstance(part.get_submodule(name.rpartition(".")[0]), nn.Embedding)


def _encoder_products(policy: Policy) -> float:
    """Count the encoder's weight uses per frame; both players and all items share some weights."""
    found = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal found
        assert isinstance(layer, nn.Linear)
        found += made.numel() // layer.out_features * layer.weight.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in policy.encoder.modules()
        if isinstance(layer, nn.Linear)
    ]
    frame = synthetic_batch(1, 1, policy.device)
    with torch.no_grad():
        policy.encode(frame)
    for hook in hooks:
        hook.remove()
    return found


def _of_preset(preset: Preset, batch: TensorBatch, chunk_length: int, device: torch.device) -> _Contestant:
    kernel = resolve_kernel(preset.backbone, device)
    torch.manual_seed(0)
    policy = build_policy(preset).to(device).train()
    return _Contestant(
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
) -> Iterator[_Contestant]:
    """Yield the plain transformer between our encoder and head, and by itself on random features."""
    config = preset.backbone
    assert isinstance(config, AttentionConfig), "the plain transformer is as large as an attention backbone"
    # Every frame attends to all before it, as in a band of the chunk's length.
    whole = config.model_copy(update={"window_size": chunk_length})
    torch.manual_seed(0)
    policy = build_policy(preset)
    policy.backbone = PlainTransformer(config, chunk_length)  # type: ignore[assignment]
    policy.to(device).train()
    yield _Contestant(
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
    yield _Contestant(
        name="plain transformer, bare",
        peer=True,
        model=bare,
        flops_per_frame=3 * (2 * _products(bare) + _other_flops(whole, chunk_length)),
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


def _row(contestant: _Contestant, frames: int, rates: dict[str, float]) -> Throughput:
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
