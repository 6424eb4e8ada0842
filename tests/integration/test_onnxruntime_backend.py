"""The `onnxruntime` stand-in in the real server: what it loads, what it refuses, and that batches do not mix.

One server holds every model that must load; another start, which must fail, holds every model to be refused.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from conch_tools.errors import ServerFailed
from conch_tools.server import EmbeddedServer

Arrays = dict[str, npt.NDArray[Any]]
Json = dict[str, Any]

StartTriton = Callable[..., EmbeddedServer]

RAGGED_GRAPH = """
ragged (int32[T] input_ids, int32[N, 1] length, int32[S] span, int32[N, 1] row_size, float[W] width)
    => (int32[N, 1] total, int32[N, M] tokens)
<int64 zero = {0}, int64 one = {1}, int64[1] rows = {1}, int32 padding = {0}>
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
    ids = Gather (input_ids, index)
    tokens = Where (mask, ids, padding)
    total = ReduceSum <keepdims = 1> (tokens, rows)
}
"""
"""Text models look so: rows are taken from the flat ids by their sizes, `length` masks the padding."""

RAGGED_CONFIG = """
max_batch_size: 64
input [
  { name: "input_ids" data_type: TYPE_INT32 dims: [-1] allow_ragged_batch: true },
  { name: "length" data_type: TYPE_INT32 dims: [1] },
  { name: "span" data_type: TYPE_INT32 dims: [-1] allow_ragged_batch: true }
]
output [
  { name: "total" data_type: TYPE_INT32 dims: [1] },
  { name: "tokens" data_type: TYPE_INT32 dims: [-1] }
]
batch_input [
  { kind: BATCH_ITEM_SHAPE target_name: "row_size" data_type: TYPE_INT32 source_input: "input_ids" },
  { kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE target_name: "width" data_type: TYPE_FP32 source_input: "span" }
]
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""
BY_ROW = RAGGED_CONFIG + 'parameters { key: "ragged_rows" value { string_value: "length" } }'

KINDS = {
    "BATCH_ELEMENT_COUNT": "float[A] a",
    "BATCH_ACCUMULATED_ELEMENT_COUNT": "float[B] b",
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": "float[C] c",
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": "float[D] d",
    "BATCH_ITEM_SHAPE": "float[N, 1] e",
    "BATCH_ITEM_SHAPE_FLATTEN": "float[F] f",
}
KINDS_GRAPH = f"""
kinds (float[T] x, {", ".join(KINDS.values())}) => (float[N, 6] sums, int64[N, 6] sizes)
<int64[1] flat = {{-1}}, int64[2] six = {{1, 6}}>
{{
    a1 = ReduceSum (a)
    b1 = ReduceSum (b)
    c1 = ReduceSum (c)
    d1 = ReduceSum (d)
    e1 = ReduceSum (e)
    f1 = ReduceSum (f)
    {"".join(f"{k}2 = Reshape ({k}1, flat) {k}3 = Size ({k}) {k}4 = Reshape ({k}3, flat) " for k in "abcdef")}
    sum = Concat <axis = 0> (a2, b2, c2, d2, e2, f2)
    size = Concat <axis = 0> (a4, b4, c4, d4, e4, f4)
    sum_row = Reshape (sum, six)
    size_row = Reshape (size, six)
    zeros = Sub (e, e)
    sums = Add (sum_row, zeros)
    none = Cast <to = 7> (zeros)
    sizes = Add (size_row, none)
}}
"""
KINDS_CONFIG = """
max_batch_size: 8
input [{ name: "x" data_type: TYPE_FP32 dims: [-1] allow_ragged_batch: true }]
output [
  { name: "sums" data_type: TYPE_FP32 dims: [6] },
  { name: "sizes" data_type: TYPE_INT64 dims: [6] }
]
""" + "\n".join(
    f'batch_input [{{ kind: {kind} target_name: "{name}" data_type: TYPE_FP32 source_input: "x" }}]'
    for kind, name in zip(KINDS, "abcdef", strict=True)
)


def one_to_one(data_type: str, dims: str, *, batch: int = 8) -> str:
    io = f'{{ name: "%s" data_type: {data_type} dims: {dims} }}'
    return f"max_batch_size: {batch} input [{io % 'x'}] output [{io % 'y'}]"


IDENTITY = "g (string[N, 1] x) => (string[N, 1] y) { y = Identity (x) }"
LOOKUP = "g (int32[N, 2] x) => (float[N, 2] y) <float[3] t = {0, 10, 20}> { y = Gather (t, x) }"
UNIQUE = "g (float[N, 2] x) => (float[M, 2] y) { y, i, j, k = Unique <axis = 0> (x) }"
AUTO = """
g (float[N, 2] x) => (float[N, Labels] y, float[N] first)
<float[2, 3] w = {1, 2, 3, 4, 5, 6}, int64 zero = {0}>
{
    y = MatMul (x, w)
    first = Gather <axis = 1> (x, zero)
}
"""

SERVED: dict[str, tuple[str, str]] = {
    "auto": (AUTO, ""),
    "auto_scalar": ("g (float x) => (float y) { y = Neg (x) }", ""),
    "by_row": (RAGGED_GRAPH, BY_ROW),
    "by_request": (RAGGED_GRAPH, RAGGED_CONFIG),
    "kinds": (KINDS_GRAPH, KINDS_CONFIG),
    "loses_rows": (UNIQUE, one_to_one("TYPE_FP32", "[2]")),
    "lookup": (
        LOOKUP,
        """max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 2000 }
        input [{ name: "x" data_type: TYPE_INT32 dims: [2] }]
        output [{ name: "y" data_type: TYPE_FP32 dims: [2] }]""",
    ),
    "text": (IDENTITY, one_to_one("TYPE_STRING", "[1]")),
    "half": (
        "g (float16[N, A] x) => (float16[N, A] y) { y = Neg (x) }",
        one_to_one("TYPE_FP16", "[-1]"),
    ),
}

PLAIN = "g (float[N, 2] x) => (float[N, 2] y) { y = Relu (x) }"
FP32 = one_to_one("TYPE_FP32", "[2]")
OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
STATE = 'state [{ input_name: "s" output_name: "t" data_type: TYPE_FP32 dims: [2] }]'
MODE = 'parameters { key: "execution_mode" value { string_value: "2" } }'

REFUSED: dict[str, tuple[str, str, str]] = {
    "dtype": (
        PLAIN,
        one_to_one("TYPE_INT32", "[2]"),
        "expects datatype TYPE_INT32 for input 'x', .*TYPE_FP32",
    ),
    "rank": (PLAIN, one_to_one("TYPE_FP32", "[2, 1]"), "'x': the model expects 2 dimensions"),
    "batch": (
        "g (float[1, 2] x) => (float[1, 2] y) { y = Relu (x) }",
        FP32,
        r"to support batching .* shape expected by the model is \[1,2\]",
    ),
    "autofill": (
        "g (float[1, 2] x) => (float[1, 2] y) { y = Relu (x) }",
        "max_batch_size: 8",
        "autofill failed for model 'autofill': model does not support batching",
    ),
    "count": (
        "g (float[N, 2] x, float[N, 2] z) => (float[N, 2] y) { y = Add (x, z) }",
        FP32,
        "configuration expects 1 inputs, model provides 2",
    ),
    "ragged": (
        PLAIN,
        FP32.replace("dims: [2]", "dims: [2] allow_ragged_batch: true", 1),
        r"input with shape \[-1\] for ragged input 'x'",
    ),
    "openvino": (PLAIN, f"{FP32} {OPENVINO}", "openvino accelerator is in NVIDIA's onnxruntime backend only"),
    "state": (
        PLAIN,
        f"{FP32} sequence_batching {{ {STATE} }}",
        r"implicit state \(sequence_batching.state\)",
    ),
    "mode": (PLAIN, f"{FP32} {MODE}", "parameter 'execution_mode' is '2'"),
    "tampered": (PLAIN, FP32, r"model\.onnx is not the file that was built"),
}


def write_model(repository: Path, name: str, graph: str, config: str) -> Path:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{graph}')
    onnx.save(model, folder / "model.onnx")
    one_instance = "instance_group [{ count: 1 }]" if config else ""
    (folder.parent / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{one_instance}\n{config}')
    return folder


@pytest.fixture(scope="module")
def served(start_triton: StartTriton, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedServer:
    repository = tmp_path_factory.mktemp("served")
    for name, (graph, config) in SERVED.items():
        write_model(repository, name, graph, config)
    return start_triton(repository)


@pytest.fixture(scope="module")
def client(served: EmbeddedServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(served.grpc_url) as connected:
        yield connected


@pytest.fixture(scope="module")
def refusals(start_triton: StartTriton, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What Triton says of the models that it must not load."""
    repository = tmp_path_factory.mktemp("refused")
    for name, (graph, config, _) in REFUSED.items():
        folder = write_model(repository, name, graph, config)
        if name == "tampered":
            manifest = {"files": {"model.onnx": {"sha256": "0" * 64}}}
            (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ServerFailed) as failed:
        start_triton(repository)
    return str(failed.value)


def infer(client: InferenceServerClient, model: str, inputs: Arrays, *outputs: str) -> Arrays:
    """One request over gRPC; without `outputs`, all of them."""
    tensors = []
    for name, value in inputs.items():
        tensors.append(InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        tensors[-1].set_data_from_numpy(value)
    answer = client.infer(model, tensors, outputs=[InferRequestedOutput(name) for name in outputs])
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def over_http(served: EmbeddedServer, model: str, data_type: str, rows: list[list[Any]]) -> tuple[int, Json]:
    """One request as plain JSON with the input x; the status and the answer."""
    x = {"name": "x", "datatype": data_type, "shape": [len(rows), len(rows[0])], "data": rows}
    url = f"http://{served.http_url}/v2/models/{model}/infer"
    try:
        with urllib.request.urlopen(url, json.dumps({"inputs": [x]}).encode(), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def texts(rows: list[list[int]]) -> Arrays:
    width = max(map(len, rows))
    return {
        "input_ids": np.array([row + [0] * (width - len(row)) for row in rows], np.int32),
        "length": np.array([[len(row)] for row in rows], np.int32),
        "span": np.zeros((len(rows), -(-width // len(rows))), np.int32),
    }


def test_a_configuration_of_one_line_is_completed_from_the_graph(
    served: EmbeddedServer, client: InferenceServerClient
) -> None:
    with urllib.request.urlopen(f"http://{served.http_url}/v2/models/auto/config", timeout=10) as answer:
        config = json.load(answer)
    assert config["max_batch_size"] == 4
    assert "dynamic_batching" in config
    assert [(io["name"], io["dims"], io.get("reshape")) for io in (*config["input"], *config["output"])] == [
        ("x", [2], None),
        ("y", [3], None),
        ("first", [1], {"shape": []}),
    ]
    answers = infer(client, "auto", {"x": np.array([[1, 0], [0, 1]], np.float32)})
    assert answers["y"].tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert answers["first"].tolist() == [[1.0], [0.0]]


def test_a_graph_of_scalars_is_completed_without_batching(client: InferenceServerClient) -> None:
    assert infer(client, "auto_scalar", {"x": np.array([2.5], np.float32)})["y"].tolist() == [-2.5]


def test_without_an_instance_count_there_are_two_instances(client: InferenceServerClient) -> None:
    config = client.get_model_config("auto", as_json=True)["config"]
    assert [(group["kind"], group["count"]) for group in config["instance_group"]] == [("KIND_CPU", 2)]


def test_only_requested_outputs_are_answered(client: InferenceServerClient) -> None:
    x = {"x": np.ones((1, 2), np.float32)}
    assert list(infer(client, "auto", x, "first")) == ["first"]


@pytest.mark.parametrize("model", ["by_row", "by_request"])
def test_texts_of_mixed_lengths_share_batches_without_mixing(client: InferenceServerClient, model: str) -> None:
    random = np.random.default_rng(7)
    requests = [
        [random.integers(1, 1000, random.integers(1, 40)).tolist() for _ in range(random.integers(1, 8))]
        for _ in range(60)
    ]

    def ask(rows: list[list[int]]) -> Arrays:
        return infer(client, model, texts(rows))

    with ThreadPoolExecutor(12) as threads:
        together = list(threads.map(ask, requests))
    for rows, answer in zip(requests, together, strict=True):
        assert answer["total"].tolist() == [[sum(row)] for row in rows]
        tokens = answer["tokens"].tolist()
        assert [found[: len(row)] for found, row in zip(tokens, rows, strict=True)] == rows
    alone = [ask([row])["total"].tolist() for row in requests[0]]
    assert [total for (total,) in alone] == together[0]["total"].tolist()
    (statistics,) = client.get_inference_statistics(model, as_json=True)["model_stats"]
    assert int(statistics["execution_count"]) < len(requests) + len(requests[0])


def test_batch_inputs_of_every_kind_are_computed_from_the_requests_shape(
    client: InferenceServerClient,
) -> None:
    answers = infer(client, "kinds", {"x": np.ones((2, 3), np.float32)})
    assert answers["sums"].tolist() == [[6, 6, 6, 0, 6, 6]] * 2
    assert answers["sizes"].tolist() == [[1, 1, 2, 6, 2, 2]] * 2


def test_an_answer_with_a_wrong_number_of_rows_is_a_server_error(served: EmbeddedServer) -> None:
    status, answer = over_http(served, "loses_rows", "FP32", [[1.0, 2.0], [1.0, 2.0]])
    assert status == 500
    assert "output 'y' of model 'loses_rows' has 1 rows, expected 2" in answer["error"]


def test_a_bad_request_fails_alone_and_without_a_stack_trace(served: EmbeddedServer) -> None:
    def ask(index: int) -> tuple[int, Json]:
        return over_http(served, "lookup", "INT32", [[1, index]])

    indices = [0, 1, 2, 3] * 10
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, indices))
    for index, (status, answer) in zip(indices, answers, strict=True):
        if index < 3:
            assert answer["outputs"][0]["data"] == [10.0, 10.0 * index]
        else:
            assert status == 400
            assert answer["error"].endswith("idx=3 must be within the inclusive range [-3,2]")


def test_texts_are_bytes_in_utf8(client: InferenceServerClient) -> None:
    words = np.array([["Köln".encode()], [b""]], object)
    assert infer(client, "text", {"x": words})["y"].tolist() == words.tolist()
    with pytest.raises(InferenceServerException, match="input 'x' holds bytes that are not UTF-8") as failed:
        infer(client, "text", {"x": np.array([[b"\xff"]], object)})
    assert failed.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("shape", [(1, 3), (2, 0)])
def test_half_precision_and_empty_tensors_pass(client: InferenceServerClient, shape: tuple[int, int]) -> None:
    answer = infer(client, "half", {"x": np.ones(shape, np.float16)})["y"]
    assert answer.dtype == np.float16
    assert answer.tolist() == (-np.ones(shape)).tolist()


@pytest.mark.parametrize("model", REFUSED)
def test_what_the_graph_cannot_keep_is_refused_with_the_reason(refusals: str, model: str) -> None:
    reason = REFUSED[model][2]
    assert re.search(f"^model `{model}`: .*{reason}", refusals, re.MULTILINE)
