"""A running server, asked over gRPC by conch_client or over HTTP in the V2 protocol's binary form.

Both give the same tensors, so whatever is compared can be asked over either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt
from tritonclient.http import InferenceServerClient as HttpClient
from tritonclient.http import InferInput
from tritonclient.utils import np_to_triton_dtype

from conch_client import Client, DeadlineExceeded
from conch_client import ConchError as ClientError
from conch_tools.errors import NoAnswer, NoAnswerInTime

Tensors = Mapping[str, npt.NDArray[Any]]
CALLERS = 32
HEADER_LENGTH = "Inference-Header-Content-Length"
LATEST = ""


class Ask(Protocol):
    """A running server, over one of its protocols. Raises NoAnswer when there is none, NoAnswerInTime when it takes
    longer than is waited."""

    def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
        """One inference."""

    def inputs(self, model: str) -> list[str]:
        """Names of the model's input tensors."""

    def largest_batch(self, model: str) -> int:
        """How many cases a request may hold; 0 for a model without batches."""


@contextlib.contextmanager
def asking(model: str) -> Iterator[None]:
    """The client's errors within the block as those of Ask."""
    try:
        yield
    except DeadlineExceeded as problem:
        raise NoAnswerInTime(model, problem.problem) from problem
    except ClientError as problem:
        raise NoAnswer(str(problem)) from problem


class OverGrpc:
    """Asks through the client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
        with asking(model):
            return self._client.infer(model, version, inputs=tensors)

    def inputs(self, model: str) -> list[str]:
        with asking(model):
            return [tensor.name for tensor in self._client.metadata(model).inputs]

    def largest_batch(self, model: str) -> int:
        with asking(model):
            return int(self._client.config(model).get("max_batch_size", 0))


class OverHttp:
    """Asks in the binary form of the V2 protocol over HTTP, encoded and decoded by Triton's own client."""

    def __init__(self, url: str, timeout_s: float) -> None:
        limits = httpx.Limits(max_connections=CALLERS)
        self._http = httpx.Client(base_url=f"http://{url}", timeout=timeout_s, limits=limits, trust_env=False)

    def __enter__(self) -> OverHttp:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
        inputs = [_http_input(name, np.asarray(value)) for name, value in tensors.items()]
        body, header = HttpClient.generate_request_body(inputs)
        headers = {} if header is None else {HEADER_LENGTH: str(header)}
        path = f"{f'/versions/{version}' if version else ''}/infer"
        answer = self._send("POST", model, path, content=body, headers=headers)
        length = answer.headers.get(HEADER_LENGTH)
        result = HttpClient.parse_response_body(answer.content, header_length=None if length is None else int(length))
        return {each["name"]: result.as_numpy(each["name"]) for each in result.get_response()["outputs"]}

    def inputs(self, model: str) -> list[str]:
        return [tensor["name"] for tensor in self._send("GET", model).json()["inputs"]]

    def largest_batch(self, model: str) -> int:
        return int(self._send("GET", model, "/config").json()["max_batch_size"])

    def _send(self, method: str, model: str, path: str = "", **content: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, f"/v2/models/{model}{path}", **content)
        except httpx.TimeoutException as problem:
            raise NoAnswerInTime(model, f"over HTTP, {problem}") from problem
        except httpx.HTTPError as problem:
            raise NoAnswer(f"no answer over HTTP: {problem}") from problem
        if answer.status_code != httpx.codes.OK:
            raise NoAnswer(f"HTTP {answer.status_code}: {answer.text}")
        return answer


def _http_input(name: str, value: npt.NDArray[Any]) -> InferInput:
    tensor = InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(value)
    return tensor
