"""Reading a graph's signature from its file gives what a session would say, without the weights."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from conch_steps.onnx_backend.config import BackendConfig
from conch_steps.onnx_backend.session import Session
from conch_steps.onnx_backend.settings import SessionSettings
from conch_steps.onnx_backend.signature import GraphSignature
from conch_tools.check.graphs import Graph, UnreadableGraph, read_graph

DENSE = """
<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 64] x, float[64, 64] w) => (float[N, M] y)
<float[64, 64] w = {%s}>
{ y = MatMul(x, w) }
"""
MIXED = """
<ir_version: 8, opset_import: ["": 17]>
agraph (int64[N] flat, float scalar, string[2, 3] text)
  => (int64[A, B] shaped, float twice, string[2, 3] same)
<int64[2] target = {-1, 2}>
{
  shaped = Reshape(flat, target)
  twice = Add(scalar, scalar)
  same = Identity(text)
}
"""


def saved(text: str, folder: Path) -> Path:
    onnx.save(onnx.parser.parse_model(text), folder / "model.onnx")
    return folder / "model.onnx"


def signature_of(file: Path) -> GraphSignature:
    graph = read_graph(file)
    assert isinstance(graph, Graph)
    return graph.signature


@pytest.mark.parametrize("text", [DENSE % ", ".join(["0.5"] * 4096), MIXED], ids=["initialiser", "many types"])
def test_a_file_says_what_a_session_says(tmp_path: Path, text: str) -> None:
    file = saved(text, tmp_path)
    settings = SessionSettings.from_config(BackendConfig.from_json({}))
    assert signature_of(file) == Session("m", file, settings).signature


def test_an_open_dim_of_an_output_is_inferred(tmp_path: Path) -> None:
    outputs = signature_of(saved(MIXED, tmp_path)).outputs
    assert outputs["shaped"].dims == (-1, 2)


def test_an_initialiser_that_is_an_input_may_be_overridden(tmp_path: Path) -> None:
    signature = signature_of(saved(DENSE % ", ".join(["0.5"] * 4096), tmp_path))
    assert (list(signature.inputs), list(signature.overridable)) == (["x"], ["w"])


def test_external_weights_need_not_be_there(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(DENSE % ", ".join(["0.5"] * 4096))
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    assert signature_of(tmp_path / "model.onnx").outputs["y"].dims == (-1, 64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"\x08\x08",
        b"\xff" * 9,
        b"PK\x03\x04zip",
    ],
    ids=["empty", "pointer", "no graph", "noise", "archive"],
)
def test_what_is_no_onnx_model_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    graph = read_graph(file)
    assert isinstance(graph, UnreadableGraph)
    assert "no ONNX model" in graph.problem


def test_a_download_of_gigabytes_that_never_came_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with file.open("wb") as handle:
        handle.truncate(8 << 30)
    began = time.process_time()
    assert isinstance(read_graph(file), UnreadableGraph)
    assert time.process_time() - began < 1


def test_a_file_that_ends_too_early_is_told(tmp_path: Path) -> None:
    file = saved(MIXED, tmp_path)
    file.write_bytes(file.read_bytes()[:-40])
    assert isinstance(read_graph(file), UnreadableGraph)


def test_only_tensors_can_be_carried(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    agraph (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct(x) }
    """
    graph = read_graph(saved(text, tmp_path))
    assert isinstance(graph, UnreadableGraph)
    assert "`y` is a sequence_type" in graph.problem


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ("y = Relux(x)", "there is no operator `Relux`"),
        ("y = Gelu(x)", "there is no operator `Gelu` in operator set 17"),
        ("y = Upsample(x, x)", "there is no operator `Upsample` in operator set 17"),
        ("y = Relu(w)", "an operator `Relu` reads `w`, which nothing gives"),
        ("w = Relu(x)", "nothing gives its output `y`"),
    ],
)
def test_a_graph_that_onnx_runtime_refuses_is_unreadable(tmp_path: Path, nodes: str, problem: str) -> None:
    header = '<ir_version: 8, opset_import: ["": 17]>'
    model = onnx.parser.parse_model(f"{header} agraph (float[N, 4] x) => (float[N, 4] y) {{ {nodes} }}")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    found = read_graph(tmp_path / "model.onnx")
    assert isinstance(found, UnreadableGraph)
    assert found.problem == f"this is no sound ONNX model: {problem}"


def test_a_type_that_onnx_does_not_have_is_told(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(MIXED)
    model.graph.input[0].type.tensor_type.elem_type = 99
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    found = read_graph(tmp_path / "model.onnx")
    assert isinstance(found, UnreadableGraph)
    assert found.problem.endswith("is of type 99, which ONNX does not have")


def test_operators_that_only_onnx_runtime_has_are_right(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> agraph (float[2] x) => (float[2] y) { y = ThresholdedRelu(x) }'
    assert signature_of(saved(text, tmp_path)).outputs["y"].dims == (2,)
