"""Watches a run for new weights, from the file it writes for its pilot and from its latest checkpoint.

Weights that are damaged, gone or of another policy cause one warning and no change, since the weights in play are
still good. The next valid weights re-enable warnings.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from exphil_core.errors import CheckpointError, InaccessibleCheckpointError
from exphil_core.models.weights import Weights, read_step, read_weights
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.runs.directory import RunDirectory

Seen = tuple[tuple[int, ...] | None, int | None]


class WeightWatcher:
    """Returns each new set of weights once."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        like: Mapping[str, Tensor],
        read_checkpoint: Callable[[Path], Weights],
        warn: Callable[[str, str], None],
    ) -> None:
        """Watch `run`.

        Args:
            like: State dict with the names and shapes of the playing policy.
            read_checkpoint: Reads and verifies a checkpoint directory, or raises CheckpointError.
            warn: Called with a code and a sentence.
        """
        self._run = run
        self._path = PilotDirectory(run).weights_path
        self._shapes = {name: tensor.shape for name, tensor in like.items()}
        self._read_checkpoint = read_checkpoint
        self._warn = warn
        self._seen: Seen | None = None
        self._given: Weights | None = None
        self._warned = False

    def poll(self) -> Weights | None:
        """Return new valid weights; None if there are none."""
        try:
            promoted = self._run.latest_step()
        except CheckpointError as error:
            promoted = None if self._seen is None else self._seen[1]
            self._say("weights_damaged", str(error))
        found = (_identity(self._path), promoted)
        if found == self._seen:
            return None
        gone = self._seen is not None and self._seen[0] is not None and found[0] is None
        self._seen = found
        for read in self._candidates(*found):
            try:
                weights = read()
                self._refuse_others(weights)
            except (CheckpointError, InaccessibleCheckpointError) as error:
                self._say("weights_damaged", f"{error}; {self._instead()}")
                continue
            self._warned = False
            if self._given is None or weights.checksum != self._given.checksum:
                self._given = weights
                return weights
            return None
        if gone:
            self._say("weights_gone", f"{self._path} is gone; {self._instead()}")
        elif self._given is None:
            self._say("no_weights", f"run {self._run.name} has no weights yet; {self._instead()}")
        return None

    def _candidates(self, saved: tuple[int, ...] | None, promoted: int | None) -> list[Callable[[], Weights]]:
        """Return readers of the candidates, newest first; none older than the weights returned last."""
        found: list[tuple[int, Callable[[], Weights]]] = []
        if saved is not None:
            # A file with an unreadable header counts as the newest, so that its damage is reported.
            step = read_step(self._path)
            if step is None or promoted is None or step > promoted:
                found.append((1, lambda: read_weights(self._path)))
            elif self._given is None or step > self._given.step:
                found.append((-1, lambda: read_weights(self._path)))
        if promoted is not None and (self._given is None or promoted > self._given.step):
            directory = self._run.step_directory(promoted)
            found.append((0, lambda: self._read_checkpoint(directory)))
        return [read for _, read in sorted(found, key=lambda item: -item[0])]

    def _refuse_others(self, weights: Weights) -> None:
        shapes = {name: tensor.shape for name, tensor in weights.tensors.items()}
        if shapes != self._shapes:
            name = min(dict(shapes.items() ^ self._shapes.items()))
            raise CheckpointError(
                f"{self._run.path}: weights of step {weights.step} are not of this run's policy: {name} is "
                f"{_shape(shapes.get(name))} and should be {_shape(self._shapes.get(name))}"
            )

    def _instead(self) -> str:
        if self._given is None:
            return "the pilot waits for the first whole ones"
        return f"the pilot plays on with the weights of step {self._given.step}"

    def _say(self, code: str, message: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(code, message)


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes whenever the file does; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
