"""Child processes for what needs torch: latency, cross-evaluation losses and FLOPs.

A failed measurement raises Unmeasured; it does not invalidate the run.
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
"""The game that a policy plays needs the other cores."""

_EXPHIL = (
    sys.executable,
    "-c",
    "import sys; from exphil_core.cli.main import main; sys.exit(main(sys.argv[1:]))",
)


class Unmeasured(Exception):
    """A child process failed; the message is the last line of its stderr."""


def latency(run: RunDirectory, *, frames: int) -> Mapping[str, Any]:
    """Measure the latency of the run's best checkpoint in eager torch on the CPU.

    Returns:
        Its row of `exphil bench latency`, with `threads`, `budget_ms` and `processor`.

    Raises:
        Unmeasured: the child process failed.
    """
    report = _run_exphil(
        "bench",
        "latency",
        *("--checkpoint", str(run.path), "--runtime", "eager", "--frames", str(frames)),
        *("--threads", str(LATENCY_THREADS), "--runs-dir", str(run.path.parent), "--json"),
    )
    return {
        **next(row for row in report["results"] if row["device"] == "cpu"),
        "threads": LATENCY_THREADS,
        "budget_ms": report["budget_ms"],
        "processor": report["machine"]["processor"],
    }


def losses(run: RunDirectory, characters: Sequence[str], *, device: str) -> Mapping[str, Any]:
    """Evaluate the run's best checkpoint on held-out games of these characters.

    Returns:
        What `exphil eval --json` prints.

    Raises:
        Unmeasured: the child process failed.
    """
    return _run_exphil(
        "eval",
        str(run.path),
        *("--character", ",".join(characters), "--device", device),
        *("--runs-dir", str(run.path.parent), "--json"),
    )


def flops_per_frame(presets: Sequence[Preset]) -> list[float]:
    """Return each preset's model FLOPs of a training step per frame.

    Raises:
        ExphilError: they could not be counted.
    """
    presets_json = json.dumps([plain_values(preset) for preset in presets])
    try:
        return [
            float(each)
            for each in _output([sys.executable, "-m", "exphil_core.training.flops"], presets_json)
        ]
    except Unmeasured as error:
        raise ExphilError(f"the FLOPs of the variants could not be counted: {error}") from error


def _run_exphil(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = _output([*_EXPHIL, *arguments])
    return found


def _output(command: Sequence[str], stdin: str = "") -> Any:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no error output"]
        raise Unmeasured(f"exit code {done.returncode}: {lines[-1]}")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise Unmeasured(f"its output is not JSON: {done.stdout[:100]!r}") from error
