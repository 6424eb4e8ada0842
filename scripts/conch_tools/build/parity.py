"""The gate every build passes: answers equal to the reference's, in the graph and then in the running server.

Each parity batch is asked as one request and as concurrent single requests, because both meet in one execution and must
not change each other. When the whole differs, the steps are asked one by one with the reference's own inputs, and the
first that differs is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_client import Client
from conch_client import ConchError as ClientError
from conch_steps.onnx_backend.session import ort
from conch_steps.text_tokenizer import ragged
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.build.reference import Reference, Rows, batches_of, largest_difference
from conch_tools.errors import ParityError

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Agreement:
    """How a pipeline agreed with its reference."""

    cases: int
    """Answers compared."""
    worst_difference: float
    """Largest absolute difference of any number."""


def check_graph(pipeline: str, reference: Reference, step: str, graph: Path) -> Agreement:
    """Run a step's graph in this process on every parity batch. Raises ParityError."""
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    position = next(index for index, answers in enumerate(reference.steps) if answers.model == step)
    expected, before = reference.steps[position].outputs, reference.steps[position - 1].outputs
    verdict = _Verdict(reference.tolerance)
    for batch in batches_of(len(reference.items)):
        for feed in _graph_feeds(before, batch):
            outputs = session.run(list(expected), feed)
            problem = verdict.compare(dict(zip(expected, outputs, strict=True)), _chosen(expected, batch))
            if problem:
                raise ParityError(pipeline, step, f"{problem}, in the graph itself, batch of {len(batch)}")
    return verdict.agreement


def check_server(pipeline: str, reference: Reference, client: Client) -> Agreement:
    """Ask the ensemble every parity batch, as one request and as concurrent singles. Raises ParityError."""
    verdict = _Verdict(reference.tolerance)
    with ThreadPoolExecutor(max_workers=32) as callers:

        def single(index: int) -> Tensors:
            return _ask(client, pipeline, _items(reference, [index]))

        for batch in batches_of(len(reference.items)):
            expected = _chosen(reference.answers, batch)
            singles = list(callers.map(single, batch))
            joined = {name: np.concatenate([answer[name] for answer in singles]) for name in expected}
            for form, answer in (
                ("one request", _ask(client, pipeline, _items(reference, batch))),
                ("concurrent single requests", joined),
            ):
                problem = verdict.compare(answer, expected)
                if problem:
                    _blame(pipeline, reference, client, batch, f"{problem}, batch of {len(batch)} as {form}")
    return verdict.agreement


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
            # Only the best label counts: lower ones may tie to the last bit.
            best, wanted = _text(row[0]), _text(want[0])
            return None if best == wanted else f"`{name}` is {best}, the reference says {wanted}"
        if np.issubdtype(want.dtype, np.integer):
            # Rows of token ids are padded with zeros to the longest of their request.
            same = np.array_equal(row[: len(want)], want) and not row[len(want) :].any()
            return None if same else f"`{name}` is {row.tolist()}, the reference says {want.tolist()}"
        difference = largest_difference(row, want)
        self._worst = max(self._worst, difference)
        if difference <= self._tolerance:
            return None
        return f"`{name}` differs by {difference:.2e}, the gate is {self._tolerance:.0e}"


def _blame(pipeline: str, reference: Reference, client: Client, batch: Sequence[int], whole: str) -> None:
    """Raise ParityError naming the first step that differs when asked alone with the reference's inputs."""
    inputs: dict[str, npt.NDArray[Any]] = dict(_items(reference, batch))
    for step in reference.steps:
        wanted = client.metadata(step.model).inputs
        answer = _ask(client, step.model, {tensor.name: inputs[tensor.name] for tensor in wanted})
        problem = _Verdict(reference.tolerance).compare(answer, _chosen(step.outputs, batch))
        if problem:
            raise ParityError(pipeline, step.model, problem)
        inputs.update(_tensors(step.outputs, batch))
    raise ParityError(
        pipeline, pipeline, f"{whole}; each step alone agrees, so the ensemble's wiring or batching differs"
    )


def _ask(client: Client, model: str, tensors: Tensors) -> Tensors:
    try:
        return client.infer(model, inputs=tensors)
    except ClientError as problem:
        raise ParityError(model, model, str(problem)) from problem


def _items(reference: Reference, batch: Sequence[int]) -> Tensors:
    rows = [[reference.items[index]] for index in batch]
    return {reference.input_tensor: np.array(rows, dtype=np.object_)}


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
