"""conch_client against the real server and the repository's own pipelines.

The fixture `triton` is the running server. What a pipeline answers is judged as far as the client matters.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import tritonclient.grpc
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from conch_client import Client, DeadlineExceeded, InvalidInput, ModelNotFound

TEXTS = [
    "A joy from start to finish.",
    "Broke after two days, and nobody answers the phone.",
    "It is not bad at all; in fact I would buy it again, for my sister, who is hard to please.",
]


class Triton(Protocol):
    grpc_url: str
    http_url: str


@pytest.fixture
def client(triton: Triton) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


def digit(number: int) -> NDArray[np.uint8]:
    """A handwritten digit, light on dark, eight times as large as the data set has it."""
    pixels: NDArray[np.float64] = load_digits().images[number]
    return np.kron(pixels * 255 / 16, np.ones((8, 8))).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def test_the_server_is_live_and_its_pipelines_are_ready(client: Client) -> None:
    assert client.is_live() and client.is_ready()
    assert all(client.model_ready(pipeline) for pipeline in ("embed", "sentiment", "digits"))


def test_embeddings_are_unit_vectors_one_by_one_or_together(client: Client) -> None:
    together = client.embed(TEXTS)
    assert together.shape == (3, 384) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(together, [client.embed(text) for text in TEXTS], atol=1e-5)


def test_the_answer_is_the_one_unmodified_tritonclient_gets(client: Client, triton: Triton) -> None:
    theirs = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
    tensor = tritonclient.grpc.InferInput("text", [3, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text] for text in TEXTS], dtype=object))
    expected = theirs.infer("embed", [tensor]).as_numpy("embedding")
    theirs.close()
    np.testing.assert_allclose(client.embed(TEXTS), expected, atol=1e-6)


def test_praise_and_complaint_get_their_labels_best_first(client: Client) -> None:
    praise, complaint, _ = client.classify("sentiment", TEXTS)
    assert (praise.label, complaint.label) == ("positive", "negative")
    for answer in (praise, complaint):
        scores = list(answer.scores.values())
        assert scores == sorted(scores, reverse=True)
        assert (answer.label, answer.score) == next(iter(answer.scores.items()))


def test_top_k_limits_the_labels(client: Client) -> None:
    assert len(client.classify("sentiment", TEXTS[0], top_k=1).scores) == 1


def test_an_image_gets_the_same_label_however_it_is_given(client: Client, tmp_path: Path) -> None:
    pixels = digit(7)
    path = tmp_path / "seven.png"
    path.write_bytes(png(pixels))
    ways = [path, str(path), png(pixels), pixels, Image.fromarray(pixels)]
    assert [answer.label for answer in client.classify("digits", ways)] == ["7"] * len(ways)
    assert client.classify("digits", path).label == "7"
    assert client.classify("digits", Image.fromarray(pixels)).label == "7"


def test_any_model_can_be_called_by_its_tensors(client: Client) -> None:
    result = client.infer("sentiment", text=TEXTS[0])
    assert set(result) == {"label", "score"}
    assert result["label"].ndim == result["score"].ndim == 1
    assert client.infer("sentiment", text=TEXTS)["score"].shape[0] == len(TEXTS)


def test_threads_share_a_client_and_each_gets_its_own_answer(client: Client) -> None:
    alone = {text: client.embed(text) for text in TEXTS}
    with ThreadPoolExecutor(16) as pool:
        for text, embedding in zip(TEXTS * 20, pool.map(client.embed, TEXTS * 20), strict=True):
            np.testing.assert_allclose(embedding, alone[text], atol=1e-5)


def test_a_batch_over_the_maximum_is_refused_before_it_is_sent(client: Client) -> None:
    maximum = client.config("embed")["max_batch_size"]
    with pytest.raises(InvalidInput, match=f"a batch of {maximum + 1} is over the model's maximum of {maximum}"):
        client.embed(["a"] * (maximum + 1))


def test_an_image_that_is_none_is_the_callers_mistake(client: Client) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.classify("digits", b"not an image")
    assert caught.value.model == "digits"


def test_an_unknown_model_and_a_wrong_tensor_are_named(client: Client) -> None:
    with pytest.raises(ModelNotFound, match="no_such_model"):
        client.infer("no_such_model", text="a")
    with pytest.raises(InvalidInput, match="did you mean 'text'"):
        client.infer("sentiment", texts="a")


def test_a_call_without_time_is_given_up_and_the_next_one_works(client: Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.embed(TEXTS, timeout_s=1e-4)
    assert client.embed(TEXTS).shape == (3, 384)
