"""Which step is the first to differ, when two ensembles or an ensemble and its reference give different answers.

Every step is asked by itself with the same inputs on both sides, so a step is never blamed for what came before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.text_tokenizer import ragged
from conch_tools.build.reference import Item, Reference, Rows
from conch_tools.errors import NoAnswer
from conch_tools.parity.asking import Difference, measured, rows_of, stacked, unstacked
from conch_tools.parity.metrics import compare
from conch_tools.parity.protocols import Ask, Tensors
from conch_tools.xray.counterparts import aligned, counterpart_wire
from conch_tools.xray.plan import Plan, Step
from conch_tools.xray.walk import inputs_of


@dataclass(frozen=True)
class Served:
    """An ensemble, or any other model, on a running server."""

    ask: Ask
    plan: Plan


@dataclass(frozen=True)
class Divergence:
    """The first step that differs, and how."""

    step: str
    problem: str


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
        outcome = measured(step.model, unstacked(answer, batch), rows_of(step.outputs), reference.tolerance, True)
        if outcome.differences:
            return Divergence(step.model, outcome.differences[0].problem)
        inputs.update(as_inputs(chosen(step.outputs, batch)))
    whole = f"{difference.problem}, {way}, {_cases(batch)} in the request"
    return Divergence(pipeline, f"{whole}; each step alone agrees, so the ensemble's wiring or batching differs")


def first_diverging_step(one: Served, other: Served, item: Item, tolerance: float) -> Divergence:
    """Walk both with the tensors of `one`, and stop at the first step whose outputs differ.

    It is `other` itself when the steps do not correspond, or when each alone agrees.
    """
    whole = other.plan.model
    has_batches = one.plan.config.get("max_batch_size", 0) > 0
    tensors: dict[str, npt.NDArray[Any]] = stacked([item], [0]) if has_batches else dict(item)
    for step, twin in aligned(one.plan, other.plan):
        if step is None or twin is None:
            lacking = f"`{whole}` has no step for `{step.name}`" if step else f"`{whole}` has a step of its own"
            return Divergence(whole, f"up to there each step agrees, but {lacking}")
        name = step.name if step.name == twin.name else f"{twin.name} (for {step.name})"
        given = inputs_of(step, tensors)
        try:
            expected = one.ask(step.model, given, step.version)
            got = other.ask(twin.model, _inputs_of_twin(step, twin, given), twin.version)
        except NoAnswer as refused:
            return Divergence(name, str(refused))
        # Whole tensors, because a step without batches has no rows.
        theirs = {wire: counterpart_wire(key, wire, twin) for key, wire in step.outputs.items()}
        wires = {wire: expected[key] for key, wire in step.outputs.items() if key in expected}
        keys = {wire: key for key, wire in twin.outputs.items()}
        comparable = {wire: got[keys[its]] for wire, its in theirs.items() if its is not None and keys[its] in got}
        problem = compare(wires, comparable).problem(tolerance)
        if problem is not None:
            return Divergence(name, problem)
        tensors |= wires
    return Divergence(whole, "each step alone agrees, so small differences add up, or the batching differs")


def _inputs_of_twin(step: Step, twin: Step, given: Tensors) -> dict[str, npt.NDArray[Any]]:
    """What a step takes under its twin's names: by the tensors of the ensembles, else by the names of the models."""
    by_wire = {wire: key for key, wire in step.inputs.items()}
    names = {key: by_wire.get(wire, key) for key, wire in twin.inputs.items()}
    return {key: given[own] for key, own in names.items() if own in given}


def chosen(outputs: Mapping[str, Rows], batch: Sequence[int]) -> dict[str, Rows]:
    """The rows of some cases."""
    return {name: [rows[index] for index in batch] for name, rows in outputs.items()}


def as_inputs(outputs: Mapping[str, Rows]) -> Tensors:
    """A step's expected rows as the tensors that the next step takes."""
    if "input_ids" in outputs:
        return ragged([row.tolist() for row in outputs["input_ids"]])
    return {name: np.stack(list(rows)) for name, rows in outputs.items()}


def _cases(batch: Sequence[int]) -> str:
    return "1 case" if len(batch) == 1 else f"{len(batch)} cases"
