"""What `conch xray` found out, for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conch_tools.xray.diff import StepDifference
from conch_tools.xray.plan import Plan, Step
from conch_tools.xray.target import Target
from conch_tools.xray.tensors import TensorFacts
from conch_tools.xray.timing import Timing
from conch_tools.xray.walk import Walk


@dataclass(frozen=True)
class Examined:
    """One model, one request."""

    target: Target
    plan: Plan
    walk: Walk
    facts: Mapping[str, TensorFacts]
    """By wire, in the order in which they came."""
    timing: Timing | str
    """Or why there is none."""
    advice: tuple[str, ...]

    def given_by(self, step: Step) -> list[TensorFacts]:
        """The tensors that a step gave."""
        return [self.facts[wire] for wire in step.outputs.values() if wire in self.facts]

    @property
    def problem(self) -> str | None:
        """What keeps the request from being answered, in Triton's words."""
        failure = self.walk.failure
        return None if failure is None else f"`{failure.step}` failed: {failure.problem}"


@dataclass(frozen=True)
class Report:
    """One model, and another that it is compared with."""

    one: Examined
    other: Examined | None
    differences: tuple[StepDifference, ...]
    """Of each step, where there is another."""
    tolerance: float
    """Largest absolute difference that is none."""

    @property
    def problem(self) -> str | None:
        """What keeps either from answering."""
        if self.one.problem or self.other is None or self.other.problem is None:
            return self.one.problem
        return f"{self.other.target}: {self.other.problem}"
