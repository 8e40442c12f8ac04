"""Gather `step` events into numpy columns, so that a long run costs few array operations.

Only a start of the run ends a group. Other events between steps move before the group, which is safe because no other
event depends on a step.
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
"""x and y, float64 [N]; y is NaN where the value is missing."""

Places = slice | np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    newest: Step
    count: int
    loss: Points
    frames_per_s: Points
    data_wait: Points
    per_character: Mapping[str, Points]
    """Loss by character, at the steps that trained on it."""
    heads: Mapping[str, Points]
    """Loss by controller head."""
    frames: Mapping[str, int]
    """Training frames by character, summed over the steps."""


def gathered(records: Sequence[Record | Steps]) -> list[Record | Steps]:
    """Replace each group of `Step` records with one `Steps`; existing `Steps` stay as they are."""
    return gathered_by(records, Step, _columns)


def gathered_by(
    records: Sequence[Any], kind: type[T], columns: Callable[[Sequence[T]], Steps]
) -> list[Record | Steps]:
    """Gather records of class `kind` with the function `columns`."""
    out: list[Any] = []
    for stretch in _stretches(records):
        others = [record for record in stretch if type(record) is not kind]
        if len(others) == len(stretch):
            out += others
            continue
        steps = [record for record in stretch if type(record) is kind] if others else stretch
        # Keep the events after the last step behind it, so the newest record stays last.
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
    """Concatenate the values of all mappings and index them by name.

    Returns:
        The values, and per name (rows, places): the mappings that contain it, None if all do, and its positions in
        the values.
    """
    values = list(chain.from_iterable(map(dict.values, mappings)))
    names = list(chain.from_iterable(mappings))
    first = list(mappings[0])
    # A mapping contains a name once, so the names repeat like this only if all mappings have the same keys.
    if names == first * len(mappings):
        return values, {name: (None, slice(place, None, len(first))) for place, name in enumerate(first)}
    places = {name: number for number, name in enumerate(dict.fromkeys(names))}
    number = np.array([places[name] for name in names], dtype=np.intp)
    row = np.repeat(np.arange(len(mappings)), [len(mapping) for mapping in mappings])
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return values, {name: (row[part], part) for name, part in zip(places, parts, strict=True)}


def _of(x: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    # Return the array itself, not a view, if possible: a pickle then stores it once for all curves.
    return x if rows is None else x[rows]


def numbers(values: Sequence[Number]) -> np.ndarray:
    """Convert to float64 [N]; None becomes NaN."""
    try:
        # Takes half the time of np.array.
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))
    except struct.error:
        return np.array(values, dtype=np.float64)
