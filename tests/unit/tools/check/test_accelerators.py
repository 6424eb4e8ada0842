"""Rules about execution accelerators and the parameters of the onnxruntime backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
Graph = Callable[[str], bytes]

CONFIG = """\
backend: "onnxruntime"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
"""


def accelerator(name: str, parameters: str = "", side: str = "gpu") -> str:
    told = f'{side}_execution_accelerator {{ name: "{name}" {parameters} }}'
    return f"optimization {{ execution_accelerators {{ {told} }} }}\n"


def key(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value: "{value}" }}'


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


@pytest.fixture
def found(check: Check, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Finding]]:
    """The findings in a model with more in its configuration, on a machine with a GPU."""
    monkeypatch.setattr("conch_tools.check.run.gpu_is_here", lambda: True)
    content = graph("agraph (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    files: dict[str, str | bytes] = {"m/config.pbtxt": CONFIG, "m/1/model.onnx": content}
    return lambda more: check({**files, "m/configs/gpu.pbtxt": CONFIG + more})


Found = Callable[[str], list[Finding]]


@pytest.mark.parametrize(
    "more",
    [
        accelerator("tensorrt", key("precision_mode", "FP16") + key("max_workspace_size_bytes", "1073741824")),
        accelerator("tensorrt", key("trt_engine_cache_enable", "true") + key("trt_engine_cache_path", "/cache")),
        accelerator("cuda", key("use_tf32", "0")),
        accelerator("tensorrt") + "instance_group { kind: KIND_GPU }",
        accelerator("tensorrt") + "instance_group [ { kind: KIND_CPU }, { kind: KIND_GPU } ]",
        parameter("intra_op_thread_count", "2") + parameter("enable_mem_arena", "true"),
        parameter("metadata", "of ours") + parameter("model_card", "x"),
    ],
)
def test_what_the_backend_reads_on_a_gpu_and_what_it_does_not_know_is_right(found: Found, more: str) -> None:
    assert found(more) == []


@pytest.mark.parametrize(
    ("more", "code", "severity", "cure"),
    [
        (accelerator("TensorRT"), "ACC001", Severity.ERROR, "did you mean `tensorrt`?"),
        (accelerator("openvino"), "ACC001", Severity.ERROR, "use `tensorrt` and `cuda`"),
        (accelerator("onednn", side="cpu"), "ACC001", Severity.ERROR, "use `openvino`"),
        (accelerator("tensorrt", key("trt_fp16_enable", "1")), "ACC002", Severity.ERROR, "did you mean `trt_"),
        (accelerator("tensorrt", key("presicion_mode", "FP16")), "ACC002", Severity.ERROR, "did you mean `precision_"),
        (accelerator("tensorrt", key("precision_mode", "fp16")), "ACC003", Severity.ERROR, "write one of `FP32`, "),
        (accelerator("tensorrt", key("trt_dla_enable", "yes")), "ACC003", Severity.ERROR, "write `true` or `false`"),
        (accelerator("tensorrt", key("trt_dla_core", "one")), "ACC003", Severity.ERROR, "write a whole number"),
        (accelerator("cuda", key("gpu_mem_limit", "1")), "ACC004", Severity.WARNING, "write it as a parameter"),
        (accelerator("cuda") + "instance_group { kind: KIND_CPU }", "ACC005", Severity.WARNING, "remove it, or write"),
        (accelerator("TensorRT") + "instance_group { kind: KIND_CPU }", "ACC005", Severity.WARNING, "remove it, or"),
        (parameter("intra_op_threads_count", "2"), "ACC006", Severity.WARNING, "did you mean `intra_op_thread_count`?"),
        (parameter("enable_memory_arena", "1"), "ACC006", Severity.WARNING, "did you mean `enable_mem_arena`?"),
    ],
)  # fmt: skip
def test_what_it_refuses_or_passes_over_is_found(
    found: Found, more: str, code: str, severity: Severity, cure: str
) -> None:
    (finding,) = found(more)
    assert (finding.code, finding.severity, finding.line) == (code, severity, 5)
    assert finding.cure.startswith(cure)


def test_backends_without_accelerators_are_told_of_none(check: Check) -> None:
    python = CONFIG.replace("onnxruntime", "python") + accelerator("tensorrt")
    (finding,) = check({"m/config.pbtxt": python, "m/1/model.py": ""})
    assert (finding.code, finding.line) == ("ACC007", 5)
