"""The conversations themselves, with replies made by hand: no channel, no server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pytest

from conch_client import (
    ConchError,
    InferenceFailed,
    InvalidInput,
    ModelMetadata,
    ModelNotFound,
    ServerUnavailable,
    TensorMetadata,
)
from conch_client import _flows as flows
from conch_client._call import Call, Deadline
from conch_client._encode import WireTensor
from conch_client._flows import Flow
from conch_client._protocol import WireAnswer
from conch_client._spec import Catalog

T = TypeVar("T")

CALL = Call(endpoint="host:8001", deadline=Deadline(math.inf), model="m", request_id="r")

Reply = ModelMetadata | dict[str, Any] | WireAnswer | ConchError


def metadata(width: int, version: str = "1") -> ModelMetadata:
    tensors = (TensorMetadata("x", "FP32", (-1, width)),)
    return ModelMetadata("m", (version,), "python", tensors, tensors)


def answer(values: Sequence[float], version: str = "1") -> WireAnswer:
    data = np.array(values, dtype=np.float32).tobytes()
    return WireAnswer("m", version, "r", [WireTensor("x", "FP32", (1, len(values)), data)])


BATCHING = {"max_batch_size": 4}


def play(flow: Flow[T], replies: Sequence[Reply]) -> tuple[list[str], T]:
    """The methods the flow asks and its result, given these replies in turn."""
    asked = []
    rest = list(replies)
    try:
        rpc = next(flow)
        while True:
            asked.append(rpc.method)
            reply = rest.pop(0)
            rpc = flow.throw(reply) if isinstance(reply, ConchError) else flow.send(reply)
    except StopIteration as end:
        assert not rest
        return asked, end.value


def infer(catalog: Catalog, *values: float) -> Flow[flows.Outcome]:
    return flows.infer(catalog, CALL, lambda _: {"x": list(values)}, {})


def test_a_model_is_learned_once() -> None:
    catalog = Catalog()
    asked, _ = play(infer(catalog, 1, 2), [metadata(2), BATCHING, answer([1, 2])])
    assert asked == ["ModelMetadata", "ModelConfig", "ModelInfer"]
    asked, outcome = play(infer(catalog, 3, 4), [answer([3, 4])])
    assert asked == ["ModelInfer"]
    assert outcome.result["x"].tolist() == [3, 4]


@pytest.mark.parametrize("refusal", [InvalidInput("expected [-1,3]"), ModelNotFound("unknown version")])
def test_a_refusal_by_a_model_that_has_changed_makes_the_call_anew(refusal: ConchError) -> None:
    catalog = Catalog()
    play(infer(catalog, 1, 2), [metadata(2), BATCHING, answer([1, 2])])
    changed: list[Reply] = [refusal, metadata(2, version="2"), BATCHING, answer([1, 2], "2")]
    asked, outcome = play(infer(catalog, 1, 2), changed)
    assert asked == ["ModelInfer", "ModelMetadata", "ModelConfig", "ModelInfer"]
    assert outcome.result.version == "2"


def test_a_stale_idea_of_a_model_does_not_refuse_what_the_model_takes() -> None:
    catalog = Catalog()
    play(infer(catalog, 1, 2), [metadata(2), BATCHING, answer([1, 2])])
    asked, outcome = play(infer(catalog, 1, 2, 3), [metadata(3), BATCHING, answer([1, 2, 3])])
    assert asked == ["ModelMetadata", "ModelConfig", "ModelInfer"]
    assert outcome.result["x"].tolist() == [1, 2, 3]


def test_a_refusal_by_the_model_as_it_is_stands() -> None:
    catalog = Catalog()
    play(infer(catalog, 1, 2), [metadata(2), BATCHING, answer([1, 2])])
    with pytest.raises(InvalidInput, match="not this number"):
        play(infer(catalog, 1, 2), [InvalidInput("not this number"), metadata(2), BATCHING])


def test_a_model_that_was_never_seen_is_asked_once_and_not_again_for_a_refusal() -> None:
    with pytest.raises(InvalidInput, match="not this number"):
        play(infer(Catalog(), 1, 2), [metadata(2), BATCHING, InvalidInput("not this number")])


def test_other_failures_are_not_taken_for_a_change() -> None:
    catalog = Catalog()
    play(infer(catalog, 1, 2), [metadata(2), BATCHING, answer([1, 2])])
    with pytest.raises(ServerUnavailable):
        play(infer(catalog, 1, 2), [ServerUnavailable("gone")])
    asked, _ = play(infer(catalog, 1, 2), [answer([1, 2])])
    assert asked == ["ModelInfer"]


def test_a_model_whose_metadata_cannot_be_had_is_not_remembered() -> None:
    catalog = Catalog()
    with pytest.raises(ModelNotFound):
        play(infer(catalog, 1, 2), [ModelNotFound("unknown model")])
    assert catalog.find("m", "") is None


def test_an_answer_of_a_newer_version_makes_the_next_call_learn_the_model_again() -> None:
    catalog = Catalog()
    play(infer(catalog, 1, 2), [metadata(2), BATCHING, answer([1, 2], version="2")])
    asked, _ = play(infer(catalog, 1, 2), [metadata(2, "2"), BATCHING, answer([1, 2], "2")])
    assert asked == ["ModelMetadata", "ModelConfig", "ModelInfer"]


def test_no_texts_have_no_embeddings_of_the_right_width() -> None:
    tensors = (TensorMetadata("embedding", "FP32", (-1, 384)),)
    known = ModelMetadata("m", ("1",), "ensemble", (TensorMetadata("text", "BYTES", (-1, 1)),), tensors)
    asked, embeddings = play(flows.embed(Catalog(), CALL, []), [known, BATCHING])
    assert asked == ["ModelMetadata", "ModelConfig"]
    assert embeddings.shape == (0, 384) and embeddings.dtype == np.float32


@pytest.mark.parametrize("nothing", [[], (), np.array([])])
def test_no_inputs_have_no_classifications(nothing: object) -> None:
    assert play(flows.classify(Catalog(), CALL, nothing, {}), []) == ([], [])


def classifier(label_shape: tuple[int, ...], score_shape: tuple[int, ...]) -> list[Reply]:
    tensors = (TensorMetadata("text", "BYTES", (-1, 1)),)
    labels = b"".join(b"\x01\x00\x00\x00%d" % index for index in range(int(np.prod(label_shape))))
    scores = np.zeros(score_shape, dtype=np.float32).tobytes()
    outputs = [
        WireTensor("label", "BYTES", label_shape, labels),
        WireTensor("score", "FP32", score_shape, scores),
    ]
    return [ModelMetadata("m", ("1",), "ensemble", tensors, ()), BATCHING, WireAnswer("m", "1", "r", outputs)]


@pytest.mark.parametrize(("labels", "scores"), [((1, 2), (1, 3)), ((1, 0), (1, 0))])
def test_labels_and_scores_that_do_not_match_are_a_fault_of_the_answer(
    labels: tuple[int, ...], scores: tuple[int, ...]
) -> None:
    with pytest.raises(InferenceFailed, match="do not go together"):
        play(flows.classify(Catalog(), CALL, "a", {}), classifier(labels, scores))


def test_a_model_that_is_no_pipeline_is_for_infer() -> None:
    with pytest.raises(InvalidInput, match=r"none of text, image, features but x: .* infer\(\)"):
        play(flows.classify(Catalog(), CALL, "a", {}), [metadata(2), BATCHING])


def test_a_pipeline_of_another_kind_is_not_for_this_method() -> None:
    with pytest.raises(InvalidInput, match="the model answers label, score and not embedding"):
        play(flows.embed(Catalog(), CALL, "a"), classifier((1, 2), (1, 2)))
