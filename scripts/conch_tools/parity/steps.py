"""Which step is the first to differ, when two ensembles or an ensemble and its reference give different answers.

Every step is asked by itself with the same inputs on both sides, so a step is never blamed for what came before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.text_tokenizer import ragged
from conch_tools.build.reference import Item, Reference, Rows
from conch_tools.errors import NoAnswer
from conch_tools.parity.asking import Difference, measured, rows_of, stacked, unstacked
from conch_tools.parity.metrics import compare
from conch_tools.parity.protocols import LATEST, Ask, Tensors


@dataclass(frozen=True)
class Step:
    """A step of an ensemble; its maps lead from the model's own names to the ensemble's tensors."""

    model: str
    version: str
    input_map: Mapping[str, str]
    output_map: Mapping[str, str]

    def ask(self, ask: Ask, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The ensemble's tensors that the step gives. Raises NoAnswer."""
        inputs = {name: tensors[source] for name, source in self.input_map.items() if source in tensors}
        answer = ask(self.model, inputs, self.version)
        return {target: answer[name] for name, target in self.output_map.items() if name in answer}

    def is_twin_of(self, other: Step) -> bool:
        """Whether it stands in the same place of its ensemble, whatever the models are called."""
        return set(self.input_map.values()) == set(other.input_map.values()) and set(self.output_map.values()) == set(
            other.output_map.values()
        )


@dataclass(frozen=True)
class Served:
    """An ensemble, or any other model, on a running server."""

    model: str
    ask: Ask
    steps: Sequence[Step]
    """In an order in which they can run; none of a model that is no ensemble."""


@dataclass(frozen=True)
class Divergence:
    """The first step that differs, and how."""

    step: str
    problem: str


def steps_of(config: Mapping[str, Any]) -> list[Step]:
    """An ensemble's steps by its configuration as Triton tells it, in an order in which they can run."""
    waiting = [
        Step(
            each["model_name"],
            _version(each.get("model_version", -1)),
            each.get("input_map", {}),
            each.get("output_map", {}),
        )
        for each in config.get("ensemble_scheduling", {}).get("step", ())
    ]
    there = {tensor["name"] for tensor in config.get("input", ())}
    ordered: list[Step] = []
    while runnable := [step for step in waiting if there.issuperset(step.input_map.values())]:
        ordered += runnable
        waiting = [step for step in waiting if step not in runnable]
        there.update(name for step in runnable for name in step.output_map.values())
    return ordered


def first_wrong_step(pipeline: str, reference: Reference, ask: Ask, way: str, difference: Difference) -> Divergence:
    """The first step that does not answer as the reference's, asked with the reference's own inputs, and how.

    It is the pipeline itself when each step alone agrees.
    """
    batch = difference.batch
    inputs: dict[str, npt.NDArray[Any]] = stacked(reference.items, batch)
    for step in reference.steps:
        try:
            answer = ask(step.model, {name: inputs[name] for name in ask.inputs(step.model) if name in inputs})
        except NoAnswer as problem:
            return Divergence(step.model, str(problem))
        for wrong in measured(
            step.model, unstacked(answer, batch), rows_of(step.outputs), reference.tolerance
        ).differences:
            return Divergence(step.model, wrong.problem)
        inputs.update(as_inputs(chosen(step.outputs, batch)))
    whole = f"{difference.problem}, {way}, {_cases(batch)} in the request"
    return Divergence(pipeline, f"{whole}; each step alone agrees, so the ensemble's wiring or batching differs")


def first_diverging_step(one: Served, other: Served, item: Item, tolerance: float) -> Divergence:
    """Walk both ensembles with the tensors of `one`, and stop at the first step whose outputs differ.

    It is `other` itself when the steps do not correspond, or when each alone agrees.
    """
    tensors: dict[str, npt.NDArray[Any]] = stacked([item], [0])
    for step, twin in _twins(one, other):
        if twin is None:
            where = f"`{other.model}` has no step with the inputs and outputs of `{step.model}`"
            return Divergence(other.model, f"up to there each step agrees, but {where}")
        name = step.model if step.model == twin.model else f"{twin.model} (for {step.model})"
        try:
            expected = step.ask(one.ask, tensors)
            got = twin.ask(other.ask, tensors)
        except NoAnswer as refused:
            return Divergence(name, str(refused))
        # Whole tensors, because a step without batches has no rows.
        problem = compare(expected, got).problem(tolerance)
        if problem is not None:
            return Divergence(name, problem)
        tensors.update(expected)
    return Divergence(other.model, "each step alone agrees, so small differences add up, or the batching differs")


def chosen(outputs: Mapping[str, Rows], batch: Sequence[int]) -> dict[str, Rows]:
    """The rows of some cases."""
    return {name: [rows[index] for index in batch] for name, rows in outputs.items()}


def as_inputs(outputs: Mapping[str, Rows]) -> Tensors:
    """A step's expected rows as the tensors that the next step takes."""
    if "input_ids" in outputs:
        return ragged([row.tolist() for row in outputs["input_ids"]])
    return {name: np.stack(list(rows)) for name, rows in outputs.items()}


def _twins(one: Served, other: Served) -> Iterator[tuple[Step, Step | None]]:
    for step in one.steps:
        yield step, next((each for each in other.steps if each.is_twin_of(step)), None)


def _version(number: int | str) -> str:
    return LATEST if int(number) < 0 else str(number)


def _cases(batch: Sequence[int]) -> str:
    return "1 case" if len(batch) == 1 else f"{len(batch)} cases"
