"""The fuzzing finds what it is for, and tells it as code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from conch_tools.errors import ContractBroken
from conch_tools.step_kit import Request, load_step
from conch_tools.step_kit.fuzzing import fuzz_step, requests_of

from .conftest import EXECUTE, RAGGED, WriteModel

TEXT = """
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
dynamic_batching {}
"""
SUM = "np.array([[row.sum()] for row in x], np.float32)"
FAULTY = {
    "answers change places": """
        def execute(self, requests):
            return [answer(x_of(request)) for request in reversed(requests)]
        """,
    "padding leaks": """
        def execute(self, requests):
            width = max(x_of(request).shape[1] for request in requests)
            return [answer(np.full((len(x_of(each)), 1), width, np.float32)) for each in requests]
        """,
    "one takes the others along": """
        def execute(self, requests):
            wrong = any((x_of(request) < 0).any() for request in requests)
            error = pb_utils.TritonError("below zero", pb_utils.TritonError.INVALID_ARG) if wrong else None
            return [pb_utils.InferenceResponse(answer(x_of(each)).output_tensors(), error) for each in requests]
        """,
    "an exception leaves execute": """
        def execute(self, requests):
            return [answer(x_of(request) / len(x_of(request)[0])) for request in requests if x_of(request)[0][0] < 9]
        """,
    "an answer too few": """
        def execute(self, requests):
            return [answer(x_of(request)) for request in requests][:2]
        """,
    "a fault of the step's own": """
        def execute(self, requests):
            broken = pb_utils.InferenceResponse([], pb_utils.TritonError("full"))
            return [broken if len(x_of(request)) > 1 else answer(x_of(request)) for request in requests]
        """,
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_step_is_found_out(fault: str, write_model: WriteModel) -> None:
    with load_step(write_model(FAULTY[fault], RAGGED)) as step, pytest.raises(ContractBroken) as told:
        fuzz_step(step)
    assert "to paste into a test" in str(told.value)


def test_a_sound_step_passes(write_model: WriteModel) -> None:
    with load_step(write_model(EXECUTE, RAGGED)) as step:
        fuzz_step(step, examples=20)


def test_what_is_found_is_small_and_is_code(write_model: WriteModel) -> None:
    with load_step(write_model(FAULTY["one takes the others along"], RAGGED)) as step:
        with pytest.raises(ContractBroken) as told:
            fuzz_step(step)
        code = str(told.value).partition("into a test:\n\n")[2]
        replies = eval(code, {"step": step, "np": np, "Request": Request})
    # Two requests, of which one is wrong.
    assert len(replies) == 2
    assert "INVALID_ARG: below zero" in str(told.value)


def test_text_that_is_no_utf8_is_tried(write_model: WriteModel) -> None:
    decoding = """
    def execute(self, requests):
        return [answer(np.array([[len(row[0].decode())] for row in x_of(request)], np.float32)) for request in requests]
    """
    with load_step(write_model(decoding, TEXT)) as step, pytest.raises(ContractBroken, match="UnicodeDecodeError"):
        fuzz_step(step)


def test_what_a_test_says_of_its_inputs_is_kept(write_model: WriteModel) -> None:
    small = {"x": st.floats(0, 1, width=32)}
    refusing = """
    def execute(self, requests):
        assert all((0 <= x_of(request)).all() and (x_of(request) <= 1).all() for request in requests)
        return [answer(x_of(request)) for request in requests]
    """
    with load_step(write_model(refusing, RAGGED)) as step:
        fuzz_step(step, requests_of(step.config, small), examples=20)


def test_a_step_that_remembers_is_not_compared_with_itself(write_model: WriteModel) -> None:
    counting = """
    asked = 0

    def execute(self, requests):
        TritonPythonModel.asked += 1
        return [answer(np.full((len(x_of(request)), 1), self.asked, np.float32)) for request in requests]
    """
    with load_step(write_model(counting, RAGGED)) as step:
        fuzz_step(step, stateless=False, examples=20)
        with pytest.raises(ContractBroken, match="in this company"):
            fuzz_step(step)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise ValueError('too many')", "an exception leaves `execute`: .*too many"),
        ("return None", "it has no answer"),
    ],
)
def test_a_step_that_remembers_is_judged_in_company_all_the_same(
    write_model: WriteModel, fault: str, said: str
) -> None:
    unsociable = f"""
    def execute(self, requests):
        if len(requests) > 1:
            {fault}
        return [answer(x_of(request)) for request in requests]
    """
    folder = write_model(unsociable, RAGGED)
    with load_step(folder, answer_timeout_s=0.1) as step, pytest.raises(ContractBroken, match=said) as told:
        fuzz_step(step, stateless=False)
    assert str(told.value).count("Request({") == 2


def test_padding_that_callers_cut_off_may_differ(write_model: WriteModel) -> None:
    padding = """
    def execute(self, requests):
        xs = [x_of(request) for request in requests]
        widest = max(x.shape[1] for x in xs)
        return [answer(np.pad(x, ((0, 0), (0, widest - x.shape[1])))) for x in xs]
    """
    with load_step(write_model(padding, RAGGED)) as step:
        with pytest.raises(ContractBroken, match="in this company"):
            fuzz_step(step)
        fuzz_step(
            step, read=lambda request, outputs: {"y": outputs["y"][:, : request.inputs["x"].shape[1]]}, examples=20
        )


def test_requests_print_as_code() -> None:
    request = Request(
        {"t": np.array([[b"nan", b"'"]], object), "n": np.array([np.nan, -np.inf, 1.5], np.float16)},
        outputs=["y"],
        parameters={"k": 1},
    )
    zeros = Request({"z": np.zeros((3, 4), np.bool_), "e": np.zeros((0, 2), np.int64)})
    for each in (request, zeros):
        again = eval(repr(each), {"Request": Request, "np": np})
        assert repr(again) == repr(each)
        assert {name: array.dtype for name, array in again.inputs.items()} == {
            name: array.dtype for name, array in each.inputs.items()
        }
    assert "np.full((3, 4), False, np.bool_)" in repr(zeros)
