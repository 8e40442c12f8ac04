"""Steps in columns: the same numbers as in the events, whoever is in them."""

import numpy as np
import pytest

from exphil_core.runs.records import CharacterStepLoss, Record, Step, Warned
from exphil_tui.model.step_columns import Steps, gathered


def step(number: int, characters: dict[str, float | None], heads: dict[str, float | None]) -> Step:
    return Step(
        seq=number,
        ts=f"{number:04}",
        step=number,
        loss=None if number % 3 == 0 else float(number),
        per_character={
            name: CharacterStepLoss(loss=loss, frames=number) for name, loss in characters.items()
        },
        heads=heads,
        frames_per_s=10.0 * number,
    )


def warned(number: int) -> Warned:
    return Warned(seq=number, ts=f"{number:04}", code="code", message="message")


@pytest.mark.parametrize(
    "presence", ["all", "one after another", "never twice the same", "none"], ids=lambda name: name
)
def test_every_number_of_every_event_is_in_its_column(presence: str) -> None:
    random = np.random.default_rng(0)
    names = ("link", "zelda", "mewtwo")
    steps = []
    for number in range(1, 40):
        present = {
            "all": list(names),
            "one after another": [names[number % 3]],
            "never twice the same": [name for name in random.permutation(names) if random.random() < 0.6],
            "none": [],
        }[presence]
        steps.append(
            step(number, {str(name): float(random.random()) for name in present}, {"main": None, "c": 0.5})
        )
    (columns,) = gathered(steps)
    assert isinstance(columns, Steps)
    assert (columns.count, columns.newest) == (39, steps[-1])
    np.testing.assert_array_equal(columns.loss[0], range(1, 40))
    np.testing.assert_array_equal(
        columns.loss[1], [np.nan if number % 3 == 0 else number for number in range(1, 40)]
    )
    np.testing.assert_array_equal(columns.frames_per_s[1], 10.0 * np.arange(1, 40))
    assert np.isnan(columns.data_wait[1]).all()
    assert np.isnan(columns.heads["main"][1]).all()
    for name in names:
        having = [found for found in steps if name in found.per_character]
        assert columns.frames.get(name, 0) == sum(found.step for found in having)
        if having:
            x, y = columns.per_character[name]
            assert x.tolist() == [found.step for found in having]
            assert y.tolist() == [found.per_character[name].loss for found in having]


def test_other_events_keep_their_order_and_the_last_stays_the_last() -> None:
    steps = [step(number, {}, {}) for number in range(5)]
    records: list[Record] = [warned(10), steps[0], warned(11), steps[1], steps[2], warned(12), warned(13)]
    found = gathered(records)
    assert [type(record) for record in found] == [Warned, Warned, Steps, Warned, Warned]
    assert [record.ts for record in found if isinstance(record, Warned)] == ["0010", "0011", "0012", "0013"]
    assert isinstance(gathered([warned(1), steps[0]])[-1], Steps)


def test_what_is_gathered_stays_as_it_is() -> None:
    found = gathered([warned(1), step(2, {}, {}), step(3, {}, {})])
    assert gathered(found) == found
    assert [type(record) for record in gathered([*found, step(4, {}, {})])] == [Warned, Steps, Steps]
    assert gathered([]) == []
