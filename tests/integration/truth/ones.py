"""A model for the truth tables: it answers every request with ones, in the shapes of its configuration."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """All outputs for each request, with as many rows as its first input; decoupled models give one answer, too."""

    def initialize(self, args: dict[str, str]) -> None:
        """Keep the configuration as Triton completed it."""
        self._config = json.loads(args["model_config"])

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """One response for each request."""
        answers = [self._answer(request) for request in requests]
        if not pb_utils.using_decoupled_model_transaction_policy(self._config):
            return answers
        for request, answer in zip(requests, answers, strict=True):
            request.get_response_sender().send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None

    def _answer(self, request: Any) -> Any:
        rows = request.inputs()[0].as_numpy().shape[:1] if self._config["max_batch_size"] else ()
        return pb_utils.InferenceResponse([_ones(output, rows) for output in self._config["output"]])


def _ones(output: dict[str, Any], rows: tuple[int, ...]) -> Any:
    dims = output["reshape"]["shape"] if "reshape" in output else output["dims"]
    shape = (*rows, *(max(int(size), 1) for size in dims))
    if output["data_type"] == "TYPE_STRING":
        return pb_utils.Tensor(output["name"], np.full(shape, b"1", np.object_))
    return pb_utils.Tensor(output["name"], np.ones(shape, pb_utils.triton_string_to_numpy(output["data_type"])))
