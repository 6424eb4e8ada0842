"""Anyone's client works: tritonclient as NVIDIA ships it, over HTTP and gRPC, and curl."""

from __future__ import annotations

import functools
import json
import queue
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
import tritonclient.http

from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

TEXTS = [
    "A wonderful stay: friendly staff, a clean room and a great breakfast.",
    "Broke on the second day and nobody answers my emails.",
]
SEVEN = (Settings().repository / "digits" / "samples" / "seven.png").read_bytes()
CURL_LIMIT_S = 20

Infer = Callable[..., Any]
Strings = npt.NDArray[np.object_]


def column(*items: str | bytes) -> Strings:
    """BYTES [n, 1]."""
    return np.array([[item] for item in items], dtype=np.object_)


def infer_with(client: Any, library: Any, model: str, tensor: str, items: Strings, **options: Any) -> Any:
    given = library.InferInput(tensor, list(items.shape), "BYTES")
    given.set_data_from_numpy(items)
    return client.infer(model, [given], **options)


@pytest.fixture(params=["http", "grpc"])
def infer(request: pytest.FixtureRequest, triton: EmbeddedServer) -> Iterator[Infer]:
    """tritonclient's infer over one protocol: model, tensor name and items in, its result out."""
    library, url = (
        (tritonclient.http, triton.http_url) if request.param == "http" else (tritonclient.grpc, triton.grpc_url)
    )
    with library.InferenceServerClient(url) as client:
        yield functools.partial(infer_with, client, library)


def test_tritonclient_gets_labels_best_first(infer: Infer) -> None:
    answer = infer("sentiment", "text", column(*TEXTS))
    assert [label.decode() for label in answer.as_numpy("label")[:, 0]] == ["positive", "negative"]
    scores = answer.as_numpy("score")
    assert scores.shape == (2, 2) and scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert (scores[:, 0] > scores[:, 1]).all()


def test_tritonclient_gets_embeddings(infer: Infer) -> None:
    together = infer("embed", "text", column(*TEXTS)).as_numpy("embedding")
    assert together.shape == (2, 384) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = infer("embed", "text", column(TEXTS[1])).as_numpy("embedding")
    np.testing.assert_allclose(together[1:], alone, atol=1e-5)


def test_tritonclient_gets_a_digit(infer: Infer) -> None:
    answer = infer("digits", "image", column(SEVEN), parameters={"top_k": 3})
    assert answer.as_numpy("label").shape == (1, 3)
    assert answer.as_numpy("label")[0, 0] == b"7"


def test_tritonclient_over_http_gets_the_same_in_plain_json(triton: EmbeddedServer) -> None:
    library = tritonclient.http
    given = library.InferInput("text", [2, 1], "BYTES").set_data_from_numpy(column(*TEXTS), binary_data=False)
    wanted = library.InferRequestedOutput("embedding", binary_data=False)
    with library.InferenceServerClient(triton.http_url) as client:
        plain = client.infer("embed", [given], outputs=[wanted]).as_numpy("embedding")
        binary = infer_with(client, library, "embed", "text", column(*TEXTS)).as_numpy("embedding")
    np.testing.assert_allclose(plain, binary, atol=1e-6)


def test_tritonclient_over_a_grpc_stream_gets_the_same(triton: EmbeddedServer) -> None:
    library = tritonclient.grpc
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    given = library.InferInput("text", [1, 1], "BYTES")
    given.set_data_from_numpy(column(TEXTS[0]))
    with library.InferenceServerClient(triton.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("embed", [given])
        streamed, error = answers.get(timeout=CURL_LIMIT_S)
        client.stop_stream()
        alone = infer_with(client, library, "embed", "text", column(TEXTS[0])).as_numpy("embedding")
    assert error is None
    np.testing.assert_allclose(streamed.as_numpy("embedding"), alone, atol=1e-6)


def test_metadata_and_statistics_need_no_key(triton: EmbeddedServer) -> None:
    with tritonclient.http.InferenceServerClient(triton.http_url) as client:
        assert client.get_server_metadata()["name"] == "triton"
        (tensor,) = client.get_model_metadata("digits")["inputs"]
        assert tensor == {"name": "image", "datatype": "BYTES", "shape": [-1, 1]}
        assert client.get_inference_statistics("digits")["model_stats"][0]["name"] == "digits"


@pytest.fixture
def curl(triton: EmbeddedServer) -> Callable[..., Any]:
    """POST a JSON value to a path of the server with the curl program; the JSON it prints."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("this machine has no curl")

    def run(path: str, body: Any) -> Any:
        command = [program, "-sS", "--fail-with-body", f"http://{triton.http_url}{path}", "-d", json.dumps(body)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CURL_LIMIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def test_curl_gets_labels_from_infer(curl: Callable[..., Any]) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": TEXTS}
    outputs = {each["name"]: each for each in curl("/v2/models/sentiment/infer", {"inputs": [tensor]})["outputs"]}
    assert outputs["label"]["shape"] == [2, 2]
    assert outputs["label"]["data"][::2] == ["positive", "negative"]
    assert outputs["score"]["data"][0] > outputs["score"]["data"][1]


def test_curl_gets_an_embedding_from_infer(curl: Callable[..., Any]) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": TEXTS[:1]}
    (output,) = curl("/v2/models/embed/infer", {"inputs": [tensor]})["outputs"]
    assert output["shape"] == [1, 384]
    assert sum(value * value for value in output["data"]) == pytest.approx(1, abs=1e-4)


def test_curl_gets_labels_from_generate(curl: Callable[..., Any]) -> None:
    # A scalar is a batch of one text, a list a batch of its length; outputs come back as flat lists, and fields that
    # are no tensors are the request's parameters.
    answer = curl("/v2/models/sentiment/generate", {"text": TEXTS[0]})
    assert answer["label"] == ["positive", "negative"]
    assert answer["score"][0] > answer["score"][1]
    assert curl("/v2/models/sentiment/generate", {"text": TEXTS[1], "top_k": 1})["label"] == "negative"
    assert curl("/v2/models/sentiment/generate", {"text": TEXTS, "top_k": 1})["label"] == ["positive", "negative"]


def test_curl_gets_an_embedding_from_generate(curl: Callable[..., Any]) -> None:
    assert len(curl("/v2/models/embed/generate", {"text": TEXTS[0]})["embedding"]) == 384
