"""The parity gate on the running server: it passes what is right, and names the step that is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conch_client import Client
from conch_tools.build.parity import check_server
from conch_tools.build.reference import CORPUS_SIZE, Reference, StepAnswers, byte_item, mixed_texts
from conch_tools.errors import ParityError
from conch_tools.parity.protocols import OverGrpc, OverHttp


@pytest.fixture
def client(triton: Any) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


@pytest.fixture
def reference(client: Client) -> Reference:
    """What the server itself answers to each text alone: right by definition, until a test spoils it."""
    texts = mixed_texts(["the staff were kind", "broke on the second day"])
    ids, logits, labels, scores = [], [], [], []
    for text in texts:
        tokens = client.infer("sentiment_tokenize", text=np.array([[text]], dtype=object))
        ids.append(tokens["input_ids"][0])
        logits.append(client.infer("sentiment_model", inputs=tokens.outputs)["logits"][0])
        ranked = client.infer("sentiment_labels", logits=logits[-1][None])
        labels.append(np.array([str(label).encode() for label in ranked["label"][0]], dtype=object))
        scores.append(ranked["score"][0])
    return Reference(
        library="the server itself",
        items=[byte_item(text=text) for text in texts],
        steps=[
            StepAnswers("sentiment_tokenize", {"input_ids": ids}),
            StepAnswers("sentiment_model", {"logits": logits}),
            StepAnswers("sentiment_labels", {"label": labels, "score": scores}),
        ],
        tolerance=1e-4,
    )


def spoiled(reference: Reference, step: int, **outputs: list[Any]) -> Reference:
    steps = list(reference.steps)
    steps[step] = StepAnswers(steps[step].model, {**steps[step].outputs, **outputs})
    return replace(reference, steps=steps)


def wrong_scores(reference: Reference) -> Reference:
    return spoiled(reference, 2, score=[score + 0.01 for score in reference.answers["score"]])


def test_batches_of_every_size_agree_as_one_request_and_as_concurrent_ones(
    client: Client, reference: Reference
) -> None:
    agreement = check_server("sentiment", reference, OverGrpc(client))
    assert agreement.cases > 2 * CORPUS_SIZE
    assert agreement.worst_difference <= 1e-4


def test_http_gives_the_same_answers(triton: Any, reference: Reference) -> None:
    with OverHttp(triton.http_url, timeout_s=30) as ask:
        agreement = check_server("sentiment", reference, ask)
    assert agreement.cases > 2 * CORPUS_SIZE
    assert agreement.worst_difference <= 1e-4


def test_a_step_that_differs_is_named_over_http_too(triton: Any, reference: Reference) -> None:
    with OverHttp(triton.http_url, timeout_s=30) as ask, pytest.raises(ParityError) as refused:
        check_server("sentiment", wrong_scores(reference), ask)
    assert refused.value.step == "sentiment_labels"


def test_a_step_that_differs_is_named(client: Client, reference: Reference) -> None:
    logits = [row + np.float32(0.5) for row in reference.steps[1].outputs["logits"]]
    with pytest.raises(ParityError) as refused:
        check_server("sentiment", spoiled(wrong_scores(reference), 1, logits=logits), OverGrpc(client))
    assert refused.value.step == "sentiment_model"
    assert "`logits` differs by" in str(refused.value)


def test_the_first_step_that_differs_is_named_even_if_later_ones_do_too(client: Client, reference: Reference) -> None:
    ids = [np.append(row[:-1], 7).astype(np.int32) for row in reference.steps[0].outputs["input_ids"]]
    with pytest.raises(ParityError) as refused:
        check_server("sentiment", spoiled(wrong_scores(reference), 0, input_ids=ids), OverGrpc(client))
    assert refused.value.step == "sentiment_tokenize"


def test_a_label_flip_is_a_difference(client: Client, reference: Reference) -> None:
    flipped = [row[::-1] for row in reference.answers["label"]]
    with pytest.raises(ParityError, match=r"`label` is (positive|negative), expected is "):
        check_server("sentiment", spoiled(reference, 2, label=flipped), OverGrpc(client))
