from collections import Counter
from math import log
from random import Random

import pytest

from exphil_core.dojo.choices import choice
from exphil_core.melee.controller import NEUTRAL, Controller

LEFT, RIGHT = Controller(main_x=-1.0), Controller(main_x=1.0)


def test_one_controller_reached_in_two_ways_is_one_outcome() -> None:
    drawn = choice([(LEFT, 0.25), (RIGHT, 0.5), (Controller(main_x=-1.0), 0.25)])
    assert drawn.controllers == (LEFT, RIGHT)
    assert drawn.entropy == pytest.approx(log(2))
    assert drawn.variance == pytest.approx(0.0, abs=1e-12)


def test_a_certain_input_has_no_entropy_and_a_weightless_one_is_not_there() -> None:
    drawn = choice([(NEUTRAL, 3.0), (LEFT, 0.0)])
    assert drawn.controllers == (NEUTRAL,)
    assert drawn.entropy == 0.0
    assert drawn.index(0.999) == 0


def test_draws_come_as_often_as_their_probability_and_surprise_as_much_as_the_entropy() -> None:
    drawn = choice([(NEUTRAL, 0.7), (LEFT, 0.2), (RIGHT, 0.1)])
    dice = Random(3)
    indices = [drawn.index(dice.random()) for _ in range(20_000)]
    shares = Counter(indices)
    for index, probability in enumerate(drawn.probabilities):
        assert shares[index] / len(indices) == pytest.approx(probability, abs=0.01)
    mean = sum(drawn.surprisals[index] for index in indices) / len(indices)
    assert mean == pytest.approx(drawn.entropy, abs=4 * (drawn.variance / len(indices)) ** 0.5)
