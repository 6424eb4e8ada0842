"""The step test kit against Triton itself: the same models and the same requests, the same answers and errors.

The models are those of tests/step_models. What is compared is everything that a caller sees (outputs with data type and
shape, error code and message) and, by the models' own telling, everything that a step sees.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from conch_tools.errors import ContractBroken, StepFailed
from conch_tools.step_kit import Ensemble, Request, Step, StepRepository
from conch_tools.step_kit.exchange import ERROR_CODES
from conch_tools.step_kit.talk import Response

MODELS = Path(__file__).parents[1] / "step_models"
ANSWER_WAIT_S = 20.0
LOST_S = 2.0
"""A request without an answer for so long is not executed again: three executions take milliseconds."""
GRPC_NAMES = {"INVALID_ARG": "INVALID_ARGUMENT", "UNSUPPORTED": "UNIMPLEMENTED"}
X = np.array([[1.0, -2.5]], np.float32)

Seen = list[Any]
WaitUntil = Callable[..., None]
Steps = dict[str, Step | Ensemble]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, and `pair`: a second `mimic`, whose executions wait for two requests; `again`: a second `patient`,
    that may put requests back.
    """
    folder = tmp_path_factory.mktemp("step-models") / "repository"
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder / "mimic", folder / "pair")
    config = (folder / "pair" / "config.pbtxt").read_text()
    waiting = config.replace("dynamic_batching {", "dynamic_batching { max_queue_delay_microseconds: 9000000")
    (folder / "pair" / "config.pbtxt").write_text(waiting)
    for ensemble in ("wired", "chained"):
        (folder / ensemble / "1").mkdir()
    shutil.copytree(folder / "patient", folder / "again")
    config = (folder / "again" / "config.pbtxt").read_text()
    iterative = config.replace("dynamic_batching {}", "sequence_batching { iterative_sequence: true }")
    (folder / "again" / "config.pbtxt").write_text(iterative)
    return folder


@pytest.fixture(scope="module")
def real(start_triton: Any, repository: Path) -> Iterator[InferenceServerClient]:
    server = start_triton(repository)
    with InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def steps(repository: Path) -> Iterator[Steps]:
    with StepRepository(repository, strict=False) as loaded:
        yield {name: loaded[name] for name in loaded}


def seen(response: Response) -> Any:
    """What a caller can tell of a response."""
    if response.error is not None:
        return [response.error.code, _without_places(response.error.message)]
    return {name: [str(value.dtype), value.shape, value.tolist()] for name, value in sorted(response.outputs.items())}


def _without_places(message: str) -> str:
    message = re.sub(r"/\S*/(?=\w+/1/)", "", message)
    # Core lists inputs in the order of a hash map.
    return re.sub(r"(?<=\[)'[^]]*(?=\])", lambda names: ",".join(sorted(names[0].split(","))), message)


def in_kit(steps: Steps, model: str, request: Request) -> Seen:
    (reply,) = steps[model].execute([request])
    return [seen(each) for each in reply.responses]


def in_triton(client: InferenceServerClient, model: str, request: Request) -> Seen:
    inputs = []
    for name, array in request.inputs.items():
        inputs.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    rest: dict[str, Any] = {
        "outputs": [InferRequestedOutput(name) for name in request.outputs],
        "parameters": dict(request.parameters),
        "request_id": request.request_id,
        "timeout": request.timeout_us,
    }
    if model == "streamer":
        return _streamed(client, model, inputs, rest)
    try:
        result = client.infer(model, inputs, **rest, client_timeout=ANSWER_WAIT_S)
    except InferenceServerException as problem:
        return [seen(_failure(problem))]
    return [seen(_response(result))]


def _streamed(client: InferenceServerClient, model: str, inputs: list[InferInput], rest: dict[str, Any]) -> Seen:
    arrived: Queue[Any] = Queue()
    client.start_stream(lambda result, error: arrived.put(error or result))
    try:
        client.async_stream_infer(model, inputs, **rest, enable_empty_final_response=True)
        found = []
        while True:
            each = arrived.get(timeout=ANSWER_WAIT_S)
            if isinstance(each, InferenceServerException):
                # In a stream an error has no code of its own.
                found.append(["", _without_places(each.message())])
                continue
            if each.get_response().outputs:
                found.append(seen(_response(each)))
            if each.get_response().parameters["triton_final_response"].bool_param:
                return found
    finally:
        client.stop_stream()


def _response(result: Any) -> Response:
    return Response({each.name: result.as_numpy(each.name) for each in result.get_response().outputs})


def _failure(problem: InferenceServerException) -> Response:
    code = problem.status().removeprefix("StatusCode.")
    ours = {GRPC_NAMES.get(each, each): each for each in ERROR_CODES}
    return Response({}, StepFailed(ours[code], problem.message()))


def text(*rows: Any) -> Any:
    return np.array([list(rows)], dtype=np.object_)


def doing(what: str, **rest: Any) -> Request:
    return Request({"x": X}, parameters={"do": what}, **rest)


def integers(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape)


FLAG = np.array([True])

CASES = {
    **{
        what: ("mimic", doing(what))
        for what in (
            "echo",
            "request_seen",
            "args_seen",
            "raising",
            "raising_own",
            "raising_tritons",
            "tensor_rules",
            "sender_rules",
            "metric_rules",
            "helper_rules",
            "sent_later",
            "sent_and_returned",
            "changed_after",
            "plain_error",
            "other_type",
            "other_shape",
            "turned",
            "nothing_in_it",
            "bytes_array",
            "one_missing",
            "one_more",
            "error_and_tensors",
            "number",
            "tuple",
            "shorter",
            *ERROR_CODES,
        )
    },
    "a step without that deed": ("mimic", doing("unheard_of")),
    "no parameters": ("mimic", Request({"x": X})),
    "only one output": ("mimic", doing("request_seen", outputs=["seen"])),
    "all that a request can say": (
        "mimic",
        Request(
            {"x": X, "text": text(b"\xff\x00 \xc3\xbc")},
            parameters={"do": "request_seen", "word": 'ü "quoted"\n'},
            request_id="seven",
            timeout_us=5_000_000,
        ),
    ),
    "empty text": ("mimic", Request({"x": X, "text": text(b"")}, parameters={"do": "request_seen"})),
    "numbers that are none": (
        "mimic",
        Request({"x": np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)}, parameters={"do": "changed_after"}),
    ),
    "a dimension of none": ("mimic", Request({"x": np.zeros((1, 0), np.float32)}, parameters={"do": "request_seen"})),
    "a batch of none": ("mimic", Request({"x": np.zeros((0, 2), np.float32)})),
    "a batch too large": ("mimic", Request({"x": np.zeros((3, 2), np.float32)})),
    "no shape": ("mimic", Request({"x": np.array(1.0, np.float32)})),
    "a dimension too many": ("mimic", Request({"x": np.zeros((1, 2, 2), np.float32)})),
    "another data type": ("mimic", Request({"x": np.zeros((1, 2), np.int32)}, request_id="eight")),
    "an unknown input": ("mimic", Request({"z": X})),
    "one input too many": ("caller", Request({"do": np.array([b"echo"], dtype=np.object_), "do2": X})),
    "no input": ("mimic", Request({})),
    "only the optional input": ("mimic", Request({"text": text(b"a")})),
    "an unknown output": ("mimic", doing("echo", outputs=["z"])),
    "shapes that Triton changes": ("shaper", Request({"x": integers(1, 3), "flag": FLAG})),
    "shapes of no batch, wrong": ("shaper", Request({"x": integers(2, 3), "flag": FLAG})),
    "one of two inputs": ("shaper", Request({"x": integers(1, 3)})),
    **{
        f"stream: {what}": ("streamer", Request({"x": np.array([1], np.int32)}, parameters={"do": what}))
        for what in ("counting", "last_with_flag", "failing_after_one", "after_the_last", "later", "nothing")
    },
    **{
        f"coroutine: {what}": ("patient", doing(what, request_id="nine"))
        for what in ("asking", "asking_a_stream", "raising")
    },
    **{
        f"ensemble: {what}": ("wired", Request({"in": X}, parameters={"do": what}, request_id="eleven"))
        for what in ("echo", "one_missing", "plain_error", "UNAVAILABLE", "raising")
    },
    **{
        f"ensemble of two: {what}": ("chained", Request({"in": X}, parameters={"do": what}))
        for what in ("echo", "one_missing", "request_seen")
    },
    "ensemble of two: with what is optional": (
        "chained",
        Request({"in": X, "word": text(b"a")}, parameters={"do": "request_seen"}),
    ),
    "ensemble: only the missing output": ("wired", Request({"in": X}, ["told"], parameters={"do": "one_missing"})),
    "ensemble: only the other output": ("wired", Request({"in": X}, ["out"], parameters={"do": "one_missing"})),
    "a request put back": ("again", doing("put_back_twice", request_id="ten")),
    **{
        f"call: {what}": ("caller", Request({"do": np.array([what.encode()], dtype=np.object_)}))
        for what in (
            "too_early",
            "echo",
            "request_seen",
            "refused_by_step",
            "raising",
            "unknown_model",
            "its_version",
            "another_version",
            "unknown_output",
            "wrong_input",
            "decoupled",
            "decoupled_last_with_flag",
            "decoupled_wrongly",
            "decoupled_of_one",
        )
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_kit_answers_as_triton_does(case: str, real: InferenceServerClient, steps: Steps) -> None:
    model, request = CASES[case]
    expected = in_triton(real, model, request)
    got = in_kit(steps, model, request)
    if model == "streamer":
        got = [["", each[1]] if isinstance(each, list) else each for each in got]
    assert repr(got) == repr(expected)


def test_an_exception_fails_everything_in_its_execution(real: InferenceServerClient, steps: Steps) -> None:
    requests = [doing("echo"), doing("raising")]
    with ThreadPoolExecutor() as callers:
        expected = list(callers.map(lambda request: in_triton(real, "pair", request), requests))
    replies = steps["pair"].execute(requests)
    assert [[seen(each) for each in reply.responses] for reply in replies] == expected
    assert [reply.error is not None and reply.error.whole_execution for reply in replies] == [True, True]


def test_a_request_put_back_outside_of_an_iterative_sequence_does_not_come_again(
    real: InferenceServerClient, steps: Steps
) -> None:
    x = InferInput("x", list(X.shape), "FP32")
    x.set_data_from_numpy(X)
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        real.infer("patient", [x], parameters={"do": "put_back_twice"}, client_timeout=LOST_S)
    with pytest.raises(ContractBroken, match="only with `sequence_batching"):
        steps["patient"].execute([doing("put_back_twice")])


def test_a_step_sees_alike_that_its_caller_hung_up(
    real: InferenceServerClient, steps: Steps, repository: Path, wait_until: WaitUntil
) -> None:
    waiting = repository / "patient" / "1" / "waiting"
    x, hung_up = InferInput("x", list(X.shape), "FP32"), Queue[Any]()
    x.set_data_from_numpy(X)
    call = real.async_infer(
        "patient", [x], lambda result, error: hung_up.put(error), parameters={"do": "until_cancelled"}
    )
    wait_until(waiting.exists, "Triton executes the request", ANSWER_WAIT_S)
    call.cancel()
    assert "CANCELLED" in str(hung_up.get(timeout=ANSWER_WAIT_S))
    expected = in_triton(real, "patient", doing("told"))

    waiting.unlink()
    request = doing("until_cancelled")
    with ThreadPoolExecutor() as callers:
        answer = callers.submit(in_kit, steps, "patient", request)
        wait_until(waiting.exists, "the kit executes the request", ANSWER_WAIT_S)
        request.cancel()
        assert answer.result(ANSWER_WAIT_S) == [["CANCELLED", "gone"]]
    assert in_kit(steps, "patient", doing("told")) == expected
