"""What each method of a client asks, in which order, and what it makes of the answers.

A flow is a generator: it yields an Rpc and is sent the reply, and what it returns is the method's result. It
knows no channel and never waits, so a client that blocks and one that awaits run the same flows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _protocol as protocol
from ._call import Call
from ._constants import (
    ANSWERS_OUTPUT,
    CONTEXT_INPUT,
    EMBEDDING_OUTPUT,
    ENTITIES_OUTPUT,
    FORECAST_OUTPUT,
    HISTORY_INPUT,
    HORIZON_INPUT,
    IMAGE_INPUT,
    LABEL_OUTPUT,
    LABELS_INPUT,
    LOWER_OUTPUT,
    PIPELINE_INPUTS,
    QUESTION_INPUT,
    QUEUE_TIMEOUT_PARAMETER,
    SCORE_OUTPUT,
    UPPER_OUTPUT,
)
from ._datatypes import BYTES
from ._decode import decode
from ._encode import encode
from ._errors import InferenceFailed, InvalidInput, ModelNotFound
from ._protocol import Parameter, Rpc
from ._results import Answer, Classification, Entity, Forecast, InferResult
from ._spec import Catalog, ModelSpec

T = TypeVar("T")

Flow: TypeAlias = Generator[Rpc[Any], Any, T]

Inputs: TypeAlias = Callable[[ModelSpec], Mapping[str, object]]
"""The named values of a request; which names, the model may decide."""


@dataclass(frozen=True)
class Outcome:
    """A result, and whether one item was asked and the batch dimension is therefore gone from it."""

    result: InferResult
    one_item: bool


def ask(rpc: Rpc[T]) -> Flow[T]:
    """One question. Raises what the channel raises."""
    reply: T = yield rpc
    return reply


def learn(catalog: Catalog, call: Call) -> Flow[ModelSpec]:
    """The model as the server has it now."""
    metadata = yield from ask(protocol.model_metadata(call.model, call.version))
    config = yield from ask(protocol.model_config(call.model, call.version))
    spec = ModelSpec.of(call.version, metadata, config)
    catalog.keep(spec)
    return spec


def known(catalog: Catalog, call: Call) -> Flow[ModelSpec]:
    """The model as it was when it was learned, at the latest now."""
    spec = catalog.find(call.model, call.version)
    return spec if spec is not None else (yield from learn(catalog, call))


def infer(catalog: Catalog, call: Call, inputs: Inputs, parameters: Mapping[str, Parameter]) -> Flow[Outcome]:
    """One inference.

    What is known of the model may be out of date. So a refusal, our own or the server's, counts only if the
    model is still the one it was judged by; else the call is made anew, which is safe, as nothing ran.
    """
    spec = catalog.find(call.model, call.version)
    if spec is not None:
        try:
            return (yield from _attempt(catalog, spec, call, inputs, parameters))
        except (InvalidInput, ModelNotFound) as exc:
            refusal = exc
        catalog.forget(spec)
        fresh = yield from learn(catalog, call)
        if fresh == spec:
            raise refusal
    else:
        fresh = yield from learn(catalog, call)
    return (yield from _attempt(catalog, fresh, call, inputs, parameters))


def _attempt(
    catalog: Catalog, spec: ModelSpec, call: Call, inputs: Inputs, parameters: Mapping[str, Parameter]
) -> Flow[Outcome]:
    encoded = encode(spec, inputs(spec), call)
    queue_time_us = call.time_left_us()
    if queue_time_us is not None:
        parameters = {**parameters, QUEUE_TIMEOUT_PARAMETER: queue_time_us}
    rpc = protocol.model_infer(call.model, call.version, call.request_id, encoded.tensors, parameters)
    answer = yield from ask(rpc)
    if spec.outdated_by(answer.version):
        catalog.forget(spec)
    outputs = decode(answer.tensors, encoded.one_item, call)
    result = InferResult(outputs, answer.model or call.model, answer.version, answer.request_id)
    return Outcome(result, encoded.one_item)


def embed(catalog: Catalog, call: Call, texts: object) -> Flow[NDArray[np.float32]]:
    if _is_empty(texts):
        spec = yield from known(catalog, call)
        output = spec.outputs.get(EMBEDDING_OUTPUT)
        return np.empty((0, max(output.dims[-1], 0) if output and output.dims else 0), dtype=np.float32)
    outcome = yield from infer(catalog, call, lambda spec: {_public_input(spec, call): texts}, {})
    return _output(outcome.result, EMBEDDING_OUTPUT, call).astype(np.float32, copy=False)


def classify(
    catalog: Catalog, call: Call, inputs: object, parameters: Mapping[str, Parameter]
) -> Flow[Classification | list[Classification]]:
    if _is_empty(inputs):
        return []
    outcome = yield from infer(catalog, call, lambda spec: {_public_input(spec, call): inputs}, parameters)
    return _classified(outcome, call)


def match(
    catalog: Catalog,
    call: Call,
    images: object,
    labels: Sequence[str],
    parameters: Mapping[str, Parameter],
) -> Flow[Classification | list[Classification]]:
    if _is_empty(images):
        return []
    count = _images_in(images)
    rows = list(labels) if count is None else [list(labels)] * count
    outcome = yield from infer(catalog, call, lambda _: {IMAGE_INPUT: images, LABELS_INPUT: rows}, parameters)
    return _classified(outcome, call)


def zero_shot(
    catalog: Catalog, call: Call, texts: object, labels: Sequence[str], parameters: Mapping[str, Parameter]
) -> Flow[Classification | list[Classification]]:
    if _is_empty(texts):
        return []
    asked = [texts] if isinstance(texts, str) else texts
    if not isinstance(asked, list | tuple):
        raise call.error(InvalidInput, f"texts are a text or a list of texts, got {type(texts).__name__}")
    rows = [list(labels)] * len(asked)
    outcome = yield from infer(
        catalog, call, lambda spec: {_public_input(spec, call): asked, LABELS_INPUT: rows}, parameters
    )
    found = _classified(outcome, call)
    return found[0] if isinstance(texts, str) and isinstance(found, list) else found


def _images_in(images: object) -> int | None:
    """How many there are; None for a single one, be it a path, bytes, a picture or its pixels."""
    if isinstance(images, list | tuple):
        return len(images)
    shape = tuple(getattr(images, "shape", ()))
    return shape[0] if len(shape) in (1, 4) else None


def _classified(outcome: Outcome, call: Call) -> Classification | list[Classification]:
    labels = _output(outcome.result, LABEL_OUTPUT, call)
    scores = _output(outcome.result, SCORE_OUTPUT, call)
    if labels.shape != scores.shape or labels.size == 0:
        problem = f"{LABEL_OUTPUT} {list(labels.shape)} and {SCORE_OUTPUT} {list(scores.shape)} do not go together"
        raise call.error(InferenceFailed, f"the answer cannot be read: {problem}")
    if outcome.one_item:
        return _classification(labels, scores)
    return [_classification(*pair) for pair in zip(labels, scores, strict=True)]


def answer(
    catalog: Catalog, call: Call, questions: object, contexts: object, parameters: Mapping[str, Parameter]
) -> Flow[Answer | list[Answer]]:
    pairs = _pairs(questions, contexts, call)
    if not pairs:
        return []
    tensors = {
        QUESTION_INPUT: [[question] for question, _ in pairs],
        CONTEXT_INPUT: [[context] for _, context in pairs],
    }
    outcome = yield from infer(catalog, call, lambda _: tensors, parameters)
    rows = _output(outcome.result, ANSWERS_OUTPUT, call).reshape(-1).tolist()
    answers = [_answer(row, call) for row in rows]
    return answers[0] if isinstance(questions, str) and isinstance(contexts, str) else answers


def _pairs(questions: object, contexts: object, call: Call) -> list[tuple[object, object]]:
    """Question and context of each row; a single text goes with each of the other."""
    count = next((len(each) for each in (questions, contexts) if isinstance(each, list | tuple)), 1)
    columns = []
    for each in (questions, contexts):
        if isinstance(each, list | tuple):
            columns.append(list(each))
        elif isinstance(each, str):
            columns.append([each] * count)
        else:
            raise call.error(
                InvalidInput, f"question and context are texts or lists of texts, got {type(each).__name__}"
            )
    if len(columns[0]) != len(columns[1]):
        sizes = f"{len(columns[0])} questions and {len(columns[1])} contexts"
        raise call.error(InvalidInput, f"{sizes} do not go together: give as many of each, or one text for all")
    return list(zip(*columns, strict=True))


def _answer(row: str, call: Call) -> Answer:
    """From the JSON list of one row, best first."""
    try:
        best, *others = (Answer(**each) for each in json.loads(row))
    except (TypeError, ValueError) as exc:
        problem = f"{ANSWERS_OUTPUT} is not a list of text, score, start and end: {row!r:.80}"
        raise call.error(InferenceFailed, f"the answer cannot be read: {problem}") from exc
    return replace(best, others=tuple(others))


def entities(
    catalog: Catalog, call: Call, texts: object, parameters: Mapping[str, Parameter]
) -> Flow[list[Entity] | list[list[Entity]]]:
    if _is_empty(texts):
        return []
    outcome = yield from infer(catalog, call, lambda spec: {_public_input(spec, call): texts}, parameters)
    rows = _output(outcome.result, ENTITIES_OUTPUT, call).reshape(-1).tolist()
    found = [_entities(row, call) for row in rows]
    return found[0] if outcome.one_item else found


def _entities(row: str, call: Call) -> list[Entity]:
    """From the JSON list of one text, in the text's order."""
    try:
        return [Entity(**each) for each in json.loads(row)]
    except (TypeError, ValueError) as exc:
        problem = f"{ENTITIES_OUTPUT} is not a list of type, score, text, start and end: {row!r:.80}"
        raise call.error(InferenceFailed, f"the answer cannot be read: {problem}") from exc


def forecast(catalog: Catalog, call: Call, history: object, horizon: int) -> Flow[Forecast | list[Forecast]]:
    if not _holds_series(history):
        return (yield from _forecasts(catalog, call, [history], horizon))[0]
    histories: list[Any] = list(history)  # type: ignore[call-overload]
    lengths = [np.size(each) for each in histories]
    found: dict[int, Forecast] = {}
    # The rows of one request are of one length.
    for length in dict.fromkeys(lengths):
        rows = [row for row, size in enumerate(lengths) if size == length]
        answers = yield from _forecasts(catalog, call, [histories[row] for row in rows], horizon)
        found.update(zip(rows, answers, strict=True))
    return [found[row] for row in range(len(histories))]


def _holds_series(history: object) -> bool:
    """A list of series, not the numbers of one."""
    return isinstance(history, list | tuple) and len(history) > 0 and np.ndim(history[0]) > 0


def _forecasts(catalog: Catalog, call: Call, histories: list[Any], horizon: int) -> Flow[list[Forecast]]:
    if any(np.ndim(each) != 1 for each in histories):
        raise call.error(InvalidInput, "a history is a list or an array [values]; give several as a list of them")
    tensors = {HISTORY_INPUT: [np.asarray(each) for each in histories], HORIZON_INPUT: [[horizon]] * len(histories)}
    outcome = yield from infer(catalog, call, lambda _: tensors, {})
    columns = (_output(outcome.result, name, call) for name in (FORECAST_OUTPUT, LOWER_OUTPUT, UPPER_OUTPUT))
    return [Forecast(*row) for row in zip(*columns, strict=True)]


def _classification(labels: NDArray[Any], scores: NDArray[Any]) -> Classification:
    """From labels and scores of one item, best first."""
    ranking = dict(zip(labels.tolist(), scores.tolist(), strict=True))
    label, score = next(iter(ranking.items()))
    return Classification(label=label, score=score, scores=ranking)


def _public_input(spec: ModelSpec, call: Call) -> str:
    for name in PIPELINE_INPUTS:
        if name in spec.inputs and spec.inputs[name].datatype == BYTES:
            return name
    raise call.error(
        InvalidInput,
        f"the model takes none of {', '.join(PIPELINE_INPUTS)} but {', '.join(spec.inputs) or 'nothing'}: "
        "it is not one of Conch's pipelines, call it with infer()",
    )


def _output(result: InferResult, name: str, call: Call) -> NDArray[Any]:
    if name not in result:
        raise call.error(
            InvalidInput,
            f"the model answers {', '.join(result) or 'nothing'} and not {name}: it is not for this method, "
            "call it with infer()",
        )
    return result[name]


def _is_empty(values: object) -> bool:
    """No items: an empty list, or an array, Series or DataFrame without rows."""
    if isinstance(values, list | tuple):
        return not values
    return tuple(getattr(values, "shape", ()))[:1] == (0,)
