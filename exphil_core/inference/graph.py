"""ONNX graph of a policy's whole act: encoder, one backbone step, and the head with its sampling.

Inputs are `INPUTS`, then `state_NAME` for every part of the backbone's state. Outputs are `tokens`, `logits` (of all
components, concatenated), `features` (the head's input) and `next_NAME`, the next frame's `state_NAME`. Uniform
random numbers are the input `uniform`, so a graph draws what eager torch draws. A graph has no time axis and no
reset: at the start of a game, the caller passes zeros for that row's state.

Legend: B rows, C columns of a dtype group, K components, V the sizes of all components together.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.errors import UsageError
from exphil_core.inference.exported import Header, Precision, StatePart, read_header
from exphil_core.inference.graph_state import by_layer, without_clearing
from exphil_core.inference.runtime import recorded_logits
from exphil_core.models.policy import Policy
from exphil_core.replays.columns import LAYOUT

OPSET = 20

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra `onnx`: the first two build graphs, the last alone plays them."""


class ActInputs(NamedTuple):
    """One frame of every row without a time axis, and the sampling inputs. The names are also an ONNX graph's."""

    f32: Tensor
    """[B, C], NaN for missing."""
    u16: Tensor
    """int32 [B, C]."""
    u8: Tensor
    frame_id: Tensor
    """int32 [B]."""
    reset: Tensor
    """bool [B]: rows that begin a new game with this frame. Not an input of an ONNX graph."""
    stage: Tensor
    """uint8 [B]: external stage ids."""
    ego_slot: Tensor
    """uint8 [B]."""
    mirror: Tensor
    """bool [B]."""
    uniform: Tensor
    """float32 [B, K] in [0, 1)."""
    temperature: Tensor
    """float32 []."""


INPUTS = tuple(name for name in ActInputs._fields if name != "reset")
"""Inputs of an ONNX graph before its state."""


def act_inputs(frame: TensorBatch, reset_B: Tensor, uniform_BK: Tensor, temperature: Tensor) -> ActInputs:
    """Convert the arguments of a step to flat graph inputs."""
    return ActInputs(
        f32=frame.columns["f32"][:, 0],
        u16=frame.columns["u16"][:, 0],
        u8=frame.columns["u8"][:, 0],
        frame_id=frame.frame_id[:, 0],
        reset=reset_B,
        stage=frame.stage,
        ego_slot=frame.ego_slot,
        mirror=frame.mirror,
        uniform=uniform_BK,
        temperature=temperature,
    )


def blank_inputs(policy: Policy, rows: int) -> ActInputs:
    """Return blank inputs of the right shapes on the policy's device."""

    def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=policy.device)

    return ActInputs(
        f32=zeros(rows, len(LAYOUT["f32"]), dtype=torch.float32),
        u16=zeros(rows, len(LAYOUT["u16"]), dtype=torch.int32),
        u8=zeros(rows, len(LAYOUT["u8"]), dtype=torch.uint8),
        frame_id=zeros(rows, dtype=torch.int32),
        reset=zeros(rows, dtype=torch.bool),
        stage=zeros(rows, dtype=torch.uint8),
        ego_slot=zeros(rows, dtype=torch.uint8),
        mirror=zeros(rows, dtype=torch.bool),
        uniform=zeros(rows, len(policy.codec.components), dtype=torch.float32),
        temperature=zeros(dtype=torch.float32) + 1,
    )


class Act(nn.Module):
    """`Policy.step` on flat tensors, for tracing and for CUDA graph capture."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.state = type(policy.initial_state(1))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Map `ActInputs` and the state's parts to tokens, logits, features and the new state's parts."""
        count = len(ActInputs._fields)
        given = ActInputs(*tensors[:count])
        reset_B1 = given.reset[:, None]
        frame = TensorBatch(
            columns={"f32": given.f32[:, None], "u16": given.u16[:, None], "u8": given.u8[:, None]},
            frame_id=given.frame_id[:, None],
            valid=torch.ones_like(reset_B1),
            reset=reset_B1,
            ego_slot=given.ego_slot,
            external_id=torch.zeros_like(given.stage),
            stage=given.stage,
            mirror=given.mirror,
        )
        with recorded_logits(self.policy) as logits:
            tokens_BK, y_BD, state = self.policy.step_and_features(
                frame, given.reset, self.state(*tensors[count:]), given.uniform, given.temperature
            )
        return tokens_BK, torch.cat(logits, dim=-1), y_BD, *state


class ActWithoutReset(nn.Module):
    """`Act` on `INPUTS`, with reset fixed to False: the module that is exported."""

    never: Tensor

    def __init__(self, policy: Policy, rows: int) -> None:
        super().__init__()
        self.act = Act(policy)
        never = torch.zeros(rows, dtype=torch.bool, device=policy.device)
        self.register_buffer("never", never, persistent=False)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(INPUTS, tensors, strict=False))
        found: tuple[Tensor, ...] = self.act(*ActInputs(reset=self.never, **given), *tensors[len(INPUTS) :])
        return found


def require(*packages: str, what: str) -> None:
    """Raise UsageError if one of the packages is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise UsageError(
                f"{what} needs the package '{package}', which is not installed here; "
                "get it with: pip install 'exphil[onnx]'"
            )


def build_graph(policy: Policy, preset: Preset, *, rows: int = 1) -> bytes:
    """Return the policy as an ONNX file in float32.

    Takes some seconds. UsageError if the required packages are missing.
    """
    require("onnx", "onnxscript", what="the ONNX export")
    assert not policy.training, "a policy plays without dropout: call policy.eval() first"
    act = ActWithoutReset(policy, rows).eval()
    return with_header(trace_model(act, policy, rows=rows, weights={}), preset, rows=rows)


def trace_model(act: nn.Module, policy: Policy, *, rows: int, weights: Mapping[str, Tensor]) -> Any:
    """Trace a module of `INPUTS` and the state's parts, as an ONNX model.

    Args:
        weights: Further inputs of the module, by name.
    """
    state = policy.initial_state(rows)
    blank = blank_inputs(policy, rows)._asdict()
    arguments = (*(blank[name] for name in INPUTS), *state, *weights.values())
    with _quiet(), torch.no_grad():
        # Fill the cached tables before tracing, which would store its fake tensors in them.
        act(*arguments)
        program = torch.onnx.export(
            act,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=[*INPUTS, *(f"state_{name}" for name in state._fields), *weights],
            output_names=["tokens", "logits", "features", *(f"next_{name}" for name in state._fields)],
            custom_translation_table=_translations(),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    without_clearing(model)
    by_layer(model)
    return model


def quantized(graph: bytes) -> bytes:
    """Quantize a graph of `build_graph`: int8 weights with one scale per column, dynamic int8 activations."""
    require("onnx", "onnxruntime", what="the int8 export")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load_from_string(graph)
    header = read_header({entry.key: entry.value for entry in model.metadata_props}, where="the graph")
    # Tells the quantizer that shapes are inferred; the exporter has done it.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        assert header.rows is not None, "a graph has a number of rows"
        return with_header(onnx.load(str(path)), header.preset, rows=header.rows, precision="int8")


def _state_of(model: Any) -> tuple[StatePart, ...]:
    from onnx.helper import tensor_dtype_to_np_dtype

    return tuple(
        StatePart(
            name=given.name.removeprefix("state_"),
            shape=tuple(dim.dim_value for dim in given.type.tensor_type.shape.dim),
            dtype=str(tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)),
        )
        for given in model.graph.input
        if given.name.startswith("state_")
    )


def with_header(model: Any, preset: Preset, *, rows: int, precision: Precision = "fp32") -> bytes:
    """Return a traced model as the content of an ONNX file."""
    header = Header(preset=preset, rows=rows, state=_state_of(model), precision=precision)
    del model.metadata_props[:]
    for key, text in header.strings().items():
        model.metadata_props.add(key=key, value=text)
    found: bytes = model.SerializeToString()
    return found


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return translations of operations that the exporter lacks or splits into many nodes."""
    from onnxscript import opset20 as op

    # No annotations: the exporter would read them as ONNX types.
    def hypot(x, y):  # type: ignore[no-untyped-def]
        return op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))

    def stable_sort(x, *, stable=None, dim=-1, descending=False):  # type: ignore[no-untyped-def]
        """Sort by TopK: ONNX breaks ties by the lower index, so it is stable."""
        count = op.Constant(value_ints=[x.shape[dim]])
        return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)  # type: ignore[arg-type]

    def nan_to_num(x, nan=None, posinf=None, neginf=None):  # type: ignore[no-untyped-def]
        """Replace infinities by the largest number, as torch does; three nodes instead of ten."""
        assert posinf is None, "only the default is translated"
        assert neginf is None, "only the default is translated"
        largest = torch.finfo(torch.float32).max
        number = op.Where(op.IsNaN(x), op.Constant(value_float=float(nan or 0.0)), x)
        return op.Clip(number, op.Constant(value_float=-largest), op.Constant(value_float=largest))

    def rms_norm(x, normalized_shape, weight=None, eps=None):  # type: ignore[no-untyped-def]
        """Divide by the root, a pattern that ONNX Runtime fuses into one node; torch multiplies by its inverse."""
        assert len(normalized_shape) == 1, "only the last axis is normalised"
        square = op.Pow(x, op.Constant(value_float=2.0))  # type: ignore[type-var]
        mean = op.ReduceMean(square, op.Constant(value_ints=[-1]))  # type: ignore[arg-type]
        root = op.Sqrt(op.Add(mean, op.Constant(value_float=float(eps))))
        return op.Mul(op.Div(x, root), weight)

    aten = torch.ops.aten
    return {
        aten.rms_norm.default: rms_norm,
        aten.hypot.default: hypot,
        torch.ops.prims.hypot.default: hypot,
        aten.sort.stable: stable_sort,
        aten.nan_to_num.default: nan_to_num,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence log messages and warnings of the exporter and the quantizer."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
