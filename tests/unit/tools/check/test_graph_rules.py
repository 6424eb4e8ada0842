"""Rules about a configuration and its graph; together they refuse exactly what the stand-in refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
Graph = Callable[[str], bytes]

RAGGED = """
agraph (int32[T] input_ids, int32[N, 1] length, int32[R] row_size, float[W] width)
  => (float[N, 2] logits, int32[N, 1] count)
<float[1, 2] weights = {1.0, 2.0}>
{
  lengths = Cast<to = 1>(length)
  logits = MatMul(lengths, weights)
  count = Identity(length)
}
"""
CONFIG = """\
backend: "onnxruntime"
max_batch_size: 16
input [
  { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true },
  { name: "length" data_type: TYPE_INT32 dims: [ 1 ] }
]
batch_input [
  { kind: BATCH_ITEM_SHAPE target_name: "row_size" data_type: TYPE_INT32 source_input: "input_ids" },
  { kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE target_name: "width"
    data_type: TYPE_FP32 source_input: "input_ids" }
]
output [
  { name: "logits" data_type: TYPE_FP32 dims: [ 2 ] }
]
"""


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def files(config: str, content: bytes) -> dict[str, str | bytes]:
    return {"m/config.pbtxt": config, "m/1/model.onnx": content}


def test_a_configuration_that_goes_with_its_graph_gives_no_finding(check: Check, graph: Graph) -> None:
    assert check(files(CONFIG, graph(RAGGED))) == []


@pytest.mark.parametrize(
    ("more", "line", "what"),
    [
        (parameter("intra_op_thread_count", "two"), 15, "'two', but must be a whole number"),
        (parameter("execution_mode", "3"), 15, "'3', but must be 0 (sequential) or 1 (parallel)"),
        (parameter("enable_mem_arena", "maybe"), 15, "'maybe', but must be true or false"),
        (parameter("ragged_rows", "lenght"), 15, "'ragged_rows' cannot be kept: 'lenght' must be an input"),
    ],
)
def test_a_setting_that_the_backend_refuses_is_an_error(
    check: Check, graph: Graph, more: str, line: int, what: str
) -> None:
    [finding] = check(files(CONFIG + more, graph(RAGGED)))
    assert (finding.code, finding.severity, finding.line) == ("ONX013", Severity.ERROR, line)
    assert what in finding.what


def test_openvino_needs_the_container(check: Check, graph: Graph) -> None:
    more = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
    [finding] = check(files(CONFIG + more, graph(RAGGED)))
    assert (finding.code, finding.severity, finding.line) == ("ONX012", Severity.WARNING, 15)


@pytest.mark.parametrize(
    ("code", "before", "after", "line", "cure"),
    [
        ("ONX003", '"length"', '"lengths"', 5, "did you mean `length`?"),
        ("ONX004", '"logits"', '"logit"', 13, "did you mean `logits`?"),
        ("ONX005", '{ name: "length" data_type: TYPE_INT32 dims: [ 1 ] }', "", 4, "TYPE_INT32 dims: [ 1 ]"),
        (
            "ONX006",
            '"length" data_type: TYPE_INT32',
            '"length" data_type: TYPE_INT64',
            5,
            "TYPE_INT32 dims: [ 1 ]",
        ),
        ("ONX006", "dims: [ 1 ]", "dims: [ 2 ]", 5, "TYPE_INT32 dims: [ 1 ]"),
        ("ONX006", "dims: [ 1 ]", "dims: [ -1 ]", 5, "TYPE_INT32 dims: [ 1 ]"),
        ("ONX006", "dims: [ 1 ]", "dims: [ 1 ] allow_ragged_batch: true", 5, "remove `allow_ragged_batch`"),
        ("ONX006", " allow_ragged_batch: true", "", 4, "TYPE_INT32 dims: [ 1 ]"),
        ("ONX007", "TYPE_FP32 dims: [ 2 ]", "TYPE_FP16 dims: [ 2 ]", 13, "TYPE_FP32 dims: [ 2 ]"),
        ("ONX007", "dims: [ 2 ]", "dims: [ -1 ]", 13, "TYPE_FP32 dims: [ 2 ]"),
        ("ONX007", "dims: [ 2 ]", "dims: [ 1, 2 ]", 13, "TYPE_FP32 dims: [ 2 ]"),
        ("ONX009", 'target_name: "width"', 'target_name: "widht"', 9, "did you mean `width`?"),
        ("ONX009", '"row_size" data_type: TYPE_INT32', '"row_size" data_type: TYPE_FP32', 8, "TYPE_INT32"),
        ("ONX010", "dims: [ 1 ] }", "dims: [ 1 ] optional: true }", 5, "remove `optional`"),
    ],
)
def test_what_does_not_go_with_the_graph_is_an_error_at_its_line(
    check: Check, graph: Graph, code: str, before: str, after: str, line: int, cure: str
) -> None:
    assert CONFIG.count(before) == 1
    text = CONFIG.replace(before, after).replace("},\n  \n]", "}\n]")
    findings = [finding for finding in check(files(text, graph(RAGGED))) if finding.code == code]
    assert [(finding.severity, finding.line) for finding in findings] == [(Severity.ERROR, line)]
    assert cure in findings[0].cure
    assert findings[0].why


def test_one_batch_input_stands_for_one_input(check: Check, graph: Graph) -> None:
    second = "\n".join(CONFIG.splitlines()[8:10])
    both = CONFIG.replace('"row_size"', '[ "row_size", "width" ]').replace(f",\n{second}", "")
    findings = check(files(both, graph(RAGGED)))
    assert {finding.code for finding in findings} == {"ONX009"}
    assert any("one batch_input has 2 targets" in finding.what for finding in findings)


FIXED = "agraph (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }"
BATCHED = "agraph (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"
TENSORS = """
input { name: "x" data_type: TYPE_FP32 dims: [ %s ] }
output { name: "y" data_type: TYPE_FP32 dims: [ %s ] }
"""


def test_a_graph_with_a_fixed_first_dimension_cannot_batch(check: Check, graph: Graph) -> None:
    text = 'backend: "onnxruntime" max_batch_size: 4' + TENSORS % ("4", "4")
    findings = check(files(text, graph(FIXED)))
    assert [finding.code for finding in findings] == ["ONX006", "ONX007"]
    assert "set max_batch_size to 0" in findings[0].cure
    assert check(files('backend: "onnxruntime"' + TENSORS % ("1, 4", "1, 4"), graph(FIXED))) == []


def test_auto_complete_cannot_batch_a_graph_with_a_fixed_first_dimension(check: Check, graph: Graph) -> None:
    [finding] = check(files('backend: "onnxruntime"\nmax_batch_size: 4', graph(FIXED)))
    assert (finding.code, finding.line) == ("ONX002", 2)
    assert "`x` and `y`" in finding.what
    assert check(files('backend: "onnxruntime"\nmax_batch_size: 4', graph(BATCHED))) == []


def test_a_model_without_configuration_is_completed_from_its_graph(check: Check, graph: Graph) -> None:
    assert check({"m/1/model.onnx": graph(FIXED), "n/1/model.onnx": graph(BATCHED)}) == []


def test_an_ensemble_is_checked_against_the_completed_step(check: Check, graph: Graph) -> None:
    ensemble = """
    platform: "ensemble"
    max_batch_size: 8
    input { name: "in" data_type: TYPE_FP32 dims: [ 4 ] }
    output { name: "out" data_type: TYPE_FP32 dims: [ 4 ] }
    ensemble_scheduling { step { model_name: "m" model_version: -1
      input_map { key: "xx" value: "in" }
      output_map { key: "y" value: "out" } } }
    """
    findings = check({"m/1/model.onnx": graph(BATCHED), "e/config.pbtxt": ensemble, "e/1/": ""})
    assert [finding.code for finding in findings] == ["ENS033", "ENS014"]


@pytest.mark.parametrize(("dims", "codes"), [("-1, 4", []), ("3, 4", ["ONX008"]), ("-1, 5", ["ONX007"])])
def test_an_output_that_the_file_leaves_open_may_be_closed_at_load(
    check: Check, graph: Graph, dims: str, codes: list[str]
) -> None:
    text = 'backend: "onnxruntime" max_batch_size: 4' + TENSORS % ("-1, 4", dims)
    content = graph("agraph (float[N, K, 4] x) => (float[N, K, 4] y) { y = Relu(x) }")
    assert [finding.code for finding in check(files(text, content))] == codes


def test_scalars_are_one_in_the_configuration(check: Check, graph: Graph) -> None:
    content = graph("agraph (float x) => (float y) { y = Relu(x) }")
    assert check(files('backend: "onnxruntime"' + TENSORS % ("1", "1"), content)) == []
    findings = check(files('backend: "onnxruntime"' + TENSORS % ("2", "1"), content))
    assert [finding.code for finding in findings] == ["ONX006"]


def test_an_initialiser_is_an_optional_input(check: Check, graph: Graph) -> None:
    content = graph(
        "agraph (float[4] x, float[1] scale) => (float[4] y) <float[1] scale = {2.0}> { y = Mul(x, scale) }"
    )
    config = 'backend: "onnxruntime"' + TENSORS % ("4", "4")
    scale = 'input { name: "scale" data_type: TYPE_FP32 dims: [ 1 ] %s }'
    assert check(files(config, content)) == []
    assert check(files(config + scale % "optional: true", content)) == []
    assert [finding.code for finding in check(files(config + scale % "", content))] == ["ONX010"]


CONTROL = """
sequence_batching { control_input { name: "%s"
  control { kind: CONTROL_SEQUENCE_START %s_false_true: [ 0, 1 ] } } }
"""


@pytest.mark.parametrize(
    ("name", "kind", "codes"),
    [("start", "fp32", []), ("stat", "fp32", ["ONX011"]), ("start", "int32", ["ONX011"])],
)
def test_controls_of_sequences_are_inputs_of_the_graph(
    check: Check, graph: Graph, name: str, kind: str, codes: list[str]
) -> None:
    content = graph("agraph (float[N, 4] x, float[N, 1] start) => (float[N, 4] y) { y = Mul(x, start) }")
    text = 'backend: "onnxruntime" max_batch_size: 4' + TENSORS % ("4", "4") + CONTROL % (name, kind)
    assert [finding.code for finding in check(files(text, content))] == codes


def test_what_the_stand_in_cannot_do_is_a_warning(check: Check, graph: Graph) -> None:
    text = 'backend: "onnxruntime" max_batch_size: 4' + TENSORS % ("4", "4")
    [finding] = check(files(text + "model_transaction_policy { decoupled: true }", graph(BATCHED)))
    assert (finding.code, finding.severity) == ("ONX012", Severity.WARNING)


def test_what_the_stand_in_refuses_is_an_error_where_it_serves(check_ours: Check, graph: Graph) -> None:
    text = 'backend: "onnxruntime" max_batch_size: 4' + TENSORS % ("4", "4")
    [finding] = check_ours(files(text + "model_transaction_policy { decoupled: true }", graph(BATCHED)))
    assert (finding.code, finding.severity) == ("ONX014", Severity.ERROR)
    [finding] = check_ours(files(text + 'model_operations { op_library_filename: "/no.so" }', graph(BATCHED)))
    assert (finding.code, finding.what) == ("ONX015", "library `/no.so` is not there")


def test_a_file_that_is_no_graph_is_refused(check: Check, repository: Path) -> None:
    [finding] = check(files('backend: "onnxruntime"', b"version https://git-lfs.github.com/spec/v1"))
    assert (finding.code, finding.file) == ("ONX001", repository / "m" / "1" / "model.onnx")


def test_a_folder_can_hold_the_model_and_its_external_data(check: Check, graph: Graph) -> None:
    text = 'backend: "onnxruntime" max_batch_size: 4' + TENSORS % ("4", "5")
    findings = check({"m/config.pbtxt": text, "m/1/model.onnx/model.onnx": graph(BATCHED)})
    assert [finding.code for finding in findings] == ["ONX007"]


def test_each_served_version_is_compared(check: Check, graph: Graph) -> None:
    text = 'backend: "onnxruntime"' + TENSORS % ("1, 4", "1, 4") + "version_policy { all { } }"
    narrow = graph("agraph (float[1, 3] x) => (float[1, 3] w) { w = Relu(x) }")
    findings = check(files(text, graph(FIXED)) | {"m/2/model.onnx": narrow})
    assert [finding.code for finding in findings] == ["ONX006", "ONX004"]
    assert "the graph of version 2" in findings[1].what


@pytest.mark.parametrize(("dims", "codes"), [("-1", []), ("-1, 4", ["ONX007"])])
def test_a_batch_output_has_the_shape_of_its_source(check: Check, graph: Graph, dims: str, codes: list[str]) -> None:
    config = """
    backend: "onnxruntime" max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }
    output { name: "y" data_type: TYPE_FP32 dims: [ %s ] }
    batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "y" source_input: "x" }
    """
    content = graph("agraph (float[T] x) => (float[T] y) { y = Relu(x) }")
    assert [finding.code for finding in check(files(config % dims, content))] == codes


def test_weights_in_a_file_of_their_own_must_be_there(check: Check, graph: Graph) -> None:
    text = 'agraph (float[N, 4] x) => (float[N, 4] y) <float[4] w = ["location": "w.bin"]> { y = Mul(x, w) }'
    external = files("", graph(text))
    (finding,) = (each for each in check(external) if each.code == "ONX022")
    assert finding.what == "`w.bin` with weights of the graph is missing"
    folder = next(name for name in external if name.endswith(".onnx")).rpartition("/")[0]
    assert "ONX022" not in {each.code for each in check({**external, f"{folder}/w.bin": b"0" * 16})}
