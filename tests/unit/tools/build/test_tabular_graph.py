"""A tabular classifier's graph made to take `rows`: whatever its own inputs are, its answers stay the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto

from conch_steps.onnx_backend.session import ort
from conch_tools.build.tabular_graph import GraphInput, served_graph

OPSETS = '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]>\n'


def ask(model: onnx.ModelProto, rows: Sequence[Sequence[float]]) -> npt.NDArray[Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["rows"]
    (answer,) = session.run(None, {"rows": np.array(rows, np.float32)})
    return np.asarray(answer)


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(OPSETS + text)


def test_one_input_of_all_columns_is_fed_as_it_is() -> None:
    source = parsed("agraph (float[n, 2] x) => (float[n, 2] y) { y = Neg(x) }")
    served = served_graph(source, [GraphInput("x", TensorProto.FLOAT, 2)], "y", "logits", 2, {})
    assert served.graph.output[0].name == "logits"
    assert ask(served, [[1, 2], [3, 4], [5, 6]]).tolist() == [[-1, -2], [-3, -4], [-5, -6]]


def test_inputs_of_a_column_each_take_theirs_in_order_and_in_their_type() -> None:
    source = parsed(
        "agraph (double[n, 1] age, int64[n, 1] rooms) => (float[n, 2] y)"
        "{ a = Cast<to = 1>(age)  r = Cast<to = 1>(rooms)  y = Concat<axis = 1>(r, a) }"
    )
    inputs = [GraphInput("age", TensorProto.DOUBLE, 1), GraphInput("rooms", TensorProto.INT64, 1)]
    assert ask(served_graph(source, inputs, "y", "logits", 2, {}), [[1.5, 2], [3, 4]]).tolist() == [[2, 1.5], [4, 3]]


@pytest.mark.parametrize(
    ("kind", "categories", "known"),
    [
        (TensorProto.STRING, ["north", "south"], 'cats_strings = ["south", "north"]'),
        (TensorProto.INT64, [10, 20], "cats_int64s = [20, 10]"),
    ],
)
def test_a_category_s_index_becomes_what_the_model_knows_it_by(
    kind: int, categories: Sequence[str | float], known: str
) -> None:
    element = TensorProto.DataType.Name(kind).lower()
    source = parsed(
        f"agraph ({element}[n, 1] garden) => (float[n, 2] y) <int64[2] flat = {{-1, 2}}>"
        f"{{ e = ai.onnx.ml.OneHotEncoder<{known}>(garden)  y = Reshape(e, flat) }}"
    )
    served = served_graph(source, [GraphInput("garden", kind, 1)], "y", "logits", 2, {0: categories})
    assert ask(served, [[0], [1], [0]]).tolist() == [[0, 1], [1, 0], [0, 1]]


def test_categories_and_numbers_share_an_input() -> None:
    source = parsed("agraph (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }")
    categories: Mapping[int, Sequence[str | float]] = {1: [0.5, 7.0]}
    served = served_graph(source, [GraphInput("x", TensorProto.FLOAT, 3)], "y", "logits", 3, categories)
    assert ask(served, [[1, 1, 2], [3, 0, 4]]).tolist() == [[-1, -7, -2], [-3, -0.5, -4]]


def test_what_is_not_asked_for_is_taken_out() -> None:
    source = parsed(
        "agraph (float[n, 2] x) => (int64[n] label, seq(map(int64, float)) maps)"
        "{ scores = Softmax<axis = 1>(x)  label = ArgMax<axis = 1, keepdims = 0>(x)"
        "  maps = ai.onnx.ml.ZipMap<classlabels_int64s = [0, 1]>(scores) }"
    )
    served = served_graph(source, [GraphInput("x", TensorProto.FLOAT, 2)], "scores", "probabilities", 2, {})
    assert {node.op_type for node in served.graph.node} == {"Gather", "Cast", "Softmax"}
    np.testing.assert_allclose(ask(served, [[0, 0]]), [[0.5, 0.5]])


def test_what_a_branch_reads_from_around_it_is_kept() -> None:
    source = parsed(
        "agraph (float[n, 2] x) => (float[n, 2] y) <bool yes = {1}> {"
        " twice = Add(x, x)"
        " y = If (yes) <"
        "  then_branch = t () => (float[n, 2] a) { a = Identity(twice) },"
        "  else_branch = e () => (float[n, 2] b) { b = Identity(x) }> }"
    )
    served = served_graph(source, [GraphInput("x", TensorProto.FLOAT, 2)], "y", "logits", 2, {})
    assert ask(served, [[1, 2]]).tolist() == [[2, 4]]


def test_names_of_ours_may_be_the_source_s_as_well() -> None:
    source = parsed("agraph (float[n, 2] logits) => (float[n, 2] rows) { rows = Neg(logits) }")
    served = served_graph(source, [GraphInput("logits", TensorProto.FLOAT, 2)], "rows", "logits", 2, {})
    assert ask(served, [[1, 2]]).tolist() == [[-1, -2]]


def test_the_file_has_a_format_that_the_target_runtime_reads() -> None:
    source = parsed("agraph (float[n, 2] x) => (float[n, 2] y) { y = Neg(x) }")
    source.ir_version = 13
    assert served_graph(source, [GraphInput("x", TensorProto.FLOAT, 2)], "y", "logits", 2, {}).ir_version == 10
