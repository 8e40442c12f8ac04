"""Write a run's events as TensorBoard scalars to its `tensorboard/` folder (extra `tensorboard`).

Nothing reads these files back; events.jsonl is the run's history.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from exphil_core.errors import UsageError

_STEP_KEYS = ("loss", "lr", "grad_norm", "frames_per_s", "data_wait")
_EVALUATED_KEYS = ("loss", "baseline_marginal", "baseline_repeat", "baseline_markov", "copycat", "leak_probe")


def require_tensorboard() -> None:
    """Raise UsageError where the extra is not installed."""
    if find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the extra of that name: pip install 'exphil[tensorboard]'")


@contextmanager
def tensorboard_sink(folder: Path) -> Iterator["TensorBoardSink"]:
    """Yield a sink that writes scalars to `folder`."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    try:
        yield TensorBoardSink(writer)
    finally:
        writer.close()


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """Return an event's scalars as tag → value; empty for event types without scalars."""
    keys: tuple[str, ...]
    match record["type"]:
        case "step":
            prefix, keys = "train", _STEP_KEYS
        case "evaluated" if not record.get("best"):
            prefix, keys = "validation", _EVALUATED_KEYS
        case _:
            return {}
    found = {f"{prefix}/{key}": record[key] for key in keys if record.get(key) is not None}
    found |= {f"{prefix}_head/{name}": loss for name, loss in record["heads"].items()}
    found |= {f"{prefix}_character/{name}": entry["loss"] for name, entry in record["per_character"].items()}
    return found


class TensorBoardSink:
    """Event sink that writes scalars through a `SummaryWriter`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __call__(self, record: dict[str, Any]) -> None:
        for tag, value in scalars(record).items():
            self._writer.add_scalar(tag, value, record["step"])
