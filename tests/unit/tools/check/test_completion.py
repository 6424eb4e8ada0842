"""What a backend may add when it loads a model is unknown to the check, not wrong. A real server loads these."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "python"
input { name: "a" }
output { name: "b" data_type: TYPE_FP32 dims: [ 4 ] }
"""
ENSEMBLE = """\
platform: "ensemble"
input { name: "in" data_type: TYPE_INT32 dims: [ 2, 2 ] }
output { name: "out" data_type: TYPE_FP32 dims: [ 9 ] }
ensemble_scheduling { step {
  model_name: "m" model_version: -1
  input_map { key: "a" value: "in" }
  output_map { key: "c" value: "out" }
} }
"""
SILENT = """\
class TritonPythonModel:
    def execute(self, requests):
        return self.answer(requests)
"""
COMPLETING = (
    SILENT
    + """
    @staticmethod
    def auto_complete_config(config):
        return complete(config)
"""
)
CALLING = """\
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, each):
        a = pb_utils.Tensor("a", self.content(each))
        new = pb_utils.Tensor("new", self.content(each))
        asked = pb_utils.InferenceRequest(model_name="m", inputs=[a, new], requested_output_names=["c"]).exec()
        return self.checked(asked)
"""


@pytest.mark.parametrize(
    ("config", "source", "found"),
    [
        (CONFIG, COMPLETING, []),
        (CONFIG, SILENT.replace("Model:", "Model(Base):"), []),
        (CONFIG, SILENT, ["CFG005", "CFG006", "ENS015", "ENS030", "ENS031", "PYC002", "PYC002"]),
        (CONFIG.replace("python", "ours_in_cpp"), SILENT, ["BAK002"]),
        (CONFIG.replace("python", "dali"), SILENT, []),
        (CONFIG.replace("python", "echo"), SILENT, ["CFG005", "CFG006", "ENS015", "ENS030", "ENS031"] + 2 * ["PYC002"]),
        (CONFIG.replace('input { name: "a" }', ""), COMPLETING, []),
    ],
)
def test_what_may_be_completed_is_not_wrong(check: Check, config: str, source: str, found: list[str]) -> None:
    findings = check(
        {
            "e/config.pbtxt": ENSEMBLE,
            "e/1/": "",
            "m/config.pbtxt": config,
            "m/1/model.py": source,
            "caller/config.pbtxt": CONFIG.replace('"a"', '"a" data_type: TYPE_FP32 dims: [ 4 ]'),
            "caller/1/model.py": CALLING,
        }
    )
    assert sorted(finding.code for finding in findings if finding.severity.name == "ERROR") == found


def test_what_a_completing_model_does_say_is_compared(check: Check) -> None:
    config = CONFIG.replace('"a"', '"a" data_type: TYPE_FP32 dims: [ 4 ]') + "max_batch_size: 8"
    ensemble = ENSEMBLE.replace('platform: "ensemble"', 'platform: "ensemble" max_batch_size: 8')
    files = {"e/config.pbtxt": ensemble, "e/1/": "", "m/config.pbtxt": config, "m/1/model.py": COMPLETING}
    assert [finding.code for finding in check(files)] == ["ENS030", "ENS031"]
