"""The journal of a study: one trial for each variant and seed, taken by one worker at a time, ended once."""

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.errors import UsageError
from exphil_core.runs.directory import FRESH_SECONDS
from exphil_core.studies.plan import trial_specs
from exphil_core.studies.storage import JOURNAL, StudyStorage
from exphil_core.studies.study import load_study
from exphil_core.studies.trials import TrialSpec
from tests.studies.tiny import AFTER


@pytest.fixture
def specs(write_study: Callable[..., Path]) -> list[TrialSpec]:
    return trial_specs(load_study(str(write_study())))


@pytest.fixture
def storage(tmp_path: Path, specs: list[TrialSpec]) -> StudyStorage:
    found = StudyStorage(tmp_path / "studies" / "tiny")
    assert found.extend(specs) == len(specs)
    return found


def by_run(specs: list[TrialSpec]) -> dict[str, TrialSpec]:
    return {spec.run: spec for spec in specs}


def test_two_workers_never_take_the_same_trial(storage: StudyStorage, specs: list[TrialSpec]) -> None:
    other = StudyStorage(storage.folder)
    taken = []
    while (found := (storage, other)[len(taken) % 2].take(by_run(specs))) is not None:
        taken.append(found)
    assert [each.spec.run for each in taken] == [spec.run for spec in specs]
    assert not any(each.again for each in taken)
    for each in taken:
        each.claim.release()


def test_a_cell_that_was_left_is_taken_before_one_that_waits(
    storage: StudyStorage, specs: list[TrialSpec]
) -> None:
    first, second = storage.take(by_run(specs)), storage.take(by_run(specs))
    assert first is not None
    assert second is not None
    second.claim.release()
    again = storage.take(by_run(specs))
    assert again is not None
    assert (again.spec.run, again.again) == (second.spec.run, True)
    for each in (first, again):
        each.claim.release()


def test_a_run_beside_which_another_worker_was_busy_is_known_to_whoever_takes_it_up(
    storage: StudyStorage, specs: list[TrialSpec]
) -> None:
    first = storage.take(by_run(specs))
    assert first is not None
    storage.record_sharing(first.spec.run)
    assert not storage.was_shared(first.spec.run)
    second = storage.take(by_run(specs))
    assert second is not None
    storage.record_sharing(first.spec.run)
    for each in (first, second):
        each.claim.release()
    storage.record_sharing(second.spec.run)
    assert StudyStorage(storage.folder).was_shared(first.spec.run)
    assert not storage.was_shared(second.spec.run)


def test_a_trial_ends_once_whoever_says_so_again(storage: StudyStorage, specs: list[TrialSpec]) -> None:
    taken = storage.take(by_run(specs))
    assert taken is not None
    run = taken.spec.run
    assert storage.complete(run, loss=0.5, measures={"loss": 0.5})
    assert not StudyStorage(storage.folder).complete(run, loss=0.1, measures={"loss": 0.1})
    assert not storage.fail(run, "too late")
    (trial,) = [trial for trial in storage.trials() if trial.ended]
    assert (trial.run, trial.state, trial.measures, trial.why) == (run, "complete", {"loss": 0.5}, "")
    taken.claim.release()


def test_what_starts_from_another_is_not_to_be_had_before_that_has_ended(
    tmp_path: Path, write_study: Callable[..., Path]
) -> None:
    specs = by_run(trial_specs(load_study(str(write_study(("seeds = [0, 1]", "seeds = [0]"), more=AFTER)))))
    storage = StudyStorage(tmp_path / "studies" / "tiny")
    # As a study that is extended has it: what starts first was added last.
    for run in ("tiny.after.0", "tiny.wide.0", "tiny.narrow.0"):
        storage.extend([specs[run]])
    wide, narrow = storage.take(specs), storage.take(specs)
    assert wide is not None
    assert narrow is not None
    assert (wide.spec.run, narrow.spec.run) == ("tiny.wide.0", "tiny.narrow.0")
    assert StudyStorage(storage.folder).take(specs) is None
    wide.claim.release()
    assert storage.complete("tiny.wide.0", loss=0.5, measures={"loss": 0.5})
    assert storage.take(specs) is None
    narrow.claim.release()
    assert storage.complete("tiny.narrow.0", loss=0.5, measures={"loss": 0.5})
    after = StudyStorage(storage.folder).take(specs)
    assert after is not None
    assert after.spec.starts_from == "tiny.narrow.0"
    after.claim.release()


def test_where_a_run_starts_is_part_of_what_it_is(tmp_path: Path, write_study: Callable[..., Path]) -> None:
    def specs(start: str) -> list[TrialSpec]:
        return trial_specs(load_study(str(write_study(more=AFTER.replace('starts_from = "narrow"', start)))))

    storage = StudyStorage(tmp_path / "studies" / "tiny")
    storage.extend(specs('starts_from = "narrow"'))
    assert StudyStorage(storage.folder).extend(specs('starts_from = "narrow"')) == 0
    known = {trial.run: trial.starts_from for trial in storage.trials()}
    assert known["tiny.after.1"] == "tiny.narrow.1"
    assert known["tiny.wide.1"] is None
    for start, now in (('starts_from = "wide"', "'tiny.wide.0'"), ("", "None")):
        with pytest.raises(UsageError, match=f"starts_from = 'tiny.narrow.0' then and {now} now"):
            storage.extend(specs(start))


def test_a_journal_of_before_there_were_starts_is_read_and_extended(
    storage: StudyStorage, specs: list[TrialSpec], write_study: Callable[..., Path]
) -> None:
    journal = storage.folder / JOURNAL
    text = journal.read_text()
    assert '"starts_from": null' in text or '"starts_from":null' in text
    journal.write_text(re.sub(r', ?"starts_from": ?null', "", text))
    old = StudyStorage(storage.folder)
    assert "starts_from" not in journal.read_text()
    assert [trial.starts_from for trial in old.trials()] == [None] * len(specs)
    assert old.extend(trial_specs(load_study(str(write_study(more=AFTER))))) == 2


def test_another_machine_s_claim_holds_until_its_heartbeat_lapses(
    storage: StudyStorage, specs: list[TrialSpec]
) -> None:
    said = {"pid": 1, "host": f"not-{socket.gethostname()}", "heartbeat": time.time()}
    claim = storage.folder / "claims" / f"{specs[0].run}.json"
    claim.write_text(json.dumps(said))
    taken = storage.take(by_run(specs))
    assert taken is not None
    assert taken.spec.run == specs[1].run
    claim.write_text(json.dumps({**said, "heartbeat": time.time() - 2 * FRESH_SECONDS}))
    other = storage.take(by_run(specs))
    assert other is not None
    assert other.spec.run == specs[0].run
    for each in (taken, other):
        each.claim.release()


def test_the_same_trials_are_added_once(storage: StudyStorage, specs: list[TrialSpec]) -> None:
    assert storage.extend(specs) == 0
    assert len(storage.trials()) == len(specs)


def test_what_was_run_otherwise_is_not_mixed_in(
    storage: StudyStorage, write_study: Callable[..., Path]
) -> None:
    changed = trial_specs(load_study(str(write_study(("warmup_steps = 2", "warmup_steps = 3")))))
    with pytest.raises(UsageError, match=r"train\.warmup_steps = 2 then and 3 now"):
        storage.extend(changed)
    longer = trial_specs(load_study(str(write_study(("frames = 6_400", "frames = 12_800")))))
    with pytest.raises(UsageError, match=r"train\.max_steps = 50 then and 100 now"):
        storage.extend(longer)


def test_games_of_a_character_are_a_setting_like_any_other(
    tmp_path: Path, write_study: Callable[..., Path]
) -> None:
    def limited(games: int) -> list[TrialSpec]:
        table = f"[set.data]\nmax_games_per_character = {{ m2 = {games} }}\n\n[set.train]"
        return trial_specs(load_study(str(write_study(("[set.train]", table)))))

    storage = StudyStorage(tmp_path / "studies" / "few")
    assert storage.extend(limited(1)) == 4
    assert StudyStorage(storage.folder).extend(limited(1)) == 0
    with pytest.raises(
        UsageError, match=r"data\.max_games_per_character = \{'mewtwo': 1\} then and \{'mewtwo': 2\} now"
    ):
        storage.extend(limited(2))


def test_another_device_is_the_same_run(storage: StudyStorage, write_study: Callable[..., Path]) -> None:
    elsewhere = load_study(str(write_study()), settings={"train.device": "cuda"})
    assert storage.extend(trial_specs(elsewhere)) == 0


def test_other_games_are_refused(storage: StudyStorage) -> None:
    storage.describe(about="?", data="these", fingerprint="one")
    storage.describe(about="??", data="these", fingerprint="one")
    assert storage.described()["about"] == "??"
    with pytest.raises(UsageError, match=r"run on other games \(these\)"):
        storage.describe(about="?", data="those", fingerprint="two")
