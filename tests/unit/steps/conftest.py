"""Triton's module as steps see it outside a server, and requests as Triton hands them to a step."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from conch_tools.step_kit.exchange import InferenceRequest, InferenceResponse, InferenceResponseSender
from conch_tools.step_kit.stand_in import stand_in
from conch_tools.step_kit.tensors import Array, Tensor

ANSWER_WAIT_S = 10.0

Heard = tuple[int, str] | dict[str, Array]
"""An answer: the error's code and message, or the tensors."""


class Asked:
    """A request, and what its step sends for it."""

    def __init__(self, tensors: Mapping[str, Array], wanted: Sequence[str], parameters: Any, timeout_us: int) -> None:
        self._sent: SimpleQueue[InferenceResponse | None] = SimpleQueue()
        names = frozenset(wanted)
        self.sender = InferenceResponseSender(
            lambda response, final: self._sent.put(response), False, names, threading.Event()
        )
        self.request = InferenceRequest.received(
            self.sender,
            json.dumps(parameters),
            names,
            inputs=[Tensor(name, array) for name, array in tensors.items()],
            timeout=timeout_us,
        )

    @property
    def is_answered(self) -> bool:
        return not self._sent.empty()

    def answer(self) -> InferenceResponse:
        """Waits for what comes through the response sender."""
        response = self._sent.get(timeout=ANSWER_WAIT_S)
        assert response is not None
        return response


@pytest.fixture
def runtime() -> SimpleNamespace:
    """What of the module belongs to the step that uses it."""
    return SimpleNamespace(logs=[])


@pytest.fixture
def pb_utils(runtime: SimpleNamespace) -> ModuleType:
    """The module that Triton gives to its Python backends."""
    return stand_in(lambda: runtime)


@pytest.fixture
def ask_step() -> Callable[..., Asked]:
    """Make a request of tensors by name, the outputs wanted, parameters and a timeout in microseconds."""

    def make(
        tensors: Mapping[str, Array], wanted: Sequence[str] = (), parameters: Any = None, timeout_us: int = 0
    ) -> Asked:
        return Asked(tensors, wanted, parameters or {}, timeout_us)

    return make


@pytest.fixture
def make_request(ask_step: Callable[..., Asked]) -> Callable[..., InferenceRequest]:
    """The same, for tests that want the request alone."""
    return lambda *args, **kwargs: ask_step(*args, **kwargs).request


@pytest.fixture
def heard() -> Callable[[InferenceResponse], Heard]:
    """Read an answer."""

    def read(response: InferenceResponse) -> Heard:
        error = response.error()
        if error is not None:
            return error.code(), error.message()
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}

    return read
