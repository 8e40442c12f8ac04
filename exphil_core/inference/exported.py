"""What an exported file says of itself: the same words in the header of a safetensors and of an ONNX file.

In: the preset that a policy was built from. Out: strings by key, and back. A player needs nothing but the file: the
preset says what the weights are, the codec what the tokens mean, the delay when they are for, and the state what has
to be handed from one frame to the next. What a reader gets wrong: the preset here names no replays; whoever gets the
file need not learn what the folders of its maker are called.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset, plain_values
from exphil_core.errors import CheckpointError

FORMAT_VERSION = 1
"""Raised whenever an input, an output or a key changes its meaning."""

Precision = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePart:
    """One tensor of the state: `state_NAME` goes in, `next_NAME` comes out. All zeros at the start of a game."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """As numpy calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    preset: Preset
    precision: Precision = "fp32"
    rows: int | None = None
    """Games that a graph plays at once; weights alone play any number."""
    state: tuple[StatePart, ...] = ()
    """Of a graph."""

    def strings(self) -> dict[str, str]:
        """For the file's header."""
        data = self.preset.data.model_copy(update={"replays": ()})
        preset = self.preset.model_copy(update={"data": data})
        found = {
            "exphil.format": str(FORMAT_VERSION),
            "exphil.version": metadata.version("exphil"),
            "exphil.preset": json.dumps(plain_values(preset), sort_keys=True),
            "exphil.codec": self.preset.policy.codec,
            "exphil.delay": str(self.preset.policy.delay),
            "exphil.precision": self.precision,
        }
        if self.rows is not None:
            state = [{"name": part.name, "shape": part.shape, "dtype": part.dtype} for part in self.state]
            found |= {"exphil.rows": str(self.rows), "exphil.state": json.dumps(state)}
        return found


def read_header(strings: Mapping[str, str], *, where: str) -> Header:
    """The header in `strings`. CheckpointError where it is not one, or one of another format version."""
    version = strings.get("exphil.format")
    if version is None:
        raise CheckpointError(f"{where}: not a file that 'exphil export' wrote: it carries no exphil header")
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{where}: export format {version}, written by exphil {strings.get('exphil.version', 'unknown')}; this "
            f"exphil reads format {FORMAT_VERSION}: export the checkpoint again with 'exphil export'"
        )
    try:
        rows = strings.get("exphil.rows")
        precision = strings["exphil.precision"]
        assert precision in ("fp32", "int8")
        return Header(
            preset=preset_from_tables(json.loads(strings["exphil.preset"]), where=where),
            precision="int8" if precision == "int8" else "fp32",
            rows=None if rows is None else int(rows),
            state=tuple(
                StatePart(name=part["name"], shape=tuple(part["shape"]), dtype=part["dtype"])
                for part in json.loads(strings.get("exphil.state", "[]"))
            ),
        )
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"{where}: its exphil header is damaged ({error})") from error
