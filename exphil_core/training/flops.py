"""`python -m exphil_core.training.flops`: count a training step's model FLOPs per frame.

Reads a JSON list of presets from stdin and prints a JSON list of numbers in the same order. The count is that
of `exphil bench train`: what the mathematics needs, not what a kernel computes besides. It includes the second
forward pass of scheduled sampling.
"""

import json
import sys

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.errors import ExphilError
from exphil_core.models.policy import Policy, build_policy
from exphil_core.training.throughput import flops_per_frame

SAMPLING_SHARE = 1 / 3
"""Forward share of a training pass, which scheduled sampling runs a second time without a backward pass."""


def counted(preset: Preset, policy: Policy) -> float:
    """Return a training step's model FLOPs per frame of its windows."""
    each = flops_per_frame(policy, preset.backbone, preset.chunk_length)
    return each * (1 + SAMPLING_SHARE * (preset.train.scheduled_sampling > 0))


def main() -> int:
    try:
        presets = [preset_from_tables(tables, where="stdin") for tables in json.load(sys.stdin)]
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps([counted(preset, build_policy(preset)) for preset in presets]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
