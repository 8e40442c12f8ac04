"""Storage of a study's trials: Optuna's journal in the study's folder, one trial per run.

A running trial may have no process behind it. Its claim says who works on it, and a running trial without a
claim is resumed before any waiting one. Any number of processes, also on several machines, may share a folder
if its file system has locks that all of them see.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset, plain_values
from exphil_core.errors import DataError, ExphilError, UsageError
from exphil_core.studies.trial_lock import Claim, claimed_here, waiting_lock
from exphil_core.studies.trials import Trial, TrialSpec

JOURNAL = "journal.log"

_NAME = "study"
"""Optuna's name of the only study in a journal; the folder has the real name and may be renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedTrial:
    """A trial that this process has claimed."""

    spec: TrialSpec
    claim: Claim
    again: bool
    """Whether a worker had started it before."""


class StudyStorage:
    """A study's folder: `journal.log`, `claims/`, and `lock`, held while the next trial is chosen.

    Raises:
        DataError: the journal is damaged; the message names the line.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._claims = folder / "claims"
        self._claims.mkdir(exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = str(folder / JOURNAL)
        with self._locked(), _journal_errors(folder):
            self._storage = JournalStorage(JournalFileBackend(path, lock_obj=_JournalLock(path)))
            self._study = optuna.create_study(
                study_name=_NAME,
                storage=self._storage,
                sampler=optuna.samplers.RandomSampler(),
                load_if_exists=True,
            )

    @classmethod
    def exists(cls, folder: Path) -> bool:
        return (folder / JOURNAL).is_file()

    def described(self) -> Mapping[str, Any]:
        """Return the values that `describe` stored."""
        return dict(self._study.user_attrs)

    def describe(self, **values: object) -> None:
        """Store what the study is about beside its trials.

        Raises:
            UsageError: the study has been run on other data.
        """
        with self._locked():
            known = self._study.user_attrs
            before, now = known.get("fingerprint"), values.get("fingerprint")
            if before is not None and now != before:
                raise UsageError(
                    f"study {self.folder.name} has been run on other games ({known.get('data')}), with which runs on "
                    f"these ({values.get('data')}) cannot be compared: give this one another --name"
                )
            for key, value in values.items():
                if known.get(key) != value:
                    self._study.set_user_attr(key, value)

    def extend(self, specs: Collection[TrialSpec]) -> int:
        """Add the trials that are missing; return how many.

        Raises:
            UsageError: a trial was run with other settings.
        """
        with self._locked():
            there = {trial.run: trial for trial in self.trials()}
            for spec in specs:
                if (known := there.get(spec.run)) is not None:
                    self._refuse_another_run(spec, known)
            new = [spec for spec in specs if spec.run not in there]
            for spec in new:
                self._study.add_trial(
                    optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=_attributes(spec))
                )
        return len(new)

    def trials(self) -> list[Trial]:
        """Return all trials in the order in which they were added."""
        with _journal_errors(self.folder):
            return [_trial(frozen) for frozen in self._frozen()]

    def take(self, specs: Mapping[str, TrialSpec], *, without: Collection[str] = ()) -> ClaimedTrial | None:
        """Claim the next trial without a live worker, orphaned ones first; None without one.

        A trial that starts from another run becomes available when that run has ended.

        Args:
            specs: the trials that this process knows, by run.
            without: runs to leave alone.
        """
        with self._locked():
            ended = {trial.run for trial in self.trials() if trial.ended}
            open_trials = [frozen for frozen in self._frozen() if not frozen.state.is_finished()]
            for frozen in sorted(open_trials, key=lambda frozen: frozen.state == TrialState.WAITING):
                run, before = frozen.user_attrs["run"], frozen.user_attrs.get("starts_from")
                if run not in specs or run in without or not (before is None or before in ended):
                    continue
                claim = Claim.take(self._claims, run)
                if claim is None:
                    continue
                again = frozen.state == TrialState.RUNNING
                if not again:
                    started = self._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
                    assert started, "only the holder of the lock starts trials"
                return ClaimedTrial(spec=specs[run], claim=claim, again=again)
        return None

    def complete(self, run: str, *, loss: float, measures: Mapping[str, Any]) -> bool:
        """End the trial with its result; return False, changing nothing, where it has ended already."""
        return self._end(run, state=TrialState.COMPLETE, values=[loss], attributes={"measures": measures})

    def fail(self, run: str, why: str) -> bool:
        """End the trial without a result; return False, changing nothing, where it has ended already."""
        return self._end(run, state=TrialState.FAIL, values=None, attributes={"why": why})

    def record_sharing(self, run: str) -> None:
        """Record whether another worker of this machine is busy during this run."""
        if claimed_here(self._claims) > 1:
            (self._claims / f"{run}.shared").touch()

    def was_shared(self, run: str) -> bool:
        """Return whether `record_sharing` found another worker, in any process."""
        return (self._claims / f"{run}.shared").exists()

    def _end(
        self, run: str, *, state: TrialState, values: list[float] | None, attributes: Mapping[str, Any]
    ) -> bool:
        with self._locked():
            frozen = next(frozen for frozen in self._frozen() if frozen.user_attrs["run"] == run)
            if frozen.state.is_finished():
                return False
            for key, value in attributes.items():
                self._storage.set_trial_user_attr(frozen._trial_id, key, value)
            self._study.tell(frozen.number, values=values, state=state)
        return True

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with waiting_lock(self.folder / "lock"):
            yield

    def _refuse_another_run(self, spec: TrialSpec, known: Trial) -> None:
        try:
            was = preset_from_tables(known.preset, where=f"{self.folder / JOURNAL}: {known.run}")
        except ExphilError as error:
            raise UsageError(
                f"study {self.folder.name}: {known.run} was run with settings that this exphil no longer has "
                f"({error}): give the study another --name"
            ) from error
        differing = differing_settings(was, spec.preset)
        if known.starts_from != spec.starts_from:
            differing.append(f"starts_from = {known.starts_from!r} then and {spec.starts_from!r} now")
        if differing:
            raise UsageError(
                f"study {self.folder.name}: {known.run} was run otherwise ({'; '.join(differing)}), and what was run "
                "otherwise cannot be compared: put the settings back, or give the study another --name"
            )


_MACHINE_SETTINGS = ("device", "loader_workers", "kernel")
"""Settings that change a run's speed, not what it learns."""


def differing_settings(was: Preset, now: Preset, *, besides: Collection[str] = ()) -> list[str]:
    """Describe every differing setting that a result depends on: `section.key = … then and … now`.

    Args:
        besides: further keys to ignore.
    """
    ignored = {*_MACHINE_SETTINGS, *besides}
    found = []
    for section in ("data", "encoder", "backbone", "policy", "train", "evaluation"):
        then, after = (getattr(preset, section).model_dump() for preset in (was, now))
        found += [
            f"{section}.{key} = {then.get(key)!r} then and {after.get(key)!r} now"
            for key in {**then, **after}
            if key not in ignored and then.get(key) != after.get(key)
        ]
    return found


def _attributes(spec: TrialSpec) -> dict[str, Any]:
    return {
        "run": spec.run,
        "variant": spec.variant,
        "seed": spec.seed,
        "values": dict(spec.values),
        "budget": spec.budget,
        "amount": spec.amount,
        "multiple": spec.multiple,
        "preset": plain_values(spec.preset),
        "starts_from": spec.starts_from,
    }


_STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
}


def _trial(frozen: FrozenTrial) -> Trial:
    values = frozen.user_attrs
    return Trial(
        run=values["run"],
        variant=values["variant"],
        seed=values["seed"],
        values=values["values"],
        budget=values["budget"],
        amount=values["amount"],
        multiple=values["multiple"],
        preset=values["preset"],
        state=_STATES[frozen.state],
        why=values.get("why", ""),
        measures=values.get("measures"),
        starts_from=values.get("starts_from"),
    )


class _JournalLock(JournalFileOpenLock):
    """Optuna's lock on the journal as a system lock, which is released when its process is killed.

    Acquiring it truncates a line that a killed process left half-written. The next line would otherwise be
    joined to it, and the whole journal be lost.
    """

    def __init__(self, path: str) -> None:
        self._journal = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        handle = os.open(f"{self._journal}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handle = handle
        _truncate_partial_line(Path(self._journal))
        return True

    def release(self) -> None:
        assert self._handle is not None, "the lock is not held"
        os.close(self._handle)
        self._handle = None


@contextmanager
def _journal_errors(folder: Path) -> Iterator[None]:
    """Turn Optuna's errors on a damaged journal into a DataError."""
    try:
        yield
    except ExphilError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError) as error:
        path = folder / JOURNAL
        raise DataError(
            f"study {folder.name}: {path}{_bad_line(path)} is damaged ({type(error).__name__}: {error}); put back a "
            "copy of the file, or move the folder away and run the study again: ended runs are kept"
        ) from error


def _bad_line(path: Path) -> str:
    """Return `:NUMBER` of the first line that is no entry; empty where all are."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if "op_code" in json.loads(line):
                    continue
            except (ValueError, TypeError):
                pass
            return f":{number}"
    return ""


def _truncate_partial_line(path: Path) -> None:
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
