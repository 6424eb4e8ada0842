"""Whole ensembles in the test's process, and steps that find each other by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conch_tools.errors import StepFailed, StepNotLoaded
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
    write_model("def execute(self, requests):\n    return [pb_utils.InferenceResponse([])]\n", name="forgetful")
    for name, first_input, second in (
        ("four_times", "in", "twice"),
        ("failing", "in", "refusing"),
        ("stuck", "nowhere", "twice"),
        ("forgotten", "in", "forgetful"),
        ("headless", "in", "nobody"),
    ):
        (tmp_path / name / "1").mkdir(parents=True)
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
        assert {"broken", "failing", "twice"} < set(models)
        assert models["twice"] is models["twice"]
        for name in ("nobody", "../twice", "/etc"):
            with pytest.raises(KeyError):
                models[name]


def test_an_output_that_the_last_step_leaves_out_is_left_out_as_in_triton(folder: Path) -> None:
    with StepRepository(folder, strict=False) as models:
        assert models["forgotten"].execute([Request({"in": X})])[0].outputs == {}


def test_a_step_that_is_not_there_is_named(folder: Path) -> None:
    with StepRepository(folder) as models, pytest.raises(StepNotLoaded, match="`headless` has the step `nobody`"):
        models["headless"].execute([Request({"in": X})])


@pytest.mark.parametrize(("wanted", "served"), [("-1", True), ("1", True), ("2", False), ("0", False)])
def test_a_step_of_another_version_is_refused(folder: Path, wanted: str, served: bool) -> None:
    config = folder / "four_times" / "config.pbtxt"
    config.write_text(config.read_text().replace("model_version: -1", f"model_version: {wanted}", 1))
    with StepRepository(folder) as models:
        if served:
            assert models["four_times"].execute([Request({"in": X})])[0].outputs["out"].tolist() == [[4.0, 8.0]]
            return
        with pytest.raises(StepNotLoaded, match=f"wants version {wanted} of `twice`, and 1 is loaded"):
            models["four_times"].execute([Request({"in": X})])


def test_a_step_that_fails_while_it_ends_leaves_no_other_open(write_model: WriteModel, tmp_path: Path) -> None:
    ending = """
    def execute(self, requests):
        return [answer(x_of(request)) for request in requests]

    def finalize(self):
        from pathlib import Path
        Path(__file__).with_name("ended").touch()
        raise ValueError("cannot end")
    """
    names = ("first", "second", "third")
    for name in names:
        write_model(ending, name=name)
    models = StepRepository(tmp_path)
    for name in names:
        _ = models[name]
    with pytest.raises(ValueError, match="cannot end"):
        models.close()
    assert all((tmp_path / name / "1" / "ended").exists() for name in names)
