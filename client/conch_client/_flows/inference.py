"""The flow that every other one is made of: one inference with a model that may have changed since it was learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from .. import _arguments as arguments
from .. import _protocol as protocol
from .._call import Call
from .._cast import Array
from .._constants import PIPELINE_INPUTS, QUEUE_TIMEOUT_PARAMETER, RELEASE_MARK, RELEASES_LOOKED_FOR
from .._datatypes import BYTES
from .._decode import decode
from .._encode import arrange, encode
from .._errors import InferenceFailed, InvalidInput, ModelNotFound, ModelNotReady
from .._protocol import Parameter, Rpc, WireAnswer, WirePart
from .._results import InferResult, ModelMetadata
from .._spec import Catalog, ModelSpec
from .._translate import translated

T = TypeVar("T")

Flow: TypeAlias = Generator[Rpc[Any], Any, T]

Inputs: TypeAlias = Callable[[ModelSpec], Mapping[str, object]]
"""The named values of a request; which names, the model may decide."""


@dataclass(frozen=True)
class Outcome:
    """A result, and what was asked for it."""

    result: InferResult
    one_item: bool
    """One item was asked, so the batch dimension is gone from the result."""
    items: int | None
    """How many items were asked; None of a model that knows no batch dimension."""


@dataclass(frozen=True)
class Stream:
    """What to send for a stream, and how to read what comes."""

    rpc: Rpc[WirePart]
    one_item: bool

    def results(self, parts: Generator[WirePart, None, None], call: Call) -> Generator[InferResult, None, None]:
        """The results as they come. Raises InferenceFailed for a stream that ends before its last part, and what the
        server says of a failure."""
        with closing(parts):
            for part in parts:
                if part.problem:
                    raise translated("INTERNAL", part.problem, call)
                if part.answer.tensors:
                    yield _result(part.answer, self.one_item, call)
                if part.is_last:
                    return
        raise call.error(InferenceFailed, "the stream ended before its last part: try again")


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


def metadata(call: Call) -> Flow[ModelMetadata]:
    """The model's versions and tensors, asked anew."""
    return (yield from ask(protocol.model_metadata(call.model, call.version)))


def known(catalog: Catalog, call: Call) -> Flow[ModelSpec]:
    """The model as it was when it was learned, at the latest now."""
    spec = catalog.find(call.model, call.version)
    return spec if spec is not None else (yield from learn(catalog, call))


def of_release(call: Call, flow: Callable[[Call], Flow[T]]) -> Flow[T]:
    """The flow with the model that serves the version asked for: the model itself, or the release of a pipeline, which
    has a name of its own (`sentiment-v1`) and answers the same calls.

    A release is always served by one of the two, while it is switched to and away from as well. Raises ModelNotFound
    with the versions that there are.
    """
    if not call.version:
        return (yield from flow(call))
    try:
        return (yield from flow(call))
    except (ModelNotFound, ModelNotReady) as exc:
        # Triton calls a version not ready that it has unloaded.
        missing = exc
    try:
        return (yield from flow(replace(call, model=f"{call.model}{RELEASE_MARK}{call.version}")))
    except (ModelNotFound, ModelNotReady) as exc:
        missing = exc if isinstance(exc, ModelNotReady) else missing
        there = yield from _versions_there(call)
    if not there or call.version in there:
        raise missing
    raise call.error(ModelNotFound, f"there is no version {call.version} of {call.model}, but {', '.join(there)}")


def _versions_there(call: Call) -> Flow[list[str]]:
    """The versions of a model and the releases of a pipeline that are served; only some of very many."""
    try:
        served = set((yield from ask(protocol.model_metadata(call.model, ""))).versions)
    except (ModelNotFound, ModelNotReady):
        served = set()
    newest = max((int(version) for version in served if version.isdecimal()), default=0)
    for number in range(max(1, newest - RELEASES_LOOKED_FOR), newest + 2):
        if (yield from ask(protocol.model_ready(f"{call.model}{RELEASE_MARK}{number}", ""))):
            served.add(str(number))
    return sorted(served, key=lambda version: (len(version), version))


def infer(catalog: Catalog, call: Call, inputs: Inputs, parameters: Mapping[str, Parameter]) -> Flow[Outcome]:
    """One inference, with the version that was asked for."""
    return (yield from of_release(call, lambda call: _infer(catalog, call, inputs, parameters)))


def _infer(catalog: Catalog, call: Call, inputs: Inputs, parameters: Mapping[str, Parameter]) -> Flow[Outcome]:
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
    rpc = protocol.model_infer(
        call.model, call.version, call.request_id, encoded.tensors, _with_queue_time(parameters, call)
    )
    answer = yield from ask(rpc)
    if spec.outdated_by(answer.version):
        catalog.forget(spec)
    result = _result(answer, encoded.one_item, call)
    items = encoded.tensors[0].shape[0] if spec.max_batch_size > 0 and encoded.tensors else None
    return Outcome(result, encoded.one_item, items)


def _with_queue_time(parameters: Mapping[str, Parameter], call: Call) -> Mapping[str, Parameter]:
    queue_time_us = call.time_left_us()
    return parameters if queue_time_us is None else {**parameters, QUEUE_TIMEOUT_PARAMETER: queue_time_us}


def _result(answer: WireAnswer, one_item: bool, call: Call) -> InferResult:
    outputs = decode(answer.tensors, one_item, call)
    return InferResult(outputs, answer.model or call.model, answer.version, answer.request_id)


def infer_named(
    catalog: Catalog, call: Call, inputs: object, tensors: Mapping[str, object], parameters: object
) -> Flow[InferResult]:
    """One inference with the tensors that are named in either mapping."""
    values = _values(inputs, tensors, call)
    checked = arguments.model_parameters(parameters, call)
    return (yield from infer(catalog, call, lambda _: values, checked)).result


def tensors_sent(catalog: Catalog, call: Call, inputs: object, tensors: Mapping[str, object]) -> Flow[dict[str, Array]]:
    """What `infer_named` would send, asking the server for the model alone."""
    values = _values(inputs, tensors, call)
    spec = yield from of_release(call, lambda call: learn(catalog, call))
    return arrange(spec, values, call).arrays


def stream_named(
    catalog: Catalog, call: Call, inputs: object, tensors: Mapping[str, object], parameters: object
) -> Flow[Stream]:
    """What to send for a stream. The model is learned anew: a stream that has begun cannot be asked again."""
    values = _values(inputs, tensors, call)
    checked = arguments.model_parameters(parameters, call)
    spec = yield from of_release(call, lambda call: learn(catalog, call))
    encoded = encode(spec, values, call)
    rpc = protocol.model_stream_infer(
        spec.model, spec.version, call.request_id, encoded.tensors, _with_queue_time(checked, call)
    )
    return Stream(rpc, encoded.one_item)


def _values(inputs: object, tensors: Mapping[str, object], call: Call) -> dict[str, object]:
    """The values by the names of their tensors, which either mapping may give."""
    given = arguments.merged(inputs, tensors, call)
    return {name: arguments.rereadable(f"input '{name}'", value, call) for name, value in given.items()}


def public_input(spec: ModelSpec, call: Call) -> str:
    """The name of the tensor that takes a pipeline's items. Raises InvalidInput for a model that has none."""
    for name in PIPELINE_INPUTS:
        if name in spec.inputs and spec.inputs[name].datatype == BYTES:
            return name
    raise call.error(
        InvalidInput,
        f"the model takes none of {', '.join(PIPELINE_INPUTS)} but {', '.join(spec.inputs) or 'nothing'}: "
        "it is not one of Conch's pipelines, call it with infer()",
    )


def output(outcome: Outcome, name: str, call: Call) -> Array:
    """The output of this name, with a row for each of several items.

    Raises InvalidInput for a model that answers something else, InferenceFailed for one with too few rows or too
    many, which Triton itself does not notice.
    """
    result = outcome.result
    if name not in result:
        raise call.error(
            InvalidInput,
            f"the model answers {', '.join(result) or 'nothing'} and not {name}: it is not for this method, "
            "call it with infer()",
        )
    array = result[name]
    if outcome.items is not None and not outcome.one_item and array.shape[:1] != (outcome.items,):
        raise unreadable(f"{name} {list(array.shape)} has not one row for each of {outcome.items} items", call)
    return array


def json_output(outcome: Outcome, name: str, wanted: str, made: Callable[[Any], T], call: Call) -> list[T]:
    """What `made` makes of each row of an output of JSON, one an item. Raises InferenceFailed for what is no such."""
    rows = output(outcome, name, call).reshape(-1).tolist()
    if not rows or outcome.items not in (None, len(rows)):
        raise unreadable(f"{name} has {len(rows)} texts for {outcome.items or 1} items", call)
    try:
        return [made(json.loads(row)) for row in rows]
    except (TypeError, ValueError) as exc:
        raise unreadable(f"{name} is not {wanted}", call) from exc


def unreadable(problem: str, call: Call) -> InferenceFailed:
    return call.error(InferenceFailed, f"the answer cannot be read: {problem}")
