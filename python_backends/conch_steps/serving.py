"""Between a step's logic and Triton's Python backend: one response or one error for each request, in order.

Triton hands `execute` a list of requests and wants a list of responses of the same length. Every step answers each
request on its own, so a bad request in a batch fails alone. Nothing here imports `triton_python_backend_utils`: the
adaptors pass it in, so that steps can be run and tested without a server.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import CallFailed, InvalidInput, OutOfTime

Tensors = Mapping[str, npt.NDArray[Any]]
Answer = Callable[["StepRequest"], Tensors]

REQUESTS_AT_ONCE = 32
"""More wait in Triton's queue."""

LONG_BYTES = 16 * 1024
"""Of text: a request with more may take from seconds to a minute."""
HANDED_OVER_AFTER_S = 10.0
"""Longer than a request of usual length takes on a busy machine."""

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)
"""When the caller of the request that a thread is answering stops waiting, on the monotonic clock. Triton hands a
request's `timeout` through an ensemble to its steps, a cancellation it does not."""


@dataclass(frozen=True)
class StepModel:
    """What a step knows of the model it serves, from the arguments of `initialize`."""

    name: str
    version_folder: Path
    parameters: Mapping[str, str]

    @classmethod
    def from_args(cls, args: Mapping[str, str]) -> StepModel:
        """From the `args` of TritonPythonModel.initialize; `args["model_repository"]` is the model's own folder."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        return cls(args["model_name"], folder, parameters)


class StepRequest:
    """One request as a step sees it: tensors by name, parameters by key."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def tensor(self, name: str) -> npt.NDArray[Any]:
        """The input tensor [batch, ...]. Raises InvalidInput when it is missing or has no batch dimension.

        Triton counts batches in 32 bits and drops the dimension of a batch of none, so 2^32 rows arrive as no batch.
        """
        for tensor in self._request.inputs():
            if tensor.name() == name:
                array = np.asarray(tensor.as_numpy())
                if array.ndim < 2:
                    raise InvalidInput(
                        f"input `{name}` has an impossible batch size: its shape begins with the rows sent"
                    )
                return array
        raise InvalidInput(f"input `{name}` is missing")

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The request's own parameters."""
        return dict(json.loads(self._request.parameters() or "{}"))


def answer_each(pb_utils: Any, requests: Sequence[Any], answer: Answer) -> list[Any]:
    """One InferenceResponse a request, in order: the tensors `answer` gives, or the error it raises.

    InvalidInput becomes INVALID_ARG (HTTP 400), OutOfTime and a CallFailed that may pass UNAVAILABLE. Anything else is
    a fault of ours: it becomes INTERNAL for that request only, with its message but without a stack trace, which goes
    to the server's log instead.
    """
    return [_answer_one(pb_utils, request, answer) for request in requests]


class SideBySide:
    """Answers requests as `answer_each` does, but side by side, and without waiting for long ones.

    For steps that wait for a model that they call, with a long text for a minute: `execute` hands long requests over to
    threads and returns, so that the next ones are not kept waiting behind them. It waits for all others, because Triton
    2.51 forgets what was handed over when the process dies: those callers hear nothing, while what is in `execute`
    fails within two seconds and may be tried again.
    """

    def __init__(self, pb_utils: Any, answer: Answer) -> None:
        self._pb_utils = pb_utils
        self._answer = answer
        self._callers = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="requests")
        self._free = Semaphore(REQUESTS_AT_ONCE)

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """What `execute` returns: an InferenceResponse a request, in order; None for one whose answer goes through its
        response sender as soon as it is done."""
        futures = [self._start(request) for request in requests]
        usual = [future for request, future in zip(requests, futures, strict=True) if not _is_long(request)]
        wait(usual, timeout=HANDED_OVER_AFTER_S)
        return [self._answered(request, future) for request, future in zip(requests, futures, strict=True)]

    def _start(self, request: Any) -> Future[Any]:
        self._free.acquire()
        future = self._callers.submit(_answer_one, self._pb_utils, request, self._answer)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def _answered(self, request: Any, future: Future[Any]) -> Any | None:
        if future.done():
            return future.result()
        sender = request.get_response_sender()
        future.add_done_callback(lambda done: self._send(sender, done.result()))
        return None

    def _send(self, sender: Any, response: Any) -> None:
        final = self._pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        try:
            sender.send(response, flags=final)
        except Exception as problem:  # no shared memory left for the tensors; an error is small
            sender.send(_fault(self._pb_utils, problem), flags=final)


def _is_long(request: Any) -> bool:
    try:
        arrays = [np.asarray(tensor.as_numpy()) for tensor in request.inputs()]
    except Exception:
        # The step refuses soon what cannot be read.
        return False
    return sum(len(text) for array in arrays if array.dtype == np.object_ for text in array.flat) > LONG_BYTES


def require_time() -> None:
    """Raise OutOfTime when nobody waits any more for the request that this thread is answering."""
    if time.monotonic() > _deadline.get():
        raise OutOfTime("the request's `timeout` is over before its answer was ready: allow more, or ask for less")


def _answer_one(pb_utils: Any, request: Any, answer: Answer) -> Any:
    timeout_us = request.timeout()
    before = _deadline.set(time.monotonic() + timeout_us / 1e6 if timeout_us else math.inf)
    try:
        tensors = answer(StepRequest(request))
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, value) for name, value in tensors.items() if name in wanted]
        )
    except InvalidInput as problem:
        return _failed(pb_utils, str(problem), pb_utils.TritonError.INVALID_ARG)
    except OutOfTime as problem:
        return _failed(pb_utils, str(problem), pb_utils.TritonError.UNAVAILABLE)
    except CallFailed as problem:
        codes = pb_utils.TritonError
        return _failed(pb_utils, str(problem), codes.UNAVAILABLE if problem.may_pass else codes.INTERNAL)
    except BaseException as problem:  # a panic of the tokenizers library is no Exception
        return _fault(pb_utils, problem)
    finally:
        _deadline.reset(before)


def _fault(pb_utils: Any, problem: BaseException) -> Any:
    said = f"{type(problem).__name__}: {problem}"
    pb_utils.Logger.log_error(said)
    return _failed(pb_utils, said, pb_utils.TritonError.INTERNAL)


def _failed(pb_utils: Any, message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
