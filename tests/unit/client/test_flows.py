"""The conversations themselves, with replies made by hand: no channel, no server."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest

from conch_client import (
    Answer,
    Classification,
    ConchError,
    InferenceFailed,
    InvalidInput,
    ModelMetadata,
    ModelNotFound,
    ModelNotReady,
    ServerUnavailable,
    TensorMetadata,
)
from conch_client import _flows as flows
from conch_client._call import Call, Deadline
from conch_client._encode import WireTensor
from conch_client._flows import Flow
from conch_client._protocol import WireAnswer, WirePart
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
    assert play(flows.classify(Catalog(), CALL, nothing), []) == ([], [])


def classifier(label_shape: tuple[int, ...], score_shape: tuple[int, ...]) -> list[Reply]:
    tensors = (TensorMetadata("text", "BYTES", (-1, 1)),)
    labels = b"".join(b"\x01\x00\x00\x00%d" % index for index in range(int(np.prod(label_shape))))
    scores = np.zeros(score_shape, dtype=np.float32).tobytes()
    outputs = [
        WireTensor("label", "BYTES", label_shape, labels),
        WireTensor("score", "FP32", score_shape, scores),
    ]
    return [ModelMetadata("m", ("1",), "ensemble", tensors, ()), BATCHING, WireAnswer("m", "1", "r", outputs)]


@pytest.mark.parametrize(("labels", "scores"), [((1, 2), (1, 3)), ((1, 0), (1, 0)), ((1, 2, 2, 2), (1, 2, 2, 2))])
def test_labels_and_scores_that_do_not_match_are_a_fault_of_the_answer(
    labels: tuple[int, ...], scores: tuple[int, ...]
) -> None:
    with pytest.raises(InferenceFailed, match="do not go together"):
        play(flows.classify(Catalog(), CALL, "a"), classifier(labels, scores))


@pytest.mark.parametrize("rows", [1, 2])
def test_of_two_classes_of_one_name_the_better_score_counts(rows: int) -> None:
    labels = [["no", "yes", "no"]] * rows
    raw = b"".join(len(label).to_bytes(4, "little") + label.encode() for row in labels for label in row)
    scores = np.array([[0.5, 0.375, 0.125]] * rows, dtype=np.float32).tobytes()
    outputs = [WireTensor("label", "BYTES", (rows, 3), raw), WireTensor("score", "FP32", (rows, 3), scores)]
    replies = [*classifier((1, 1), (1, 1))[:2], WireAnswer("m", "1", "r", outputs)]
    _, found = play(flows.classify(Catalog(), CALL, "a" if rows == 1 else ["a", "b"]), replies)
    for each in found if isinstance(found, list) else [found]:
        assert each == Classification(label="no", score=0.5, scores={"no": 0.5, "yes": 0.375})
        assert list(each.scores) == ["no", "yes"]


@pytest.mark.parametrize("rows", [1, 3])
def test_an_answer_with_other_than_a_row_for_each_input_is_not_matched_with_them(rows: int) -> None:
    with pytest.raises(InferenceFailed, match=rf"label \[{rows}, 2\] has not one row for each of 2 items"):
        play(flows.classify(Catalog(), CALL, ["a", "b"]), classifier((rows, 2), (rows, 2)))


def test_several_rows_for_one_input_are_no_classification_of_it() -> None:
    with pytest.raises(InferenceFailed, match="cannot be read"):
        play(flows.classify(Catalog(), CALL, "a"), classifier((2, 2), (2, 2)))


def test_a_classifier_without_a_batch_dimension_gives_one_classification() -> None:
    tensors = (TensorMetadata("text", "BYTES", (1,)),)
    learned: list[Reply] = [ModelMetadata("m", ("1",), "python", tensors, ()), {"max_batch_size": 0}]
    answered = classifier((2,), (2,))[2]
    _, found = play(flows.classify(Catalog(), CALL, "a"), [*learned, answered])
    assert isinstance(found, Classification) and list(found.scores) == ["0", "1"]


def test_a_model_that_is_no_pipeline_is_for_infer() -> None:
    with pytest.raises(InvalidInput, match=r"none of text, image, features but x: .* infer\(\)"):
        play(flows.classify(Catalog(), CALL, "a"), [metadata(2), BATCHING])


def test_a_pipeline_of_another_kind_is_not_for_this_method() -> None:
    with pytest.raises(InvalidInput, match="the model answers label, score and not embedding"):
        play(flows.embed(Catalog(), CALL, "a"), classifier((1, 2), (1, 2)))


PAIRING = ModelMetadata(
    "m",
    ("1",),
    "ensemble",
    (TensorMetadata("question", "BYTES", (-1, 1)), TensorMetadata("context", "BYTES", (-1, 1))),
    (TensorMetadata("answers", "BYTES", (-1, 1)),),
)


def found(*rows: str) -> WireAnswer:
    data = b"".join(len(row).to_bytes(4, "little") + row.encode() for row in rows)
    return WireAnswer("m", "1", "r", [WireTensor("answers", "BYTES", (len(rows), 1), data)])


SPAN = '{"text": "Ada", "score": 0.9, "start": 4, "end": 7}'
SILENCE = '{"text": "", "score": 0.1, "start": 0, "end": 0}'


def test_one_question_on_one_context_has_one_answer_with_the_next_best_ones() -> None:
    replies: list[Reply] = [PAIRING, BATCHING, found(f"[{SPAN}, {SILENCE}]")]
    _, answer = play(flows.answer(Catalog(), CALL, "who", "the Ada"), replies)
    assert answer == Answer("Ada", 0.9, 4, 7, others=(Answer("", 0.1, 0, 0),))


@pytest.mark.parametrize(
    ("questions", "contexts"),
    [(["who", "why"], "text"), ("who", ["one", "two"]), (("who", "why"), ["one", "two"])],
)
def test_several_of_either_have_a_list_of_answers(questions: object, contexts: object) -> None:
    replies: list[Reply] = [PAIRING, BATCHING, found(f"[{SPAN}]", f"[{SILENCE}]")]
    _, answers = play(flows.answer(Catalog(), CALL, questions, contexts), replies)
    assert answers == [Answer("Ada", 0.9, 4, 7), Answer("", 0.1, 0, 0)]


@pytest.mark.parametrize(("questions", "contexts"), [([], "text"), ("who", []), ([], ())])
def test_no_questions_have_no_answers(questions: object, contexts: object) -> None:
    assert play(flows.answer(Catalog(), CALL, questions, contexts), []) == ([], [])


@pytest.mark.parametrize(
    ("questions", "contexts", "problem"),
    [(["a", "b"], ["x"], "2 questions and 1 contexts do not go together"), (1, "x", "got int")],
)
def test_questions_and_contexts_that_do_not_pair_are_refused(questions: object, contexts: object, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        play(flows.answer(Catalog(), CALL, questions, contexts), [])


@pytest.mark.parametrize("row", ["[]", "no json", '[{"text": "Ada"}]', "3"])
def test_answers_that_cannot_be_read_are_the_servers_fault(row: str) -> None:
    with pytest.raises(InferenceFailed, match="answers is not a list of text, score, start and end"):
        play(flows.answer(Catalog(), CALL, "who", "text"), [PAIRING, BATCHING, found(row)])


@pytest.mark.parametrize("rows", [[], [f"[{SPAN}]"] * 2])
def test_there_is_one_row_of_answers_for_each_question(rows: list[str]) -> None:
    with pytest.raises(InferenceFailed, match=rf"answers \[{len(rows)}, 1\] has not one row for each of 1 items"):
        play(flows.answer(Catalog(), CALL, "who", "text"), [PAIRING, BATCHING, found(*rows)])


IMAGE_TEXT = ModelMetadata(
    "m",
    ("1",),
    "ensemble",
    (TensorMetadata("image", "BYTES", (-1, 1)), TensorMetadata("labels", "BYTES", (-1, -1))),
    (TensorMetadata("label", "BYTES", (-1, -1)), TensorMetadata("score", "FP32", (-1, -1))),
)


def matched(*rows: Sequence[str]) -> WireAnswer:
    """Each row's labels as the answer, best first, with scores 0.75 and 0.25."""
    raw = b"".join(len(label).to_bytes(4, "little") + label.encode() for row in rows for label in row)
    scores = np.array([[0.75, 0.25]] * len(rows), dtype=np.float32).tobytes()
    shape = (len(rows), 2)
    return WireAnswer(
        "m", "1", "r", [WireTensor("label", "BYTES", shape, raw), WireTensor("score", "FP32", shape, scores)]
    )


def test_one_image_is_matched_with_its_best_label() -> None:
    flow = flows.match(Catalog(), CALL, b"png", ["cat", "dog"])
    _, found = play(flow, [IMAGE_TEXT, BATCHING, matched(["dog", "cat"])])
    assert found == Classification(label="dog", score=0.75, scores={"dog": 0.75, "cat": 0.25})


@pytest.mark.parametrize(
    "images", [[b"png"], np.zeros((1, 2, 2, 3), dtype=np.uint8)], ids=["a list", "an array of four"]
)
def test_several_images_are_matched_with_the_same_labels(images: object) -> None:
    flow = flows.match(Catalog(), CALL, images, ["cat", "dog"])
    _, found = play(flow, [IMAGE_TEXT, BATCHING, matched(["cat", "dog"])])
    assert isinstance(found, list) and [each.label for each in found] == ["cat"]


def test_no_images_match_nothing() -> None:
    assert play(flows.match(Catalog(), CALL, [], ["cat"]), []) == ([], [])


def parts(*sent: WirePart) -> Generator[WirePart, None, None]:
    yield from sent


def part(*values: float, problem: str = "", is_last: bool = False) -> WirePart:
    return WirePart(problem, answer(values) if values else WireAnswer("m", "1", "r", []), is_last)


def test_a_stream_gives_its_parts_and_an_empty_last_one_is_no_result() -> None:
    _, stream = play(flows.stream_named(Catalog(), CALL, None, {"x": [1.0]}, None), [metadata(1), BATCHING])
    assert stream.rpc.request.parameters["triton_enable_empty_final_response"].bool_param
    results = stream.results(parts(part(1.0), part(2.0), part(is_last=True)), CALL)
    assert [result["x"].tolist() for result in results] == [[[1.0]], [[2.0]]]


def test_a_stream_takes_values_that_can_be_read_but_once_as_an_inference_does() -> None:
    _, stream = play(flows.stream_named(Catalog(), CALL, None, {"x": iter([1.0])}, None), [metadata(1), BATCHING])
    _, same = play(flows.stream_named(Catalog(), CALL, None, {"x": [1.0]}, None), [metadata(1), BATCHING])
    assert stream.rpc.request.raw_input_contents == same.rpc.request.raw_input_contents


def test_a_stream_that_breaks_off_or_tells_of_a_failure_is_an_error() -> None:
    _, stream = play(flows.stream_named(Catalog(), CALL, None, {"x": [1.0]}, None), [metadata(1), BATCHING])
    with pytest.raises(InferenceFailed, match="ended before its last part"):
        list(stream.results(parts(part(1.0)), CALL))
    with pytest.raises(ModelNotReady, match="a Python process of the model died"):
        list(stream.results(parts(part(1.0), part(problem="Stub process 'm_0' is not healthy.")), CALL))
