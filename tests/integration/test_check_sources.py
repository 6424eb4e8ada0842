"""What the check says of a model.py is what the real server does with it: each fault is found, and each one is met."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from conch_client import Client
from conch_tools.check import check_repository
from conch_tools.healing.golden import Symptom, ask_golden
from conch_tools.pipelines import load_pipeline
from conch_tools.server import EmbeddedServer

StartTriton = Callable[..., EmbeddedServer]

ANSWER_WITHIN_S = 20
GIVE_UP_AFTER_S = 2

CONFIG = """\
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
"""
SOURCE = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    responses = []

    def execute(self, requests):
"""
EACH = """\
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]))
return responses
"""
PIPELINE = """\
task = "feature-extraction"
description = "The same again."

[source]
folder = "model"

[[samples]]
input = { x = [1.0, 2.0] }
expect = { y = [1.0, 2.0] }
"""
MODELS = {
    "sound": (CONFIG, EACH),
    "PYT001": (CONFIG, EACH.replace('"x"', '"X"')),
    "PYR001": (CONFIG, EACH.replace("return responses\n", "")),
    "PYR004": (
        CONFIG,
        EACH.replace("    responses.", "    for row in x:\n        responses.").replace(", x)]", ", row)]"),
    ),
    "PYR006": (CONFIG + "model_transaction_policy { decoupled: true }\n", EACH),
    "PYC001": (
        CONFIG,
        """\
        x = pb_utils.get_input_tensor_by_name(requests[0], "x")
        answer = pb_utils.InferenceRequest(model_name="nobody", inputs=[x], requested_output_names=["y"]).exec()
        if answer.has_error():
            raise pb_utils.TritonModelException(answer.error().message())
        return [pb_utils.InferenceResponse(answer.output_tensors()) for request in requests]
        """,
    ),
    "PYC004": (
        CONFIG,
        """\
        def answer_to(x):
            ask = pb_utils.InferenceRequest(model_name="PYT001", inputs=[x], requested_output_names=["y"])
            return ask.exec()

        answer = answer_to(pb_utils.get_input_tensor_by_name(requests[0], "x"))
        y = pb_utils.get_output_tensor_by_name(answer, "y").as_numpy()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", y)]) for request in requests]
        """,
    ),
    "PYR013": (
        CONFIG,
        """\
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            try:
                responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x.reshape(3))]))
            except ValueError:
                pass
        return responses
        """,
    ),
    "PYR013_none": (
        CONFIG,
        """\
        def answer_to(request):
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            if not x.size:
                return pb_utils.InferenceResponse([pb_utils.Tensor("y", x)])

        return [answer_to(request) for request in requests]
        """,
    ),
    "PYR013_kept": (CONFIG, EACH.replace("responses = []\n", "").replace("responses", "self.responses")),
    "CAC003": (
        CONFIG + "response_cache { enable: true }\n",
        "if hasattr(self, 'answered'):\n    raise ValueError('out of order')\nself.answered = True\n" + EACH,
    ),
    "PYT002": (CONFIG, EACH.replace('"y"', '"Y"')),
    "PYT007": (CONFIG, EACH.replace(", x)]", ", x.astype(np.float64))]")),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model for each fault, whose name begins with its rule."""
    folder = tmp_path_factory.mktemp("sources")
    for name, (config, execute) in MODELS.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        source = SOURCE + textwrap.indent(textwrap.dedent(execute), " " * 8)
        (folder / name / "1" / "model.py").write_text(source)
    (folder / "CAC003" / "pipeline.toml").write_text(PIPELINE)
    return folder


@pytest.fixture(scope="module")
def triton(start_triton: StartTriton, repository: Path) -> EmbeddedServer:
    """A server with all these models: they load in spite of their faults."""
    return start_triton(repository)


@pytest.fixture(scope="module")
def client(triton: EmbeddedServer) -> Iterator[InferenceServerClient]:
    """A client of it."""
    with InferenceServerClient(triton.grpc_url) as client:
        yield client


def two_rows() -> InferInput:
    given = InferInput("x", [2, 2], "FP32")
    given.set_data_from_numpy(np.ones((2, 2), dtype=np.float32))
    return given


def ask(client: InferenceServerClient, model: str, timeout_s: float = ANSWER_WITHIN_S) -> InferResult:
    """Send two rows."""
    return client.infer(model, [two_rows()], outputs=[InferRequestedOutput("y")], client_timeout=timeout_s)


def test_each_fault_is_found_in_its_model(repository: Path) -> None:
    found = {(finding.file.relative_to(repository).parts[0], finding.code) for finding in check_repository(repository)}
    assert {(name, name.partition("_")[0]) for name in MODELS if name != "sound"} <= found
    assert "sound" not in {model for model, _ in found}


@pytest.mark.parametrize("model", ["PYT001", "PYR004", "PYR013", "PYC001"])
def test_requests_fail_where_an_error_was_found(client: InferenceServerClient, model: str) -> None:
    with pytest.raises(InferenceServerException, match="INTERNAL"):
        ask(client, model)


@pytest.mark.parametrize("model", ["PYR001", "PYR013_none"])
def test_requests_that_get_none_for_a_response_wait_until_their_callers_give_up(
    client: InferenceServerClient, model: str
) -> None:
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        ask(client, model, GIVE_UP_AFTER_S)


def test_an_output_of_another_name_is_missing_from_the_response(client: InferenceServerClient) -> None:
    assert ask(client, "sound").as_numpy("y").shape == (2, 2)
    assert ask(client, "PYT002").as_numpy("y") is None


def test_an_output_of_another_type_reaches_callers_as_it_is(client: InferenceServerClient) -> None:
    assert ask(client, "PYT007").get_output("y").datatype == "FP64"


def test_a_decoupled_model_that_returns_its_responses_fails(client: InferenceServerClient) -> None:
    answers = Queue[InferenceServerException | None]()
    client.start_stream(callback=lambda result, error: answers.put(error))
    client.async_stream_infer("PYR006", [two_rows()])
    error = answers.get(timeout=ANSWER_WITHIN_S)
    client.stop_stream()
    assert "decoupled" in str(error)


def test_a_list_of_responses_that_is_never_emptied_fails_the_second_request(client: InferenceServerClient) -> None:
    assert ask(client, "PYR013_kept").as_numpy("y").shape == (2, 2)
    with pytest.raises(InferenceServerException):
        ask(client, "PYR013_kept")


def test_an_unchecked_error_of_another_model_is_lost(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="'NoneType' object has no attribute 'as_numpy'"):
        ask(client, "PYC004")


def test_the_cache_answers_the_golden_requests_of_a_model_that_fails(
    client: InferenceServerClient, triton: EmbeddedServer, repository: Path
) -> None:
    pipeline = load_pipeline(repository / "CAC003")
    with Client(triton.grpc_url) as golden:
        assert ask_golden(golden, pipeline, ANSWER_WITHIN_S).symptom is Symptom.WELL
        with pytest.raises(InferenceServerException, match="out of order"):
            ask(client, "CAC003")
        assert ask_golden(golden, pipeline, ANSWER_WITHIN_S).symptom is Symptom.WELL
