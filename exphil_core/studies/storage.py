"""What of a study is to be run, is being run and has ended: Optuna's journal in the study's folder.

In: cells, that is variants with a seed. Out: one trial a cell for ever: waiting, running, complete or failed. What a
reader gets wrong: a trial that is running needs no process behind it; who works on it says its claim, and a running
trial without one is taken up again before any that waits. Any number of processes, also on several machines, may work
on one folder, as far as its file system has locks that all of them see.
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
from exphil_core.studies.cells import Cell, Trial
from exphil_core.studies.claim import Claim, claimed_here, waiting_lock

JOURNAL = "journal.log"

_NAME = "study"
"""Optuna's name of the one study in a journal: the folder has the real one, and may be renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A cell that this process is to end, and its claim until then."""

    cell: Cell
    claim: Claim
    again: bool
    """Whether somebody had begun it."""


class StudyStorage:
    """One study's folder: `journal.log`, `claims/`, and `lock` for whoever chooses what to do next.

    DataError, naming the line, where the journal is damaged.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._claims = folder / "claims"
        self._claims.mkdir(exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = str(folder / JOURNAL)
        with self._alone(), _sound(folder):
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
        """What `describe` was told."""
        return dict(self._study.user_attrs)

    def describe(self, **values: object) -> None:
        """Keeps what the study is about beside its trials. UsageError where it has been run on other data."""
        with self._alone():
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

    def extend(self, cells: Collection[Cell]) -> int:
        """Adds the cells that are not there yet, and says how many.

        UsageError where a cell is there that was run otherwise than it would be run now.
        """
        with self._alone():
            there = {trial.run: trial for trial in self.trials()}
            for cell in cells:
                if (known := there.get(cell.run)) is not None:
                    self._refuse_another_run(cell, known)
            new = [cell for cell in cells if cell.run not in there]
            for cell in new:
                self._study.add_trial(
                    optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=_attributes(cell))
                )
        return len(new)

    def trials(self) -> list[Trial]:
        """All of them, in the order in which they were added."""
        with _sound(self.folder):
            return [_trial(frozen) for frozen in self._frozen()]

    def take(self, cells: Mapping[str, Cell], *, without: Collection[str] = ()) -> Taken | None:
        """The next cell that nobody works on, now this process's: one that was left first. None where there is none.

        `cells` are those that this process knows, by run; those in `without` it leaves alone. What starts from
        another run is not to be had before that has ended.
        """
        with self._alone():
            ended = {trial.run for trial in self.trials() if trial.ended}
            left = [frozen for frozen in self._frozen() if not frozen.state.is_finished()]
            for frozen in sorted(left, key=lambda frozen: frozen.state == TrialState.WAITING):
                run, before = frozen.user_attrs["run"], frozen.user_attrs.get("starts_from")
                if run not in cells or run in without or not (before is None or before in ended):
                    continue
                claim = Claim.take(self._claims, run)
                if claim is None:
                    continue
                again = frozen.state == TrialState.RUNNING
                if not again:
                    begun = self._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
                    assert begun, "who holds the lock chooses alone"
                return Taken(cell=cells[run], claim=claim, again=again)
        return None

    def complete(self, run: str, *, loss: float, measures: Mapping[str, Any]) -> bool:
        """Ends the trial with what came out; False where it had ended already, and nothing changes."""
        return self._end(run, state=TrialState.COMPLETE, values=[loss], attributes={"measures": measures})

    def fail(self, run: str, why: str) -> bool:
        """Ends the trial without a result; False where it had ended already, and nothing changes."""
        return self._end(run, state=TrialState.FAIL, values=None, attributes={"why": why})

    def look_beside(self, run: str) -> None:
        """Keeps in mind whether another worker of this machine is busy while this run goes on."""
        if claimed_here(self._claims) > 1:
            (self._claims / f"{run}.shared").touch()

    def was_shared(self, run: str) -> bool:
        """Whether `look_beside` ever found one, whoever looked."""
        return (self._claims / f"{run}.shared").exists()

    def _end(
        self, run: str, *, state: TrialState, values: list[float] | None, attributes: Mapping[str, Any]
    ) -> bool:
        with self._alone():
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
    def _alone(self) -> Iterator[None]:
        with waiting_lock(self.folder / "lock"):
            yield

    def _refuse_another_run(self, cell: Cell, known: Trial) -> None:
        try:
            was = preset_from_tables(known.preset, where=f"{self.folder / JOURNAL}: {known.run}")
        except ExphilError as error:
            raise UsageError(
                f"study {self.folder.name}: {known.run} was run with settings that this exphil no longer has "
                f"({error}): give the study another --name"
            ) from error
        differing = differing_settings(was, cell.preset)
        if known.starts_from != cell.starts_from:
            differing.append(f"starts_from = {known.starts_from!r} then and {cell.starts_from!r} now")
        if differing:
            raise UsageError(
                f"study {self.folder.name}: {known.run} was run otherwise ({'; '.join(differing)}), and what was run "
                "otherwise cannot be compared: put the settings back, or give the study another --name"
            )


_OF_THE_MACHINE = ("device", "loader_workers", "kernel")
"""Settings that change how fast a run is and not what it learns."""


def differing_settings(was: Preset, now: Preset, *, besides: Collection[str] = ()) -> list[str]:
    """`section.key = … then and … now` of every setting that a run's result depends on and that differs."""
    ignored = {*_OF_THE_MACHINE, *besides}
    found = []
    for section in ("data", "encoder", "backbone", "policy", "train", "evaluation"):
        then, after = (getattr(preset, section).model_dump() for preset in (was, now))
        found += [
            f"{section}.{key} = {then.get(key)!r} then and {after.get(key)!r} now"
            for key in {**then, **after}
            if key not in ignored and then.get(key) != after.get(key)
        ]
    return found


def _attributes(cell: Cell) -> dict[str, Any]:
    return {
        "run": cell.run,
        "variant": cell.variant,
        "seed": cell.seed,
        "values": dict(cell.values),
        "budget": cell.budget,
        "amount": cell.amount,
        "multiple": cell.multiple,
        "preset": plain_values(cell.preset),
        "starts_from": cell.starts_from,
    }


_STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
}


def _trial(frozen: FrozenTrial) -> Trial:
    said = frozen.user_attrs
    return Trial(
        run=said["run"],
        variant=said["variant"],
        seed=said["seed"],
        values=said["values"],
        budget=said["budget"],
        amount=said["amount"],
        multiple=said["multiple"],
        preset=said["preset"],
        state=_STATES[frozen.state],
        why=said.get("why", ""),
        measures=said.get("measures"),
        starts_from=said.get("starts_from"),
    )


class _JournalLock(JournalFileOpenLock):
    """Optuna's lock on the journal as one of the system's, which nobody has to wait for after a killed process.

    Whoever gets it also cuts off what a process that was killed while it wrote has left half-written: the next line
    would else be joined to it, and the whole journal be lost.
    """

    def __init__(self, path: str) -> None:
        self._journal = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        handle = os.open(f"{self._journal}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handle = handle
        _cut_half_line(Path(self._journal))
        return True

    def release(self) -> None:
        assert self._handle is not None, "the lock is not held"
        os.close(self._handle)
        self._handle = None


@contextmanager
def _sound(folder: Path) -> Iterator[None]:
    """Turns what Optuna raises for a journal that it cannot replay into a sentence."""
    try:
        yield
    except ExphilError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError) as error:
        path = folder / JOURNAL
        raise DataError(
            f"study {folder.name}: {path}{_bad_line(path)} is damaged ({type(error).__name__}: {error}); put back a "
            "copy of the file, or move the folder away and run the study again: the runs that have ended stay"
        ) from error


def _bad_line(path: Path) -> str:
    """`:NUMBER` of the first line that is no entry; empty where all are."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if "op_code" in json.loads(line):
                    continue
            except (ValueError, TypeError):
                pass
            return f":{number}"
    return ""


def _cut_half_line(path: Path) -> None:
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
