"""What the `step` events of one run have in common, and a decoder that is made for it.

In: whole lines of an event file. Out: their records, steps already in columns. What a reader gets wrong: nothing is
taken here that `records.decode` would not take, or in another meaning; a step of another shape, and any line that is
damaged, goes the general way. This only saves a third of the time that a long history takes: with the names of
characters and heads known, a step is decoded without a dictionary and taken apart without looking at a name.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, compress
from typing import Any, Union, get_args

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from exphil_core.runs.records import CharacterLoss, Number, Record, Step, all_lines, decode_lines
from exphil_tui.steps import Points, Steps, gathered, gathered_by, numbers

_REST = [kind for kind in get_args(Record) if kind.__struct_config__.tag not in (None, "step")]
"""Events of the other types."""

_MOST_NAMES = 64
_FIELDS = [f"n{place}" for place in range(_MOST_NAMES)]
"""What fields are called here: a name out of a file may be none that Python has."""


class ShapedDecoder:
    """Decodes lines and learns from them what the next will look like."""

    def __init__(self) -> None:
        self._shape: _Shape | None = None

    def decode_lines(self, text: bytes | memoryview) -> list[Record | Steps] | None:
        """None where a line is not an event, or of an unknown type."""
        if self._shape is not None and (found := self._shape.decode_lines(text)) is not None:
            return found
        records = decode_lines(text)
        if records is None:
            return None
        self._learn(records)
        return gathered(records)

    def _learn(self, records: Sequence[Record]) -> None:
        """Names that are new join the shape, as a character may be missing in some steps."""
        characters = dict.fromkeys(self._shape.characters if self._shape else ())
        heads = dict.fromkeys(self._shape.heads if self._shape else ())
        for record in records:
            if isinstance(record, Step):
                characters |= dict.fromkeys(record.per_character)
                heads |= dict.fromkeys(record.heads)
        known = self._shape is not None and len(characters) == len(self._shape.characters)
        if known or not characters or len(characters) + len(heads) > _MOST_NAMES:
            return
        # A name that no field of msgspec may have.
        with suppress(ValueError):
            self._shape = _Shape(tuple(characters), tuple(heads))


class _Shape:
    def __init__(self, characters: tuple[str, ...], heads: tuple[str, ...]) -> None:
        self.characters = characters
        self.heads = heads
        types = {
            "per_character": _by_name("Characters", characters, CharacterLoss | UnsetType),
            "heads": _by_name("Heads", heads, Number | UnsetType),
        }
        fields = [
            (field.name, types.get(field.name, field.type), msgspec.field(default=field.default))
            for field in msgspec.structs.fields(Step)
        ]
        self._step = msgspec.defstruct(
            "ShapedStep", fields, tag_field="type", tag="step", frozen=True, gc=False, kw_only=True
        )
        self._decoder = msgspec.json.Decoder(Union[(self._step, *_REST)])

    def decode_lines(self, text: bytes | memoryview) -> list[Record | Steps] | None:
        """None where a line is not an event, or a step of another shape."""
        records = all_lines(self._decoder, text)
        if records is None:
            return None
        try:
            return gathered_by(records, self._step, self._columns)
        except TypeError:
            # A head is missing in a step.
            return None

    def _columns(self, steps: Sequence[Any]) -> Steps:
        x = numbers([step.step for step in steps])
        per_character, frames = self._per_character(x, [astuple(step.per_character) for step in steps])
        nats = numbers(list(chain.from_iterable([astuple(step.heads) for step in steps])))
        return Steps(
            newest=self._plain(steps[-1]),
            count=len(steps),
            loss=(x, numbers([step.loss for step in steps])),
            frames_per_s=(x, numbers([step.frames_per_s for step in steps])),
            data_wait=(x, numbers([step.data_wait for step in steps])),
            per_character=per_character,
            heads={name: (x, nats[place :: len(self.heads)]) for place, name in enumerate(self.heads)},
            frames=frames,
        )

    def _per_character(
        self, x: np.ndarray, rows: Sequence[tuple[CharacterLoss, ...]]
    ) -> tuple[dict[str, Points], dict[str, int]]:
        """(the curves, the frames): by character, of those that are in any row."""
        width = len(self.characters)
        found = list(chain.from_iterable(rows))
        try:
            losses = numbers([character.loss for character in found])
        except AttributeError:
            # Where some are missing.
            return self._per_present_character(x, rows)
        frames = [character.frames for character in found]
        return (
            {name: (x, losses[place::width]) for place, name in enumerate(self.characters)},
            {name: sum(frames[place::width]) for place, name in enumerate(self.characters)},
        )

    def _per_present_character(
        self, x: np.ndarray, rows: Sequence[tuple[CharacterLoss, ...]]
    ) -> tuple[dict[str, Points], dict[str, int]]:
        curves: dict[str, Points] = {}
        frames: dict[str, int] = {}
        for name, column in zip(self.characters, zip(*rows, strict=True), strict=True):
            present = [character is not UNSET for character in column]
            found = list(compress(column, present))
            if found:
                curves[name] = (x[present], numbers([character.loss for character in found]))
                frames[name] = sum([character.frames for character in found])
        return curves, frames

    def _plain(self, step: Any) -> Step:
        """The step that `records.decode` would have given."""
        values = {name: getattr(step, name) for name in Step.__struct_fields__}
        for key, names in (("per_character", self.characters), ("heads", self.heads)):
            found = ((name, getattr(values[key], field)) for name, field in zip(names, _FIELDS, strict=False))
            values[key] = {name: value for name, value in found if value is not UNSET}
        return Step(**values)


def _by_name(title: str, names: Sequence[str], kind: Any) -> type[msgspec.Struct]:
    fields = [
        (field, kind, msgspec.field(default=UNSET, name=name))
        for field, name in zip(_FIELDS, names, strict=False)
    ]
    return msgspec.defstruct(title, fields, frozen=True, gc=False, forbid_unknown_fields=True)
