"""Model FLOPs of a training step per frame: what the mathematics needs, not what a kernel computes besides.

Every weight of a product counts once per use, scores and values only within the attention band, a scan as its
recurrence. `python -m exphil_core.training.flops` reads a JSON list of presets from stdin and prints a JSON list of
numbers in the same order.
"""

import json
import sys
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
from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.errors import ExphilError
from exphil_core.models.interleaved import TOKENS, InterleavedBackbone
from exphil_core.models.policy import Policy, build_policy, scale_window_to_tokens
from exphil_core.training.synthetic_batch import synthetic_batch

SCAN_FLOPS = 7
"""Forward FLOPs of the selective scan per value of its state: decay (product, exponential), input (product),
update (product, sum) and readout (product, sum)."""
SCALAR_SCAN_FLOPS = 5
"""The same where a head shares one decay, as in Mamba-2: two fewer."""

SAMPLING_SHARE = 1 / 3
"""Forward share of a training pass, which scheduled sampling runs a second time without a backward pass."""


def flops_per_frame(policy: Policy, config: BackboneConfig, chunk_length: int) -> float:
    """Return the model FLOPs of a training step per frame: forward, and twice that for backward."""
    tokens = 1
    if isinstance(policy.backbone, InterleavedBackbone):
        tokens, config = TOKENS, scale_window_to_tokens(config)
    products = _encoder_products(policy) + tokens * _products(policy.backbone) + _products(policy.head)
    return 3 * (2 * products + tokens * _other_flops(config, tokens * chunk_length))


def backbone_flops(backbone: nn.Module, config: BackboneConfig, chunk_length: int) -> float:
    """Return the same of a backbone alone."""
    return 3 * (2 * _products(backbone) + _other_flops(config, chunk_length))


def training_flops(preset: Preset, policy: Policy) -> float:
    """Return the same with scheduled sampling's second forward pass, where the preset has it."""
    each = flops_per_frame(policy, preset.backbone, preset.chunk_length)
    return each * (1 + SAMPLING_SHARE * (preset.train.scheduled_sampling > 0))


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


def main() -> int:
    try:
        presets = [preset_from_tables(tables, where="stdin") for tables in json.load(sys.stdin)]
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps([training_flops(preset, build_policy(preset)) for preset in presets]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
