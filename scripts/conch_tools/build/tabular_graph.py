"""A tabular classifier's graph as a step serves it: `rows` FP32 [n, columns] in, one tensor of scores out.

Who exported a graph chose its inputs: all columns in one, or each in its own, as numbers of any type or as texts. What
is put before it makes them from a row, in which a category is its index; what is not asked for is taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from conch_tools.check.rules.graph_version import NEWEST_IR

ROWS = "rows"
ML_DOMAIN = "ai.onnx.ml"
OPSETS = {"": 17, ML_DOMAIN: 3}
"""Of the graphs that we have skl2onnx write."""
NUMBERS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32)
"""Types of inputs that a number of a row can become."""
_SOURCE = "source_"
"""Put before every name of the source's graph, so that none meets one of ours."""

Categories = Mapping[int, Sequence[str | float]]
"""What the model takes for the categories of a column, in their order; by the number of the column."""


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph: so many columns of a row, one after the other."""

    name: str
    type: int
    """An element type of ONNX."""
    columns: int


def inputs_of(graph: GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller gives: initialisers are not among them."""
    initialised = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initialised]


def served_graph(
    source: ModelProto, inputs: Sequence[GraphInput], scores: str, output: str, classes: int, categories: Categories
) -> ModelProto:
    """The graph that answers `output` FP32 [n, classes], which the source calls `scores`, to `rows`.

    Any tensor of the source may be `scores`, also one within it.
    """
    model = onnx.compose.add_prefix(source, _SOURCE)
    columns = sum(each.columns for each in inputs)
    before, constants = _before(inputs, categories)
    graph = model.graph
    kept = _needed(graph, _SOURCE + scores)
    del graph.node[:], graph.input[:], graph.output[:]
    # What is known of the tensors within may speak of a batch of another size.
    del graph.value_info[:]
    after = helper.make_node("Cast", [_SOURCE + scores], [output], to=TensorProto.FLOAT)
    graph.node.extend([*before, *kept, after])
    graph.initializer.extend(constants)
    graph.input.append(helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["n", columns]))
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", classes]))
    # What later formats add belongs to operator sets that are refused.
    model.ir_version = min(model.ir_version, NEWEST_IR)
    onnx.checker.check_model(model)
    return model


def _before(inputs: Sequence[GraphInput], categories: Categories) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes that make the source's inputs of `rows`, and their constants."""
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    start = 0
    for given in inputs:
        name, end = _SOURCE + given.name, start + given.columns
        listed = [column for column in range(start, end) if column in categories]
        # Numbers pass all at once; where one of the columns has categories, each goes its own way.
        pieces = [(column, column + 1) for column in range(start, end)] if listed else [(start, end)]
        made = [name if len(pieces) == 1 else f"{name}_{first}" for first, _ in pieces]
        for piece, (first, last) in zip(made, pieces, strict=True):
            values = categories.get(first) if listed else None
            added = _numbers(piece, first, last, given.type) if values is None else _category(piece, first, values)
            nodes += added[0]
            constants += added[1]
        if len(made) > 1:
            nodes.append(helper.make_node("Concat", made, [name], axis=1))
        start = end
    return nodes, constants


def _numbers(name: str, first: int, last: int, kind: int) -> tuple[list[NodeProto], list[TensorProto]]:
    """Columns `first` to `last` of the rows, as numbers of a type."""
    cut, which = _columns(name, first, last)
    return [cut, helper.make_node("Cast", [cut.output[0]], [name], to=kind)], [which]


def _category(name: str, column: int, values: Sequence[str | float]) -> tuple[list[NodeProto], list[TensorProto]]:
    """What a column's index stands for."""
    cut, which = _columns(name, column, column + 1)
    index, table = f"{name}_index", numpy_helper.from_array(_array(values), f"{name}_values")
    nodes = [
        cut,
        helper.make_node("Cast", [cut.output[0]], [index], to=TensorProto.INT64),
        helper.make_node("Gather", [table.name, index], [name], axis=0),
    ]
    return nodes, [which, table]


def _columns(name: str, first: int, last: int) -> tuple[NodeProto, TensorProto]:
    # Gather and not Slice, which old operator sets write otherwise.
    which = numpy_helper.from_array(np.arange(first, last, dtype=np.int64), f"{name}_which")
    return helper.make_node("Gather", [ROWS, which.name], [f"{name}_columns"], axis=1), which


def _array(values: Sequence[str | float]) -> npt.NDArray[Any]:
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=np.object_)
    return np.array(values, dtype=np.int64 if all(isinstance(value, int) for value in values) else np.float32)


def _needed(graph: GraphProto, tensor: str) -> list[NodeProto]:
    """The nodes without which a tensor is not there, in their order."""
    wanted, kept = {tensor}, []
    for node in reversed(graph.node):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(_read_by(node))
    return kept[::-1]


def _read_by(node: NodeProto) -> Iterator[str]:
    """Names of the tensors that a node takes, also in its branches and loops."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for each in inner.node:
                yield from _read_by(each)
            # What a branch gives may come from around it.
            yield from (value.name for value in inner.output)
