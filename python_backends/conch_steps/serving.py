"""Between a step's logic and Triton's Python backend: one response or one error for each request, in order.

Triton hands `execute` a list of requests and wants a list of responses of the same length. Every step answers each
request on its own, so a bad request in a batch fails alone. Nothing here imports `triton_python_backend_utils`: the
adaptors pass it in, so that steps can be run and tested without a server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import CallFailed, InvalidInput

Tensors = Mapping[str, npt.NDArray[Any]]


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


def answer_each(
    pb_utils: Any,
    requests: Sequence[Any],
    answer: Callable[[StepRequest], Tensors],
    callers: Executor | None = None,
) -> list[Any]:
    """One InferenceResponse a request, in order: the tensors `answer` gives, or the error it raises.

    InvalidInput becomes INVALID_ARG (HTTP 400). Anything else is a fault of ours: it becomes INTERNAL for that request
    only, with its message but without a stack trace, which goes to the server's log instead. With `callers` the
    requests are answered side by side: for steps that mostly wait for a model that they call.
    """
    each = partial(_answer_one, pb_utils, answer)
    return [each(request) for request in requests] if callers is None else list(callers.map(each, requests))


def _answer_one(pb_utils: Any, answer: Callable[[StepRequest], Tensors], request: Any) -> Any:
    try:
        tensors = answer(StepRequest(request))
    except InvalidInput as problem:
        return _failed(pb_utils, str(problem), pb_utils.TritonError.INVALID_ARG)
    except CallFailed as problem:
        return _failed(pb_utils, str(problem), problem.code)
    except Exception as problem:
        pb_utils.Logger.log_error(f"{type(problem).__name__}: {problem}")
        return _failed(pb_utils, f"{type(problem).__name__}: {problem}", pb_utils.TritonError.INTERNAL)
    wanted = set(request.requested_output_names())
    return pb_utils.InferenceResponse(
        output_tensors=[pb_utils.Tensor(name, value) for name, value in tensors.items() if name in wanted]
    )


def _failed(pb_utils: Any, message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
