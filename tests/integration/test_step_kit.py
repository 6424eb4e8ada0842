"""The step test kit against Triton itself: the same models and the same requests, the same answers and errors.

The models are those of tests/step_models. What is compared is everything that a caller sees (outputs with data type and
shape, error code and message) and, by the models' own telling, everything that a step sees.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from conch_tools.errors import StepFailed
from conch_tools.step_kit import Request, Step, load_step
from conch_tools.step_kit.exchange import ERROR_CODES
from conch_tools.step_kit.talk import Response

MODELS = Path(__file__).parents[1] / "step_models"
ANSWER_WAIT_S = 20.0
GRPC_NAMES = {"INVALID_ARG": "INVALID_ARGUMENT", "UNSUPPORTED": "UNIMPLEMENTED"}
X = np.array([[1.0, -2.5]], np.float32)

Seen = list[Any]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, and `pair`: a second `mimic`, whose executions wait for two requests."""
    folder = tmp_path_factory.mktemp("step-models") / "repository"
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder / "mimic", folder / "pair")
    config = (folder / "pair" / "config.pbtxt").read_text()
    waiting = config.replace("dynamic_batching {", "dynamic_batching { max_queue_delay_microseconds: 9000000")
    (folder / "pair" / "config.pbtxt").write_text(waiting)
    return folder


@pytest.fixture(scope="module")
def real(start_triton: Any, repository: Path) -> Iterator[InferenceServerClient]:
    server = start_triton(repository)
    with InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def steps(repository: Path) -> Iterator[dict[str, Step]]:
    names = ("mimic", "pair", "streamer", "shaper")
    loaded: dict[str, Step] = {name: load_step(repository / name, strict=False) for name in names}
    loaded["caller"] = load_step(repository / "caller", calls=loaded)
    yield loaded
    for step in loaded.values():
        step.close()


def seen(response: Response) -> Any:
    """What a caller can tell of a response."""
    if response.error is not None:
        return [response.error.code, _without_places(response.error.message)]
    return {name: [str(value.dtype), value.shape, value.tolist()] for name, value in sorted(response.outputs.items())}


def _without_places(message: str) -> str:
    message = re.sub(r"/\S*/(?=\w+/1/)", "", message)
    # Core lists inputs in the order of a hash map.
    return re.sub(r"(?<=\[)'[^]]*(?=\])", lambda names: ",".join(sorted(names[0].split(","))), message)


def in_kit(steps: dict[str, Step], model: str, request: Request) -> Seen:
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
        f"call: {what}": ("caller", Request({"do": np.array([what.encode()], dtype=np.object_)}))
        for what in (
            "too_early",
            "echo",
            "request_seen",
            "refused_by_step",
            "raising",
            "unknown_model",
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
def test_the_kit_answers_as_triton_does(case: str, real: InferenceServerClient, steps: dict[str, Step]) -> None:
    model, request = CASES[case]
    expected = in_triton(real, model, request)
    got = in_kit(steps, model, request)
    if model == "streamer":
        got = [["", each[1]] if isinstance(each, list) else each for each in got]
    assert repr(got) == repr(expected)


def test_an_exception_fails_everything_in_its_execution(real: InferenceServerClient, steps: dict[str, Step]) -> None:
    requests = [doing("echo"), doing("raising")]
    with ThreadPoolExecutor() as callers:
        expected = list(callers.map(lambda request: in_triton(real, "pair", request), requests))
    replies = steps["pair"].execute(requests)
    assert [[seen(each) for each in reply.responses] for reply in replies] == expected
    assert [reply.error is not None and reply.error.whole_execution for reply in replies] == [True, True]
