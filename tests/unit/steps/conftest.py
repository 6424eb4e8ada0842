"""Stand-ins for Triton's `triton_python_backend_utils`: the few classes that steps use, as plain Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy.typing as npt
import pytest

FINAL = 1
"""The flag of a request's last answer."""


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: npt.NDArray[Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> npt.NDArray[Any]:
        return self._array


class TritonError:
    """A message with one of Triton's codes."""

    INTERNAL: ClassVar[int] = 1
    INVALID_ARG: ClassVar[int] = 3
    UNAVAILABLE: ClassVar[int] = 6

    def __init__(self, message: str, code: int) -> None:
        self.message, self.code = message, code


@dataclass
class InferenceResponse:
    """Tensors, or an error."""

    output_tensors: Sequence[Tensor]
    error: TritonError | None = None

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        return {tensor.name(): tensor.as_numpy() for tensor in self.output_tensors}


class ResponseSender:
    """Keeps a request's one answer, after it has refused `refuses` of them."""

    def __init__(self) -> None:
        self.answers: SimpleQueue[InferenceResponse] = SimpleQueue()
        self.refuses = 0

    def send(self, answer: InferenceResponse, flags: int) -> None:
        assert flags == FINAL
        if self.refuses:
            self.refuses -= 1
            raise RuntimeError("no shared memory left")
        self.answers.put(answer)

    def answer(self) -> InferenceResponse:
        """Waits for it."""
        return self.answers.get(timeout=10)


@dataclass
class InferenceRequest:
    """What a step is asked: tensors by name, the outputs wanted, and parameters."""

    tensors: Mapping[str, npt.NDArray[Any]]
    wanted: Sequence[str] = ()
    own_parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_us: int = 0
    sender: ResponseSender = field(default_factory=ResponseSender)

    def timeout(self) -> int:
        return self.timeout_us

    def get_response_sender(self) -> ResponseSender:
        return self.sender

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.tensors.items()]

    def requested_output_names(self) -> list[str]:
        return list(self.wanted)

    def parameters(self) -> str:
        """Triton gives them as JSON, and an empty string when there are none."""
        return json.dumps(self.own_parameters) if self.own_parameters else ""


class Logger:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def log_error(self, message: str) -> None:
        self.errors.append(message)


@pytest.fixture
def pb_utils() -> SimpleNamespace:
    """The module that Triton gives to its Python backends, with a logger of its own."""
    return SimpleNamespace(
        Tensor=Tensor,
        InferenceResponse=InferenceResponse,
        TritonError=TritonError,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=FINAL,
        Logger=Logger(),
    )


@pytest.fixture
def make_request() -> type[InferenceRequest]:
    """Makes requests as Triton hands them to a step."""
    return InferenceRequest
