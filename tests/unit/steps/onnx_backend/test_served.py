"""A loaded model answers each request of a batch as if it had come alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, StepError, WrongAnswer
from conch_steps.onnx_backend.batch import Tensors
from conch_steps.onnx_backend.served import OnnxModel
from conch_steps.onnx_backend.session import Session

SaveGraph = Callable[[str], Path]
Json = dict[str, Any]

RAGGED_GRAPH = """
ragged (int32[T] input_ids, int32[N, 1] length, int32[S] span, int32[N, 1] row_size, float[W] width)
    => (int32[N, 1] total, int32[N, M] tokens)
<int64 zero = {0}, int64 one = {1}, int64[1] rows = {1}, int32 padding = {0},
 int32[10] vocabulary = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}>
{
    sizes = Cast <to = 7> (row_size)
    ends = CumSum (sizes, zero)
    starts = Sub (ends, sizes)
    shape = Shape (width)
    columns = Squeeze (shape)
    positions = Range (zero, columns, one)
    lengths = Cast <to = 7> (length)
    mask = Less (positions, lengths)
    inside = Where (mask, positions, zero)
    index = Add (starts, inside)
    gathered = Gather (input_ids, index)
    ids = Where (mask, gathered, padding)
    tokens = Gather (vocabulary, ids)
    total = ReduceSum <keepdims = 1> (tokens, rows)
}
"""
"""The ragged head of text models: rows are taken from the flat ids by their sizes, `length` masks the
padding."""

RAGGED_CONFIG: Json = {
    "name": "ragged",
    "max_batch_size": 64,
    "input": [
        {"name": "input_ids", "data_type": "TYPE_INT32", "dims": [-1], "allow_ragged_batch": True},
        {"name": "length", "data_type": "TYPE_INT32", "dims": [1]},
        {"name": "span", "data_type": "TYPE_INT32", "dims": [-1], "allow_ragged_batch": True},
    ],
    "output": [
        {"name": "total", "data_type": "TYPE_INT32", "dims": [1]},
        {"name": "tokens", "data_type": "TYPE_INT32", "dims": [-1]},
    ],
    "batch_input": [
        {
            "kind": "BATCH_ITEM_SHAPE",
            "target_name": ["row_size"],
            "data_type": "TYPE_INT32",
            "source_input": ["input_ids"],
        },
        {
            "kind": "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
            "target_name": ["width"],
            "data_type": "TYPE_FP32",
            "source_input": ["span"],
        },
    ],
    "parameters": {"ragged_rows": {"string_value": "length"}},
}

GATHER_GRAPH = "g (int64[N, 2] x) => (float[N, 2] y) <float[3] t = {0, 10, 20}> { y = Gather (t, x) }"


def tensor(name: str, data_type: str, *dims: int, **more: Any) -> Json:
    return {"name": name, "data_type": data_type, "dims": list(dims), **more}


def config(inputs: list[Json], outputs: list[Json], max_batch_size: int = 8, **more: Any) -> Json:
    return {"name": "m", "max_batch_size": max_batch_size, "input": inputs, "output": outputs, **more}


def gather_model(save_graph: SaveGraph) -> OnnxModel:
    given = config([tensor("x", "TYPE_INT64", 2)], [tensor("y", "TYPE_FP32", 2)])
    return OnnxModel.load(given, save_graph(GATHER_GRAPH))


def answer_of(answer: Tensors | StepError) -> Tensors:
    assert not isinstance(answer, StepError), answer
    return answer


def texts(*rows: list[int]) -> Tensors:
    width = max(map(len, rows))
    return {
        "input_ids": np.array([row + [0] * (width - len(row)) for row in rows], np.int32),
        "length": np.array([[len(row)] for row in rows], np.int32),
        "span": np.zeros((len(rows), -(-width // len(rows))), np.int32),
    }


@pytest.fixture(params=["rows", "requests"])
def ragged(save_graph: SaveGraph, request: pytest.FixtureRequest) -> OnnxModel:
    parameters = RAGGED_CONFIG["parameters"] if request.param == "rows" else {}
    return OnnxModel.load({**RAGGED_CONFIG, "parameters": parameters}, save_graph(RAGGED_GRAPH))


ROWS = st.lists(st.integers(1, 9), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.lists(ROWS, min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_mix_of_texts_and_requests_gives_each_text_its_own_answer(
    ragged: OnnxModel, batch: list[list[list[int]]]
) -> None:
    answers = [answer_of(answer) for answer in ragged.execute([texts(*rows) for rows in batch])]
    for rows, answer in zip(batch, answers, strict=True):
        assert answer["total"].tolist() == [[sum(row)] for row in rows]
        tokens = answer["tokens"].tolist()
        assert [row[: len(row_in)] for row, row_in in zip(tokens, rows, strict=True)] == rows
        assert all(not any(row[len(row_in) :]) for row, row_in in zip(tokens, rows, strict=True))


@pytest.mark.parametrize(("parameters", "calls"), [(RAGGED_CONFIG["parameters"], [2, 2]), ({}, [4])])
def test_rows_of_like_length_share_a_call_across_requests(
    save_graph: SaveGraph, parameters: Json, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OnnxModel.load({**RAGGED_CONFIG, "parameters": parameters}, save_graph(RAGGED_GRAPH))
    run, rows = Session.run, list[int]()

    def counting(session: Session, outputs: Sequence[str], feeds: Tensors) -> list[npt.NDArray[Any]]:
        rows.append(feeds["length"].shape[0])
        return run(session, outputs, feeds)

    monkeypatch.setattr(Session, "run", counting)
    model.execute([texts([1] * 3, [1] * 40), texts([1] * 40, [1] * 3)])
    assert rows == calls


def test_a_request_at_fault_does_not_fail_its_neighbours(save_graph: SaveGraph) -> None:
    good, bad = {"x": np.array([[0, 2]])}, {"x": np.array([[0, 3]])}
    first, failed, last = gather_model(save_graph).execute([good, bad, good])
    assert answer_of(first)["y"].tolist() == answer_of(last)["y"].tolist() == [[0.0, 20.0]]
    assert isinstance(failed, InvalidInput)
    assert str(failed).startswith("model 'm' failed: Gather node ''")
    assert "out of data bounds, idx=3" in str(failed)


def test_one_row_at_fault_fails_its_request_and_no_other(ragged: OnnxModel) -> None:
    good, unknown_word = texts([1, 2], [3]), texts([4, 5], [6, 99])
    first, failed, last = ragged.execute([good, unknown_word, good])
    assert answer_of(first)["total"].tolist() == answer_of(last)["total"].tolist() == [[3], [3]]
    assert isinstance(failed, InvalidInput)


def test_an_impossible_length_fails_its_request_and_no_other(save_graph: SaveGraph) -> None:
    model = OnnxModel.load(RAGGED_CONFIG, save_graph(RAGGED_GRAPH))
    good, too_long = texts([1, 2]), texts([4])
    too_long["length"][0, 0] = 1000
    first, failed = model.execute([good, too_long])
    assert answer_of(first)["total"].tolist() == [[3]]
    assert isinstance(failed, InvalidInput)


def test_a_failure_inside_the_graph_is_not_the_callers_fault(save_graph: SaveGraph) -> None:
    graph = "g (float[N, A] x, float[N, B] w) => (float[N, C] y) { y = Add (x, w) }"
    inputs = [tensor("x", "TYPE_FP32", -1), tensor("w", "TYPE_FP32", -1)]
    model = OnnxModel.load(config(inputs, [tensor("y", "TYPE_FP32", -1)]), save_graph(graph))
    (answer,) = model.execute([{"x": np.ones((1, 2), np.float32), "w": np.ones((1, 3), np.float32)}])
    assert isinstance(answer, WrongAnswer)
    assert "Attempting to broadcast an axis by a dimension other than 1" in str(answer)
    assert "/onnxruntime" not in str(answer)


def test_requests_of_other_shapes_do_not_share_a_call(save_graph: SaveGraph) -> None:
    graph = "g (float[N, A] x) => (float[N, A] y) { y = Neg (x) }"
    model = OnnxModel.load(config([tensor("x", "TYPE_FP32", -1)], [tensor("y", "TYPE_FP32", -1)]), save_graph(graph))
    answers = model.execute([{"x": np.ones((1, width), np.float32)} for width in (2, 3, 2)])
    assert [answer_of(answer)["y"].shape for answer in answers] == [(1, 2), (1, 3), (1, 2)]


def test_an_answer_that_loses_rows_fails_every_request_of_the_batch(save_graph: SaveGraph) -> None:
    given = config([tensor("x", "TYPE_FP32", 2)], [tensor("y", "TYPE_FP32", 2)])
    unique = "g (float[N, 2] x) => (float[M, 2] y) { y, i, j, k = Unique <axis = 0> (x) }"
    model = OnnxModel.load(given, save_graph(unique))
    same = {"x": np.ones((1, 2), np.float32)}
    answers = model.execute([same, same])
    assert all(isinstance(answer, WrongAnswer) for answer in answers)
    assert "output 'y' of model 'm' has 1 rows, expected 2" in str(answers[0])
    assert answer_of(model.execute([same])[0])["y"].shape == (1, 2)


IDENTITY = "g ({0}[N, A] x) => ({0}[N, A] y) {{ y = Identity (x) }}"


def identity_model(save_graph: SaveGraph, onnx_type: str, data_type: str) -> OnnxModel:
    given = config([tensor("x", data_type, -1)], [tensor("y", data_type, -1)])
    return OnnxModel.load(given, save_graph(IDENTITY.format(onnx_type)))


@pytest.mark.parametrize(
    ("onnx_type", "data_type", "dtype"),
    [
        ("bool", "TYPE_BOOL", np.bool_),
        ("uint8", "TYPE_UINT8", np.uint8),
        ("uint16", "TYPE_UINT16", np.uint16),
        ("uint32", "TYPE_UINT32", np.uint32),
        ("uint64", "TYPE_UINT64", np.uint64),
        ("int8", "TYPE_INT8", np.int8),
        ("int16", "TYPE_INT16", np.int16),
        ("int32", "TYPE_INT32", np.int32),
        ("int64", "TYPE_INT64", np.int64),
        ("float16", "TYPE_FP16", np.float16),
        ("float", "TYPE_FP32", np.float32),
        ("double", "TYPE_FP64", np.float64),
    ],
)
def test_every_element_type_passes_through(
    save_graph: SaveGraph, onnx_type: str, data_type: str, dtype: type[np.generic]
) -> None:
    value = np.array([[0, 1, 1]]).astype(dtype)
    (answer,) = identity_model(save_graph, onnx_type, data_type).execute([{"x": value}])
    passed = answer_of(answer)["y"]
    assert passed.dtype == value.dtype
    assert passed.tolist() == value.tolist()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
@pytest.mark.parametrize(
    ("onnx_type", "data_type", "dtype"),
    [("float", "TYPE_FP32", np.float32), ("string", "TYPE_STRING", object)],
)
def test_tensors_without_elements_are_no_trouble(
    save_graph: SaveGraph, shape: tuple[int, int], onnx_type: str, data_type: str, dtype: Any
) -> None:
    (answer,) = identity_model(save_graph, onnx_type, data_type).execute([{"x": np.zeros(shape, dtype)}])
    assert answer_of(answer)["y"].shape == shape


def test_texts_pass_as_utf8_and_bytes_that_are_not_fail_alone(save_graph: SaveGraph) -> None:
    model = identity_model(save_graph, "string", "TYPE_STRING")
    good, bad = np.array([["Köln".encode()]], object), np.array([[b"\xff"]], object)
    first, failed = model.execute([{"x": good}, {"x": bad}])
    assert answer_of(first)["y"].tolist() == [["Köln"]]
    assert isinstance(failed, InvalidInput)
    assert "input 'x' holds bytes that are not UTF-8: invalid start byte at byte 0" in str(failed)


def test_an_optional_input_keeps_the_graphs_value_when_it_is_missing(save_graph: SaveGraph) -> None:
    graph = "g (float[A] x, float scale = {2.0}) => (float[A] y) { y = Mul (x, scale) }"
    inputs = [tensor("x", "TYPE_FP32", -1), tensor("scale", "TYPE_FP32", 1, optional=True)]
    model = OnnxModel.load(config(inputs, [tensor("y", "TYPE_FP32", -1)], max_batch_size=0), save_graph(graph))
    x, five = np.ones(2, np.float32), np.array([5], np.float32)
    without, with_it = model.execute([{"x": x}, {"x": x, "scale": five}])
    assert answer_of(without)["y"].tolist() == [2.0, 2.0]
    assert answer_of(with_it)["y"].tolist() == [5.0, 5.0]


def test_a_changed_file_is_not_served(save_graph: SaveGraph) -> None:
    folder = save_graph(GATHER_GRAPH)
    recorded = {"files": {"model.onnx": {"sha256": "0" * 64}}}
    (folder / "manifest.json").write_text(json.dumps(recorded))
    with pytest.raises(ArtifactError, match=r"model\.onnx is not the file that was built"):
        gather_model(lambda _: folder)


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelConfigError, match=r"^onnxruntime cannot load model 'm': .*parsing failed"):
        OnnxModel.load(config([], []), tmp_path)


def test_a_missing_op_library_is_refused_by_name(save_graph: SaveGraph) -> None:
    library = {"op_library_filename": ["/nowhere/ops.so"]}
    with pytest.raises(ModelConfigError, match=r"/nowhere/ops\.so"):
        OnnxModel.load(config([], [], model_operations=library), save_graph(GATHER_GRAPH))


@pytest.mark.parametrize("level", [-1, 0, 1, 2])
def test_every_setting_reaches_onnxruntime(save_graph: SaveGraph, level: int) -> None:
    parameters = {
        "execution_mode": "1",
        "intra_op_thread_count": "1",
        "inter_op_thread_count": "2",
        "enable_mem_arena": "1",
        "enable_mem_pattern": "0",
        "memory.enable_memory_arena_shrinkage": "cpu:0",
    }
    given = config(
        [tensor("x", "TYPE_INT64", 2)],
        [tensor("y", "TYPE_FP32", 2)],
        optimization={"graph": {"level": level}},
        parameters={key: {"string_value": value} for key, value in parameters.items()},
    )
    (answer,) = OnnxModel.load(given, save_graph(GATHER_GRAPH)).execute([{"x": np.array([[1, 2]])}])
    assert answer_of(answer)["y"].tolist() == [[10.0, 20.0]]
