"""Two versions of a pipeline, tensor by tensor: how far they are apart, and the first step where they part.

Each version walks with its own tensors, so what the first diverging step gives is the cause, and later differences may
be its consequences.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from conch_tools.xray.plan import Plan, Step
from conch_tools.xray.tensors import Array

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Difference:
    """Of two tensors."""

    worst: float
    """Largest absolute difference of their numbers, those within JSON texts too; infinite where they cannot be
    compared."""
    beyond: bool
    """Whether they differ by more than the tolerance."""
    words: str


@dataclass(frozen=True)
class StepDifference:
    """One pair of steps. `other` is None where the other version has no such step, `step` where this one has none."""

    step: str | None
    other: str | None
    tensors: tuple[tuple[str, Difference], ...]
    """By wire of this version."""

    @property
    def diverges(self) -> bool:
        """Whether any tensor is beyond the tolerance."""
        return any(each.beyond for _, each in self.tensors)

    @property
    def worst(self) -> float:
        """Of all its tensors."""
        return max((each.worst for _, each in self.tensors), default=0.0)


def compared(
    plan: Plan, tensors: Mapping[str, Array], other: Plan, others: Mapping[str, Array], tolerance: float
) -> list[StepDifference]:
    """This plan's steps in their order, each with its counterpart in the other; at the end what only the other has."""
    pairs = aligned(plan, other)
    found = []
    for step, counterpart in pairs:
        differences = []
        for name, wire in step.outputs.items() if step and counterpart else ():
            its = counterpart_wire(name, wire, counterpart)
            if its is not None and wire in tensors and its in others:
                differences.append((wire, difference(tensors[wire], others[its], tolerance)))
        found.append(
            StepDifference(step.name if step else None, counterpart.name if counterpart else None, tuple(differences))
        )
    return found


def first_divergence(differences: list[StepDifference]) -> StepDifference | None:
    """The first step whose tensors are beyond the tolerance."""
    return next((each for each in differences if each.diverges), None)


def aligned(plan: Plan, other: Plan) -> list[tuple[Step | None, Step | None]]:
    """Which steps correspond: those that give tensors of the same names within their ensembles, else those at the same
    position that give tensors which their models call the same."""
    left = list(other.steps)
    pairs: dict[str, Step] = {}
    by_wire = [(step, each) for step in plan.steps for each in left if _wires(step) & _wires(each)]
    by_place = [
        (step, each)
        for step, each in zip(plan.steps, other.steps, strict=False)
        if step.outputs.keys() & each.outputs.keys()
    ]
    for step, each in (*by_wire, *by_place):
        if step.name not in pairs and each in left:
            pairs[step.name] = each
            left.remove(each)
    return [*((step, pairs.get(step.name)) for step in plan.steps), *((None, each) for each in left)]


def counterpart_wire(name: str, wire: str, counterpart: Step | None) -> str | None:
    """The tensor of the other step that corresponds to one of ours, by the ensemble's name for it or the model's."""
    if counterpart is None:
        return None
    by_wire = {_short(each): each for each in counterpart.outputs.values()}
    return by_wire.get(_short(wire)) or counterpart.outputs.get(name)


def difference(one: Array, other: Array, tolerance: float) -> Difference:
    """How far two tensors are apart. NaN equals NaN here, and an infinity itself."""
    if one.shape != other.shape:
        return Difference(math.inf, True, f"shape {list(one.shape)} against {list(other.shape)}")
    if one.dtype == np.object_ or other.dtype == np.object_:
        pairs = zip(one.reshape(-1).tolist(), other.reshape(-1).tolist(), strict=True)
        return _worst_of_texts([_texts_apart(_text(a), _text(b), tolerance) for a, b in pairs])
    if not one.size:
        return Difference(0.0, False, "empty")
    apart = _numbers_apart(one, other)
    worst = float(apart.max())
    if not worst > tolerance:
        return Difference(worst, False, f"worst difference {worst:.1e}" if worst else "equal")
    place = [int(each) for each in np.unravel_index(int(apart.argmax()), apart.shape)]
    values = f"{_plain(one[tuple(place)])} against {_plain(other[tuple(place)])}"
    return Difference(worst, True, f"worst difference {worst:.2g}, at {place}: {values}")


def _numbers_apart(one: Array, other: Array) -> Array:
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    cleared: Array = np.where(same, 0.0, np.where(np.isnan(apart), math.inf, apart))
    return cleared


def _worst_of_texts(differences: list[Difference]) -> Difference:
    beyond = [each for each in differences if each.beyond]
    if beyond:
        return beyond[0]
    worst = max((each.worst for each in differences), default=0.0)
    return Difference(worst, False, f"worst difference {worst:.1e}" if worst else "equal")


def _texts_apart(one: str, other: str, tolerance: float) -> Difference:
    """Texts are equal or not; numbers in JSON may differ by the tolerance."""
    if one == other:
        return Difference(0.0, False, "equal")
    try:
        worst = _json_apart(json.loads(one), json.loads(other))
    except (ValueError, RecursionError):
        worst = math.inf
    if worst <= tolerance:
        return Difference(worst, False, f"worst difference {worst:.1e}")
    return Difference(worst, True, f"{_shortened(one)} against {_shortened(other)}")


def _json_apart(one: Any, other: Any) -> float:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_json_apart(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((_json_apart(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    return 0.0 if one == other else math.inf


def _wires(step: Step) -> set[str]:
    return {_short(wire) for wire in step.outputs.values()}


def _short(wire: str) -> str:
    return wire.rpartition("/")[2]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> str:
    return f"{float(value):.6g}" if isinstance(value, np.floating) else str(value)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")
