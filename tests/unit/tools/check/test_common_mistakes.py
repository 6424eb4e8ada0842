"""What users of Triton ask about most: each mistake is found with its file, its line and the cure.

One ensemble, `speech`, with two models; every case breaks it in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
Graph = Callable[[str], bytes]
Change = tuple[str, str, str]
"""A file, what stands in it, and what a user wrote instead."""

ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 8
input { name: "wave" data_type: TYPE_FP32 dims: 4 }
output { name: "words" data_type: TYPE_FP32 dims: 4 }
ensemble_scheduling {
  step {
    model_name: "listen"
    model_version: -1
    input_map { key: "x" value: "wave" }
    output_map { key: "y" value: "heard" }
  }
  step {
    model_name: "write"
    model_version: -1
    input_map { key: "x" value: "heard" }
    output_map { key: "y" value: "words" }
  }
}
"""
MODEL = """\
platform: "onnxruntime_onnx"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
version_policy { specific { versions: [ 1 ] } }
instance_group { kind: KIND_CPU }
model_warmup { batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
}
"""
SPEECH, LISTEN, CPU = "speech/config.pbtxt", "listen/config.pbtxt", "write/configs/cpu.pbtxt"


@pytest.fixture
def sound(graph: Graph) -> dict[str, str | bytes]:
    """The ensemble, its models and a profile of one of them, without a fault."""
    content = graph("agraph (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    models: dict[str, str | bytes] = {SPEECH: ENSEMBLE, "speech/1/": "", CPU: MODEL}
    for name in ("listen", "write"):
        models |= {f"{name}/config.pbtxt": MODEL, f"{name}/1/model.onnx": content}
    return models


def test_without_a_mistake_there_is_no_finding(check: Check, sound: dict[str, str | bytes]) -> None:
    assert check(sound) == []


@pytest.mark.parametrize(
    ("change", "code", "line", "cure"),
    [
        (
            (LISTEN, "dims: [ 4 ] }\nout", "dims: [ -1, 4 ] }\nout"),
            "ONX006",
            3,
            "write `data_type: TYPE_FP32 dims: [ 4 ]`",
        ),
        ((SPEECH, '"listen"', '"lisen"'), "ENS012", 7, "did you mean `listen`?"),
        ((SPEECH, '"x" value: "heard"', '"X" value: "heard"'), "ENS014", 15, "did you mean `x`?"),
        ((SPEECH, '"wave" data_type: TYPE_FP32', '"wave" data_type: TYPE_FP16'), "ENS030", 9, "use one data type"),
        ((SPEECH, 'output_map { key: "y" value: "heard" }', ""), "ENS011", 6, "add `output_map`"),
        ((CPU, "KIND_CPU", "KIND_GPU"), "CFG018", 6, "remove `kind`"),
        ((LISTEN, "onnxruntime_onnx", "onnx_runtime"), "BAK001", 1, "did you mean `onnxruntime_onnx`?"),
        ((LISTEN, "onnxruntime_onnx", "onnxruntime"), "BAK001", 1, "did you mean `onnxruntime_onnx`?"),
        ((LISTEN, 'platform: "', 'backend: "'), "BAK002", 1, "did you mean `onnxruntime`?"),
        ((LISTEN, "versions: [ 1 ]", "versions: [ 1, 2 ]"), "FIL007", 5, "add the folder, or choose among `1`"),
        ((LISTEN, "versions: [ 1 ]", "versions: [ 2 ]"), "FIL003", 5, "choose among `1`"),
        (
            (LISTEN, "FP32 dims: [ 4 ] zero", "FP32 dims: [ 1, 4 ] zero"),
            "CFG016",
            8,
            "write the dims of one item, without",
        ),
        ((CPU, "max_batch_size", "max_batchsize"), "CFG001", 2, "did you mean `max_batch_size`?"),
    ],
)
def test_a_mistake_is_found_with_its_line_and_cure(
    check: Check, repository: Path, sound: dict[str, str | bytes], change: Change, code: str, line: int, cure: str
) -> None:
    file, before, after = change
    content = sound[file]
    assert isinstance(content, str) and content.count(before) == 1
    findings = check({**sound, file: content.replace(before, after)})
    finding = next(each for each in findings if each.code == code)
    assert (finding.file, finding.line) == (repository / file, line)
    assert finding.cure.startswith(cure)


@pytest.mark.parametrize(("name", "code"), [("listen v2", "FIL008"), ("listen.v2", "BAK002")])
def test_a_blank_or_a_dot_in_a_models_name_is_found(check: Check, name: str, code: str) -> None:
    config = MODEL.replace('platform: "onnxruntime_onnx"', "" if "." in name else 'backend: "echo"')
    findings = check({f"{name}/config.pbtxt": config, f"{name}/1/": ""})
    assert findings[0].code == code
