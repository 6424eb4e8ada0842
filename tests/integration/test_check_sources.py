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

from conch_tools.check import check_repository
from conch_tools.server import EmbeddedServer

StartTriton = Callable[..., EmbeddedServer]

ANSWER_WITHIN_S = 20

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
    def execute(self, requests):
"""
EACH = """\
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]))
return responses
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
    "PYT002": (CONFIG, EACH.replace('"y"', '"Y"')),
    "PYT007": (CONFIG, EACH.replace(", x)]", ", x.astype(np.float64))]")),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model for each fault, which has the name of its rule."""
    folder = tmp_path_factory.mktemp("sources")
    for name, (config, execute) in MODELS.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        source = SOURCE + textwrap.indent(textwrap.dedent(execute), " " * 8)
        (folder / name / "1" / "model.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def client(start_triton: StartTriton, repository: Path) -> Iterator[InferenceServerClient]:
    """A client of a server with all these models: they load in spite of their faults."""
    with InferenceServerClient(start_triton(repository).grpc_url) as client:
        yield client


def two_rows() -> InferInput:
    given = InferInput("x", [2, 2], "FP32")
    given.set_data_from_numpy(np.ones((2, 2), dtype=np.float32))
    return given


def ask(client: InferenceServerClient, model: str) -> InferResult:
    """Send two rows."""
    return client.infer(model, [two_rows()], outputs=[InferRequestedOutput("y")], client_timeout=ANSWER_WITHIN_S)


def test_each_fault_is_found_in_its_model(repository: Path) -> None:
    found = {(finding.file.relative_to(repository).parts[0], finding.code) for finding in check_repository(repository)}
    assert {(name, name) for name in MODELS if name != "sound"} <= found
    assert "sound" not in {model for model, _ in found}


@pytest.mark.parametrize("model", ["PYT001", "PYR001", "PYR004", "PYC001"])
def test_requests_fail_where_an_error_was_found(client: InferenceServerClient, model: str) -> None:
    with pytest.raises(InferenceServerException):
        ask(client, model)


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
