"""Takes resets out of a graph that is traced without any: what is cleared where nothing resets is left as it is.

In: an ONNX model, changed in place. What a reader gets wrong: a game that begins still begins afresh. Whoever plays
a graph hands it zeros for the state of a row that resets, once a game; the exporter would have every frame pass over
the whole state, three times, to do the same.
"""

from typing import Any


def without_clearing(model: Any) -> None:
    """Every `Where` whose condition is a constant that is false everywhere gives what it chooses."""
    from onnx import numpy_helper

    graph = model.graph
    never = {
        constant.name
        for constant in graph.initializer
        if constant.data_type == constant.BOOL and not numpy_helper.to_array(constant).any()
    }
    chosen: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Where" and node.input[0] in never:
            chosen[node.output[0]] = node.input[2]
    kept = [node for node in graph.node if node.output[0] not in chosen]
    assert chosen.keys().isdisjoint(result.name for result in graph.output), (
        "an output is only a cleared input"
    )
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        for place, name in enumerate(node.input):
            while name in chosen:
                name = chosen[name]
            node.input[place] = name
