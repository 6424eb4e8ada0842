"""Calls to other models (BLS): to other steps of the test, or to functions that stand for models.

After python_backend's request_executor.cc. An error loses its code on the way to the caller there: whatever the called
model said, it arrives as INTERNAL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from conch_tools.errors import StepFailed
from conch_tools.step_kit.exchange import InferenceRequest, InferenceResponse, TritonError, arrays_of
from conch_tools.step_kit.talk import Reply, Request, Response
from conch_tools.step_kit.tensors import Array, Tensor


class CalledStep(Protocol):
    """A step as its callers see it."""

    name: str
    version: str

    @property
    def decoupled(self) -> bool:
        """Whether it may answer a request with any number of responses."""

    def execute(self, requests: Sequence[Request]) -> list[Reply]:
        """What each request got."""


Target = CalledStep | Callable[[dict[str, Array]], Mapping[str, Array]]
"""What stands for another model: a step, or a function from its inputs to its outputs, which may raise StepFailed."""
LATEST = -1
"""As the version of a model that is asked for."""


def is_version(model: CalledStep, wanted: int) -> bool:
    """Whether the one version that is loaded is the one asked for."""
    return wanted == LATEST or model.version == str(wanted)


def call(targets: Mapping[str, Target], request: InferenceRequest, decoupled: bool) -> list[InferenceResponse]:
    """The responses of the model that the request names; of a decoupled one the last may be empty."""
    name = request.model_called
    target = targets.get(name)
    if target is not None and callable(target):
        return [_computed(target, request)]
    if target is None or not is_version(target, request.version_called):
        return _not_started(name, f"Failed for execute the inference request. Model '{name}' is not ready.")
    if target.decoupled and not decoupled:
        return _not_started(
            name,
            f"Model {name} is using the decoupled. The current BLS request call doesn't support models using the "
            "decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' calls "
            "for decoupled models.'",
        )
    (reply,) = target.execute([_passed_on(request)])
    if reply.refused and reply.error is not None:
        return _not_started(name, reply.error.message)
    heard = [_heard(response) for response in reply.responses]
    return [*heard, InferenceResponse()] if reply.ended_apart else heard


def _computed(model: Callable[[dict[str, Array]], Mapping[str, Array]], request: InferenceRequest) -> InferenceResponse:
    try:
        outputs = model(arrays_of(request.inputs()))
    except StepFailed as problem:
        return _failed(problem.message)
    wanted = request.requested_output_names() or outputs.keys()
    return InferenceResponse([Tensor(name, value) for name, value in outputs.items() if name in wanted])


def _passed_on(request: InferenceRequest) -> Request:
    return Request(
        arrays_of(request.inputs()),
        sorted(request.requested_output_names()),
        parameters=json.loads(request.parameters()),
        request_id=request.request_id(),
        correlation_id=request.correlation_id(),
        flags=request.flags(),
        timeout_us=request.timeout(),
    )


def _heard(response: Response) -> InferenceResponse:
    if response.error is not None:
        return _failed(response.error.message)
    return InferenceResponse([Tensor(name, value) for name, value in response.outputs.items()])


def _not_started(model: str, why: str) -> list[InferenceResponse]:
    return [_failed(f"Model {model} - Error when running inference: {why}")]


def _failed(message: str) -> InferenceResponse:
    return InferenceResponse([], TritonError(message))
