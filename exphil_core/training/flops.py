"""`python -m exphil_core.training.flops`: model FLOPs of a training step per frame, counted and not measured.

In: a JSON list of presets on stdin. Out: a JSON list of numbers on stdout, in the same order. What a reader gets
wrong: this is the count of `exphil bench train`: what the mathematics needs, not what a kernel does besides; and
the second forward pass of scheduled sampling, which no other strategy has, counts.
"""

import json
import sys

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.errors import ExphilError
from exphil_core.models.policy import Policy, build_policy
from exphil_core.training.throughput import flops_per_frame

SAMPLING_SHARE = 1 / 3
"""Of a training pass: its forward part, which scheduled sampling takes a second time, without a way back."""


def counted(preset: Preset, policy: Policy) -> float:
    """Of a step, per frame of its windows."""
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
