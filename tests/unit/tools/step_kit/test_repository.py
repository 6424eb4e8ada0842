"""Whole ensembles in the test's process, and steps that find each other by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conch_tools.errors import StepFailed
from conch_tools.step_kit import Request, StepRepository

from .conftest import CONFIG, WriteModel

TWICE = "def execute(self, requests):\n    return [answer(2 * x_of(request)) for request in requests]\n"
REFUSING = """
def execute(self, requests):
    error = pb_utils.TritonError("too warm", pb_utils.TritonError.UNAVAILABLE)
    return [pb_utils.InferenceResponse([], error) for _ in requests]
"""
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 4
input [ {{ name: "in" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "out" data_type: TYPE_FP32 dims: [ -1 ] }} ]
ensemble_scheduling {{ step [
  {{ model_name: "{second}" model_version: -1
     input_map {{ key: "x" value: "between" }} output_map {{ key: "y" value: "out" }} }},
  {{ model_name: "twice" model_version: -1
     input_map {{ key: "x" value: "{first_input}" }} output_map {{ key: "y" value: "between" }} }}
] }}
"""
X = np.array([[1.0, 2.0]], np.float32)


@pytest.fixture
def folder(write_model: WriteModel, tmp_path: Path) -> Path:
    write_model(TWICE, name="twice")
    write_model(REFUSING, name="refusing")
    for name, first_input, second in (
        ("four_times", "in", "twice"),
        ("failing", "in", "refusing"),
        ("stuck", "nowhere", "twice"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(ENSEMBLE.format(first_input=first_input, second=second))
    return tmp_path


def test_tensors_go_from_step_to_step_as_wired_whatever_their_order(folder: Path) -> None:
    with StepRepository(folder) as models:
        (reply,) = models["four_times"].execute([Request({"in": X})])
    assert {name: value.tolist() for name, value in reply.outputs.items()} == {"out": [[4.0, 8.0]]}


@pytest.mark.parametrize(
    ("name", "inputs", "code", "message"),
    [
        ("failing", {"in": X}, "UNAVAILABLE", "in ensemble 'failing', too warm"),
        ("stuck", {"in": X}, "INVALID_ARG", "in ensemble 'stuck', .* unexpected deadlock"),
        ("four_times", {"in": X[0]}, "INVALID_ARG", "unexpected shape for input 'in' for model 'four_times'"),
    ],
)
def test_an_error_reaches_the_caller_in_the_ensembles_name(
    folder: Path, name: str, inputs: dict[str, object], code: str, message: str
) -> None:
    with StepRepository(folder) as models, pytest.raises(StepFailed, match=message) as failed:
        _ = models[name].execute([Request(inputs)])[0].outputs
    assert failed.value.code == code


def test_models_are_known_by_name_and_loaded_when_asked(folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "config.pbtxt").write_text(CONFIG + "nonsense")
    with StepRepository(folder) as models:
        assert sorted(models) == ["broken", "failing", "four_times", "refusing", "stuck", "twice"]
        assert models["twice"] is models["twice"]
        for name in ("nobody", "../twice", "/etc"):
            with pytest.raises(KeyError):
                models[name]
