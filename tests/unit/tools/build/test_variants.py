"""Variants of a graph: each takes and gives what the graph does, and says nearly the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from conch_steps.onnx_backend.session import ort
from conch_tools.build.variants import RECIPES, make_variant, variant_file
from conch_tools.pipelines import Variant

WIDTH = 32
TEXT = """
<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]>
agraph (float[n, 32] x, int32[m] unread) => (float[n, 32] y)
{ h = MatMul(x, first)  r = Relu(h)  y = MatMul(r, second) }
"""


def weights(name: str, seed: int) -> onnx.TensorProto:
    values = np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
    return numpy_helper.from_array(values.astype(np.float32), name)


def feed(rows: int, seed: int = 3) -> dict[str, npt.NDArray[Any]]:
    values = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    return {"x": values, "unread": np.zeros(2, np.int32)}


def asked(file: Path, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], inputs)[0])


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.extend([weights("first", 1), weights("second", 2)])
    onnx.save(model, str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


@pytest.fixture(params=get_args(Variant))
def variant(request: pytest.FixtureRequest) -> Variant:
    chosen: Variant = request.param
    return chosen


def test_every_variant_has_a_recipe() -> None:
    assert set(RECIPES) == set(get_args(Variant))


def test_a_variant_lies_beside_its_graph_and_says_nearly_the_same(graph: Path, variant: Variant) -> None:
    made = make_variant(variant, graph, [feed(4, seed) for seed in range(8)])
    assert made == graph.with_name(variant_file(variant))
    assert sorted(file.name for file in graph.parent.iterdir()) == sorted({"model.onnx", made.name})
    wanted, got = asked(graph, feed(5)), asked(made, feed(5))
    assert got.dtype == np.float32
    assert np.abs(got - wanted).max() < 0.1 < np.abs(wanted).max()


def test_inputs_that_nothing_reads_stay_and_operator_sets_that_nothing_uses_go(graph: Path, variant: Variant) -> None:
    made = onnx.load(str(make_variant(variant, graph, [feed(4)])))
    assert [each.name for each in made.graph.input] == ["x", "unread"]
    assert {each.domain for each in made.opset_import} == {node.domain for node in made.graph.node} | {""}
    assert all(each.version <= 21 for each in made.opset_import if not each.domain)


def test_a_file_that_onnxruntime_makes_and_does_not_load_is_refused_and_does_not_stay(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name_all_alike(prepared: Path, target: Path, feeds: object) -> None:
        model = onnx.load(str(prepared))
        for node in model.graph.node:
            node.name = "one"
        onnx.save(model, str(target))

    monkeypatch.setitem(RECIPES, "fp16", replace(RECIPES["fp16"], make=name_all_alike))
    with pytest.raises(Exception, match="two nodes with same node name"):
        make_variant("fp16", graph, [feed(4)])
    assert [file.name for file in graph.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("variant", ["int8", "int8-calibrated"])
def test_int8_weights_have_a_scale_for_each_channel(graph: Path, variant: Variant) -> None:
    made = onnx.load(str(make_variant(variant, graph, [feed(4)])))
    kinds = {each.name: (each.data_type, list(each.dims)) for each in made.graph.initializer}
    integers = [name for name, (kind, dims) in kinds.items() if kind == onnx.TensorProto.INT8 and len(dims) == 2]
    assert len(integers) == 2
    assert sum(kind == onnx.TensorProto.FLOAT and dims == [WIDTH] for kind, dims in kinds.values()) == 2
