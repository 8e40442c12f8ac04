"""Many `step` events as columns, so that an hour of a run costs a handful of array operations.

In: decoded records in order. Out: the same with every stretch of `Step` gathered into one `Steps`. What a reader
gets wrong: only a start of the run ends a stretch. Any other event between two steps now stands before both, which
changes nothing, since no other event says anything that depends on a step.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeVar

import numpy as np

from exphil_core.runs.records import Number, Record, RunStarted, Step

T = TypeVar("T")

Points = tuple[np.ndarray, np.ndarray]
"""x and y, float64 [N]; y is NaN where there was no number."""

Places = slice | np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    newest: Step
    count: int
    loss: Points
    frames_per_s: Points
    data_wait: Points
    per_character: Mapping[str, Points]
    """Loss where the character was learned from."""
    heads: Mapping[str, Points]
    frames: Mapping[str, int]
    """By character, of all events together."""


def gathered(records: Sequence[Record | Steps]) -> list[Record | Steps]:
    """The records with steps in columns; what is gathered already stays as it is."""
    ends = [place for place, record in enumerate(records) if type(record) in (RunStarted, Steps)]
    stretches = pairwise([0, *ends, len(records)])
    return [record for begin, end in stretches for record in _stretch(records[begin:end])]


def _stretch(records: Sequence[Record | Steps]) -> list[Record | Steps]:
    steps = [record for record in records if type(record) is Step]
    if not steps:
        return list(records)
    others = [record for record in records if type(record) is not Step]
    # Who asks for the last record gets the one that was the last.
    behind = next(n for n, record in enumerate(reversed(records)) if record is steps[-1])
    others.insert(len(others) - behind, _columns(steps))
    return others


def _columns(steps: Sequence[Step]) -> Steps:
    x = _numbers([step.step for step in steps])
    characters, places = _by_name([step.per_character for step in steps])
    losses = _numbers([character.loss for character in characters])
    frames = _numbers([character.frames for character in characters])
    nats, head_places = _by_name([step.heads for step in steps])
    nat = _numbers(nats)
    return Steps(
        newest=steps[-1],
        count=len(steps),
        loss=(x, _numbers([step.loss for step in steps])),
        frames_per_s=(x, _numbers([step.frames_per_s for step in steps])),
        data_wait=(x, _numbers([step.data_wait for step in steps])),
        per_character={name: (x[rows], losses[values]) for name, (rows, values) in places.items()},
        heads={name: (x[rows], nat[values]) for name, (rows, values) in head_places.items()},
        frames={name: int(frames[values].sum()) for name, (_, values) in places.items()},
    )


def _by_name(mappings: Sequence[dict[str, T]]) -> tuple[list[T], dict[str, tuple[Places, Places]]]:
    """(the values of all mappings in a row, {name: (which mappings hold it, where its values are in the row)})."""
    values = list(chain.from_iterable(map(dict.values, mappings)))
    names = list(chain.from_iterable(mappings))
    first = list(mappings[0])
    # A mapping holds a name once, so the names in a row can only repeat like this where all mappings are alike.
    if names == first * len(mappings):
        return values, {
            name: (slice(None), slice(place, None, len(first))) for place, name in enumerate(first)
        }
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    number = np.array([numbers[name] for name in names], dtype=np.intp)
    row = np.repeat(np.arange(len(mappings)), [len(mapping) for mapping in mappings])
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return values, {name: (row[part], part) for name, part in zip(numbers, parts, strict=True)}


def _numbers(values: Sequence[Number]) -> np.ndarray:
    """float64; None as NaN."""
    try:
        # Half the time of np.array, which has to expect anything.
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))
    except struct.error:
        return np.array(values, dtype=np.float64)
