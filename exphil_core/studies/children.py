"""What only torch can tell of a run, asked of a child process: latency, losses on other games, FLOPs.

In: a run, or presets. Out: the JSON that `exphil bench`, `exphil eval` or the counter of FLOPs prints. What a reader
gets wrong: a measurement that fails does not undo the run it is of, so it comes as a sentence and not as an error.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from exphil_core.config.preset import Preset, plain_values
from exphil_core.errors import ExphilError
from exphil_core.runs.directory import RunDirectory

LATENCY_THREADS = 1
"""A policy plays beside a game, which wants the other cores."""

_EXPHIL = (
    sys.executable,
    "-c",
    "import sys; from exphil_core.cli.main import main; sys.exit(main(sys.argv[1:]))",
)


class Unmeasured(Exception):
    """What the child said when it could not."""


def latency(run: RunDirectory, *, frames: int) -> Mapping[str, Any]:
    """The row of `exphil bench latency` for the run's best checkpoint in eager torch on the CPU."""
    said = _asked(
        "bench",
        "latency",
        *("--checkpoint", str(run.path), "--runtime", "eager", "--frames", str(frames)),
        *("--threads", str(LATENCY_THREADS), "--runs-dir", str(run.path.parent), "--json"),
    )
    return {
        **next(row for row in said["results"] if row["device"] == "cpu"),
        "threads": LATENCY_THREADS,
        "budget_ms": said["budget_ms"],
        "processor": said["machine"]["processor"],
    }


def losses(run: RunDirectory, characters: Sequence[str], *, device: str) -> Mapping[str, Any]:
    """What `exphil eval` says of the run's best checkpoint on held-out games of these characters."""
    return _asked(
        "eval",
        str(run.path),
        *("--character", ",".join(characters), "--device", device),
        *("--runs-dir", str(run.path.parent), "--json"),
    )


def flops_per_frame(presets: Sequence[Preset]) -> list[float]:
    """Model FLOPs of a training step per frame, one for each preset."""
    asked = json.dumps([plain_values(preset) for preset in presets])
    try:
        return [float(each) for each in _output([sys.executable, "-m", "exphil_core.training.flops"], asked)]
    except Unmeasured as error:
        raise ExphilError(f"the FLOPs of the variants could not be counted: {error}") from error


def _asked(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = _output([*_EXPHIL, *arguments])
    return found


def _output(command: Sequence[str], asked: str = "") -> Any:
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise Unmeasured(f"exit code {done.returncode}: {said[-1]}")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise Unmeasured(f"what it printed is no JSON: {done.stdout[:100]!r}") from error
