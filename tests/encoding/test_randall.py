"""Randall's path: a closed loop at one speed, where libmelee has it."""

import math
from itertools import pairwise

import pytest

from exphil_core.melee.stages import RANDALL_PERIOD, randall_position


def test_the_path_closes_without_a_jump() -> None:
    places = [randall_position(frame) for frame in range(-123, RANDALL_PERIOD)]
    steps = [math.dist(before, after) for before, after in pairwise(places)]
    assert max(steps) < 0.45
    assert min(steps) > 0.2
    assert randall_position(-123) == pytest.approx(randall_position(RANDALL_PERIOD - 123))


def test_he_is_where_libmelee_has_him() -> None:
    libmelee = pytest.importorskip("melee.stages")
    for frame in range(-123, 3000, 7):
        height, left, right = libmelee.randall_position(frame)
        x, y = randall_position(frame)
        assert x == pytest.approx((left + right) / 2, abs=0.4)
        assert y == pytest.approx(height, abs=0.4)
