"""`python -m exphil_core.training.flops`: model FLOPs of a training step per frame, counted and not measured.

In: a JSON list of presets on stdin. Out: a JSON list of numbers on stdout, in the same order. What a reader gets
wrong: this is the count of `exphil bench train`: what the mathematics needs, not what a kernel does besides.
"""

import json
import sys

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.errors import ExphilError
from exphil_core.models.policy import build_policy
from exphil_core.training.throughput import flops_per_frame


def counted(preset: Preset) -> float:
    return flops_per_frame(build_policy(preset), preset.backbone, preset.chunk_length)


def main() -> int:
    try:
        presets = [preset_from_tables(tables, where="stdin") for tables in json.load(sys.stdin)]
    except ExphilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps([counted(preset) for preset in presets]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
