"""The header of an exported file, the same strings in safetensors and ONNX: preset, codec, delay, precision, state.

The preset in a header lists no replays, so that an export does not reveal the folder names of its author.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset, plain_values
from exphil_core.errors import CheckpointError

FORMAT_VERSION = 2
"""Incremented when an input, an output or a key changes its meaning."""

Precision = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePart:
    """One state tensor: input `state_NAME`, output `next_NAME`. All zeros at the start of a game."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """numpy dtype name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a player needs to know about an exported file."""

    preset: Preset
    precision: Precision = "fp32"
    rows: int | None = None
    """Games that a graph plays at once; None for weights alone, which play any number."""
    state: tuple[StatePart, ...] = ()
    """State tensors of a graph; empty for weights alone."""

    def strings(self) -> dict[str, str]:
        """Return the header as key-value strings for the file."""
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
    """Parse the header. CheckpointError if it is missing, damaged or of another format version."""
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
