"""Plays an ONNX graph of `graph.py` through ONNX Runtime, on the CPU.

In: the bytes or the path of the file, and nothing else: its header says what it is. Out: a `Runtime`. A state is a
tuple of ONNX Runtime's own tensors: what a frame gives is bound to the next one as it lies there, never copied. What
a reader gets wrong: the rows are those that the graph was built for.

Legend: B rows, K components, V the sizes of all components together.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import build_codec
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.inference.exported import read_header
from exphil_core.inference.graph import INPUTS, act_inputs, require

SPIN_US = 200
"""Microseconds that a thread waits awake for more work. It bridges the gaps within a frame (tens of microseconds) and
ends with it: with ONNX Runtime's default, a thread stays awake from one frame to the next and takes a whole core from
the game. Measured at 60 Hz on two cores, GRU of 20 million parameters: 0.52 cores busy instead of 1.23, and a p99 of
4.9 ms instead of 7.4 ms."""

OnnxState = tuple[Any, ...]
"""`onnxruntime.OrtValue`s, in the order of the header's state; `.numpy()` copies one out."""


class OnnxRuntime:
    def __init__(self, model: bytes | Path, *, threads: int) -> None:
        require("onnxruntime", what="playing an ONNX file")
        import onnxruntime

        where = str(model) if isinstance(model, Path) else "the exported graph"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
        try:
            self._session = onnxruntime.InferenceSession(
                # By its bytes and not by its name, which has to be UTF-8.
                model.read_bytes() if isinstance(model, Path) else model,
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # one type for each of its status codes, none of them public
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{where}: ONNX Runtime cannot read it ({reason})") from error
        self.header = read_header(self._session.get_modelmeta().custom_metadata_map, where=where)
        self.codec = build_codec(self.header.preset.policy.codec)
        self.delay = self.header.preset.policy.delay
        self._binding = self._session.io_binding()
        self._make = onnxruntime.OrtValue.ortvalue_from_numpy
        # What a policy has no use for (where `mirror` is, without a stage that moves) is not in its graph.
        present = {given.name for given in self._session.get_inputs()}
        self._inputs = tuple(name for name in INPUTS if name in present)

    def initial_state(self, rows: int) -> OnnxState:
        if rows != self.header.rows:
            raise UsageError(
                f"the graph plays {self.header.rows} rows at once, but {rows} are wanted; "
                f"export it with --rows {rows}"
            )
        return tuple(self._make(np.zeros(part.shape, np.dtype(part.dtype))) for part in self.header.state)

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: OnnxState, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, OnnxState]:
        tokens_BK, _, state = self.step_and_logits(frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, state

    def step_and_logits(
        self, frame: TensorBatch, reset_B: Tensor, state: OnnxState, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, OnnxState]:
        if reset_B.any():
            state = self._cleared(state, reset_B)
        binding = self._binding
        given = act_inputs(frame, reset_B, uniform_BK, temperature)
        # Held until the run is over: the binding has only their addresses.
        arrays = {name: np.ascontiguousarray(getattr(given, name).numpy()) for name in self._inputs}
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array)
        for part, value in zip(self.header.state, state, strict=True):
            binding.bind_ortvalue_input(f"state_{part.name}", value)
        # Bound anew at every step, so that each run makes new outputs and a state that is kept stays what it was.
        for name in ("tokens", "logits", *(f"next_{part.name}" for part in self.header.state)):
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        tokens, logits, *after = binding.get_outputs()
        return torch.from_numpy(tokens.numpy()), torch.from_numpy(logits.numpy()), tuple(after)

    def _cleared(self, state: OnnxState, reset_B: Tensor) -> OnnxState:
        """The state with the rows that reset as in a fresh start."""
        parts = [part.numpy().copy() for part in state]
        for part in parts:
            part[reset_B.numpy()] = 0
        return tuple(self._make(part) for part in parts)
