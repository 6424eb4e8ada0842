"""What each method of a client asks, in which order, and what it makes of the answers.

A flow is a generator: it yields an Rpc and is sent the reply, and what it returns is the method's result. It
knows no channel and never waits, so a client that blocks and one that awaits run the same flows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _protocol as protocol
from ._call import Call
from ._constants import EMBEDDING_OUTPUT, LABEL_OUTPUT, PIPELINE_INPUTS, QUEUE_TIMEOUT_PARAMETER, SCORE_OUTPUT
from ._datatypes import BYTES
from ._decode import decode
from ._encode import encode
from ._errors import InferenceFailed, InvalidInput, ModelNotFound
from ._protocol import Parameter, Rpc
from ._results import Classification, InferResult
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
    labels = _output(outcome.result, LABEL_OUTPUT, call)
    scores = _output(outcome.result, SCORE_OUTPUT, call)
    if labels.shape != scores.shape or labels.size == 0:
        problem = f"{LABEL_OUTPUT} {list(labels.shape)} and {SCORE_OUTPUT} {list(scores.shape)} do not go together"
        raise call.error(InferenceFailed, f"the answer cannot be read: {problem}")
    if outcome.one_item:
        return _classification(labels, scores)
    return [_classification(*pair) for pair in zip(labels, scores, strict=True)]


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
