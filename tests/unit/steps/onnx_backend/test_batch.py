"""Requests become one batch, and the batch's outputs the requests' answers, as in the C++ backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.onnx_backend.batch import (
    BatchLayout,
    Tensors,
    Unit,
    batch_input_value,
    gather,
    scatter_back,
)
from conch_steps.onnx_backend.config import BackendConfig, BatchInput
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec


def layout(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], **config: Any) -> BatchLayout:
    """A layout for a graph whose tensors have as many dims as the configuration says, batch included."""
    batching = config.setdefault("max_batch_size", 8) > 0
    read = BackendConfig.from_json({"name": "m", "input": inputs, "output": outputs, **config})

    def specs(tensors: list[dict[str, Any]]) -> dict[str, TensorSpec]:
        return {
            io["name"]: TensorSpec(
                io["name"], "TYPE_FP32", () if io.get("scalar") else (-1,) * (len(io["dims"]) + batching)
            )
            for io in tensors
        }

    return BatchLayout.of(read, GraphSignature(specs(inputs), specs(outputs), {}))


def tensor(name: str, *dims: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "dims": list(dims), **more}


def ids(*shape: int) -> npt.NDArray[np.int32]:
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def units(plan: BatchLayout, *requests: Tensors) -> list[Unit]:
    return [plan.whole(owner, inputs) for owner, inputs in enumerate(requests)]


def test_inputs_are_joined_along_the_batch_dimension() -> None:
    plan = layout([tensor("x", 3)], [tensor("y", 3)])
    feeds = gather(plan, units(plan, {"x": ids(2, 3)}, {"x": ids(1, 3)}))
    assert feeds["x"].tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


def test_ragged_inputs_are_joined_flat() -> None:
    plan = layout([tensor("x", -1, allow_ragged_batch=True)], [tensor("y", 1)])
    feeds = gather(plan, units(plan, {"x": ids(1, 3)}, {"x": ids(2, 2)}, {"x": ids(1, 0)}))
    assert feeds["x"].tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_a_unit_knows_its_rows_and_its_ragged_elements_a_row() -> None:
    plan = layout([tensor("x", -1, allow_ragged_batch=True)], [tensor("y", 1)])
    assert [(unit.rows, unit.length) for unit in units(plan, {"x": ids(2, 5)}, {"x": ids(0, 5)})] == [
        (2, 5),
        (0, 0),
    ]


def test_a_scalar_of_the_graph_is_given_without_dims() -> None:
    plan = layout([tensor("x", 1, scalar=True)], [tensor("y", 1)], max_batch_size=0)
    assert gather(plan, units(plan, {"x": np.array([2.5])}))["x"].shape == ()


def test_a_scalar_of_the_graph_cannot_take_several_rows() -> None:
    plan = layout([tensor("x", 1, scalar=True)], [tensor("y", 1)])
    with pytest.raises(InvalidInput, match="input 'x' is one number"):
        gather(plan, units(plan, {"x": np.ones((2, 1))}))


SHAPES = [(2, 3), (1, 5)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("BATCH_ELEMENT_COUNT", [6, 5]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT", [6, 11]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", [0, 6, 11]),
        ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", [0] * 6),
        ("BATCH_ITEM_SHAPE", [[3], [3], [5]]),
        ("BATCH_ITEM_SHAPE_FLATTEN", [3, 3, 5]),
    ],
)
@pytest.mark.parametrize("data_type", ["TYPE_INT32", "TYPE_FP32"])
def test_batch_inputs_count_elements_with_the_batch_dimension(kind: str, expected: list[Any], data_type: str) -> None:
    value = batch_input_value(BatchInput(kind, ("t",), "x", data_type), SHAPES)
    assert value.tolist() == expected
    assert value.dtype == {"TYPE_INT32": np.int32, "TYPE_FP32": np.float32}[data_type]


def test_item_shapes_have_one_column_for_each_dim_but_the_batch() -> None:
    item_shape = BatchInput("BATCH_ITEM_SHAPE", ("t",), "x", "TYPE_INT32")
    assert batch_input_value(item_shape, [(1, 2, 3), (2, 4, 5)]).tolist() == [[2, 3], [4, 5], [4, 5]]


def test_a_batch_input_feeds_all_its_targets() -> None:
    batch_input = {
        "kind": "BATCH_ELEMENT_COUNT",
        "target_name": ["a", "b"],
        "data_type": "TYPE_INT32",
        "source_input": ["x"],
    }
    plan = layout([tensor("x", 2)], [tensor("y", 2)], batch_input=[batch_input])
    feeds = gather(plan, units(plan, {"x": ids(3, 2)}))
    assert feeds["a"].tolist() == feeds["b"].tolist() == [6]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_what_was_joined_comes_apart_again(rows: list[int]) -> None:
    plan = layout([tensor("x", 2)], [tensor("y", 2)])
    requests = [{"x": ids(count, 2) + 100 * count} for count in rows]
    batch = units(plan, *requests)
    answers = scatter_back(plan, batch, [gather(plan, batch)["x"]])
    assert [answer["y"].tolist() for answer in answers] == [request["x"].tolist() for request in requests]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_wrong_number_of_rows_is_an_error_with_both_numbers(rows: int) -> None:
    plan = layout([tensor("x", 2)], [tensor("y", 2)])
    with pytest.raises(WrongAnswer, match=f"output 'y' of model 'm' has {rows} rows, expected 2"):
        scatter_back(plan, units(plan, {"x": ids(1, 2)}, {"x": ids(1, 2)}), [np.zeros((rows, 2))])


def test_a_scalar_output_gets_the_configured_dims() -> None:
    plan = layout([tensor("x", 2)], [tensor("y", 1, 1, scalar=True)], max_batch_size=0)
    (answer,) = scatter_back(plan, units(plan, {"x": ids(2)}), [np.array(3.0)])
    assert answer["y"].tolist() == [[3.0]]


def test_without_batching_an_output_belongs_to_its_request_whole() -> None:
    plan = layout([tensor("x", -1)], [tensor("y", -1)], max_batch_size=0)
    (answer,) = scatter_back(plan, units(plan, {"x": ids(2)}), [ids(7)])
    assert answer["y"].shape == (7,)


SCATTER = {"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["y"], "source_input": ["x"]}


def test_a_batch_output_is_cut_by_the_shape_of_its_source() -> None:
    ragged = [tensor("x", -1, allow_ragged_batch=True)]
    plan = layout(ragged, [tensor("y", -1)], batch_output=[SCATTER])
    batch = units(plan, {"x": ids(1, 3)}, {"x": ids(2, 2)})
    answers = scatter_back(plan, batch, [gather(plan, batch)["x"]])
    assert [answer["y"].tolist() for answer in answers] == [[[0, 1, 2]], [[0, 1], [2, 3]]]


def test_a_batch_output_of_another_size_is_an_error_with_both_numbers() -> None:
    plan = layout([tensor("x", -1, allow_ragged_batch=True)], [tensor("y", -1)], batch_output=[SCATTER])
    with pytest.raises(WrongAnswer, match="output 'y' of model 'm' has 2 elements, expected 3"):
        scatter_back(plan, units(plan, {"x": ids(1, 3)}), [ids(2)])
