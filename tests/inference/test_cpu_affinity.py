"""A player's threads keep to cores of their own, as far as there are enough."""

import hashlib
import os
import threading
import time

import pytest

from exphil_core.cpu import TRAINING_SPINS
from exphil_core.inference.cpu_affinity import (
    PLAY_SPIN_COUNT,
    busiest_threads,
    pin_threads,
    player_cores,
    realtime_priority,
    set_play_spin_count,
)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system does not let cores be chosen"
)


def test_every_thread_has_a_core_of_its_own_or_none_has() -> None:
    there = os.sched_getaffinity(0)
    assert player_cores(1) == player_cores(len(there) + 1) == ()
    if len(there) > 1:
        assert player_cores(2) == tuple(sorted(there)[:2])


def test_the_player_keeps_to_its_core_only_while_it_plays() -> None:
    before = os.sched_getaffinity(0)
    first = min(before)
    with pin_threads((first,)):
        assert os.sched_getaffinity(0) == {first}
    assert os.sched_getaffinity(0) == before
    with pin_threads(()):
        assert os.sched_getaffinity(0) == before


def test_a_thread_that_helps_is_found_by_its_work_and_kept_to_a_core() -> None:
    """A thread of our own beside others that sleep stands for a library's pool."""
    asked, done, over = threading.Event(), threading.Event(), threading.Event()
    found: list[int] = []

    def help() -> None:
        found.append(threading.get_native_id())
        while not over.is_set():
            if asked.wait(0.05):
                asked.clear()
                hashlib.blake2b(bytes(4_000_000)).digest()
                done.set()

    sleepers = [threading.Thread(target=over.wait) for _ in range(3)]
    helper = threading.Thread(target=help)
    for thread in (*sleepers, helper):
        thread.start()

    def work() -> None:
        done.clear()
        asked.set()
        done.wait()

    try:
        helpers = busiest_threads(work, 1)
        assert helpers == tuple(found)
        if len(cores := player_cores(2)) == 2:
            free = os.sched_getaffinity(helpers[0])
            with pin_threads(cores, helpers):
                assert os.sched_getaffinity(helpers[0]) == {cores[1]}
            assert os.sched_getaffinity(helpers[0]) == free
        assert busiest_threads(lambda: time.sleep(0.01), 1) == ()
    finally:
        over.set()
        for thread in (*sleepers, helper):
            thread.join()


def test_a_player_goes_before_others_only_where_it_may_and_only_while_it_plays() -> None:
    before = os.sched_getscheduler(0)
    with realtime_priority() as granted:
        assert granted == (os.sched_getscheduler(0) == os.SCHED_RR)
    assert os.sched_getscheduler(0) == before


def test_a_system_that_refuses_precedence_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with realtime_priority() as granted:
        assert not granted


@pytest.mark.parametrize(("found", "left"), [(TRAINING_SPINS, PLAY_SPIN_COUNT), ("77", "77"), (None, None)])
def test_a_player_waits_awake_unless_told_otherwise(
    found: str | None, left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if found is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", found)
    set_play_spin_count()
    assert os.environ.get("GOMP_SPINCOUNT") == left
