"""Every build's gate: answers equal to the reference's, in the graph and in the running server.

What is asked and how it is compared is what `conch parity` does (conch_tools.parity); a build refuses what differs and
names the first step that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conch_steps.onnx_backend.session import ort
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.build.reference import Reference, Rows
from conch_tools.errors import ParityError
from conch_tools.parity.asking import WAYS, Answer, Outcome, batches_of, measured, rows_of, unstacked
from conch_tools.parity.protocols import Ask, Tensors
from conch_tools.parity.steps import as_inputs, chosen, first_wrong_step

GRAPH = "graph"


@dataclass(frozen=True)
class Agreement:
    """How a pipeline agreed with its reference."""

    cases: int
    """Answers compared."""
    worst_difference: float
    """Largest absolute difference of any number."""


def check_graph(pipeline: str, reference: Reference, step: str, graph: Path) -> Agreement:
    """Run a step's graph in this process on every case. Raises ParityError.

    A pipeline whose reference says nothing of the steps before the graph is compared as a whole only.
    """
    outcome = graph_outcome(reference, step, graph)
    if outcome is None:
        return Agreement(0, 0.0)
    for difference in outcome.differences:
        where = f"in the graph itself, batch of {len(difference.batch)}"
        raise ParityError(pipeline, step, f"{difference.problem}, {where}")
    return Agreement(outcome.figures.cases, outcome.figures.worst_difference)


def check_server(pipeline: str, reference: Reference, ask: Ask) -> Agreement:
    """Ask the ensemble every case in every way. Raises ParityError, naming the first step that differs when it is asked
    alone with the reference's own inputs."""
    cases, worst, expected = 0, 0.0, rows_of(reference.answers)
    for way, asked in WAYS.items():
        outcome = measured(way, asked(ask, pipeline, reference.items), expected, reference.tolerance)
        for difference in outcome.differences:
            found = first_wrong_step(pipeline, reference, ask, way, difference)
            raise ParityError(pipeline, found.step, found.problem)
        cases += outcome.figures.cases
        worst = max(worst, outcome.figures.worst_difference)
    return Agreement(cases, worst)


def graph_outcome(reference: Reference, step: str, graph: Path) -> Outcome | None:
    """A step's graph asked every case in batches, in the form of one request and of single ones that meet.

    None when the reference does not know what goes into it.
    """
    before = inputs_of(reference, step)
    if before is None:
        return None
    expected = next(answers.outputs for answers in reference.steps if answers.model == step)
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    taken = {each.name for each in session.get_inputs()}
    answers: list[Answer] = []
    for batch in batches_of(len(reference.items)):
        for feed in graph_feeds(before, batch):
            outputs = session.run(list(expected), {name: feed[name] for name in taken & feed.keys()})
            answers += unstacked(dict(zip(expected, outputs, strict=True)), batch)
    return measured(GRAPH, answers, rows_of(expected), reference.tolerance)


def inputs_of(reference: Reference, step: str) -> Mapping[str, Rows] | None:
    """What the step before a graph makes of each case; None when the reference does not know."""
    models = [answers.model for answers in reference.steps]
    return reference.steps[models.index(step) - 1].outputs if step in models[1:] else None


def graph_feeds(before: Mapping[str, Rows], batch: Sequence[int]) -> list[Tensors]:
    """What the graph gets when the batch comes as one request, and when it comes as single requests."""
    if "input_ids" not in before:
        return [as_inputs(chosen(before, batch))]
    rows = [before["input_ids"][index].tolist() for index in batch]
    return [ragged_feed([rows]), ragged_feed([[row] for row in rows])]
