"""A player's threads keep to cores of their own, as far as there are enough."""

import os

import pytest

from exphil_core.inference.cores import kept_to_first, player_cores

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
    with kept_to_first((first,)):
        assert os.sched_getaffinity(0) == {first}
    assert os.sched_getaffinity(0) == before
    with kept_to_first(()):
        assert os.sched_getaffinity(0) == before
