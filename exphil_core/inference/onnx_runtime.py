"""ONNX Runtime on the CPU: plays an exported graph of `graph.py`, described by the header in its file.

A state is a tuple of ONNX Runtime's own tensors, bound to the next step without a copy. The number of rows is fixed
by the graph.

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
"""Microseconds that a thread spins while waiting for work: longer than the gaps within a frame (tens of
microseconds), shorter than those between frames. By default, ONNX Runtime's threads spin from one frame to the next
and take a whole core from the game. Measured at 60 Hz on two cores, GRU of 20 million parameters: 0.52 cores busy
instead of 1.23, and a p99 of 4.9 ms instead of 7.4 ms."""

OnnxState = tuple[Any, ...]
"""`onnxruntime.OrtValue`s in the order of the header's state; `.numpy()` copies one out."""


class OnnxRuntime:
    """A `Runtime` on an ONNX graph, with a fixed number of rows.

    Raises:
        CheckpointError: ONNX Runtime cannot read the graph, or its header is missing or damaged.
        UsageError: The package onnxruntime is not installed.
    """

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
                # Read as bytes: a path would have to be UTF-8.
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
        # The exporter drops inputs that the policy does not use (such as `mirror` without a moving stage).
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
        (tokens,), state = self._run(("tokens",), frame, reset_B, state, uniform_BK, temperature)
        return tokens, state

    def step_and_logits(
        self, frame: TensorBatch, reset_B: Tensor, state: OnnxState, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, OnnxState]:
        names = ("tokens", "logits")
        (tokens_BK, logits_BV), state = self._run(names, frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, logits_BV, state

    def step_and_features(
        self, frame: TensorBatch, reset_B: Tensor, state: OnnxState, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, OnnxState]:
        names = ("tokens", "features")
        (tokens_BK, y_BD), state = self._run(names, frame, reset_B, state, uniform_BK, temperature)
        return tokens_BK, y_BD, state

    def _run(
        self,
        names: tuple[str, ...],
        frame: TensorBatch,
        reset_B: Tensor,
        state: OnnxState,
        uniform_BK: Tensor,
        temperature: Tensor,
    ) -> tuple[list[Tensor], OnnxState]:
        """Run the graph once; return the outputs of these names and the next state."""
        if reset_B.any():
            state = self._cleared(state, reset_B)
        binding = self._binding
        given = act_inputs(frame, reset_B, uniform_BK, temperature)
        # Keep the arrays alive during the run: the binding stores only their addresses.
        arrays = {name: np.ascontiguousarray(getattr(given, name).numpy()) for name in self._inputs}
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array)
        for part, value in zip(self.header.state, state, strict=True):
            binding.bind_ortvalue_input(f"state_{part.name}", value)
        # Rebind outputs at every step: each run then allocates new ones, and a state that the caller keeps stays
        # valid.
        binding.clear_binding_outputs()
        for name in (*names, *(f"next_{part.name}" for part in self.header.state)):
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        found = [torch.from_numpy(value.numpy()) for value in outputs[: len(names)]]
        return found, tuple(outputs[len(names) :])

    def _cleared(self, state: OnnxState, reset_B: Tensor) -> OnnxState:
        """Return the state with the rows that reset set to zero."""
        parts = [part.numpy().copy() for part in state]
        for part in parts:
            part[reset_B.numpy()] = 0
        return tuple(self._make(part) for part in parts)
