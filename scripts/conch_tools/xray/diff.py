"""Two versions of a pipeline, tensor by tensor: how far they are apart, and the first step where they part.

Each version walks with its own tensors, so what the first diverging step gives is the cause, and later differences may
be its consequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conch_tools.xray.counterparts import aligned, counterpart_wire
from conch_tools.xray.difference import Difference, difference
from conch_tools.xray.plan import Plan, Step
from conch_tools.xray.walk import Walk


@dataclass(frozen=True)
class StepDifference:
    """One pair of steps. `other` is None where the other version has no such step, `step` where this one has none."""

    step: str | None
    other: str | None
    tensors: tuple[tuple[str, Difference], ...]
    """By wire of this version, then those that only the other one gives, by its own."""

    @property
    def diverges(self) -> bool:
        """Whether any tensor is beyond the tolerance."""
        return any(each.beyond for _, each in self.tensors)

    @property
    def worst(self) -> float:
        """Of all its tensors."""
        return max((each.worst for _, each in self.tensors), default=0.0)


def compared(plan: Plan, walk: Walk, other: Plan, its: Walk, tolerance: float) -> list[StepDifference]:
    """This plan's steps in their order, each with its counterpart in the other; at the end what only the other has.

    Tensors of a step that did not answer on both sides are not compared: that it failed is told anyway.
    """
    found = []
    for step, twin in aligned(plan, other):
        tensors: Iterator[tuple[str, Difference]] = iter(())
        if step and twin and step.name in walk.answered and twin.name in its.answered:
            tensors = _differences(step, walk, twin, its, tolerance)
        found.append(StepDifference(step.name if step else None, twin.name if twin else None, tuple(tensors)))
    return found


def first_divergence(differences: Sequence[StepDifference]) -> StepDifference | None:
    """The first step whose tensors are beyond the tolerance."""
    return next((each for each in differences if each.diverges), None)


def _differences(step: Step, walk: Walk, twin: Step, its: Walk, tolerance: float) -> Iterator[tuple[str, Difference]]:
    pairs = {wire: counterpart_wire(name, wire, twin) for name, wire in step.outputs.items()}
    for wire, counterpart in pairs.items():
        ours = walk.tensors.get(wire)
        theirs = None if counterpart is None else its.tensors.get(counterpart)
        if ours is not None and theirs is not None:
            yield wire, difference(ours, theirs, tolerance)
        elif ours is not None:
            yield wire, Difference.incomparable("the other one does not give it")
        elif theirs is not None:
            yield wire, Difference.incomparable("only the other one gives it")
    for wire in twin.outputs.values():
        if wire in its.tensors and wire not in pairs.values():
            yield wire, Difference.incomparable("only the other one gives it")
