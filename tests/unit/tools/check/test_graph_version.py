"""Rules about the version of ONNX that a graph is written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "onnxruntime"
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
"""


@pytest.mark.parametrize(
    ("opset", "ir_version", "codes"), [(21, 10, []), (7, 3, []), (22, 10, ["ONX020"]), (21, 11, ["ONX021"])]
)
def test_a_graph_is_no_newer_than_the_servers_runtime(
    check: Check, repository: Path, opset: int, ir_version: int, codes: list[str]
) -> None:
    text = f'<ir_version: {ir_version}, opset_import: ["": {opset}, "ai.onnx.ml": 99]>\n'
    model = onnx.parser.parse_model(text + "agraph (float[4] x) => (float[4] y) { y = Relu(x) }")
    findings = check({"m/config.pbtxt": CONFIG, "m/1/model.onnx": model.SerializeToString()})
    assert [finding.code for finding in findings] == codes
    assert all(finding.severity is Severity.WARNING for finding in findings)
    assert all(finding.file == repository / "m/1/model.onnx" for finding in findings)
