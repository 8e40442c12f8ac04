"""A fake machine in a test's folder: cache, Slippi folders, and a stand-in for the `exphil` subprocesses.

Names and times are fixed, so that snapshots stay the same. The stand-in starts no process and answers at once unless
told to wait.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_tui.services.subprocess import CompletedCommand
from tests.tui.conftest import NOW

ESTIMATE: dict[str, Any] = {
    "parameters": 553_685,
    "frames_per_step": 1920,
    "flops_per_frame": 3_103_488.0,
    "steps": None,
    "epochs": None,
    "limit_seconds": 180.0,
    "memory_bytes": 72_000_000,
    "memory_measured": False,
    "device": "cpu",
    "estimated_seconds": 180.0,
    "probe": None,
    "warnings": ["zelda: no game in the validation split; too few matches to have both"],
    "dataset": {
        "per_character": {
            "mewtwo": {"games": 5, "frames": 21_000, "validation_games": 1, "validation_frames": 4000},
            "zelda": {"games": 3, "frames": 12_000, "validation_games": 0, "validation_frames": 0},
        }
    },
}
PROBED = ESTIMATE | {
    "steps": 3700,
    "epochs": 33.8,
    "memory_bytes": 214_000_000,
    "memory_measured": True,
    "frames_per_s": 40_400.0,
    "seconds_per_step": 0.048,
    "probe": {"steps": 64, "precision": "bf16", "kernel": None, "data_wait": 0.01},
}

ADVICE = (
    "Take attention with a window of 60 frames at the size of low_tier_unified (small): its p99 here is 4.7 of "
    "16.7 ms."
)

COUNTS = {
    "mewtwo": {"games": 6, "frames": 25_000},
    "zelda": {"games": 3, "frames": 12_000},
    "fox": {"games": 7, "frames": 31_000},
}


class Machine:
    """The files of a machine below one folder, which is the current one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.datasets = Path("cache") / "datasets"

    def listed(self, name: str, sources: Sequence[str], *, age: float = 3600.0, **said: object) -> Path:
        """A dataset that has a description and nothing else."""
        counts = {
            "games": 8,
            "frames": 34_000,
            "duplicates": 0,
            "salvaged": 0,
            "per_character": COUNTS,
            "filtered": {},
            "refused": {},
        }
        described = {
            "schema_version": SCHEMA_VERSION,
            "complete": True,
            "paths": list(sources),
            "counts": counts,
            **said,
        }
        path = self.datasets / name
        path.mkdir(parents=True)
        (path / "dataset.json").write_text(json.dumps(described))
        self._age(path, age)
        return path

    def built(self, name: str, dataset: Path, *, source: str = "/games/dojo", **counts: object) -> Path:
        """A whole dataset, as if it had been built from `source`."""
        path = self.datasets / name
        shutil.copytree(dataset, path)
        said = json.loads((path / "dataset.json").read_bytes())
        said["paths"] = [source]
        said["counts"] |= counts
        (path / "dataset.json").write_text(json.dumps(said))
        self._age(path, 3600.0)
        return path

    def slippi(self, replays: int = 3, *, name: str = "Slippi") -> Path:
        """A folder of Slippi with files that nobody opens."""
        folder = self.home / name
        folder.mkdir(parents=True)
        for number in range(replays):
            file = folder / f"Game_{number}.slp"
            file.write_bytes(b"x" * 1000)
            os.utime(file, (NOW - 7200, NOW - 7200))
        return folder

    def demo(self, replays: Path) -> Path:
        """Demo replays, written before."""
        folder = Path("cache") / "demo"
        shutil.copytree(replays, folder)
        return folder

    def _age(self, path: Path, age: float) -> None:
        os.utime(path / "dataset.json", (NOW - age, NOW - age))


class StandIn:
    """Answers for `exphil`: by default a dry run with `ESTIMATE`, a start with a run."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.broken_off: list[tuple[str, ...]] = []
        self.said: dict[str, tuple[str, ...]] = {}
        """Word of a command → lines that it says before it answers."""
        self.answers: dict[str, CompletedCommand] = {}
        """Word of a command → how it ends."""
        self.waits: set[str] = set()
        """Words of commands that do not end by themselves."""
        self.then: Callable[[tuple[str, ...]], None] = lambda arguments: None

    async def __call__(
        self, arguments: Sequence[str], *, told: Callable[[str], None] = lambda line: None
    ) -> CompletedCommand:
        words = tuple(arguments)
        self.calls.append(words)
        for word, lines in self.said.items():
            if word in words:
                for line in lines:
                    told(line)
        try:
            if self.waits & set(words):
                await asyncio.sleep(3600)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.broken_off.append(words)
            raise
        self.then(words)
        return next((ended for word, ended in self.answers.items() if word in words), self._answer(words))

    def _answer(self, words: tuple[str, ...]) -> CompletedCommand:
        if "--dry-run" in words:
            found = PROBED if "--probe" in words else ESTIMATE
            known = "--replays" in words
            return answer(found if known else found | {"dataset": None, "warnings": []})
        if words[0] == "advise":
            return answer({"headline": ADVICE})
        if words[0] == "train":
            return answer({"run": "first", "path": "checkpoints/first", "pid": 1})
        return answer({})

    def of(self, *words: str) -> list[tuple[str, ...]]:
        """The calls that have all these words."""
        return [call for call in self.calls if set(words) <= set(call)]


def answer(found: object) -> CompletedCommand:
    return CompletedCommand(code=0, output=json.dumps(found) + "\n", problems=())


def refusal(sentence: str, code: int = 2) -> CompletedCommand:
    return CompletedCommand(code=code, output="", problems=(sentence,))
