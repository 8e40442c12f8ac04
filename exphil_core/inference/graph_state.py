"""ONNX graph rewrites that avoid copies of the state; both change the model in place and keep its function.

- `without_clearing`: the graph is traced without resets, but the exporter still writes a `Where` over the whole state
  whose condition is never true. ONNX Runtime would take three passes over the state for it.
- `by_layer`: a part of the state that holds all layers, [B, layers, ...], becomes one input and one output per layer.
  The exporter's graph would split and concatenate the whole state at every frame.

At the start of a game, the caller still has to pass zeros for the state.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

LAYER_AXIS = 1


def without_clearing(model: Any) -> None:
    """Replace every `Where` whose condition is constant and false everywhere by its second choice."""
    graph = model.graph
    never = {name for name, value in _constants(graph).items() if value.dtype == np.bool_ and not value.any()}
    chosen = {
        node.output[0]: node.input[2]
        for node in graph.node
        if node.op_type == "Where" and node.input[0] in never
    }
    assert chosen.keys().isdisjoint(result.name for result in graph.output), (
        "an output is only a cleared input"
    )
    _drop(graph, [node for node in graph.node if node.output[0] in chosen])
    _rename(graph, chosen)


def by_layer(model: Any) -> None:
    """Split a state input `state_X` with several layers into `state_X_0`, `state_X_1`, …, and its output likewise."""
    graph = model.graph
    for given in [given for given in graph.input if given.name.startswith("state_")]:
        shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
        if len(shape) > LAYER_AXIS + 1:
            _split(graph, given.name.removeprefix("state_"), shape)


def _split(graph: Any, part: str, shape: list[int]) -> None:
    """Split one part of the state by layer.

    Leaves the part unchanged unless it is only read by taking single layers, and only made by stacking layers or by
    one ScatterElements into it.
    """
    from onnx import helper, numpy_helper

    state, after, count = f"state_{part}", f"next_{part}", shape[LAYER_AXIS]
    constants = _constants(graph)
    [made] = [node for node in graph.node if after in node.output]
    writes = made.op_type == "ScatterElements" and made.input[0] == state
    taken: dict[str, str] = {}
    dropped = [made]
    for reader in _readers(graph, state):
        if reader is made and writes:
            continue
        cut = _layer_of(graph, reader, constants)
        if cut is None:
            return
        number, names, nodes = cut
        taken |= dict.fromkeys(names, f"{state}_{number}")
        dropped += nodes
    results = [f"{after}_{number}" for number in range(count)]
    layers: list[Any] = []
    if writes:
        rest = shape[:LAYER_AXIS] + shape[LAYER_AXIS + 1 :]
        axis = _attribute(made, "axis") % len(shape)
        if axis <= LAYER_AXIS:
            return
        for number in range(count):
            index = f"layer_{number}_of_{part}"
            graph.initializer.append(numpy_helper.from_array(np.array(number, np.int64), index))
            for name in made.input[1:]:
                cut_node = helper.make_node(
                    "Gather", [name, index], [f"{name}_{number}_of_{part}"], axis=LAYER_AXIS
                )
                layers.append(cut_node)
            inputs = [f"{state}_{number}", *(f"{name}_{number}_of_{part}" for name in made.input[1:])]
            layers.append(helper.make_node("ScatterElements", inputs, [results[number]], axis=axis - 1))
    else:
        parts = _stacked(graph, made, constants)
        if parts is None or len(parts) != count:
            return
        rest = shape[:LAYER_AXIS] + shape[LAYER_AXIS + 1 :]
        taken |= dict(zip(parts, results, strict=True))
    place = list(graph.node).index(made)
    for node in reversed(layers):
        graph.node.insert(place, node)
    _drop(graph, dropped)
    _rename(graph, taken)
    for values, whole, names in (
        (graph.input, state, [f"{state}_{number}" for number in range(count)]),
        (graph.output, after, results),
    ):
        number = [value.name for value in values].index(whole)
        kind = values[number].type.tensor_type.elem_type
        values.remove(values[number])
        for offset, name in enumerate(names):
            values.insert(number + offset, helper.make_tensor_value_info(name, kind, rest))


def _layer_of(
    graph: Any, reader: Any, constants: Mapping[str, np.ndarray]
) -> tuple[int, list[str], list[Any]] | None:
    """Match a node that takes one layer out of a state; return the layer, the resulting names and the nodes."""
    if not constants.keys() >= set(reader.input[1:]):
        return None
    others = [constants[name] for name in reader.input[1:]]
    if reader.op_type == "Gather" and _attribute(reader, "axis") == LAYER_AXIS and others[0].ndim == 0:
        return int(others[0]), [reader.output[0]], [reader]
    if reader.op_type == "Slice" and [value.tolist() for value in others[2:]] in ([[1]], [[1], [1]]):
        start, end = others[0].tolist(), others[1].tolist()
        squeezes = _readers(graph, reader.output[0])
        fits = all(
            node.op_type == "Squeeze" and constants.get(node.input[1], np.array([])).tolist() == [LAYER_AXIS]
            for node in squeezes
        )
        if fits and len(start) == 1 and end == [start[0] + 1]:
            return start[0], [node.output[0] for node in squeezes], [reader, *squeezes]
    return None


def _stacked(graph: Any, made: Any, constants: Mapping[str, np.ndarray]) -> list[str] | None:
    """Match `torch.stack` over the layers, a Concat of unsqueezed values; return the names of the stacked values."""
    if made.op_type != "Concat" or _attribute(made, "axis") != LAYER_AXIS:
        return None
    makers = {output: node for node in graph.node for output in node.output}
    parts = []
    for name in made.input:
        wider = makers.get(name)
        if wider is None or wider.op_type != "Unsqueeze" or wider.input[0] not in makers:
            return None
        if constants.get(wider.input[1], np.array([])).tolist() != [LAYER_AXIS]:
            return None
        parts.append(wider.input[0])
    known = {result.name for result in graph.output}
    return None if len(set(parts)) < len(parts) or known & set(parts) else parts


def _constants(graph: Any) -> dict[str, np.ndarray]:
    """Return the small constants (at most 1024 elements) by name."""
    from onnx import numpy_helper

    return {
        constant.name: numpy_helper.to_array(constant)
        for constant in graph.initializer
        if int(np.prod(constant.dims)) <= 2**10
    }


def _readers(graph: Any, name: str) -> list[Any]:
    return [node for node in graph.node if name in node.input]


def _attribute(node: Any, name: str) -> int:
    """Return an integer attribute; 0, ONNX's default for axes, if it is not set."""
    found: Iterator[int] = (attribute.i for attribute in node.attribute if attribute.name == name)
    return next(found, 0)


def _drop(graph: Any, nodes: list[Any]) -> None:
    gone = {output for node in nodes for output in node.output}
    kept = [node for node in graph.node if gone.isdisjoint(node.output)]
    del graph.node[:]
    graph.node.extend(kept)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values wherever a node reads or produces them."""
    for node in graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                while name in names:
                    name = names[name]
                values[place] = name
