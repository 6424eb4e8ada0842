"""The pytest plugin in a project of somebody else's: five lines of test, and no cost for those who do not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFIG = """
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
DOUBLE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self._double(request) for request in requests]

    def _double(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", 2 * x)])

    def finalize(self):
        print("double is closed")
"""
FOUR_TIMES = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self._ask_twice(request) for request in requests]

    def _ask_twice(self, request):
        once = self._ask(request.inputs()[0])
        return pb_utils.InferenceResponse([self._ask(pb_utils.Tensor("x", once.as_numpy()))])

    def _ask(self, x):
        call = pb_utils.InferenceRequest(model_name="double", requested_output_names=["y"], inputs=[x])
        return call.exec().output_tensors()[0]
"""
TESTS = """
def test_double(load_step):
    assert load_step("double").infer({"x": [[2]]})["y"].tolist() == [[4]]

def test_a_step_calls_the_others_of_its_repository(load_step):
    assert load_step("four_times").infer({"x": [[2]]})["y"].tolist() == [[8]]

def test_something_stands_in_for_another(load_step):
    step = load_step("four_times", calls={"double": lambda inputs: {"y": inputs["x"] + 1}})
    assert step.infer({"x": [[2]]})["y"].tolist() == [[4]]
"""
LIMIT_S = 60


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_tests_its_steps_with_a_fixture(tmp_path: Path) -> None:
    for name, code in {"double": DOUBLE, "four_times": FOUR_TIMES}.items():
        version = tmp_path / "models" / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(code)
        (version.parent / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "pytest.ini").write_text("[pytest]\nstep_model_repository = models\nfilterwarnings = error\n")
    (tmp_path / "test_steps.py").write_text(TESTS)
    printed = run("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "3 passed" in printed
    assert printed.count("double is closed") == 2


def test_a_project_that_does_not_use_it_pays_for_no_import(tmp_path: Path) -> None:
    code = "import sys, conch_tools.pytest_plugin; print(*sorted({'numpy', 'google', 'hypothesis'} & set(sys.modules)))"
    assert run("-c", code, cwd=tmp_path).strip() == ""
