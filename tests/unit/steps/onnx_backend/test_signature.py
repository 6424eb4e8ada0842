"""A graph's signature is the session's view of it, in Triton's terms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.served import open_session
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec

SaveGraph = Callable[[str], Path]


@pytest.fixture
def signature_of(save_graph: SaveGraph) -> Callable[[str], GraphSignature]:
    return lambda text: open_session({"name": "m"}, save_graph(text)).signature


def test_named_dims_are_open_and_numbers_are_kept(
    signature_of: Callable[[str], GraphSignature],
) -> None:
    signature = signature_of("g (float[N, 3, W] x) => (float[N, 3, W] y) { y = Relu(x) }")
    assert signature.inputs == {"x": TensorSpec("x", "TYPE_FP32", (-1, 3, -1))}
    assert signature.outputs == {"y": TensorSpec("y", "TYPE_FP32", (-1, 3, -1))}


def test_a_dim_that_the_file_leaves_open_is_closed_by_shape_inference(
    signature_of: Callable[[str], GraphSignature],
) -> None:
    graph = "g (float[N, 2] x) => (float[N, Labels] y) <float[2, 3] w = {1,2,3,4,5,6}> { y = MatMul(x, w) }"
    assert signature_of(graph).outputs["y"].dims == (-1, 3)


@pytest.mark.parametrize(
    ("onnx_name", "triton_name"),
    [
        ("bool", "TYPE_BOOL"),
        ("uint8", "TYPE_UINT8"),
        ("int64", "TYPE_INT64"),
        ("float16", "TYPE_FP16"),
        ("double", "TYPE_FP64"),
        ("string", "TYPE_STRING"),
        ("bfloat16", "TYPE_INVALID"),
    ],
)
def test_element_types_have_tritons_names(
    signature_of: Callable[[str], GraphSignature], onnx_name: str, triton_name: str
) -> None:
    signature = signature_of(f"g ({onnx_name}[N] x) => ({onnx_name}[N] y) {{ y = Identity(x) }}")
    assert signature.inputs["x"].data_type == triton_name


def test_an_initialiser_among_the_inputs_is_overridable_and_no_input(
    signature_of: Callable[[str], GraphSignature],
) -> None:
    signature = signature_of("g (float[N] x, float scale = {2.0}) => (float[N] y) { y = Mul(x, scale) }")
    assert list(signature.inputs) == ["x"]
    assert signature.overridable == {"scale": TensorSpec("scale", "TYPE_FP32", ())}


def test_what_is_not_a_tensor_is_refused_by_name(signature_of: Callable[[str], GraphSignature]) -> None:
    with pytest.raises(ModelConfigError, match=r"`y` is a seq\(tensor\(float\)\)"):
        signature_of("g (float[N] x) => (seq(float[N]) y) { y = SequenceConstruct(x) }")
