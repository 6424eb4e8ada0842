"""A request of several rows is as good as its rows sent one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conch_steps.errors import InvalidInput, ModelConfigError
from conch_steps.onnx_backend.batch import Unit
from conch_steps.onnx_backend.config import BackendConfig
from conch_steps.onnx_backend.rows import RowRule, join

Json = dict[str, Any]

INPUTS: list[Json] = [
    {"name": "input_ids", "data_type": "TYPE_INT32", "dims": [-1], "allow_ragged_batch": True},
    {"name": "length", "data_type": "TYPE_INT32", "dims": [1]},
    {"name": "span", "data_type": "TYPE_INT32", "dims": [-1], "allow_ragged_batch": True},
]
ROW_SIZE = {
    "kind": "BATCH_ITEM_SHAPE",
    "target_name": ["row_size"],
    "data_type": "TYPE_INT32",
    "source_input": ["input_ids"],
}
WIDTH = {
    "kind": "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
    "target_name": ["width"],
    "data_type": "TYPE_FP32",
    "source_input": ["span"],
}


def rule(parameter: str = "length", **changes: Any) -> RowRule:
    config = {
        "name": "m",
        "max_batch_size": 8,
        "input": INPUTS,
        "batch_input": [ROW_SIZE, WIDTH],
        "parameters": {"ragged_rows": {"string_value": parameter}},
        **changes,
    }
    found = RowRule.from_config(BackendConfig.from_json(config))
    assert found is not None
    return found


def request(*lengths: int, width: int | None = None) -> Unit:
    rows = len(lengths)
    width = max(lengths, default=0) if width is None else width
    ids = np.arange(1, rows * width + 1, dtype=np.int32).reshape(rows, width)
    inputs = {
        "input_ids": ids,
        "length": np.array(lengths, np.int32).reshape(rows, 1),
        "span": np.full((rows, -(-width // max(rows, 1))), 7, np.int32),
    }
    return Unit(owner=3, inputs=inputs, rows=rows, length=width)


def test_without_the_parameter_there_is_no_rule() -> None:
    assert RowRule.from_config(BackendConfig.from_json({"name": "m"})) is None


def test_inputs_are_told_apart_by_what_they_are_the_source_of() -> None:
    assert rule() == RowRule("length", content=frozenset({"input_ids"}), sized=frozenset({"span"}))


def test_every_row_becomes_a_unit_of_its_content() -> None:
    first, second = rule().split(request(2, 3))
    assert (first.owner, first.rows, first.length) == (3, 1, 2)
    assert first.inputs["input_ids"].tolist() == [[1, 2]]
    assert second.inputs["input_ids"].tolist() == [[4, 5, 6]]
    assert first.inputs["length"].tolist() == [[2]]


def test_what_counts_by_size_alone_becomes_zeros_as_long_as_the_row() -> None:
    assert [unit.inputs["span"].tolist() for unit in rule().split(request(2, 3))] == [[[0, 0]], [[0, 0, 0]]]


def test_a_row_without_content_keeps_one_element_of_its_padding() -> None:
    (unit,) = rule().split(request(0, width=4))
    assert unit.inputs["input_ids"].shape == (1, 1)
    assert unit.inputs["length"].tolist() == [[0]]


def test_a_request_without_rows_stays_whole() -> None:
    assert [unit.rows for unit in rule().split(request())] == [0]


def test_rows_without_elements_are_the_callers_fault() -> None:
    # A graph may fail on them alone and answer something in company.
    with pytest.raises(InvalidInput, match="input 'input_ids' has no elements: every row has at least one"):
        rule().split(request(0, 0))


@pytest.mark.parametrize("lengths", [(5, 1), (-1, 1)])
def test_an_impossible_length_is_the_callers_fault(lengths: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match=r"input 'length' has values from .* rows have 4 elements"):
        rule().split(request(*lengths, width=4))


NO_CONTENT = [WIDTH, {**WIDTH, "source_input": ["input_ids"]}]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"parameter": "lengths"}, "'lengths' must be an input of integers"),
        ({"parameter": "span"}, "'span' must be an input of integers with dims"),
        ({"batch_input": NO_CONTENT}, "no ragged input is left to cut"),
        ({"input": [{**INPUTS[0], "dims": [-1, 2]}, *INPUTS[1:]]}, "ragged inputs must have one dim"),
        ({"batch_output": [{"target_name": ["y"], "source_input": ["length"]}]}, "batch_output cuts"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused_at_load(changes: Json, reason: str) -> None:
    with pytest.raises(ModelConfigError, match=f"'ragged_rows' cannot be kept: .*{reason}"):
        rule(**changes)


def test_answers_come_together_in_the_order_of_the_rows() -> None:
    joined = join([{"y": np.array([[1.0, 2.0]])}, {"y": np.array([[3.0, 4.0]])}])
    assert joined["y"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_answers_of_different_widths_are_padded_with_zeros() -> None:
    joined = join([{"y": np.ones((1, 1, 2), np.float16)}, {"y": np.ones((1, 2, 2), np.float16)}])
    assert joined["y"].tolist() == [[[1, 1], [0, 0]], [[1, 1], [1, 1]]]
    assert joined["y"].dtype == np.float16


def test_texts_are_padded_with_empty_texts() -> None:
    joined = join([{"y": np.array([["a"]], object)}, {"y": np.array([["b", "c"]], object)}])
    assert joined["y"].tolist() == [["a", ""], ["b", "c"]]
