"""Memory that two processes share: tensors in it by name, and one number that says how far somebody is.

In: a file without a name, which a child inherits by its number. Out: tensors that lie in it. What a reader gets
wrong: nothing here waits or locks. Who may write a memory and who may read it is agreed on by messages; of all that
is in here, only a `Mark` may be read while it is written.
"""

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes between the starts of two tensors, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a tensor lies."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class Memory:
    """Bytes that outlive nobody: they are gone with the last process that has them."""

    def __init__(self, handle: int | None = None) -> None:
        """A new one, or the one that a parent left open under this number."""
        self.handle = _new_file() if handle is None else handle

    def places(self, tensors: Mapping[str, Tensor]) -> tuple[Place, ...]:
        """Room for tensors like these, whatever was there before."""
        found, end = [], 0
        for name, tensor in tensors.items():
            place = Place(name=name, dtype=tensor.dtype, shape=tuple(tensor.shape), start=end)
            found.append(place)
            end += -(-place.bytes // ALIGNMENT) * ALIGNMENT
        # It never shrinks: the end of a file that another has mapped must not go away.
        if end > os.fstat(self.handle).st_size:
            os.ftruncate(self.handle, end)
        return tuple(found)

    def tensors(self, places: tuple[Place, ...]) -> dict[str, Tensor]:
        """The tensors at these places, not copied."""
        size = os.fstat(self.handle).st_size
        whole = mmap.mmap(self.handle, size) if size else bytearray(1)
        return {
            place.name: torch.frombuffer(
                whole, dtype=place.dtype, count=prod(place.shape), offset=place.start
            ).view(place.shape)
            if place.bytes
            else torch.empty(place.shape, dtype=place.dtype)
            for place in places
        }

    def put(self, tensors: Mapping[str, Tensor]) -> tuple[Place, ...]:
        """Copies them in."""
        places = self.places(tensors)
        for name, tensor in self.tensors(places).items():
            tensor.copy_(tensors[name])
        return places


class Mark:
    """Two numbers that one process sets and another reads, both at once."""

    def __init__(self, memory: Memory) -> None:
        if os.fstat(memory.handle).st_size < mmap.PAGESIZE:
            os.ftruncate(memory.handle, mmap.PAGESIZE)
        # One aligned word, which no processor writes by halves.
        self._word = np.frombuffer(mmap.mmap(memory.handle, mmap.PAGESIZE), np.int64, 1)

    def set(self, high: int, low: int) -> None:
        self._word[0] = high << 32 | low

    def get(self) -> tuple[int, int]:
        word = int(self._word[0])
        return word >> 32, word & 0xFFFFFFFF


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("exphil")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
