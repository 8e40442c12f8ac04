"""Incremental reader of a study's `journal.log`, without Optuna and without locks.

`StudyStorage` is for workers: it creates the folder, takes locks and writes. A viewer must do none of that. A
test checks that both read the same trials from the same file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from exphil_core.runs.tail import Tail
from exphil_core.studies.trials import Trial

# Optuna's JournalOperation and TrialState values.
_SET_STUDY_ATTR, _CREATE_TRIAL, _SET_STATE, _SET_TRIAL_ATTR = 2, 4, 6, 8
_STATES = {0: "running", 1: "complete", 2: "failed", 3: "failed", 4: "waiting"}

_STUDY = 0
"""Id of the only study in a journal; a second worker's attempt to create it changes nothing."""

_LONGEST_LINE = 64 << 20
"""Maximum line length in bytes; the line of a trial with thousands of evaluations is long."""


class _Trial:
    def __init__(self, created: Mapping[str, Any]) -> None:
        self.attributes = dict(_mapping(created.get("user_attrs")))
        self.state = _state(created.get("state", 0), "running")

    @property
    def ended(self) -> bool:
        return self.state in ("complete", "failed")


class StudyJournal:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.described: Mapping[str, Any] = {}
        """The study's attributes as its worker stored them: `about`, `decides`, `against` and the like."""
        self.trials: tuple[Trial, ...] = ()
        self.bad = 0
        """Number of unreadable lines and trials."""
        self._tail: Tail[dict[str, Any]] = Tail(path, decode=_decode, longest_line=_LONGEST_LINE)
        self._restarts = 0
        self._reset()

    def poll(self) -> bool:
        """Read new entries and return whether there were any.

        Raises:
            OSError: The journal is missing or cannot be read.
        """
        changed = False
        while (entries := self._tail.poll()) is not None:
            if self._is_another_file():
                self._reset()
            for entry in entries:
                self._take(entry)
            changed = True
        if self._tail.missing:
            raise FileNotFoundError(2, "No such file or directory", str(self.path))
        if self._is_another_file():
            self._reset()
            changed = True
        if changed:
            read = [_trial_of(found) for found in self._trials]
            self.trials = tuple(trial for trial in read if trial is not None)
            self.described = dict(self._described)
            self.bad = self._tail.bad_lines + len(read) - len(self.trials)
        return changed

    def _is_another_file(self) -> bool:
        """Return whether the file was replaced since the last call."""
        before, self._restarts = self._restarts, self._tail.restarts
        return before != self._restarts

    def _reset(self) -> None:
        self._described: dict[str, Any] = {}
        self._trials: list[_Trial] = []

    def _take(self, entry: Mapping[str, Any]) -> None:
        code = entry["op_code"]
        if code in (_SET_STUDY_ATTR, _CREATE_TRIAL) and entry.get("study_id") != _STUDY:
            return
        if code == _SET_STUDY_ATTR:
            self._described |= _mapping(entry.get("user_attr"))
        elif code == _CREATE_TRIAL:
            self._trials.append(_Trial(entry))
        elif code == _SET_TRIAL_ATTR and (trial := self._open(entry)) is not None:
            trial.attributes |= _mapping(entry.get("user_attr"))
        elif code == _SET_STATE and (trial := self._open(entry)) is not None:
            trial.state = _state(entry.get("state"), trial.state)

    def _open(self, entry: Mapping[str, Any]) -> _Trial | None:
        """Return the trial that `entry` refers to; None if it is unknown or has ended."""
        index = entry.get("trial_id")
        if not isinstance(index, int) or not 0 <= index < len(self._trials):
            return None
        return None if self._trials[index].ended else self._trials[index]


def _trial_of(found: _Trial) -> Trial | None:
    values = {"why": "", "measures": None, **found.attributes, "state": found.state}
    try:
        return msgspec.convert(values, Trial)
    except msgspec.ValidationError:
        return None


def _state(number: object, before: str) -> str:
    return _STATES.get(number, before) if isinstance(number, int) else before


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _decode(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("op_code"), int) else None
