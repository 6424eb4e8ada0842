"""What is sent to each contender, what is read from it, and when an answer counts as right."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from conch_tools.bench.contenders import (
    LARGEST_DIFFERENCE,
    HttpApi,
    HttpLoad,
    checked_difference,
    read_embedding,
    text_body,
    wire_requests,
)
from conch_tools.bench.errors import ContenderFailed
from conch_tools.bench.load import Answer
from conch_tools.bench.triton import infer_body, read_first_output

Address = tuple[str, int]
Serve = Callable[[Callable[[bytes], bytes]], Address]

API = HttpApi("/predict", text_body, read_embedding)
TEXTS = ["short", "naïve 東京"]
EMBEDDINGS = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)


def embeds(numbers: dict[str, list[float]]) -> Callable[[bytes], bytes]:
    """A service that knows the embedding of each text."""

    def respond(body: bytes) -> bytes:
        answer = json.dumps({"embedding": numbers[json.loads(body)["text"]]}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)

    return respond


def load_of(address: Address) -> HttpLoad:
    return HttpLoad("the service", API, address, wire_requests(API, TEXTS, address[0]), EMBEDDINGS, timeout_s=5.0)


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conch_tools.bench.contenders.WARM_UP_S", 0.0)


def test_a_turn_tells_rate_latencies_and_difference(serve: Serve) -> None:
    right = dict(zip(TEXTS, EMBEDDINGS.tolist(), strict=True))
    turn = load_of(serve(embeds(right))).turn(seconds=0.2, concurrency=2)
    assert turn.requests_per_s > 0
    assert turn.p50_ms is not None and turn.p95_ms is not None and 0 < turn.p50_ms <= turn.p95_ms
    assert turn.largest_difference == 0
    assert turn.average_batch is None


def test_a_contender_that_mixes_up_its_answers_has_not_won(serve: Serve) -> None:
    swapped = dict(zip(TEXTS, EMBEDDINGS[::-1].tolist(), strict=True))
    with pytest.raises(ContenderFailed, match="the service gives other embeddings"):
        load_of(serve(embeds(swapped))).turn(seconds=0.2, concurrency=2)


def test_a_request_on_the_wire_announces_its_bytes() -> None:
    head, _, body = wire_requests(API, TEXTS, "127.0.0.1")[1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert json.loads(body) == {"text": TEXTS[1]}


def test_triton_is_asked_for_one_text_and_binary_tensors() -> None:
    asked = json.loads(infer_body(TEXTS[1]))
    assert asked["inputs"] == [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [TEXTS[1]]}]
    assert asked["parameters"] == {"binary_data_output": True}


def test_tritons_tensor_follows_the_json_of_its_answer() -> None:
    said = b'{"outputs":[]}'
    answer = Answer(0, b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 14", said + EMBEDDINGS[0].tobytes())
    np.testing.assert_array_equal(read_first_output(answer), EMBEDDINGS[0])


@pytest.mark.parametrize(
    "answers",
    [EMBEDDINGS + 2 * LARGEST_DIFFERENCE, EMBEDDINGS[:1], EMBEDDINGS * np.float32(np.nan)],
    ids=["too far", "too few", "no numbers"],
)
def test_wrong_embeddings_are_refused(answers: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ContenderFailed):
        checked_difference("it", answers, EMBEDDINGS)


def test_rounding_is_not_a_difference() -> None:
    assert checked_difference("it", EMBEDDINGS + LARGEST_DIFFERENCE / 2, EMBEDDINGS) <= LARGEST_DIFFERENCE
