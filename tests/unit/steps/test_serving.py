"""Between steps and Triton: one answer or one error for each request, whatever its neighbours are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from conch_steps import serving
from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.serving import LONG_BYTES, SideBySide, StepModel, StepRequest, Tensors, answer_each, require_time

MakeRequest = Callable[..., Any]


def model(parameters: dict[str, str]) -> StepModel:
    config = {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}
    return StepModel.from_args(
        {
            "model_name": "mood",
            "model_repository": "/models/mood",
            "model_version": "3",
            "model_config": json.dumps(config if parameters else {}),
        }
    )


def test_a_model_knows_its_name_its_version_folder_and_its_parameters() -> None:
    known = model({"activation": "sigmoid"})
    assert (known.name, known.version_folder) == ("mood", Path("/models/mood/3"))
    assert known.parameters == {"activation": "sigmoid"}
    assert model({}).parameters == {}


def test_a_request_gives_its_tensors_and_parameters(make_request: MakeRequest) -> None:
    request = StepRequest(make_request({"a": np.array([[1]]), "b": np.array([[2]])}, parameters={"top_k": 2}))
    assert request.tensor("b").tolist() == [[2]]
    assert request.parameters == {"top_k": 2}
    assert StepRequest(make_request({})).parameters == {}


def test_a_missing_tensor_is_the_callers_mistake(make_request: MakeRequest) -> None:
    with pytest.raises(InvalidInput, match="input `text` is missing"):
        StepRequest(make_request({"texts": np.array([[1]])})).tensor("text")


def test_a_batch_too_large_for_triton_to_count_is_the_callers_mistake(make_request: MakeRequest) -> None:
    # 2^32 rows are none in 32 bits, and Triton hands the step a tensor without the batch dimension.
    with pytest.raises(InvalidInput, match="input `text` has an impossible batch size"):
        StepRequest(make_request({"text": np.array([b"a"], dtype=object)})).tensor("text")


def halves(request: StepRequest) -> Tensors:
    """A step that can be asked wrongly, and can fail."""
    numbers = request.tensor("x")
    if (numbers < 0).any():
        raise InvalidInput("`x` is below zero")
    if (numbers == 13).any():
        raise WrongAnswer("13 is unlucky")
    if (numbers == 99).any():
        raise KeyError("no such half")
    return {"half": numbers / 2, "twice": numbers * 2}


@pytest.mark.parametrize("side_by_side", [False, True])
def test_every_request_gets_its_own_answer_in_order(
    pb_utils: Any, ask_step: MakeRequest, heard: Any, side_by_side: bool
) -> None:
    asked = [ask_step({"x": np.array([[number]])}, ["half"]) for number in (4, -1, 13, 99, 6)]
    requests = [each.request for each in asked]
    answers = SideBySide(pb_utils, halves).answer(requests) if side_by_side else answer_each(pb_utils, requests, halves)
    assert [heard(answer) for answer in answers] == [
        {"half": [[2.0]]},
        (pb_utils.TritonError.INVALID_ARG, "`x` is below zero"),
        (pb_utils.TritonError.INTERNAL, "WrongAnswer: 13 is unlucky"),
        (pb_utils.TritonError.INTERNAL, "KeyError: 'no such half'"),
        {"half": [[3.0]]},
    ]


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HANDED_OVER_AFTER_S", 0.0)


def test_side_by_side_a_request_does_not_wait_for_a_long_one_before_it(pb_utils: Any, ask_step: MakeRequest) -> None:
    go_on = Event()

    def wait_for_the_first(request: StepRequest) -> Tensors:
        if request.tensor("x")[0, 0] == 0:
            assert go_on.wait(10)
        return {}

    side_by_side = SideBySide(pb_utils, wait_for_the_first)
    long_text = np.array([[b"word " * LONG_BYTES]], dtype=np.object_)
    slow = ask_step({"x": np.array([[0]]), "text": long_text})
    assert side_by_side.answer([slow.request]) == [None]
    (quick,) = side_by_side.answer([ask_step({"x": np.array([[1]])}).request])
    assert not quick.has_error()
    assert not slow.is_answered
    go_on.set()
    assert not slow.answer().has_error()


def test_side_by_side_what_is_done_soon_is_not_handed_over(pb_utils: Any, ask_step: MakeRequest, heard: Any) -> None:
    """What was handed over is lost when the process dies."""
    asked = ask_step({"x": np.array([[4]])}, ["half"])

    def soon(request: StepRequest) -> Tensors:
        time.sleep(0.02)
        return halves(request)

    (answer,) = SideBySide(pb_utils, soon).answer([asked.request])
    assert heard(answer) == {"half": [[2.0]]}
    assert not asked.is_answered


@pytest.mark.usefixtures("no_patience")
def test_an_answer_that_cannot_be_sent_becomes_an_error(
    pb_utils: Any, ask_step: MakeRequest, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask_step({"x": np.array([[4]])}, ["half"])
    send = asked.sender.send
    go_on = Event()

    def wait(request: StepRequest) -> Tensors:
        assert go_on.wait(10)
        return halves(request)

    def full(response: Any, flags: int) -> None:
        if not response.has_error():
            raise RuntimeError("no shared memory left")
        send(response, flags)

    monkeypatch.setattr(asked.sender, "send", full)
    assert SideBySide(pb_utils, wait).answer([asked.request]) == [None]
    go_on.set()
    assert heard(asked.answer()) == (pb_utils.TritonError.INTERNAL, "RuntimeError: no shared memory left")


class Panic(BaseException):
    """What a library written in Rust raises when it has a fault: no Exception."""


def test_a_panic_in_a_library_fails_one_request(pb_utils: Any, make_request: MakeRequest, heard: Any) -> None:
    def panic(_: StepRequest) -> Tensors:
        raise Panic("overflow")

    (answer,) = answer_each(pb_utils, [make_request({})], panic)
    assert heard(answer) == (pb_utils.TritonError.INTERNAL, "Panic: overflow")


def test_work_that_nobody_waits_for_any_more_ends(pb_utils: Any, make_request: MakeRequest) -> None:
    def long_work(_: StepRequest) -> Tensors:
        time.sleep(0.01)
        require_time()
        return {}

    late, patient, timeless = (make_request({}, timeout_us=timeout) for timeout in (1, 60_000_000, 0))
    answers = answer_each(pb_utils, [late, patient, timeless], long_work)
    assert [answer.error() and answer.error().code() for answer in answers] == [
        pb_utils.TritonError.UNAVAILABLE,
        None,
        None,
    ]
    # What a step does between requests has all the time there is.
    answer_each(pb_utils, [late], lambda _: {})
    require_time()


def test_only_faults_of_ours_are_logged(pb_utils: Any, runtime: Any, make_request: MakeRequest) -> None:
    answer_each(pb_utils, [make_request({"x": np.array([[number]])}) for number in (-1, 99)], halves)
    assert runtime.logs == [("ERROR", "KeyError: 'no such half'")]


def test_only_wanted_outputs_are_answered(pb_utils: Any, make_request: MakeRequest, heard: Any) -> None:
    wanted = (["half"], ["twice"], ["twice", "half"])
    answers = answer_each(pb_utils, [make_request({"x": np.array([[2]])}, names) for names in wanted], halves)
    assert [sorted(heard(answer)) for answer in answers] == [["half"], ["twice"], ["half", "twice"]]
