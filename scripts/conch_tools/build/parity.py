"""Answers equal to the reference's, in the graph and in the running server: every build's gate, and `conch parity`.

Each parity batch is asked as one request and as concurrent single requests, because both meet in one execution and must
not change each other. When the whole differs, the steps are asked one by one with the reference's own inputs, and the
first that differs is named.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt
from tritonclient.http import InferenceServerClient as HttpClient
from tritonclient.http import InferInput
from tritonclient.utils import np_to_triton_dtype

from conch_client import Client
from conch_client import ConchError as ClientError
from conch_steps.onnx_backend.session import ort
from conch_steps.text_tokenizer import ragged
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.build.reference import Reference, Rows, batches_of, largest_difference
from conch_tools.errors import ParityError

Tensors = Mapping[str, npt.NDArray[Any]]
CALLERS = 32
HEADER_LENGTH = "Inference-Header-Content-Length"


class Ask(Protocol):
    """A running server, over one of its protocols. Raises ParityError when there is no answer."""

    def __call__(self, model: str, tensors: Tensors) -> Tensors:
        """One inference."""

    def inputs(self, model: str) -> list[str]:
        """Names of the model's input tensors."""


@dataclass(frozen=True)
class Agreement:
    """How a pipeline agreed with its reference."""

    cases: int
    """Answers compared."""
    worst_difference: float
    """Largest absolute difference of any number."""


def check_graph(pipeline: str, reference: Reference, step: str, graph: Path) -> Agreement:
    """Run a step's graph in this process on every parity batch. Raises ParityError.

    A pipeline whose reference says nothing of the steps before the graph is compared as a whole only.
    """
    models = [answers.model for answers in reference.steps]
    if step not in models[1:]:
        return Agreement(0, 0.0)
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    taken = {each.name for each in session.get_inputs()}
    position = models.index(step)
    expected, before = reference.steps[position].outputs, reference.steps[position - 1].outputs
    verdict = _Verdict(reference.tolerance)
    for batch in batches_of(len(reference.items)):
        for feed in _graph_feeds(before, batch):
            outputs = session.run(list(expected), {name: feed[name] for name in taken & feed.keys()})
            problem = verdict.compare(dict(zip(expected, outputs, strict=True)), _chosen(expected, batch))
            if problem:
                raise ParityError(pipeline, step, f"{problem}, in the graph itself, batch of {len(batch)}")
    return verdict.agreement


def check_server(pipeline: str, reference: Reference, ask: Ask) -> Agreement:
    """Ask the ensemble every parity batch, as one request and as concurrent singles. Raises ParityError."""
    verdict = _Verdict(reference.tolerance)
    with ThreadPoolExecutor(max_workers=CALLERS) as callers:
        for batch in batches_of(len(reference.items)):
            for form, groups in (
                ("one request", _alike(reference, batch)),
                ("concurrent single requests", [[index] for index in batch]),
            ):
                answers = callers.map(lambda group: ask(pipeline, _items(reference, group)), groups)
                for group, answer in zip(groups, answers, strict=True):
                    problem = verdict.compare(answer, _chosen(reference.answers, group))
                    if problem:
                        _blame(pipeline, reference, ask, group, f"{problem}, batch of {len(batch)} as {form}")
    return verdict.agreement


class OverGrpc:
    """Asks through the client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, model: str, tensors: Tensors) -> Tensors:
        try:
            return self._client.infer(model, inputs=tensors)
        except ClientError as problem:
            raise ParityError(model, model, str(problem)) from problem

    def inputs(self, model: str) -> list[str]:
        return [tensor.name for tensor in self._client.metadata(model).inputs]


class OverHttp:
    """Asks in the binary form of the V2 protocol over HTTP, encoded and decoded by Triton's own client."""

    def __init__(self, url: str, timeout_s: float) -> None:
        limits = httpx.Limits(max_connections=CALLERS)
        self._http = httpx.Client(base_url=f"http://{url}", timeout=timeout_s, limits=limits, trust_env=False)

    def __enter__(self) -> OverHttp:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def __call__(self, model: str, tensors: Tensors) -> Tensors:
        inputs = [_http_input(name, np.asarray(value)) for name, value in tensors.items()]
        body, header = HttpClient.generate_request_body(inputs)
        headers = {} if header is None else {HEADER_LENGTH: str(header)}
        answer = self._send("POST", f"/v2/models/{model}/infer", model, content=body, headers=headers)
        length = answer.headers.get(HEADER_LENGTH)
        result = HttpClient.parse_response_body(answer.content, header_length=None if length is None else int(length))
        return {each["name"]: result.as_numpy(each["name"]) for each in result.get_response()["outputs"]}

    def inputs(self, model: str) -> list[str]:
        return [tensor["name"] for tensor in self._send("GET", f"/v2/models/{model}", model).json()["inputs"]]

    def _send(self, method: str, path: str, model: str, **content: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **content)
        except httpx.HTTPError as problem:
            raise ParityError(model, model, f"no answer over HTTP: {problem}") from problem
        if answer.status_code != httpx.codes.OK:
            raise ParityError(model, model, f"HTTP {answer.status_code}: {answer.text}")
        return answer


def _http_input(name: str, value: npt.NDArray[Any]) -> InferInput:
    tensor = InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(value)
    return tensor


class _Verdict:
    """Compares answers with expectations and remembers how many there were and the worst difference."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._cases = 0
        self._worst = 0.0

    @property
    def agreement(self) -> Agreement:
        return Agreement(self._cases, self._worst)

    def compare(self, answer: Tensors, expected: Mapping[str, Rows]) -> str | None:
        """What is wrong with the first tensor that differs, or None."""
        for name, rows in expected.items():
            got = answer[name]
            if len(got) != len(rows):
                return f"`{name}` has {len(got)} rows for {len(rows)} items"
            for row, want in zip(got, rows, strict=True):
                problem = self._compare_row(name, row, want)
                if problem:
                    return problem
        self._cases += len(next(iter(expected.values())))
        return None

    def _compare_row(self, name: str, row: npt.NDArray[Any], want: npt.NDArray[Any]) -> str | None:
        if want.dtype == np.object_:
            return self._compare_text(name, row, want)
        if np.issubdtype(want.dtype, np.integer):
            # Rows of token ids are padded with zeros to the longest of their request.
            same = np.array_equal(row[: len(want)], want) and not row[len(want) :].any()
            return None if same else f"`{name}` is {row.tolist()}, the reference says {want.tolist()}"
        return self._compare_number(name, largest_difference(row, want))

    def _compare_number(self, name: str, difference: float) -> str | None:
        self._worst = max(self._worst, difference)
        if difference <= self._tolerance:
            return None
        return f"`{name}` differs by {difference:.2e}, the gate is {self._tolerance:.0e}"

    def _compare_text(self, name: str, row: npt.NDArray[Any], want: npt.NDArray[Any]) -> str | None:
        best, wanted = _text(row[0]), _text(want[0])
        if wanted[:1] in ("[", "{"):
            return self._compare_json(name, json.loads(best), json.loads(wanted))
        # Only the best label counts: lower ones may tie to the last bit.
        return None if best == wanted else f"`{name}` is {best}, the reference says {wanted}"

    def _compare_json(self, where: str, got: Any, want: Any) -> str | None:
        if isinstance(want, float) and isinstance(got, float):
            return self._compare_number(where, abs(got - want))
        if isinstance(want, dict) and isinstance(got, dict) and got.keys() == want.keys():
            pairs = [(f"{where}.{key}", got[key], want[key]) for key in want]
        elif isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
            pairs = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(got, want, strict=True))]
        else:
            return None if got == want else f"`{where}` is {got!r}, the reference says {want!r}"
        problems = (self._compare_json(*pair) for pair in pairs)
        return next((problem for problem in problems if problem), None)


def _blame(pipeline: str, reference: Reference, ask: Ask, batch: Sequence[int], whole: str) -> None:
    """Raise ParityError naming the first step that differs when asked alone with the reference's inputs."""
    inputs: dict[str, npt.NDArray[Any]] = dict(_items(reference, batch))
    for step in reference.steps:
        answer = ask(step.model, {name: inputs[name] for name in ask.inputs(step.model)})
        problem = _Verdict(reference.tolerance).compare(answer, _chosen(step.outputs, batch))
        if problem:
            raise ParityError(pipeline, step.model, problem)
        inputs.update(_tensors(step.outputs, batch))
    raise ParityError(
        pipeline, pipeline, f"{whole}; each step alone agrees, so the ensemble's wiring or batching differs"
    )


def _alike(reference: Reference, batch: Sequence[int]) -> list[list[int]]:
    """The batch cut into what one request can hold: items whose tensors have the same shapes."""
    groups: dict[object, list[int]] = defaultdict(list)
    for index in batch:
        groups[tuple(value.shape for value in reference.items[index].values())].append(index)
    return list(groups.values())


def _items(reference: Reference, batch: Sequence[int]) -> Tensors:
    chosen = [reference.items[index] for index in batch]
    return {name: np.stack([item[name] for item in chosen]) for name in chosen[0]}


def _chosen(outputs: Mapping[str, Rows], batch: Sequence[int]) -> dict[str, Rows]:
    return {name: [rows[index] for index in batch] for name, rows in outputs.items()}


def _tensors(outputs: Mapping[str, Rows], batch: Sequence[int]) -> Tensors:
    """A step's expected rows as the tensors that the next step takes."""
    chosen = _chosen(outputs, batch)
    if "input_ids" in chosen:
        return ragged([row.tolist() for row in chosen["input_ids"]])
    return {name: np.stack(list(rows)) for name, rows in chosen.items()}


def _graph_feeds(before: Mapping[str, Rows], batch: Sequence[int]) -> list[Tensors]:
    """What the graph gets when the batch comes as one request, and when it comes as single requests."""
    if "input_ids" not in before:
        return [_tensors(before, batch)]
    rows = [before["input_ids"][index].tolist() for index in batch]
    return [ragged_feed([rows]), ragged_feed([[row] for row in rows])]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
