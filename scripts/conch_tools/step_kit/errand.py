"""One request on its way through a step: what core makes of it, what the step gets, what has come back so far."""

from __future__ import annotations

import json
import threading
from typing import Any

from conch_tools.errors import StepFailed
from conch_tools.step_kit import core_rules
from conch_tools.step_kit.exchange import (
    ERROR_CODES,
    RELEASE_RESCHEDULE,
    InferenceRequest,
    InferenceResponse,
    InferenceResponseSender,
    arrays_of,
)
from conch_tools.step_kit.talk import Reply, Request, Response
from conch_tools.step_kit.tensors import Array, Tensor, delivered

Config = dict[str, Any]


class Errand:
    """From the caller's question to everything that came back. `strict` notes what Triton lets through."""

    def __init__(self, config: Config, asked: Request, decoupled: bool, strict: bool) -> None:
        self.inputs: dict[str, Array] = {}
        """As admitted by core."""
        self.faults: list[str] = []
        """What Triton would not report."""
        self.done = threading.Event()
        self._config, self._asked, self._decoupled, self._strict = config, asked, decoupled, strict
        self._wanted: frozenset[str] = frozenset()
        self._current: InferenceRequest | None = None
        self._responses: list[Response] = []
        self._ended_apart = False
        arrays = core_rules.as_arrays(config, asked.inputs)
        try:
            self._wanted = core_rules.wanted_outputs(config, asked.outputs)
            self.inputs = core_rules.admitted(config, arrays, asked.request_id)
        except StepFailed as refused:
            self.fail(refused)

    def request(self) -> InferenceRequest:
        """A new one for each execution, with tensors of its own."""
        asked = self._asked
        sender = InferenceResponseSender(self._take, self._decoupled, self._wanted, asked.cancelled)
        self._current = InferenceRequest.received(
            sender,
            parameters=json.dumps(dict(asked.parameters), separators=(",", ":"), ensure_ascii=False),
            wanted=self._wanted,
            request_id=asked.request_id,
            correlation_id=asked.correlation_id,
            inputs=[Tensor(name, delivered(array)) for name, array in self.inputs.items()],
            flags=asked.flags,
            timeout=asked.timeout_us,
        )
        return self._current

    def take_returned(self, response: InferenceResponse) -> None:
        """What `execute` gave back for it."""
        response.prune(self._wanted)
        self._take(response, True)

    def fail(self, problem: StepFailed) -> None:
        """The error goes to the caller, unless its last response is gone already."""
        if not self.done.is_set():
            if self._current is not None:
                self._current.get_response_sender().closed = True
            self._responses.append(Response({}, problem))
            self.done.set()

    def rescheduled(self) -> bool:
        """Whether the step wants to see it again."""
        flags = None if self._current is None else self._current.release_flags
        return flags == RELEASE_RESCHEDULE and not self.done.is_set()

    def wait(self, timeout_s: float) -> None:
        """For the last response, unless the step wants to see the request again."""
        if not self.rescheduled() and not self.done.wait(timeout_s):
            self.faults.append(
                f"it has no {'final response' if self._decoupled else 'answer'} after {timeout_s:g} s: "
                "its caller would wait for ever"
            )

    def reply(self) -> Reply:
        """What has come back."""
        return Reply(tuple(self._responses), self._ended_apart, refused=self._current is None)

    def _take(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._responses.append(self._response(response))
        if final:
            self._ended_apart = response is None
            self.done.set()

    def _response(self, response: InferenceResponse) -> Response:
        if error := response.error():
            return Response({}, StepFailed(ERROR_CODES[error.code()], error.message()))
        arrays = core_rules.answered(self._config, arrays_of(response.output_tensors()))
        if self._strict:
            rows = core_rules.rows_of(self._config, self.inputs)
            self.faults.extend(core_rules.broken_promises(self._config, arrays, self._wanted, rows))
        return Response(arrays)
