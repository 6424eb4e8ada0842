"""A short config.pbtxt is completed from the graph as the C++ backend completes it."""

from __future__ import annotations

from typing import Any

import pytest

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.complete import complete, is_complete
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec

Dims = dict[str, tuple[int, ...]]

BATCHABLE: Dims = {"x": (-1, 4), "y": (-1, 2, -1)}
FIXED: Dims = {"x": (1, 4), "y": (1, 2)}


def signature(dims: Dims) -> GraphSignature:
    specs = {name: TensorSpec(name, "TYPE_FP32", value) for name, value in dims.items()}
    return GraphSignature({"x": specs["x"]}, {"y": specs["y"]}, {})


def completed(dims: Dims, **given: Any) -> dict[str, Any]:
    config = {"name": "m", "max_batch_size": 0, "input": [], "output": [], **given}
    complete(config, signature(dims))
    return config


def test_a_graph_that_can_batch_gets_batches_of_four_and_a_dynamic_batcher() -> None:
    config = completed(BATCHABLE)
    assert config["max_batch_size"] == 4
    assert config["dynamic_batching"] == {}
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [2, -1]}]


def test_a_graph_that_cannot_batch_keeps_all_its_dims() -> None:
    config = completed(FIXED)
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config
    assert config["input"][0]["dims"] == [1, 4]


def test_a_batch_size_that_the_graph_cannot_take_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="autofill failed for model 'm': model does not support"):
        completed(FIXED, max_batch_size=8)


def test_what_is_given_stays() -> None:
    config = completed(BATCHABLE, max_batch_size=32, sequence_batching={"oldest": {}}, output=[{"name": "y"}])
    assert config["max_batch_size"] == 32
    assert config["output"] == [{"name": "y"}]
    assert "dynamic_batching" not in config


def test_batches_of_one_need_no_batcher() -> None:
    assert "dynamic_batching" not in completed(BATCHABLE, max_batch_size=1)


def test_a_scalar_a_row_becomes_one_element_with_a_reshape() -> None:
    scalar: Dims = {"x": (-1,), "y": (-1, 2)}
    expected = {"name": "x", "data_type": "TYPE_FP32", "reshape": {"shape": []}, "dims": [1]}
    assert completed(scalar)["input"] == [expected]


def test_a_scalar_graph_input_becomes_one_element_without_a_reshape() -> None:
    assert completed({"x": (), "y": (1,)})["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}]


@pytest.mark.parametrize("side", ["input", "batch_input"])
def test_a_configuration_with_inputs_and_outputs_is_taken_as_it_stands(side: str) -> None:
    config = {side: [{"name": "x"}], "output": [{"name": "y"}]}
    assert is_complete(config)
    complete(config, signature(FIXED))
    assert config == {side: [{"name": "x"}], "output": [{"name": "y"}]}


def test_one_side_alone_is_not_complete() -> None:
    assert not is_complete({"input": [{"name": "x"}], "output": []})
    assert not is_complete({"output": [{"name": "y"}]})
