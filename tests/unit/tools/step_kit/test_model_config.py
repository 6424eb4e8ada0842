"""The kit's `ModelConfig` and helpers against Triton's own file: the same results and refusals, to the word."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conch_tools.server.wheel import find_wheel
from conch_tools.step_kit import model_config

TENSORS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b"]),
        "data_type": st.sampled_from(["TYPE_FP32", "TYPE_INVALID", "TYPE_INT8"]),
        "dims": st.sampled_from([[], [1], [-1, 2]]),
        "optional": st.booleans(),
        "label": st.just("l"),
    },
)
COMPLETE = st.builds(lambda tensor: {"name": "a", "data_type": "TYPE_FP32", "dims": [1], **tensor}, TENSORS)
KNOWN = st.lists(COMPLETE, max_size=2)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["add_input", "add_output"]), st.one_of(TENSORS, COMPLETE)),
    st.tuples(st.just("set_max_batch_size"), st.integers(0, 4)),
    st.tuples(st.just("set_dynamic_batching")),
    st.tuples(
        st.just("set_model_transaction_policy"),
        st.sampled_from([{}, {"decoupled": True}, {"decoupled": False}, {"coupled": True}]),
    ),
)
CONFIGS = st.fixed_dictionaries(
    {"name": st.just("m"), "max_batch_size": st.integers(0, 3), "input": KNOWN, "output": KNOWN},
    optional={
        "dynamic_batching": st.just({"x": 1}),
        "sequence_batching": st.just({}),
        "ensemble_scheduling": st.just({}),
        "model_transaction_policy": st.sampled_from([{}, {"decoupled": True}]),
    },
)


@pytest.fixture(scope="module")
def real() -> ModuleType:
    file = find_wheel().python_backend / "triton_python_backend_utils.py"
    spec = importlib.util.spec_from_file_location("real_backend_utils", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def done(module: Any, config: dict[str, Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """What each call says, and the configuration in the end."""
    completed, said = module.ModelConfig(json.dumps(config)), []
    for name, *arguments in calls:
        try:
            said.append(getattr(completed, name)(*json.loads(json.dumps(arguments))))
        except (ValueError, KeyError) as problem:
            said.append(repr(problem))
    return [said, completed.as_dict()]


@settings(max_examples=300)
@given(CONFIGS, st.lists(CALLS, max_size=4))
def test_a_configuration_is_completed_alike(real: ModuleType, config: dict[str, Any], calls: list[Any]) -> None:
    assert done(model_config, config, calls) == done(real, config, calls)


def test_the_helpers_agree(real: ModuleType) -> None:
    config = {"input": [{"name": "a"}], "model_transaction_policy": {"decoupled": True}}
    for module in (real, model_config):
        assert module.get_input_config_by_name(config, "a") == {"name": "a"}
        assert module.get_output_config_by_name(config, "a") is None
        assert module.using_decoupled_model_transaction_policy(config) is True
        assert module.using_decoupled_model_transaction_policy({}) is False
    assert real.TRITON_STRING_TO_NUMPY == model_config.TRITON_STRING_TO_NUMPY
    for number in range(-1, 16):
        assert real.triton_to_numpy_type(number) == model_config.triton_to_numpy_type(number)
    for kind in (np.bool_, bool, np.float16, np.dtype("float64"), np.object_, np.bytes_, np.str_, np.complex64, int):
        assert real.numpy_to_triton_type(kind) == model_config.numpy_to_triton_type(kind)
