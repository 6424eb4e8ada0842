"""Ask each step of a plan by itself, with the tensors that the steps before gave: so every tensor in between is seen.

Then the whole is asked, and must answer what the steps did. Where it does not, the steps are sound and the wiring, the
batching or chance makes the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conch_client import Client, InferResult
from conch_client import ConchError as ClientError
from conch_tools.likeness import Array
from conch_tools.xray.difference import difference
from conch_tools.xray.plan import Plan, Step
from conch_tools.xray.tensors import as_sent

Parameters = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Failure:
    """What could not be asked, or did not answer, and Triton's words for it."""

    step: str
    problem: str


@dataclass(frozen=True)
class Walk:
    """One request through all steps, or as many as answered."""

    tensors: Mapping[str, Array]
    """Every wire, as far as it came."""
    answered: tuple[str, ...]
    """The steps that answered."""
    failure: Failure | None
    """The first step that failed, or the whole when all steps answered."""
    disagreements: tuple[str, ...]
    """Where the whole answered otherwise than the steps."""


def walk(client: Client, plan: Plan, sent: Mapping[str, Array], parameters: Parameters, tolerance: float) -> Walk:
    """Never raises for what a step answers. `sent` are the public inputs, in the shapes that are sent."""
    tensors = dict(sent)
    answered: list[str] = []
    for step in plan.steps:
        try:
            answer = client.infer(
                step.model, step.version, inputs=inputs_of(step, tensors), parameters=dict(parameters)
            )
        except ClientError as problem:
            return Walk(tensors, tuple(answered), Failure(step.name, problem.problem), ())
        answered.append(step.name)
        tensors |= {wire: answer[name] for name, wire in step.outputs.items() if name in answer}
    if not plan.is_ensemble:
        return Walk(tensors, tuple(answered), None, ())
    try:
        whole = client.infer(plan.model, plan.version, inputs=dict(sent), parameters=dict(parameters))
    except ClientError as problem:
        return Walk(tensors, tuple(answered), Failure(plan.model, problem.problem), ())
    return Walk(tensors, tuple(answered), None, tuple(_disagreements(plan, tensors, whole, tolerance)))


def inputs_of(step: Step, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """What a step takes, as far as it is there: optional inputs may be left out."""
    return {name: as_sent(tensors[wire]) for name, wire in step.inputs.items() if wire in tensors}


def _disagreements(plan: Plan, tensors: Mapping[str, Array], whole: InferResult, tolerance: float) -> Iterator[str]:
    for name in plan.outputs:
        if name not in whole or name not in tensors:
            if (name in whole) != (name in tensors):
                yield f"`{name}` comes from {'the whole' if name in whole else 'the steps'} alone"
            continue
        found = difference(tensors[name], whole[name], tolerance)
        if found.beyond:
            yield f"`{name}`: {found.words}"
