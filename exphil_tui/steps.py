"""Many `step` events as columns, so that an hour of a run costs a handful of array operations.

In: decoded records in order. Out: the same with every stretch of `Step` gathered into one `Steps`. What a reader
gets wrong: only a start of the run ends a stretch. Any other event between two steps now stands before both, which
changes nothing, since no other event says anything that depends on a step.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeVar

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
    return gathered_by(records, Step, _columns)


def gathered_by(
    records: Sequence[Any], kind: type[T], columns: Callable[[Sequence[T]], Steps]
) -> list[Record | Steps]:
    """The same where steps are of another `kind` and `columns` makes columns of them."""
    out: list[Any] = []
    for stretch in _stretches(records):
        others = [record for record in stretch if type(record) is not kind]
        if len(others) == len(stretch):
            out += others
            continue
        steps = [record for record in stretch if type(record) is kind] if others else stretch
        # Who asks for the last record gets the one that was the last.
        behind = next(n for n, record in enumerate(reversed(stretch)) if record is steps[-1])
        others.insert(len(others) - behind, columns(steps))
        out += others
    return out


def _stretches(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    if set(map(type, records)).isdisjoint((RunStarted, Steps)):
        yield records
        return
    ends = [place for place, record in enumerate(records) if type(record) in (RunStarted, Steps)]
    for begin, end in pairwise([0, *ends, len(records)]):
        yield records[begin:end]


def _columns(steps: Sequence[Step]) -> Steps:
    x = numbers([step.step for step in steps])
    characters, places = _by_name([step.per_character for step in steps])
    losses = numbers([character.loss for character in characters])
    frames = numbers([character.frames for character in characters])
    nats, head_places = _by_name([step.heads for step in steps])
    nat = numbers(nats)
    return Steps(
        newest=steps[-1],
        count=len(steps),
        loss=(x, numbers([step.loss for step in steps])),
        frames_per_s=(x, numbers([step.frames_per_s for step in steps])),
        data_wait=(x, numbers([step.data_wait for step in steps])),
        per_character={name: (_of(x, rows), losses[values]) for name, (rows, values) in places.items()},
        heads={name: (_of(x, rows), nat[values]) for name, (rows, values) in head_places.items()},
        frames={name: int(frames[values].sum()) for name, (_, values) in places.items()},
    )


def _by_name(mappings: Sequence[dict[str, T]]) -> tuple[list[T], dict[str, tuple[np.ndarray | None, Places]]]:
    """(the values of all mappings in a row, {name: (which mappings hold it, where its values are in the row)}).

    None where all of them hold it.
    """
    values = list(chain.from_iterable(map(dict.values, mappings)))
    names = list(chain.from_iterable(mappings))
    first = list(mappings[0])
    # A mapping holds a name once, so the names in a row can only repeat like this where all mappings are alike.
    if names == first * len(mappings):
        return values, {name: (None, slice(place, None, len(first))) for place, name in enumerate(first)}
    places = {name: number for number, name in enumerate(dict.fromkeys(names))}
    number = np.array([places[name] for name in names], dtype=np.intp)
    row = np.repeat(np.arange(len(mappings)), [len(mapping) for mapping in mappings])
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return values, {name: (row[part], part) for name, part in zip(places, parts, strict=True)}


def _of(x: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    # Itself and not a view where it can be: a pickle then holds it once for all curves.
    return x if rows is None else x[rows]


def numbers(values: Sequence[Number]) -> np.ndarray:
    """float64; None as NaN."""
    try:
        # Half the time of np.array, which has to expect anything.
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))
    except struct.error:
        return np.array(values, dtype=np.float64)
