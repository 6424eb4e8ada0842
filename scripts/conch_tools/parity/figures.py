"""Figures of many cases, and what of them misses a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conch_tools.parity.metrics import Case, Shared
from conch_tools.pipelines import Likeness


@dataclass(frozen=True)
class Figures:
    """How far the answers to some cases are off from those expected. None: no answer has what the figure tells of."""

    cases: int
    differing: int
    """Cases with anything beyond the gate for one answer."""
    unlike: int
    """Cases without an answer, and those that are not the same although no other figure says so."""
    flips: int | None
    """Cases with another best label."""
    flip_gap: float | None
    """Of the flips, the most by which the expected scores prefer their own label."""
    span_f1: float | None
    """Of all things found in all cases together."""
    cosine: float | None
    """The smallest of any vector."""
    worst_difference: float
    """Of any number; infinite for another shape and for what is no number."""

    def missed(self, gate: Likeness) -> list[str]:
        """A sentence for each part of the gate that the figures miss."""
        problems = []
        if self.unlike:
            problems.append(f"{_cases(self.unlike)} without the same answer")
        if self.flips is not None and self.flips > gate.max_flips * self.cases:
            problems.append(f"{_cases(self.flips)} with another label, the gate allows {gate.max_flips:.1%}")
        if self.span_f1 is not None and not self.span_f1 >= gate.min_span_f1:
            problems.append(f"span F1 is {self.span_f1:.4f}, the gate is at least {gate.min_span_f1:g}")
        if self.cosine is not None and not self.cosine >= gate.min_cosine:
            problems.append(f"the smallest cosine is {self.cosine:.6f}, the gate is at least {gate.min_cosine:g}")
        if not self.worst_difference <= gate.max_abs_difference:
            worst, most = self.worst_difference, gate.max_abs_difference
            problems.append(f"the worst difference is {worst:.1e}, the gate is {most:.0e}")
        return problems


def figures_of(cases: Sequence[Case], tolerance: float, ranked: bool) -> Figures:
    """Sum up the cases. `ranked` says whether their answers have a best label."""
    flips = [case.flip for case in cases if case.flip is not None]
    shared = [case.shared for case in cases if case.shared is not None]
    cosines = [case.cosine for case in cases if case.cosine is not None]
    return Figures(
        cases=len(cases),
        differing=sum(case.problem(tolerance) is not None for case in cases),
        unlike=sum(case.unlike is not None for case in cases),
        flips=len(flips) if ranked else None,
        flip_gap=max((flip.gap for flip in flips), default=None),
        span_f1=sum(shared, Shared()).f1 if shared else None,
        cosine=min(cosines, default=None),
        worst_difference=max((case.difference for case in cases), default=0.0),
    )


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
