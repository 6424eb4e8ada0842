"""A report as plain values, for programs. Numbers are milliseconds where a name says `_ms`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from conch_tools.xray.advice import bottleneck_of
from conch_tools.xray.diff import StepDifference, first_divergence
from conch_tools.xray.report import Examined, Report
from conch_tools.xray.tensors import TensorFacts
from conch_tools.xray.timing import Timing


def plain(report: Report) -> dict[str, Any]:
    """What JSON can say. Infinite and missing numbers are null: JSON has neither."""
    first = first_divergence(report.differences)
    whole = {
        "problem": report.problem,
        **_examined(report.one),
        "against": None if report.other is None else _examined(report.other),
        "tolerance": report.tolerance,
        "differences": [_difference(each) for each in report.differences],
        "first_difference": None if first is None else first.step,
    }
    told: dict[str, Any] = _finite(whole)
    return told


def _examined(one: Examined) -> dict[str, Any]:
    timing = one.timing
    return {
        "model": one.target.model,
        "version": one.target.version or None,
        "url": one.target.url,
        "steps": [
            {"name": step.name, "model": step.model, "inputs": dict(step.inputs), "outputs": dict(step.outputs)}
            for step in one.plan.steps
        ],
        "tensors": [_tensor(facts) for facts in one.facts.values()],
        "disagreements": list(one.walk.disagreements),
        "timing": {"problem": timing} if isinstance(timing, str) else _timing(one, timing),
        "advice": list(one.advice),
    }


def _timing(one: Examined, timing: Timing) -> dict[str, Any]:
    return {
        **{key: value for key, value in asdict(timing).items() if key != "typical"},
        "bottleneck": bottleneck_of(one.plan, timing).name,
        "timeline": [asdict(span) for span in timing.typical.spans.values()],
    }


def _tensor(facts: TensorFacts) -> dict[str, Any]:
    return {key: value for key, value in asdict(facts).items() if key != "images"}


def _difference(pair: StepDifference) -> dict[str, Any]:
    return {
        "step": pair.step,
        "other": pair.other,
        "diverges": pair.diverges,
        "tensors": {wire: asdict(each) for wire, each in pair.tensors},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
