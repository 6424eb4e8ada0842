"""What a step gets, gives and asks: requests, responses, errors, response senders, calls to other models (BLS).

After python_backend's infer_request.cc, infer_response.cc, response_sender.cc, pb_response_iterator.cc and pb_stub.cc:
the same signatures, the same rules, the same words.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

from conch_tools.step_kit.tensors import Array, Tensor, TritonModelException

FINAL = 1
"""TRITONSERVER_RESPONSE_COMPLETE_FINAL."""
RELEASE_ALL, RELEASE_RESCHEDULE = 1, 2

ERROR_CODES = (
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
)
"""In the order of Triton's numbers, which begin with 0."""


class TritonError:
    """`pb_utils.TritonError`: a message with one of Triton's codes."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        if not isinstance(message, str) or not isinstance(code, int):
            raise TypeError(
                "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
                "    1. c_python_backend_utils.TritonError(message: str, code: c_python_backend_utils."
                f"TritonError.__ErrorCode = 1)\n\nInvoked with: {message!r}, {code!r}"
            )
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class InferenceResponse:
    """`pb_utils.InferenceResponse`: tensors, or an error."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        if any(tensor is None for tensor in output_tensors):
            raise TritonModelException("Output tensor for inference response should not be empty.")
        if any(not isinstance(tensor, Tensor) for tensor in output_tensors) or not isinstance(
            error, TritonError | None
        ):
            raise TypeError(
                "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
                "    1. c_python_backend_utils.InferenceResponse(output_tensors: "
                "List[c_python_backend_utils.Tensor] = [], error: c_python_backend_utils.TritonError = None)\n\n"
                f"Invoked with: {output_tensors!r}, {error!r}"
            )
        self._tensors = list(output_tensors)
        self._error = error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def prune(self, wanted: frozenset[str]) -> None:
        """Without the tensors that the caller did not ask for. Not part of Triton's module."""
        self._tensors = [tensor for tensor in self._tensors if tensor.name() in wanted]


class InferenceResponseSender:
    """`request.get_response_sender()`. Each response goes to `receive` as it is at that moment."""

    def __init__(
        self,
        receive: Callable[[InferenceResponse | None, bool], None],
        decoupled: bool,
        wanted: frozenset[str],
        cancelled: threading.Event,
    ) -> None:
        self._receive, self._decoupled, self._wanted, self._cancelled = receive, decoupled, wanted, cancelled
        self._lock = threading.Lock()
        self._sent = 0
        self.closed = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Raises TritonModelException for flags that there are not and for a response too many."""
        if flags not in (0, FINAL):
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if flags == 0 and response is None:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        self.count(response, flags)
        if response is not None:
            response.prune(self._wanted)
        self._receive(response, flags == FINAL)

    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def count(self, response: InferenceResponse | None, flags: int) -> None:
        """Judge and note a response that is about to go, by the sender or by the return of `execute`."""
        with self._lock:
            if not self._decoupled:
                if response is not None and self._sent:
                    raise TritonModelException(
                        "Unable to send response. Non-decoupled model cannot send more than one response."
                    )
                if response is None and flags == FINAL and not self._sent:
                    raise TritonModelException(
                        "Unable to send response. Non-decoupled model cannot send complete final before sending a "
                        "response."
                    )
            if self.closed:
                raise TritonModelException("Unable to send response. Response sender has been closed.")
            self.closed = flags == FINAL
            self._sent += 1


class InferenceTrace:
    """`request.trace()` where nobody traces."""

    def get_context(self) -> None:
        return None


class Caller(Protocol):
    """Whoever runs calls to other models for a step."""

    def call(self, request: InferenceRequest, decoupled: bool) -> list[InferenceResponse]:
        """All responses; one, unless `decoupled`."""


class InferenceRequest:
    """`pb_utils.InferenceRequest`: what a step is asked, or what it asks another model (BLS)."""

    caller: ClassVar[Callable[[], Caller]]
    """Set in each step's own class."""

    def __init__(
        self,
        request_id: str = "",
        correlation_id: int | str = 0,
        *,
        inputs: Sequence[Tensor],
        requested_output_names: Sequence[str],
        model_name: str,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: Any = None,
        trace: Any = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        for key, value in (parameters or {}).items():
            if not isinstance(key, str):
                raise TritonModelException(f"Expect parameters keys to have type str, found type {type(key)}")
            if not isinstance(value, bool | int | str):
                raise TritonModelException(
                    f"Expect parameters values to have type bool/int/str, found type {type(value)}"
                )
        if not isinstance(correlation_id, int | str):
            raise TritonModelException("Correlation ID must be integer or string")
        of_whom = f"for request with id '{request_id}' and model name '{model_name}' should not be empty."
        if any(tensor is None for tensor in inputs):
            raise TritonModelException(f"Input tensor {of_whom}")
        if "" in requested_output_names:
            raise TritonModelException(f"Requested output name {of_whom}")
        self.model_called, self.version_called = model_name, model_version
        self._inputs = list(inputs)
        self._wanted = set(requested_output_names)
        self._request_id, self._correlation_id, self._flags, self._timeout = request_id, correlation_id, flags, timeout
        self._parameters = json.dumps(parameters or {})
        self._sender: InferenceResponseSender | None = None
        self.release_flags = RELEASE_ALL

    @classmethod
    def received(
        cls, sender: InferenceResponseSender, parameters: str, wanted: frozenset[str], **fields: Any
    ) -> InferenceRequest:
        """As Triton hands it to a step, with a sender for its responses. Not part of Triton's module."""
        request = cls(model_name="", requested_output_names=sorted(wanted), **fields)
        request._sender, request._parameters = sender, parameters
        return request

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> int | str:
        return self._correlation_id

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        self._flags = flags

    def timeout(self) -> int:
        """In microseconds; 0 for none."""
        return self._timeout

    def parameters(self) -> str:
        """As JSON."""
        return self._parameters

    def trace(self) -> InferenceTrace:
        return InferenceTrace()

    def requested_output_names(self) -> set[str]:
        return self._wanted

    def get_response_sender(self) -> InferenceResponseSender:
        if self._sender is None:
            self._sender = InferenceResponseSender(_refuse, False, frozenset(), threading.Event())
        return self._sender

    def is_cancelled(self) -> bool:
        return self._sender is not None and self._sender.is_cancelled()

    def set_release_flags(self, flags: int) -> None:
        self.release_flags = flags

    def exec(self, decoupled: bool = False) -> Any:
        """The called model's response, or an iterator of them; an error has the code INTERNAL, whatever it was."""
        responses = type(self).caller().call(self, decoupled)
        return ResponseIterator(responses) if decoupled else responses[0]

    def async_exec(self, decoupled: bool = False) -> Any:
        """The same, as something to await."""
        return asyncio.get_running_loop().run_in_executor(None, lambda: self.exec(decoupled))


def _refuse(response: InferenceResponse | None, final: bool) -> None:
    raise TritonModelException(
        "Unable to send response. Response sender has no reference to the decoupled state of the model."
    )


class ResponseIterator:
    """What a decoupled call gives; it begins anew when it has ended."""

    def __init__(self, responses: Sequence[InferenceResponse]) -> None:
        self._responses, self._next = responses, 0

    def __iter__(self) -> Iterator[InferenceResponse]:
        if self._next >= len(self._responses):
            self._next = 0
        return self

    def __next__(self) -> InferenceResponse:
        if self._next >= len(self._responses):
            raise StopIteration("Iteration is done for the responses.")
        self._next += 1
        return self._responses[self._next - 1]


def arrays_of(tensors: Sequence[Tensor]) -> dict[str, Array]:
    """What leaves the process with a request or a response."""
    return {tensor.name(): tensor.sent() for tensor in tensors}
